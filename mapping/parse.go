package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"streamer/schemas"
)

// Bounds on expressions. A job that needs more is better served by a field made by its producer.
const (
	maxExpression = 8192
	maxNesting    = 32
)

// pathParser reads an expression from left to right. Its grammar is that of jsonpath_ng's extended parser, less what is refused
// with a mend, plus what RFC 9535 and ojg write otherwise: ==, &&, ||, !, functions, unions of indexes, steps of slices.
type pathParser struct {
	text     string
	at       int
	depth    int
	warnings []string
	// event: the arguments of a record event stand beside the row too.
	event bool
}

func (p *pathParser) fail(at int, problem, mend string) error {
	return &PathError{Expr: p.text, Position: utf8.RuneCountInString(p.text[:min(at, len(p.text))]) + 1, Problem: problem, Mend: mend}
}

func (e *PathError) where() string {
	return shown(e.Expr) + " at character " + strconv.Itoa(e.Position)
}

// deeper counts nesting; leave must follow.
func (p *pathParser) deeper() error {
	if p.depth++; p.depth > maxNesting {
		return p.fail(p.at, fmt.Sprintf("nested more than %d deep", maxNesting), "")
	}
	return nil
}

func (p *pathParser) leave() { p.depth-- }

func (p *pathParser) parse() (expr, error) {
	if len(p.text) > maxExpression {
		return nil, p.fail(0, fmt.Sprintf("an expression of %d bytes; at most %d are allowed", len(p.text), maxExpression), "")
	}
	if !utf8.ValidString(p.text) {
		return nil, p.fail(0, "the expression is not UTF-8", "")
	}
	if p.space(); p.at == len(p.text) {
		return nil, p.fail(0, "the expression is empty", `write a JSONPath such as $.msg.id, or null for a null key`)
	}
	root, err := p.arithmetic()
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.unexpectedAfterPath()
	}
	if l, ok := root.(*literal); ok {
		return nil, p.fail(l.at, "a constant alone finds nothing", "put fixed values under constant and write $.constant.name")
	}
	return root, nil
}

func (p *pathParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// peek gives the next byte, 0 at the end.
func (p *pathParser) peek() byte { return p.peekAt(0) }

func (p *pathParser) peekAt(n int) byte {
	if p.at+n < len(p.text) {
		return p.text[p.at+n]
	}
	return 0
}

func (p *pathParser) accept(token string) bool {
	if strings.HasPrefix(p.text[p.at:], token) {
		p.at += len(token)
		return true
	}
	return false
}

// unexpectedAfterPath names what stands where the expression should have ended, with a mend for what people do write there.
func (p *pathParser) unexpectedAfterPath() error {
	at := p.at
	rest := p.text[at:]
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "where"):
		return p.fail(at, "where is not supported", "use a filter: $.list[?(@.name)]")
	case c == '|':
		return p.fail(at, "the union | of paths is not supported", "write [a,b] for two members of one object, or map two keys")
	case c == '&':
		return p.fail(at, "the intersection & of paths is not supported", "inside a filter, & joins conditions: $.list[?a = 1 & b = 2]")
	case c == '/':
		return p.fail(at, "division is not supported", "multiply instead: $.a * 0.01")
	case strings.IndexByte("=<>!", c) >= 0:
		return p.fail(at, "a comparison stands outside of a filter", "write it as one: $[?(@.age > 3)] finds msg if its age is above 3")
	case c == '`':
		return p.fail(at, "an operator needs a dot before it", "write .`len`")
	case c == '$':
		return p.fail(at, "$ in the middle of a path", "put spaces around + - * between two paths")
	default:
		r, _ := utf8.DecodeRuneInString(rest)
		return p.fail(at, "unexpected "+strconv.QuoteRune(r), "quote a name with such characters: $.msg.'a name'")
	}
}

// query reads a path. inFilter: a bare name starts at the candidate, as @ does; outside, both mean the whole message.
func (p *pathParser) query(inFilter bool) (*query, error) {
	p.space()
	q := &query{at: p.at, absolute: !inFilter}
	var first *segment
	var err error
	switch c := p.peek(); {
	case c == '$':
		p.at++
		q.absolute = true
	case c == '@' && !isNameStart(p.peekAt(1)):
		p.at++
	case c == '[':
	case c == '`':
		op, opErr := p.operator()
		first, err = &segment{op: op}, opErr
	case c == '*':
		p.at++
		first = &segment{selectors: []selector{{kind: selectAll}}}
	default:
		first, err = p.names(false)
		q.bare = first != nil && len(first.selectors) == 1
	}
	if err != nil {
		return nil, err
	}
	if first != nil {
		q.segments = append(q.segments, *first)
	}
	for {
		s, err := p.segment()
		if err != nil {
			return nil, err
		}
		if s == nil {
			q.bare = q.bare && len(q.segments) == 1
			if p.event && q.atArgument() {
				q.segments = slices.Insert(q.segments, 0, segment{selectors: []selector{{kind: selectName, name: areaNames[0]}}})
			}
			return q, nil
		}
		if s.op == nil || s.op != this {
			q.segments = append(q.segments, *s)
		}
	}
}

// segment reads the next part of a path, nil at its end.
func (p *pathParser) segment() (*segment, error) {
	before := p.at
	p.space()
	switch {
	case p.accept(".."):
		p.space()
		s, err := p.afterDot(true)
		if err != nil {
			return nil, err
		}
		s.descend = true
		return s, nil
	case p.accept("."):
		p.space()
		return p.afterDot(false)
	case p.peek() == '[':
		return p.bracket()
	}
	p.at = before
	return nil, nil
}

func (p *pathParser) afterDot(descend bool) (*segment, error) {
	switch c := p.peek(); {
	case c == '[':
		return p.bracket()
	case c == '*':
		p.at++
		return &segment{selectors: []selector{{kind: selectAll}}}, nil
	case c == '`' && !descend:
		op, err := p.operator()
		return &segment{op: op}, err
	case c == '(':
		return nil, p.fail(p.at, "a group inside a path is not supported", "write [a,b] for two members of one object, or map two keys")
	default:
		return p.names(true)
	}
}

// names reads a name, or several with commas between them as the dialect allows: $.msg.a,b.
func (p *pathParser) names(afterDot bool) (*segment, error) {
	s := &segment{}
	for {
		name, err := p.name(afterDot)
		if err != nil {
			return nil, err
		}
		s.selectors = append(s.selectors, selector{kind: selectName, name: name})
		before := p.at
		p.space()
		if p.peek() != ',' || p.depth > 0 {
			p.at = before
			return s, nil
		}
		p.at++
		p.space()
	}
}

// name reads one quoted or bare name.
func (p *pathParser) name(digitsToo bool) (string, error) {
	start := p.at
	c := p.peek()
	switch {
	case c == '\'' || c == '"':
		return p.quoted()
	case c == '@' && isNameStart(p.peekAt(1)):
		p.at++
	case isNameStart(c) || digitsToo && '0' <= c && c <= '9':
	case c == 0:
		return "", p.fail(start, "the expression ends where a name is expected", "")
	case c == '-':
		return "", p.fail(start, "a bare name cannot begin with -", "quote it: $.msg.'-name'")
	case c == '$':
		return "", p.fail(start, "$ in the middle of a path", "")
	default:
		r, _ := utf8.DecodeRuneInString(p.text[start:])
		return "", p.fail(start, "unexpected "+strconv.QuoteRune(r)+" where a name is expected", "quote a name with such characters: $.msg.'a name'")
	}
	p.at++
	for isNameByte(p.peek()) {
		p.at++
	}
	return p.text[start:p.at], nil
}

func isNameStart(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf
}

func isNameByte(c byte) bool {
	return isNameStart(c) || '0' <= c && c <= '9' || c == '-' || c == '@' || c == '#' || c == '%' || c == ';' || c == '^' || c == '~'
}

// number reads a JSON number, exactly.
func (p *pathParser) number() (schemas.Value, error) {
	start := p.at
	if p.peek() == '-' {
		p.at++
	}
	for c := p.peek(); '0' <= c && c <= '9' || c == '.' && isDigit(p.peekAt(1)) || c == 'e' || c == 'E' ||
		(c == '+' || c == '-') && strings.IndexByte("eE", p.text[p.at-1]) >= 0; c = p.peek() {
		p.at++
	}
	b := schemas.NewBuilder()
	b.Number(p.text[start:p.at])
	if v := b.Value(); v.Kind() != schemas.Absent {
		return v, nil
	}
	return schemas.Value{}, p.fail(start, "no number: "+shown(p.text[start:p.at]), "write it as JSON does: 3, -0.5, 1e6")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func textValue(s string) schemas.Value {
	b := schemas.NewBuilder()
	b.String(s)
	return b.Value()
}
