package mapping

import (
	"fmt"
	"reflect"
	"testing"
)

// A dry run hears why routes make nothing of a row: by expression and kind, and never what the row holds.
func TestMisses(t *testing.T) {
	t.Parallel()
	p := compileJob(t, `{
 "datamap": {}, "type": "POST", "url": "https://a.example.org/",
 "routes": [
  {"name": "all"},
  {"name": "value", "when": {"field": "$.msg.state", "values": ["open"]}},
  {"name": "false", "when": "$.msg.no"},
  {"name": "nothing", "when": {"field": "$.msg.other", "values": [1]}},
  {"name": "several", "when": {"field": "$.msg.list[*]", "values": [1]}},
  {"name": "constant", "when": "$.constant.off"},
  {"name": "matches", "when": "$.msg.state"}
 ], "constant": {"off": false}}`)
	m := p.NewMapper()
	row := func() *Message {
		return &Message{Msg: parseJSON(t, `{"state": "secret", "no": false, "list": [2, 3]}`)}
	}
	if _, _, err := m.Map(row(), nil); err != nil || len(m.Misses()) != 0 {
		t.Errorf("without Explain: %v, %v", m.Misses(), err)
	}
	m.Explain()
	want := []Miss{
		{1, "when ($.msg.state) finds a string, which is none of its values"},
		{2, "when ($.msg.no) finds false"},
		{3, "when ($.msg.other) finds nothing"},
		{4, "when ($.msg.list[*]) finds several values, none of which is among its values"},
		{5, "when ($.constant.off) finds false in every row"},
	}
	for range 2 { // of this row alone
		if _, _, err := m.Map(row(), nil); err != nil || !reflect.DeepEqual(m.Misses(), want) {
			t.Errorf("%v\n%s\nwant\n%s", err, fmt.Sprint(m.Misses()), fmt.Sprint(want))
		}
	}
}
