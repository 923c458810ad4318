package mapping

import "strconv"

// bracket reads [ … ]: names, indexes, slices, *, a filter, or several of them with commas between.
func (p *pathParser) bracket() (*segment, error) {
	open := p.at
	p.at++
	s := &segment{}
	for {
		p.space()
		sel, err := p.selector(open)
		if err != nil {
			return nil, err
		}
		s.selectors = append(s.selectors, sel)
		p.space()
		switch {
		case p.accept("]"):
			return s, nil
		case p.accept(","):
		case p.at == len(p.text):
			return nil, p.fail(open, "the bracket does not end", "close it with ]")
		default:
			return nil, p.fail(p.at, "unexpected "+strconv.QuoteRune(p.rune())+" in brackets", "write ] or , here")
		}
	}
}

func (p *pathParser) rune() rune {
	for _, r := range p.text[p.at:] {
		return r
	}
	return 0
}

func (p *pathParser) selector(open int) (selector, error) {
	switch c := p.peek(); {
	case c == '*':
		p.at++
		return selector{kind: selectAll}, nil
	case c == '?':
		p.at++
		f, err := p.filter(open)
		return selector{kind: selectFilter, filter: f}, err
	case c == '/' || c == '\\':
		return selector{}, p.fail(p.at, "sorting is not supported", "what is found comes in document order; let the producer or the receiver sort")
	case c == '(':
		return selector{}, p.fail(p.at, "a script in brackets is not supported", "count from the end with a negative index: [-1]")
	case c == '-' || c == ':' || isDigit(c):
		return p.indexOrSlice()
	case c == ']':
		return selector{}, p.fail(p.at, "nothing between the brackets", "write [*] for all")
	case c == 0:
		return selector{}, p.fail(open, "the bracket does not end", "close it with ]")
	default:
		name, err := p.name(false)
		return selector{kind: selectName, name: name}, err
	}
}

// indexOrSlice reads n or from:to:step, each part of a slice optional.
func (p *pathParser) indexOrSlice() (selector, error) {
	var parts [3]int
	var given [3]bool
	at := p.at
	n := 0
	for ; n < 3; n++ {
		p.space()
		if c := p.peek(); c == '-' || isDigit(c) {
			i, err := p.integer()
			if err != nil {
				return selector{}, err
			}
			parts[n], given[n] = i, true
			p.space()
		}
		if n == 2 || !p.accept(":") {
			break
		}
	}
	if n == 0 {
		return selector{kind: selectIndex, from: parts[0]}, nil
	}
	s := selector{kind: selectSlice, from: parts[0], to: parts[1], step: 1, hasFrom: given[0], hasTo: given[1]}
	if given[2] {
		s.step = parts[2]
	}
	if s.step == 0 {
		return selector{}, p.fail(at, "a slice with step 0 finds nothing", "leave the step out, or write 1")
	}
	return s, nil
}

func (p *pathParser) integer() (int, error) {
	start := p.at
	if p.peek() == '-' {
		p.at++
	}
	for isDigit(p.peek()) {
		p.at++
	}
	i, err := strconv.ParseInt(p.text[start:p.at], 10, 32)
	if err != nil {
		return 0, p.fail(start, "no index: "+shown(p.text[start:p.at]), "write an integer that fits 32 bits")
	}
	return int(i), nil
}
