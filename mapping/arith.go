package mapping

import (
	"math"
	"math/big"

	"streamer/schemas"
)

// operation calculates with what two expressions find.
type operation struct {
	left  expr
	op    byte
	right expr
}

func (o *operation) reads() area { return o.left.reads() | o.right.reads() }

// values makes an operation an operand of a filter.
func (o *operation) values(s *search, candidate schemas.Value) []match {
	return s.operation(o, match{v: candidate, place: -1})
}

// operation pairs the values of both sides; a constant pairs with each. Different counts, or one pair that cannot be calculated with,
// find nothing at all: the rule of the dialect.
func (s *search) operation(o *operation, from match) []match {
	left, right := s.side(o.left, from), s.side(o.right, from)
	n := len(left)
	_, fixedLeft := o.left.(*literal)
	_, fixedRight := o.right.(*literal)
	switch {
	case n == 0 || len(right) == 0:
		return nil
	case fixedLeft:
		n = len(right)
	case !fixedRight && n != len(right):
		return nil
	}
	out := make([]match, 0, n)
	for i := range n {
		l, r := left[min(i, len(left)-1)], right[min(i, len(right)-1)]
		v, ok := calculate(l.v, o.op, r.v)
		if !ok {
			return nil
		}
		out = append(out, match{v: v, place: -1})
	}
	return out
}

// side evaluates one side, in document order, into memory of its own.
func (s *search) side(e expr, from match) []match {
	used, places := s.used, len(s.places)
	ordered := false
	if q, ok := e.(*query); ok {
		ordered = q.disordered()
	}
	list := append([]match(nil), s.expression(e, from, ordered)...)
	for i := range list {
		list[i].v = s.value(list[i])
	}
	s.used, s.places = used, s.places[:places]
	return list
}

// calculate adds texts, and adds, subtracts and multiplies numbers: integers exactly, everything else as float64.
func calculate(l schemas.Value, op byte, r schemas.Value) (schemas.Value, bool) {
	if a, ok := textOf(l); ok && op == '+' {
		b, ok := textOf(r)
		return textValue(a + b), ok && len(a)+len(b) <= maxReplaced
	}
	if !isNumber(l) || !isNumber(r) {
		return schemas.Value{}, false
	}
	if a, ok := integer(l); ok {
		if b, ok := integer(r); ok {
			return calculateExactly(a, op, b)
		}
	}
	a, _ := l.Float()
	b, _ := r.Float()
	switch op {
	case '+':
		a += b
	case '-':
		a -= b
	default:
		a *= b
	}
	if math.IsNaN(a) || math.IsInf(a, 0) {
		return schemas.Value{}, false
	}
	out := schemas.NewBuilder()
	out.Float(a)
	return out.Value(), true
}

// integer gives a number written as an integer. 1.0 is none: with it, as in the dialect, the result is a float.
func integer(v schemas.Value) (*big.Int, bool) {
	if i, ok := v.Int(); ok && v.Kind() == schemas.Int {
		return big.NewInt(i), true
	}
	if v.Kind() != schemas.Number {
		return nil, false
	}
	text, err := v.AppendJSON(nil)
	if err != nil || len(text) > maxDigits {
		return nil, false
	}
	return new(big.Int).SetString(string(text), 10)
}

func calculateExactly(a *big.Int, op byte, b *big.Int) (schemas.Value, bool) {
	switch op {
	case '+':
		a.Add(a, b)
	case '-':
		a.Sub(a, b)
	default:
		a.Mul(a, b)
	}
	out := schemas.NewBuilder()
	if a.IsInt64() {
		out.Int(a.Int64())
		return out.Value(), true
	}
	text := a.String()
	out.Number(text)
	return out.Value(), len(text) <= maxDigits
}
