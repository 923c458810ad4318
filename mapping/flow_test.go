package mapping

import (
	"runtime"
	"strings"
	"testing"
)

// A step for a thousand items took the answers of all items before it into $.steps, for each of them: 640 MiB for answers of 4 kB.
func TestItemsOfAStepCostTheirAnswers(t *testing.T) {
	p := compileJob(t, `{"type":"PUT","url":"http://h/{$.steps.all[999].status}","datamap":{},
		"steps":[{"name":"first","url":"http://h/"},{"name":"all","for_each":"$.msg.items","url":"http://h/{$.steps.first.status}/{$.item.value}"}]}`)
	parts, _, err := p.NewMapper().Map(&Message{Msg: parseJSON(t, `{"items":[`+strings.TrimSuffix(strings.Repeat("1,", 1000), ",")+`]}`)}, nil)
	if err != nil || len(parts) != 1 || parts[0].Err != nil {
		t.Fatal(parts, err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	calls, call := 1, parts[0].Call
	for done := false; !done; calls++ {
		r := &Response{Status: 200, Body: []byte(`"` + strings.Repeat("x", 4000) + `"`)}
		if call.Step == "" {
			break
		}
		if call, done, err = parts[0].Flow.Next(r); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; calls != 1002 || call.URL != "http://h/200" || took > 200 {
		t.Errorf("%d calls to %s, %d MiB", calls, call.URL, took)
	}
}
