package mapping

import (
	"strings"

	"streamer/schemas"
)

// Response is what a target answered to a request.
type Response struct {
	Status int
	Header []Header
	Body   []byte
	// Truncated says that the body went on, and the rest was not read.
	Truncated bool
}

// Value is the answer as expressions see it: {status, headers, body}. Names of headers are in lower case, of one that stands several times
// the values are joined by ", ". The body is what its JSON says, else its text.
func (r *Response) Value() schemas.Value {
	b := schemas.NewBuilder()
	b.BeginObject()
	b.Key("status")
	b.Int(int64(r.Status))
	b.Key("headers")
	b.BeginObject()
	for i, h := range r.Header {
		name, value := strings.ToLower(h.Name), h.Value
		if has(r.Header[:i], name) {
			continue
		}
		for _, more := range r.Header[i+1:] {
			if strings.ToLower(more.Name) == name {
				value += ", " + more.Value
			}
		}
		b.Key(name)
		b.String(strings.ToValidUTF8(value, "\ufffd"))
	}
	b.End()
	b.Key("body")
	if v, err := schemas.ParseJSON(r.Body, schemas.Limits{}); err == nil {
		b.Copy(v)
	} else {
		b.String(strings.ToValidUTF8(string(r.Body), "\ufffd"))
	}
	b.End()
	return b.Value()
}

func has(list []Header, lower string) bool {
	for _, h := range list {
		if strings.ToLower(h.Name) == lower {
			return true
		}
	}
	return false
}

// Holds says whether p finds anything but null and false in v, which is all that it sees: $ is v. It may be called from many goroutines.
// What cannot be looked at in full (it is too large for the expression) does not hold.
func (p *Path) Holds(v schemas.Value) bool {
	var s search
	f, err := s.find(p, &message{row: v, isRow: true})
	return err == nil && f.true()
}
