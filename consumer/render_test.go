package consumer

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"streamer/mapping"
	"streamer/schemas"
)

// Somebody answers the steps of a dry run for a thousand items of many rows, each with as much as a call may hold: what is made of that is
// bounded, and what is left ends as without an answer.
func TestAnswersOfADryRunAreBounded(t *testing.T) {
	t.Parallel()
	value := func(text string) schemas.Value {
		b, err := schemas.NewDecoder(schemas.Config{Format: schemas.FormatJSON}, nil).Decode([]byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return b.Row(0)
	}
	program, faults := mapping.Compile(mapping.Config{Type: value(`"PUT"`), URL: value(`"https://api.test/"`), DataMap: value(`{}`),
		Steps: value(`[{"name": "all", "for_each": "$.msg.items", "type": "POST", "url": "https://api.test/items", "payload": "$.item"}]`)})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	items, err := json.Marshal(map[string]any{"items": strings.Split(strings.Repeat("item,", 999)+"item", ",")})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Job: "j", Program: program, Topics: []string{"t"}}
	answer := &mapping.Response{Status: 200, Body: []byte(fmt.Sprintf("%q", strings.Repeat("x", 1<<20)))}
	asked := 0
	rec := Record{Topic: "t", Value: items, Answers: func(string) *mapping.Response { asked++; return answer }, MostFollowed: 1 << 20}
	rows := Render(cfg, rec)
	if last := rows[len(rows)-1]; asked < 10 || asked > 20 || len(rows) != asked+1 || !last.Open {
		t.Errorf("%d requests of %d answers, the last one is open: %v", len(rows), asked, last.Open)
	}
	answer.Body, rec.MostFollowed, asked = nil, 0, 0
	if rows = Render(cfg, rec); asked != 1000 || len(rows) != 1001 || rows[1000].Open {
		t.Errorf("without a bound: %d requests of %d answers", len(rows), asked)
	}
}
