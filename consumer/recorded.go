package consumer

import (
	"encoding/json"
	"strings"

	"streamer/mapping"
)

// RecordedAnswers are what steps are answered in a dry run, by the name of one call (groups/2/read), of that call for every item
// (groups/read), or of the step.
type RecordedAnswers map[string]RecordedAnswer

// RecordedAnswer is one of them.
type RecordedAnswer struct {
	Status  int               `json:"status,omitempty" minimum:"100" maximum:"599" default:"200" doc:"its status"`
	Headers map[string]string `json:"headers,omitempty" maxProperties:"100" doc:"its headers"`
	Body    json.RawMessage   `json:"body,omitempty" doc:"its body: a text is sent as it is, anything else as its JSON"`
}

// Of gives what a call is answered; nil for nothing.
func (r RecordedAnswers) Of(call string) *mapping.Response {
	names := strings.Split(call, "/")
	for _, name := range []string{call, names[0] + "/" + names[len(names)-1], names[0]} {
		if a, ok := r[name]; ok {
			return a.response()
		}
	}
	return nil
}

func (a RecordedAnswer) response() *mapping.Response {
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
