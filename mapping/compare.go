package mapping

import (
	"cmp"
	"math/big"
	"strings"

	"streamer/schemas"
)

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
