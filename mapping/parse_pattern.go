package mapping

import (
	"regexp"
	"strings"
)

// textTest reads match(path, "re") and search(path, "re") of RFC 9535.
func (p *pathParser) textTest() (condition, error, bool) {
	before := p.at
	whole := p.accept("match(")
	if !whole && !p.accept("search(") {
		return nil, nil, false
	}
	q, err := p.query(true)
	if err != nil {
		return nil, err, true
	}
	p.space()
	comma := p.accept(",")
	p.space()
	if c := p.peek(); !comma || c != '\'' && c != '"' {
		return nil, p.fail(before, "the second argument is a pattern in quotes", `write match(@.a, "x.*")`), true
	}
	at := p.at
	text, err := p.quoted()
	if err != nil {
		return nil, err, true
	}
	if p.space(); !p.accept(")") {
		return nil, p.fail(p.at, "the function does not end", "close it with )"), true
	}
	if whole {
		text = "^(?:" + text + ")$"
	}
	re, err := p.compilePattern(text, at)
	return matches{q, re}, err, true
}

// pattern reads what follows =~: a text in quotes, a bare word, or /…/.
func (p *pathParser) pattern() (*regexp.Regexp, error) {
	at := p.at
	switch c := p.peek(); {
	case c == '\'' || c == '"':
		text, err := p.patternText(c)
		if err != nil {
			return nil, err
		}
		return p.compilePattern(text, at)
	case c == '/':
		text, err := p.patternText('/')
		if err != nil {
			return nil, err
		}
		return p.compilePattern(text, at)
	default:
		word, err := p.name(false)
		if err != nil {
			return nil, p.fail(at, "no pattern after =~", `write [?name =~ "^a"]`)
		}
		return p.compilePattern(word, at)
	}
}

// patternText reads a pattern as far as end. A backslash before end or another backslash is taken away, every other one stays: "\d" and
// "\\d" are both \d.
func (p *pathParser) patternText(end byte) (string, error) {
	start := p.at
	p.at++
	var b strings.Builder
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == end:
			return b.String(), nil
		case c == '\\' && p.at < len(p.text) && (p.text[p.at] == end || p.text[p.at] == '\\' && end != '/'):
			b.WriteByte(p.text[p.at])
			p.at++
		case c == '\\' && p.at < len(p.text):
			b.WriteByte(c)
			b.WriteByte(p.text[p.at])
			p.at++
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail(start, "the pattern does not end", "close it with "+string(rune(end)))
}

func (p *pathParser) compilePattern(text string, at int) (*regexp.Regexp, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, p.fail(at, "cannot use the pattern: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "),
			"write it in RE2 syntax (no look-around, no back-references)")
	}
	return re, nil
}
