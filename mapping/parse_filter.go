package mapping

import (
	"strings"

	"streamer/schemas"
)

// filter reads what stands between [? and ]. What only ojg knows (has, exists, empty, ~= between paths, arithmetic in a filter) becomes
// a script of ojg's.
func (p *pathParser) filter(open int) (condition, error) {
	start := p.at
	c, err := p.anyOf()
	if err == nil {
		if p.space(); p.peek() == ']' {
			return c, nil
		}
		err = p.unexpectedInFilter(open)
	}
	end := filterEnd(p.text, start)
	if end < 0 {
		return nil, p.fail(open, "the filter does not end", "close it with ]")
	}
	if script := newScript(p.text[start:end]); script != nil {
		p.at = end
		return script, nil
	}
	return nil, err
}

func (p *pathParser) unexpectedInFilter(open int) error {
	switch c := p.peek(); {
	case c == 0:
		return p.fail(open, "the filter does not end", "close it with ]")
	case c == '|':
		return p.fail(p.at, "| does not join conditions", "write ||")
	case strings.IndexByte("+-*/", c) >= 0:
		return p.fail(p.at, "cannot calculate here", "compare a path with a constant: [?(@.a > 3)]")
	default:
		return p.fail(p.at, "unexpected character in a filter", "compare a path with a constant: [?(@.a > 3)]; join conditions with & or ||")
	}
}

// filterEnd finds the bracket that closes a filter, past texts, regular expressions and brackets inside.
func filterEnd(s string, at int) int {
	open := 0
	for ; at < len(s); at++ {
		switch s[at] {
		case '\'', '"', '`':
			at = textEnd(s, at)
		case '[':
			open++
		case ']':
			if open == 0 {
				return at
			}
			open--
		}
	}
	return -1
}

// anyOf reads conditions joined by ||, which binds less than & and &&.
func (p *pathParser) anyOf() (condition, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.leave()
	var all anyCondition
	for {
		c, err := p.allOf()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		if p.space(); !p.accept("||") {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (p *pathParser) allOf() (condition, error) {
	var all allCondition
	for {
		c, err := p.one()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		if p.space(); !p.accept("&&") && !p.accept("&") {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

// one reads a single condition: negated, in parentheses, a comparison, a test, or the mere existence of what a path finds.
func (p *pathParser) one() (condition, error) {
	p.space()
	switch {
	case p.peek() == '!' && p.peekAt(1) != '=':
		p.at++
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer p.leave()
		c, err := p.one()
		return notCondition{c}, err
	case p.peek() == '(':
		p.at++
		c, err := p.anyOf()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.accept(")") {
			return nil, p.fail(p.at, "a parenthesis in a filter does not end", "close it with )")
		}
		return c, nil
	}
	if c, err, ok := p.textTest(); ok {
		return c, err
	}
	return p.comparison()
}

func (p *pathParser) comparison() (condition, error) {
	start := p.at
	left, err := p.side(true)
	if err != nil {
		return nil, err
	}
	p.space()
	opAt := p.at
	op := p.compareOp()
	if op == opNone {
		if q, ok := left.(*query); ok {
			return exists{q}, nil
		}
		if o, ok := left.(*operation); ok {
			return calculable{o}, nil
		}
		return nil, p.fail(start, "a condition without a path", "write the name of a member: [?name = 1]")
	}
	p.space()
	if op == opMatch {
		re, err := p.pattern()
		return matches{left, re}, err
	}
	right, err := p.side(false)
	if err != nil {
		return nil, err
	}
	if isLiteral(left) && isLiteral(right) {
		// A quoted text on the left of a constant is the name of a member, as in the dialect.
		l, ok := left.(*literal)
		name, isText := l.v.Str()
		if !ok || !isText {
			return nil, p.fail(opAt, "both sides are constants", "write the name of a member on the left")
		}
		left = &query{at: start, segments: []segment{{selectors: []selector{{kind: selectName, name: name}}}}}
	}
	return comparison{left, op, right}, nil
}

// side reads one side of a comparison: an operand, or several with + - * between them, from the right as everywhere.
func (p *pathParser) side(left bool) (operand, error) {
	first, err := p.operand(left)
	if err != nil {
		return nil, err
	}
	p.space()
	op := p.peek()
	e, ok := first.(expr)
	if op != '+' && op != '-' && op != '*' || !ok {
		return first, nil
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.leave()
	p.at++
	rest, err := p.side(true)
	if err != nil {
		return nil, err
	}
	r, ok := rest.(expr)
	if !ok {
		return nil, p.fail(p.at, "cannot calculate with this", "calculate with paths, numbers and texts")
	}
	return &operation{e, op, r}, nil
}

func isLiteral(o operand) bool {
	_, ok := o.(*literal)
	return ok
}

func (p *pathParser) compareOp() compareOp {
	for _, o := range compareOps {
		if p.accept(o.token) {
			return o.op
		}
	}
	if strings.HasPrefix(p.text[p.at:], "in") && strings.IndexByte(" [", p.peekAt(2)) >= 0 {
		p.at += 2
		return opIn
	}
	return opNone
}

// operand reads a path, a constant, or length(…), count(…). On the left a bare word is a member's name, on the right a text.
func (p *pathParser) operand(left bool) (operand, error) {
	p.space()
	at := p.at
	switch c := p.peek(); {
	case c == '\'' || c == '"':
		s, err := p.quoted()
		if err != nil || !left || strings.IndexByte(".[", p.peek()) < 0 {
			return &literal{textValue(s), at}, err
		}
		p.at = at // 'a b'.c is a path
	case c == '-' || isDigit(c):
		v, err := p.number()
		return &literal{v, at}, err
	case !left && c == '[':
		return p.list()
	case strings.HasPrefix(p.text[at:], "length(") || strings.HasPrefix(p.text[at:], "count("):
		return p.sizeOf()
	}
	if !left && p.peek() != '$' && (p.peek() != '@' || isNameStart(p.peekAt(1))) {
		word, err := p.name(false)
		if err != nil {
			return nil, err
		}
		return &literal{wordValue(word), at}, nil
	}
	return p.query(true)
}

// wordValue is a bare word on the right of a comparison.
func wordValue(word string) schemas.Value {
	b := schemas.NewBuilder()
	switch word {
	case "true", "false":
		b.Bool(word == "true")
	case "null":
		b.Null()
	default:
		b.String(word)
	}
	return b.Value()
}

// list reads [1, "a", true] after in.
func (p *pathParser) list() (operand, error) {
	at := p.at
	p.at++
	b := schemas.NewBuilder()
	b.BeginArray()
	for p.space(); !p.accept("]"); p.space() {
		o, err := p.operand(false)
		if err != nil {
			return nil, err
		}
		l, ok := o.(*literal)
		if !ok || l.v.Kind() == schemas.Array {
			return nil, p.fail(at, "a list in a filter holds constants only", `write ["a", "b"]`)
		}
		b.Copy(l.v)
		if p.space(); !p.accept(",") && p.peek() != ']' {
			return nil, p.fail(at, "the list does not end", "close it with ]")
		}
	}
	b.End()
	return &literal{b.Value(), at}, nil
}

func (p *pathParser) sizeOf() (operand, error) {
	counts := p.accept("count(")
	if !counts {
		p.accept("length(")
	}
	q, err := p.query(true)
	if err != nil {
		return nil, err
	}
	if p.space(); !p.accept(")") {
		return nil, p.fail(p.at, "the function does not end", "close it with )")
	}
	return &size{q, counts}, nil
}
