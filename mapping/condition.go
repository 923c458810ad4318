package mapping

import (
	"regexp"
	"unicode/utf8"

	"streamer/schemas"
)

// condition is what a filter asks of each candidate.
type condition interface {
	holds(s *search, candidate schemas.Value) bool
	reads() area
}

type (
	allCondition []condition
	anyCondition []condition
	notCondition struct{ c condition }
)

func (all allCondition) holds(s *search, v schemas.Value) bool {
	for _, c := range all {
		if !c.holds(s, v) {
			return false
		}
	}
	return true
}

func (some anyCondition) holds(s *search, v schemas.Value) bool {
	for _, c := range some {
		if c.holds(s, v) {
			return true
		}
	}
	return false
}

func (n notCondition) holds(s *search, v schemas.Value) bool { return !n.c.holds(s, v) }

func (all allCondition) reads() area  { return readsOf(all) }
func (some anyCondition) reads() area { return readsOf(some) }
func (n notCondition) reads() area    { return n.c.reads() }

func readsOf(list []condition) (a area) {
	for _, c := range list {
		a |= c.reads()
	}
	return a
}

// operand is one side of a comparison: a path, a constant, or a size. Its values are valid until the search's scratch is used again, so
// the two sides are held in lists of their own.
type operand interface {
	values(s *search, candidate schemas.Value) []match
	reads() area
}

// literal is a constant.
type literal struct {
	v  schemas.Value
	at int
}

func (l *literal) values(s *search, _ schemas.Value) []match { return s.single(l.v) }
func (l *literal) reads() area                               { return 0 }

func (q *query) values(s *search, candidate schemas.Value) []match {
	list := s.query(q, match{v: candidate, place: -1}, false)
	for i := range list {
		list[i].v, list[i].top = s.value(list[i]), false
	}
	return list
}

// size is length(path), of RFC 9535: characters of a text, elements, members; or count(path): how many values the path finds.
type size struct {
	q     *query
	count bool
}

func (z *size) reads() area { return z.q.reads() }

func (z *size) values(s *search, candidate schemas.Value) []match {
	list := z.q.values(s, candidate)
	if z.count {
		return s.single(intValue(int64(len(list))))
	}
	if len(list) != 1 {
		return nil
	}
	v, ok := lengthOp{}.apply(list[0].v)
	if !ok {
		return nil
	}
	return s.single(v)
}

func intValue(n int64) schemas.Value {
	b := schemas.NewBuilder()
	b.Int(n)
	return b.Value()
}

// exists holds when the path finds anything, be it null or false.
type exists struct{ q *query }

func (e exists) reads() area { return e.q.reads() }

func (e exists) holds(s *search, v schemas.Value) bool {
	used := s.used
	defer func() { s.used = used }()
	return len(s.query(e.q, match{v: v, place: -1}, false)) > 0
}

// calculable holds when the operation gives a value.
type calculable struct{ o *operation }

func (c calculable) reads() area { return c.o.reads() }

func (c calculable) holds(s *search, v schemas.Value) bool {
	used := s.used
	defer func() { s.used = used }()
	return len(c.o.values(s, v)) > 0
}

// matches holds when any of the texts found matches.
type matches struct {
	o  operand
	re *regexp.Regexp
}

func (m matches) reads() area { return m.o.reads() }

func (m matches) holds(s *search, v schemas.Value) bool {
	used := s.used
	defer func() { s.used = used }()
	for _, found := range m.o.values(s, v) {
		if text, ok := textOf(found.v); ok && m.re.MatchString(text) {
			return true
		}
	}
	return false
}

// textOf gives a text, Bytes as their base64.
func textOf(v schemas.Value) (string, bool) {
	if s, ok := v.Str(); ok {
		return s, true
	}
	if v.Kind() == schemas.Bytes {
		b, err := v.AppendText(nil)
		return string(b), err == nil
	}
	return "", false
}

// lengthOp is len: characters of a text, elements of a list, members of an object.
type lengthOp struct{}

func (lengthOp) apply(v schemas.Value) (schemas.Value, bool) {
	switch v.Kind() {
	case schemas.Array, schemas.Object:
		return intValue(int64(v.Len())), true
	}
	s, ok := textOf(v)
	if !ok {
		return schemas.Value{}, false
	}
	return intValue(int64(utf8.RuneCountInString(s))), true
}
