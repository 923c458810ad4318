package consumer

import (
	"encoding/json"
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
	large, err := json.Marshal(strings.Repeat("x", 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	rec := Record{Topic: "t", Value: items, Answers: RecordedAnswers{"all": {Body: large}}, MostFollowed: 1 << 20}
	rows := Render(cfg, rec)
	if last := rows[len(rows)-1]; len(rows) < 10 || len(rows) > 20 || !last.Open {
		t.Errorf("%d requests, the last one is open: %v", len(rows), last.Open)
	}
	rec.Answers["all"], rec.MostFollowed = RecordedAnswer{Status: 204}, 0
	if rows = Render(cfg, rec); len(rows) != 1001 || rows[1000].Open {
		t.Errorf("without a bound: %d requests", len(rows))
	}
}
