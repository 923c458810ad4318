package consumer

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"streamer/internal/fault"
	"streamer/internal/nearest"
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

// Unknown says which of the names no call of a step goes by, in any of the programs: what it answers would never be asked for.
func (r RecordedAnswers) Unknown(programs ...*mapping.Program) (faults fault.List) {
	var known []string
	for _, p := range programs {
		known = append(known, p.CallNames()...)
	}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		item := ""
		general := itemNumber.ReplaceAllStringFunc(name, func(number string) string {
			item = strings.Trim(number, "/")
			return strings.Replace(number, item, mapping.AnyItem, 1)
		})
		names := known
		if item == "" { // then it goes by none of an item
			names = slices.DeleteFunc(slices.Clone(known), func(k string) bool { return strings.Contains(k, "/"+mapping.AnyItem) })
		}
		if slices.Contains(names, general) {
			continue
		}
		mend := ""
		switch near := nearest.Name(general, names); {
		case near != "":
			mend = "did you mean " + strings.Replace(near, "/"+mapping.AnyItem, "/"+item, 1) + "?"
		case len(known) == 0:
			mend = "there are no steps"
		default:
			mend = "known are " + strings.Join(known, ", ")
		}
		faults.Add(name, "no step goes by this name", mend)
	}
	return faults
}

// itemNumber is where the name of a call says which item it is for.
var itemNumber = regexp.MustCompile(`/(0|[1-9][0-9]*)(/|$)`)

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
