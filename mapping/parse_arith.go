package mapping

// arithmetic reads paths, numbers and texts with + - * between them. As in the dialect there is no precedence: a * b + c is a * (b + c),
// and a - b - c is a - (b - c). Where that differs from what school teaches, the job's author is warned.
func (p *pathParser) arithmetic() (expr, error) {
	var terms []expr
	var ops []byte
	start := p.at
	for {
		t, err := p.term()
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
		p.space()
		c := p.peek()
		if c != '+' && c != '-' && c != '*' {
			break
		}
		if p.depth == 0 && len(ops) >= maxNesting {
			return nil, p.fail(p.at, "too many operators", "")
		}
		ops = append(ops, c)
		p.at++
	}
	if len(ops) == 0 {
		return terms[0], nil
	}
	for i, t := range terms {
		// Between operators a bare word is a text: foo * 3 never meant the member foo.
		if q, ok := t.(*query); ok && q.bare {
			terms[i] = &literal{textValue(q.segments[0].selectors[0].name), q.at}
		}
	}
	for i := range ops[:len(ops)-1] {
		if ops[i] == '-' || ops[i] == '*' && ops[i+1] != '*' {
			p.warnings = append(p.warnings, shown(p.text[start:p.at])+": operators are taken from the right, as Aether does: a * b + c is a * (b + c); "+
				"write parentheses to make it plain")
			break
		}
	}
	right := terms[len(terms)-1]
	for i := len(ops) - 1; i >= 0; i-- {
		right = &operation{terms[i], ops[i], right}
	}
	return right, nil
}

// term reads one side of an operator.
func (p *pathParser) term() (expr, error) {
	p.space()
	switch c := p.peek(); {
	case c == '(':
		open := p.at
		p.at++
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer p.leave()
		e, err := p.arithmetic()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.accept(")") {
			return nil, p.fail(open, "the parenthesis does not end", "close it with )")
		}
		return e, nil
	case isDigit(c) || c == '-' && isDigit(p.peekAt(1)):
		at := p.at
		v, err := p.number()
		return &literal{v, at}, err
	default:
		return p.query(false)
	}
}
