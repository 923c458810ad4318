package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"streamer/mapping"
)

// recordedAnswer is what a step is answered in a dry run. A body that is a text is sent as it is, any other as its JSON.
type recordedAnswer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

// readAnswers reads what steps are answered. A name is that of one call (groups/2/read), of the call for every item (groups/read), or of
// the step.
func readAnswers(file string) (func(step string) *mapping.Response, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("answers: %w", err)
	}
	var all map[string]recordedAnswer
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("answers: %s: %w; write it as in {\"owner\": {\"status\": 200, \"body\": {\"id\": 7}}}", file, err)
	}
	return func(step string) *mapping.Response {
		names := strings.Split(step, "/")
		for _, name := range []string{step, names[0] + "/" + names[len(names)-1], names[0]} {
			if a, ok := all[name]; ok {
				return a.response()
			}
		}
		return nil
	}, nil
}

func (a recordedAnswer) response() *mapping.Response {
	r := &mapping.Response{Status: a.Status, Body: a.Body}
	if r.Status == 0 {
		r.Status = 200
	}
	var body string
	if json.Unmarshal(a.Body, &body) == nil {
		r.Body = []byte(body)
	}
	for name, value := range a.Headers {
		r.Header = append(r.Header, mapping.Header{Name: name, Value: value})
	}
	return r
}
