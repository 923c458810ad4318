package job

import (
	"net/http"
	"strings"
	"testing"

	"streamer/consumer"
	"streamer/internal/fault"
)

// base is a job without faults and warnings; a test adds or replaces top-level fields.
var base = []string{
	`id: villages`,
	`owner: demo`,
	`type: POST`,
	`topic: [village]`,
	`datamap: {id: $.msg.id}`,
	`url: https://api.example.org/villages/{id}`,
}

// jobText is base with lines added; a line whose field base has replaces it, and one like "-url" takes it out.
func jobText(lines ...string) string {
	fields := append([]string(nil), base...)
	for _, line := range lines {
		if gone, ok := strings.CutPrefix(line, "-"); ok {
			fields = without(fields, gone)
			continue
		}
		name, _, _ := strings.Cut(line, ":")
		fields = append(without(fields, name), line)
	}
	return strings.Join(fields, "\n") + "\n"
}

func without(fields []string, name string) []string {
	var rest []string
	for _, f := range fields {
		if !strings.HasPrefix(f, name+":") {
			rest = append(rest, f)
		}
	}
	return rest
}

func parseOne(t *testing.T, name, text string) *Definition {
	t.Helper()
	defs, broken := ParseFile(name, []byte(text))
	if len(broken) > 0 || len(defs) != 1 {
		t.Fatalf("ParseFile: %d jobs, findings %v\n%s", len(defs), broken, text)
	}
	return defs[0]
}

func compileText(t *testing.T, p Process, text string) (consumer.Config, fault.List) {
	t.Helper()
	if p.Namespace == "" {
		p.Namespace = "streamer"
	}
	return parseOne(t, "job.yaml", text).Compile(p)
}

// checkFaults wants exactly the faults of want, each as a part of "path: problem; mend", warnings with "warning: " in front.
func checkFaults(t *testing.T, got fault.List, want []string) {
	t.Helper()
	left := append(fault.List(nil), got...)
	for _, w := range want {
		text, warning := strings.CutPrefix(w, "warning: ")
		found := -1
		for i, f := range left {
			if f.Warning == warning && strings.Contains(f.Error(), text) {
				found = i
				break
			}
		}
		if found < 0 {
			t.Errorf("no fault says %q", w)
			continue
		}
		left = append(left[:found], left[found+1:]...)
	}
	for _, f := range left {
		t.Errorf("unexpected fault (warning %v): %s", f.Warning, f.Error())
	}
}

// sent is the header of the request that a job makes of a row {"id": 7}.
func sent(t *testing.T, p Process, d *Definition) http.Header {
	t.Helper()
	cfg, faults := d.Compile(p)
	checkFaults(t, faults, nil)
	rows := consumer.Render(cfg, consumer.Record{Topic: "village", Value: []byte(`{"id": 7}`)})
	if len(rows) != 1 || rows[0].Verdict != "send" {
		t.Fatalf("rendered as %+v", rows)
	}
	h := http.Header{}
	for _, line := range rows[0].Request.Header {
		h.Add(line.Name, line.Value)
	}
	return h
}
