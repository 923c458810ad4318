package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"streamer/internal/nearest"
)

func init() { huma.ValidateStrictCasing = true } // of two spellings, another reader might take the other one

// complete says all that is wrong with arguments, and fills in what was left out and has a default.
func (m *bound) complete(a *arguments) []Fault {
	faults := slices.Clone(a.faults)
	said := map[string]bool{}
	for _, f := range faults {
		said[f.Field] = true
	}
	for _, name := range sorted(a.values) {
		if !slices.Contains(m.names, name) {
			faults = append(faults, unknown(name, a.known))
		}
	}
	for _, name := range m.names {
		raw, given := a.values[name]
		s := m.property(name)
		switch {
		case said[name]:
		case !given && slices.Contains(m.schema.Required, name):
			faults = append(faults, Fault{name, "is missing", m.mends[name]})
		case !given && s.Default != nil:
			a.values[name] = must(json.Marshal(s.Default))
		case given:
			wrong := m.faultsOf(a, name, raw)
			if faults = append(faults, wrong...); len(wrong) == 0 && s.Type != "" {
				a.values[name] = whole(raw)
			}
		}
	}
	return faults
}

// whole writes whole numbers as Go reads them: for JSON 7.0 and 7e0 are no others than 7. What has no schema is left as it is.
func whole(raw json.RawMessage) json.RawMessage {
	if !bytes.ContainsAny(raw, ".eE") {
		return raw
	}
	var value any
	tokens := json.NewDecoder(bytes.NewReader(raw))
	tokens.UseNumber()
	if tokens.Decode(&value) != nil {
		return raw
	}
	return must(json.Marshal(wholeIn(value)))
}

func wholeIn(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Float64(); err == nil && n == math.Trunc(n) && math.Abs(n) <= exact && strings.ContainsAny(v.String(), ".eE") {
			return int64(n)
		}
	case []any:
		for i := range v {
			v[i] = wholeIn(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = wholeIn(v[name])
		}
	}
	return value
}

// faultsOf says what is wrong with one argument.
func (m *bound) faultsOf(a *arguments, name string, raw json.RawMessage) []Fault {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return []Fault{{name, "is a number that is too large", m.mends[name]}}
	}
	s := m.property(name)
	if value == nil && !slices.Contains(m.schema.Required, name) {
		return nil
	}
	var result huma.ValidateResult
	path := huma.NewPathBuffer(nil, 0)
	path.Push(name)
	huma.Validate(m.registry, s, path, huma.ModeWriteToServer, value, &result)
	var faults []Fault
	for _, err := range result.Errors {
		fault := Fault{Detail: err.Error()}
		if e, ok := err.(*huma.ErrorDetail); ok { //nolint:errorlint // what Validate adds is that, unwrapped
			fault = m.fault1(a, name, s, e)
		}
		if !slices.ContainsFunc(faults, func(f Fault) bool { return f.Field == fault.Field && f.Detail == fault.Detail }) {
			faults = append(faults, fault)
		}
	}
	return faults
}

// fault1 says in our words what huma says of an argument, or of a part of a list; what is deeper inside keeps huma's.
func (m *bound) fault1(a *arguments, name string, s *huma.Schema, e *huma.ErrorDetail) Fault {
	s = m.resolved(s)
	if s.Type == huma.TypeArray && e.Location != name {
		if items := m.resolved(s.Items); items.Type != huma.TypeObject && !strings.Contains(e.Location, ".") {
			s = items
		}
	}
	if e.Location != name && s.Type == huma.TypeObject {
		return Fault{e.Location, e.Message, ""}
	}
	written, plain := a.written[name]
	detail, mend := words(s, e.Value, e.Message)
	if n, ok := e.Value.(float64); ok && plain && (s.Type == huma.TypeInteger || s.Type == huma.TypeNumber) && !within(s, n) {
		detail = noNumber(s, written)
	}
	if own := m.mends[name]; own != "" && mend == "" {
		mend = own
	}
	return Fault{name, detail, mend}
}

// words says why a value is not what a schema wants.
func words(s *huma.Schema, value any, otherwise string) (detail, mend string) {
	kind, wanted := "", ""
	switch v := value.(type) {
	case nil:
		kind = "null"
	case bool:
		kind, wanted = "a bool", huma.TypeBoolean
	case float64:
		kind, wanted = "a number", huma.TypeNumber
		switch {
		case s.Type != huma.TypeInteger && s.Type != huma.TypeNumber:
		case s.Minimum != nil && v < *s.Minimum:
			return number(v) + " is less than " + number(*s.Minimum), ""
		case s.Maximum != nil && v > *s.Maximum:
			return number(v) + " is more than " + number(*s.Maximum), ""
		case s.Type == huma.TypeInteger && v != math.Trunc(v):
			return number(v) + " is no whole number", ""
		}
	case string:
		kind, wanted = "a string", huma.TypeString
		switch {
		case s.Type != huma.TypeString:
		case len(s.Enum) > 0:
			known := make([]string, len(s.Enum))
			for i, e := range s.Enum {
				known[i] = fmt.Sprint(e)
			}
			return fmt.Sprintf("unknown word %q", v), meant(v, known, "it is one of ")
		case s.Format == "date-time":
			return strconv.Quote(v) + " is no time", "write it as 2026-01-31T12:00:00Z"
		case v == "" && s.MinLength != nil:
			return "is empty", ""
		}
	case []any:
		kind, wanted = "a list", huma.TypeArray
	case map[string]any:
		kind, wanted = "an object", huma.TypeObject
	}
	if wanted == s.Type || wanted == huma.TypeNumber && s.Type == huma.TypeInteger {
		return otherwise, ""
	}
	return "is " + kind + ", not " + kinds[s.Type], ""
}

// kinds is what a type of JSON is called.
var kinds = map[string]string{
	huma.TypeString: "a text", huma.TypeBoolean: "true or false", huma.TypeArray: "a list", huma.TypeObject: "an object",
	huma.TypeInteger: "a number in its range", huma.TypeNumber: "a number in its range", "": "what is wanted",
}

// noNumber says which numbers a text is none of.
func noNumber(s *huma.Schema, text string) string {
	if s.Minimum != nil && s.Maximum != nil {
		return fmt.Sprintf("%q is no number from %s to %s", text, number(*s.Minimum), number(*s.Maximum))
	}
	return strconv.Quote(text) + " is no number"
}

func within(s *huma.Schema, n float64) bool {
	return (s.Minimum == nil || n >= *s.Minimum) && (s.Maximum == nil || n <= *s.Maximum)
}

func number(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// unknown names an argument that a method does not have, and the one that was probably meant.
func unknown(name string, known []string) Fault {
	if len(known) == 0 {
		return Fault{name, "unknown argument", "this takes no arguments"}
	}
	return Fault{name, "unknown argument", meant(name, known, "known are ")}
}

// meant names the word that was probably meant, or all there are.
func meant(word string, known []string, all string) string {
	if near := nearest.Name(word, known); near != "" {
		return "did you mean " + near + "?"
	}
	return all + strings.Join(known, ", ")
}
