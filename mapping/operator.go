package mapping

import (
	"regexp"
	"strings"

	"streamer/schemas"
)

// expr is a compiled expression: *query, *operation or *literal.
type expr interface{ reads() area }

// textOp makes a value of another one; false: it finds nothing.
type textOp interface {
	apply(v schemas.Value) (schemas.Value, bool)
}

// this is the operator that gives what it got.
var this textOp = thisOp{}

type thisOp struct{}

func (thisOp) apply(v schemas.Value) (schemas.Value, bool) { return v, true }

// splitOp gives one piece of a text cut at sep, at most most times (negative: without end). A negative index counts from the end.
type splitOp struct {
	sep         string
	index, most int
}

func (o splitOp) apply(v schemas.Value) (schemas.Value, bool) {
	text, ok := textOf(v)
	if !ok {
		return schemas.Value{}, false
	}
	pieces := 1 + strings.Count(text, o.sep)
	if o.most >= 0 {
		pieces = min(pieces, o.most+1)
	}
	index := o.index
	if index < 0 {
		index += pieces
	}
	if index < 0 || index >= pieces {
		return schemas.Value{}, false
	}
	for range index {
		_, text, _ = strings.Cut(text, o.sep)
	}
	if index < pieces-1 {
		text, _, _ = strings.Cut(text, o.sep)
	}
	return textValue(text), true
}

// subOp replaces every match in a text. A text in which nothing changes is not found, as in the dialect.
type subOp struct {
	re    *regexp.Regexp
	parts []replacePart
}

// maxReplaced bounds what a replacement may grow a text to.
const maxReplaced = 16 << 20

func (o subOp) apply(v schemas.Value) (schemas.Value, bool) {
	text, ok := textOf(v)
	if !ok {
		return schemas.Value{}, false
	}
	var out []byte
	last := 0
	for _, m := range o.re.FindAllStringSubmatchIndex(text, -1) {
		out = append(out, text[last:m[0]]...)
		last = m[1]
		for _, p := range o.parts {
			if p.group < 0 {
				out = append(out, p.text...)
			} else if from := m[2*p.group]; from >= 0 {
				out = append(out, text[from:m[2*p.group+1]]...)
			}
		}
		if len(out) > maxReplaced {
			return schemas.Value{}, false
		}
	}
	out = append(out, text[last:]...)
	if string(out) == text {
		return schemas.Value{}, false
	}
	return textValue(string(out)), true
}
