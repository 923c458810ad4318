package mapping

import (
	"strings"

	"streamer/schemas"
)

// body is what a request carries; at most one of its parts is set.
type body struct {
	object  []bodyKey
	form    []bodyKey
	payload *payload
}

// bodyKey is a mapped key: its name as JSON with a colon, or as a form field with =.
type bodyKey struct {
	name string
	slot int
}

func (k *compiler) body(jsonBody, formBody, payload field) (b body) {
	var both []string
	for _, f := range []field{jsonBody, formBody, payload} {
		if given(f.v) {
			both = append(both, f.at)
		}
	}
	if len(both) > 1 {
		k.faults.Add(both[len(both)-1], "stands beside "+strings.Join(both[:len(both)-1], " and "), "a request has one body: keep one of them")
	}
	for _, key := range k.keys(jsonBody, true) {
		b.object = append(b.object, bodyKey{jsonText(key) + ":", k.mapped[key]})
	}
	for _, key := range k.keys(formBody, false) {
		b.form = append(b.form, bodyKey{string(appendForm(nil, []byte(key))) + "=", k.mapped[key]})
	}
	if given(payload.v) {
		b.payload = k.payload(payload.at, payload.v)
	}
	// A list with nothing but unknown keys still sends an object, as the original does.
	if b.object == nil && jsonBody.v.Len() > 0 {
		b.object = []bodyKey{}
	}
	return b
}

// contentType is what a body is, unless the job says otherwise; empty for none.
func (b *body) contentType() string {
	switch {
	case b.object != nil || b.payload != nil:
		return "application/json"
	case b.form != nil:
		return "application/x-www-form-urlencoded"
	}
	return ""
}

func jsonText(s string) string {
	b, err := textValue(s).AppendJSON(nil)
	if err != nil {
		return `""`
	}
	return string(b)
}

// payload is a JSON document with expressions in it. One kind of it is set: text (a part without expressions, as JSON), path, a program,
// members or elements.
type payload struct {
	at       string
	text     string
	slot     int
	isPath   bool
	isObject bool
	isList   bool
	jq       *jqProgram
	members  []payloadMember
	elements []*payload
}

type payloadMember struct {
	name  string // as JSON, with the colon
	value *payload
}

func (k *compiler) payload(at string, v schemas.Value) *payload {
	p := &payload{at: at}
	switch v.Kind() {
	case schemas.String:
		s, _ := v.Str()
		if strings.HasPrefix(s, "$$") {
			p.text = jsonText(s[1:])
			return p
		}
		if strings.HasPrefix(s, "$") {
			p.isPath = true
			before := len(k.faults)
			p.slot, _ = k.inlinePath(at, s)
			for i := range k.faults[before:] {
				if f := &k.faults[before+i]; !f.Warning {
					f.Mend = joined(f.Mend, "a literal text that begins with $ is written with $$")
				}
			}
			return p
		}
	case schemas.Object:
		if v.Field("$jq").Kind() != schemas.Absent {
			p.jq = k.jq(at, v)
			return p
		}
		p.isObject = true
		static := true
		for name, member := range v.Members() {
			m := k.payload(under(at, name), member)
			static = static && m.static()
			p.members = append(p.members, payloadMember{jsonText(name) + ":", m})
		}
		if !static {
			return p
		}
		p.isObject, p.members = false, nil
	case schemas.Array:
		p.isList = true
		static := true
		i := 0
		for e := range v.Elements() {
			m := k.payload(element(at, i), e)
			static = static && m.static()
			p.elements = append(p.elements, m)
			i++
		}
		if !static {
			return p
		}
		p.isList, p.elements = false, nil
	}
	text, err := literalJSON(nil, v)
	if err != nil {
		k.faults.Add(at, err.Error(), "")
	}
	p.text = string(text)
	return p
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

func (p *payload) static() bool { return !p.isPath && !p.isObject && !p.isList && p.jq == nil }

// literalJSON writes a part without expressions; in it $$ still stands for $.
func literalJSON(dst []byte, v schemas.Value) ([]byte, error) {
	b := schemas.NewBuilder()
	copyLiteral(b, v)
	return b.Value().AppendJSON(dst)
}

func copyLiteral(b *schemas.Builder, v schemas.Value) {
	switch v.Kind() {
	case schemas.Object:
		b.BeginObject()
		for name, member := range v.Members() {
			b.Key(name)
			copyLiteral(b, member)
		}
		b.End()
	case schemas.Array:
		b.BeginArray()
		for e := range v.Elements() {
			copyLiteral(b, e)
		}
		b.End()
	case schemas.String:
		s, _ := v.Str()
		b.String(strings.TrimPrefix(s, "$"))
	default:
		b.Copy(v)
	}
}
