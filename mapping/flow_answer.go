package mapping

import (
	"bytes"
	"fmt"
	"math/bits"
	"mime"
	"net/url"
	"strings"

	"streamer/schemas"
)

// answer is what a step was answered, as later steps see it.
type answer struct {
	response *Response
	// body is its JSON value; Absent for none. kind says what it is, for where that is wrong.
	body   schemas.Value
	isJSON bool
	kind   string
}

// answer reads r. A body of which only the beginning is there is an error: nothing could be told of the rest.
func (t *stepRequest) answer(r *Response) (*answer, error) {
	if r.Truncated {
		return nil, t.error(fmt.Sprintf("answered more than the %d bytes that are read of it; delivery.response_bytes raises that", len(r.Body)))
	}
	a := &answer{response: r, kind: "nothing"}
	if len(bytes.TrimSpace(r.Body)) == 0 {
		return a, nil
	}
	v, err := schemas.ParseJSON(r.Body, schemas.Limits{})
	if err == nil {
		a.body, a.isJSON, a.kind = v, true, "JSON"
		return a, nil
	}
	a.kind = "a text"
	for _, h := range r.Header {
		if media, _, err := mime.ParseMediaType(h.Value); err == nil && strings.EqualFold(h.Name, contentType) {
			a.kind = "something of type " + media
		}
	}
	return a, nil
}

// ofEntity is an answer with the entity as its body, what it is called, and what was done.
func ofEntity(answer, entity, id schemas.Value, outcome string) schemas.Value {
	b := schemas.NewBuilder()
	b.BeginObject()
	for _, name := range []string{"status", "headers"} {
		b.Key(name)
		b.Copy(answer.Field(name))
	}
	b.Key("body")
	b.Copy(entity)
	if given(id) {
		b.Key("id")
		b.Copy(id)
	}
	b.Key("outcome")
	b.String(outcome)
	b.End()
	return b.Value()
}

// location is the last name in the path of Location, empty if there is none.
func (a *answer) location() string {
	for _, h := range a.response.Header {
		if u, err := url.Parse(h.Value); err == nil && strings.EqualFold(h.Name, "Location") {
			path := strings.TrimSuffix(u.Path, "/")
			return path[strings.LastIndexByte(path, '/')+1:]
		}
	}
	return ""
}

// withID is v with an id before what it has.
func withID(v schemas.Value, id string) schemas.Value {
	b := schemas.NewBuilder()
	b.BeginObject()
	if id != "" {
		b.Key("id")
		b.String(id)
	}
	for name, e := range v.Members() {
		if name != "id" || id == "" {
			b.Key(name)
			b.Copy(e)
		}
	}
	b.End()
	return b.Value()
}

// withItem is v with what it was made for. The item's parent stays out: it is in the list itself.
func withItem(v, item schemas.Value) schemas.Value {
	b := schemas.NewBuilder()
	b.BeginObject()
	for name, e := range v.Members() {
		b.Key(name)
		b.Copy(e)
	}
	b.Key("item")
	b.BeginObject()
	for name, e := range item.Members() {
		if name != "parent" {
			b.Key(name)
			b.Copy(e)
		}
	}
	b.End()
	b.End()
	return b.Value()
}

// holds says whether e is what should asks for: every member that should has, e has too, and so within. Null and an empty
// object are no more than nothing.
func holds(e, should schemas.Value) bool {
	if should.Kind() == schemas.Null {
		return !given(e)
	}
	if should.Kind() != schemas.Object || given(e) && e.Kind() != schemas.Object {
		return e.Kind() != schemas.Absent && e.Equal(should)
	}
	for name, v := range should.Members() {
		if !holds(e.Field(name), v) {
			return false
		}
	}
	return true
}

// overlay is e with what should has in place of its own, members of members too; what should lacks is e's.
func overlay(e, should schemas.Value) schemas.Value {
	b := schemas.NewBuilder()
	overlayInto(b, e, should)
	return b.Value()
}

func overlayInto(b *schemas.Builder, e, should schemas.Value) {
	if e.Kind() != schemas.Object || should.Kind() != schemas.Object {
		b.Copy(should)
		return
	}
	b.BeginObject()
	for name, v := range e.Members() {
		b.Key(name)
		if own := should.Field(name); own.Kind() != schemas.Absent {
			overlayInto(b, v, own)
		} else {
			b.Copy(v)
		}
	}
	for name, v := range should.Members() {
		if e.Field(name).Kind() == schemas.Absent {
			b.Key(name)
			b.Copy(v)
		}
	}
	b.End()
}

// differing are the members of should that e does not hold.
func differing(e, should schemas.Value) schemas.Value {
	b := schemas.NewBuilder()
	b.BeginObject()
	for name, v := range should.Members() {
		if !holds(e.Field(name), v) {
			b.Key(name)
			b.Copy(v)
		}
	}
	b.End()
	return b.Value()
}

func emptyObject() schemas.Value {
	b := schemas.NewBuilder()
	b.BeginObject()
	b.End()
	return b.Value()
}

// sizeOf is about how much memory a copy of v takes.
func sizeOf(v schemas.Value) int {
	const node = 64
	n := node
	switch v.Kind() {
	case schemas.Object:
		for name, e := range v.Members() {
			n += len(name) + sizeOf(e)
		}
	case schemas.Array:
		for e := range v.Elements() {
			n += sizeOf(e)
		}
	case schemas.String:
		s, _ := v.Str()
		n += len(s)
	}
	return n
}

// indexOf is the place of a part in the message.
func indexOf(a area) int { return bits.TrailingZeros(uint(a)) }
