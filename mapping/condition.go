package mapping

import (
	"cmp"
	"math/big"
	"regexp"
	"strings"
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

type compareOp uint8

const (
	opNone compareOp = iota
	opEqual
	opNotEqual
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opMatch
	opIn
)

// compareOps are in the order in which they must be looked for.
var compareOps = [...]struct {
	token string
	op    compareOp
}{
	{"=~", opMatch}, {"~=", opMatch}, {"==", opEqual}, {"=", opEqual}, {"!=", opNotEqual},
	{"<=", opLessEqual}, {"<", opLess}, {">=", opGreaterEqual}, {">", opGreater},
}

// comparison holds when it is true of any value on the left with any on the right. As in RFC 9535, section 2.3.5.2.2, nothing found
// equals nothing found and is unequal to everything else; only two numbers or two texts have an order.
type comparison struct {
	left  operand
	op    compareOp
	right operand
}

func (c comparison) reads() area { return c.left.reads() | c.right.reads() }

func (c comparison) holds(s *search, v schemas.Value) bool {
	used := s.used
	defer func() { s.used = used }()
	left, right := c.left.values(s, v), c.right.values(s, v)
	if len(left) == 0 || len(right) == 0 {
		both := len(left) == len(right)
		switch c.op {
		case opEqual, opLessEqual, opGreaterEqual:
			return both
		case opNotEqual:
			return !both
		}
		return false
	}
	for _, l := range left {
		for _, r := range right {
			if !s.visit() {
				return false
			}
			if compareValues(l.v, c.op, r.v) {
				return true
			}
		}
	}
	return false
}

func compareValues(l schemas.Value, op compareOp, r schemas.Value) bool {
	switch op {
	case opEqual:
		return l.Equal(r)
	case opNotEqual:
		return !l.Equal(r)
	case opIn:
		for e := range r.Elements() {
			if l.Equal(e) {
				return true
			}
		}
		return false
	}
	order, ok := orderOf(l, r)
	switch {
	case !ok:
		return (op == opLessEqual || op == opGreaterEqual) && l.Equal(r)
	case op == opLess:
		return order < 0
	case op == opLessEqual:
		return order <= 0
	case op == opGreater:
		return order > 0
	default:
		return order >= 0
	}
}

// orderOf compares two numbers, exactly, or two texts, by code point.
func orderOf(l, r schemas.Value) (int, bool) {
	if a, ok := l.Str(); ok {
		b, ok := r.Str()
		return strings.Compare(a, b), ok
	}
	if a, ok := l.Int(); ok {
		if b, ok := r.Int(); ok {
			return cmp.Compare(a, b), true
		}
	}
	if !isNumber(l) || !isNumber(r) {
		return 0, false
	}
	if l.Equal(r) {
		return 0, true
	}
	a, _ := l.Float()
	b, _ := r.Float()
	if a != a || b != b {
		return 0, false
	}
	if a != b {
		return cmp.Compare(a, b), true
	}
	// Different numbers that are one float64.
	x, okX := exact(l)
	y, okY := exact(r)
	if !okX || !okY {
		return 0, false
	}
	return x.Cmp(y), true
}

func isNumber(v schemas.Value) bool {
	switch v.Kind() {
	case schemas.Int, schemas.Float32, schemas.Float64, schemas.Number:
		return true
	}
	return false
}

// maxDigits bounds numbers that are calculated with exactly.
const maxDigits = 400

// exact gives a number as a fraction; false for what is none, or is too long.
func exact(v schemas.Value) (*big.Rat, bool) {
	text, err := v.AppendJSON(nil)
	if err != nil || len(text) > maxDigits || !isNumber(v) {
		return nil, false
	}
	if i := strings.IndexAny(string(text), "eE"); i >= 0 && len(text)-i > 5 {
		return nil, false // an exponent past ±999
	}
	return new(big.Rat).SetString(string(text))
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
