package invenio

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

type valueKind uint8

const (
	kindNull valueKind = iota
	kindBool
	kindNumber
	kindText
	kindList
	kindDict
	kindCode // what only Python can say what it is
)

// value is one expression of a Python text.
type value struct {
	kind valueKind
	line int // where it begins, from 1
	flag bool
	// text is a string's text, a number as JSON writes it, or the source of a kindCode.
	text  string
	items []value
	pairs []pair
	// loop: the code has a for of its own, so what it stands in is made by it.
	loop bool
}

// pair is a member of a dict. Of a spread (**other) key has the source, and value is null.
type pair struct {
	key, value value
	spread     bool
}

// field gives the value of a text key; of several the last, as Python has it.
func (v value) field(name string) (value, bool) {
	for i := len(v.pairs) - 1; i >= 0; i-- {
		if p := v.pairs[i]; p.key.kind == kindText && p.key.text == name {
			return p.value, true
		}
	}
	return value{}, false
}

// empty says what Python says of `if not v`. Of code nobody knows.
func (v value) empty() bool {
	switch v.kind {
	case kindNull:
		return true
	case kindBool:
		return !v.flag
	case kindNumber:
		return v.text == "0" || v.text == "0.0"
	case kindText:
		return v.text == ""
	case kindList:
		return len(v.items) == 0
	case kindDict:
		return len(v.pairs) == 0
	}
	return false
}

// parser reads expressions out of tokens.
type parser struct {
	src    string
	tokens []token
	at     int
}

func (p *parser) peek() token { return p.tokens[p.at] }

// take steps over an operator, if it comes next.
func (p *parser) take(op string) bool {
	if p.peek().is(op) {
		p.at++
		return true
	}
	return false
}

// ends says that an expression ends before the next token.
func (p *parser) ends() bool {
	t := p.peek()
	return t.kind == tokenEnd || t.is(",") || t.is(":") || t.is(")") || t.is("]") || t.is("}")
}

// expression reads one, up to what ends it. It is a literal, or code. The error is a bracket that has no other half, or nesting without end.
func (p *parser) expression(depth int) (value, error) {
	if depth > maxNesting {
		return value{}, fmt.Errorf("line %d: nested deeper than %d", p.peek().line, maxNesting)
	}
	begin := p.at
	v, ok, err := p.literal(depth)
	if err != nil || ok && p.ends() {
		return v, err
	}
	p.at = begin
	return p.code()
}

// code steps over an expression that is no literal.
func (p *parser) code() (value, error) {
	begin := p.peek()
	v := value{kind: kindCode, line: begin.line}
	var open []token
	lambdas := 0
	for {
		t := p.peek()
		top := len(open) == 0
		switch {
		case t.kind == tokenEnd && !top:
			return value{}, fmt.Errorf("line %d: %s that begins here has no end", open[len(open)-1].line, open[len(open)-1].src)
		case t.kind == tokenName && top && t.src == "lambda":
			lambdas++
		case t.kind == tokenName && top && t.src == "for":
			v.loop = true
		case top && lambdas > 0 && t.is(":"):
			lambdas--
		case top && lambdas > 0 && t.is(","):
		case top && p.ends():
			if p.at > 0 && t.at > begin.at {
				v.text = p.src[begin.at:p.tokens[p.at-1].end]
			}
			if v.text == "" {
				return value{}, fmt.Errorf("line %d: an expression is missing before %s", t.line, shownToken(t))
			}
			return v, nil
		case t.is("(") || t.is("[") || t.is("{"):
			open = append(open, t)
		case t.is(")") || t.is("]") || t.is("}"):
			if want := closing[open[len(open)-1].src]; want != t.src {
				return value{}, fmt.Errorf("line %d: found %s where %s of line %d must end with %s", t.line, t.src, open[len(open)-1].src, open[len(open)-1].line, want)
			}
			open = open[:len(open)-1]
		}
		p.at++
	}
}

var closing = map[string]string{"(": ")", "[": "]", "{": "}"}

func shownToken(t token) string {
	if t.kind == tokenEnd {
		return "the end"
	}
	return t.src
}

// literal reads what says itself what it is. It is false where there is something else; p is anywhere then.
func (p *parser) literal(depth int) (v value, ok bool, err error) {
	t := p.peek()
	v.line = t.line
	switch {
	case t.kind == tokenText:
		v.kind = kindText
		v.text, ok = p.texts()
		return v, ok, nil
	case t.kind == tokenNumber:
		p.at++
		v.kind = kindNumber
		v.text, ok = number(t.src)
		return v, ok, nil
	case t.is("-") && p.tokens[p.at+1].kind == tokenNumber:
		p.at += 2
		v.kind = kindNumber
		v.text, ok = number(p.tokens[p.at-1].src)
		v.text = "-" + v.text
		return v, ok, nil
	case t.kind == tokenName:
		p.at++
		switch t.src {
		case "None", "null":
			return v, true, nil
		case "True", "true":
			v.kind, v.flag = kindBool, true
			return v, true, nil
		case "False", "false":
			v.kind = kindBool
			return v, true, nil
		}
	case t.is("("):
		return p.tuple(depth)
	case t.is("["):
		p.at++
		v.kind = kindList
		v.items, ok, err = p.list("]", depth)
		return v, ok, err
	case t.is("{"):
		return p.dict(depth)
	}
	return v, false, nil
}

// texts reads strings that follow each other, with or without a + between them: they are one.
func (p *parser) texts() (string, bool) {
	var b strings.Builder
	for {
		t := p.peek()
		if t.kind != tokenText {
			return "", false
		}
		b.WriteString(t.text)
		p.at++
		if next := p.peek(); next.kind != tokenText && next.kind != tokenMade && !p.take("+") {
			return b.String(), true
		}
	}
}

// tuple reads what is in parentheses: one value, or several as a list.
func (p *parser) tuple(depth int) (value, bool, error) {
	v := value{kind: kindList, line: p.peek().line}
	p.at++
	begin := p.at
	items, ok, err := p.list(")", depth)
	if v.items = items; err != nil || !ok {
		return v, ok, err
	}
	if len(items) == 1 && !p.tokens[p.at-2].is(",") {
		if items[0].kind == kindCode {
			items[0].text = p.src[p.tokens[begin-1].at:p.tokens[p.at-1].end]
		}
		return items[0], true, nil
	}
	return v, true, nil
}

// list reads values up to the bracket that ends them.
func (p *parser) list(end string, depth int) ([]value, bool, error) {
	items := []value{}
	for !p.take(end) {
		if p.peek().is("*") {
			return nil, false, nil
		}
		item, err := p.expression(depth + 1)
		if err != nil || item.loop {
			return nil, false, err
		}
		items = append(items, item)
		if !p.take(",") && !p.peek().is(end) {
			return nil, false, nil
		}
	}
	return items, true, nil
}

func (p *parser) dict(depth int) (value, bool, error) {
	v := value{kind: kindDict, line: p.peek().line}
	for p.at++; !p.take("}"); {
		var member pair
		var err error
		if member.spread = p.take("**"); member.spread {
			member.key, err = p.code()
		} else {
			member.key, err = p.expression(depth + 1)
			if err == nil && !p.take(":") {
				return v, false, nil // a set
			}
			if err == nil {
				member.value, err = p.expression(depth + 1)
			}
		}
		if err != nil || member.key.loop || member.value.loop {
			return v, false, err
		}
		v.pairs = append(v.pairs, member)
		if !p.take(",") && !p.peek().is("}") {
			return v, false, nil
		}
	}
	return v, true, nil
}

// number gives a Python number as JSON writes it. It is false for what is none in JSON.
func number(src string) (string, bool) {
	if json.Valid([]byte(src)) {
		return src, true
	}
	if n, ok := new(big.Int).SetString(src, 0); ok && (src[0] != '0' || len(src) == 1 || !isDigit(src[1])) {
		return n.String(), true
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(src, "_", ""), 64)
	if err != nil || math.IsInf(f, 0) || strings.ContainsAny(src, "xXpP") {
		return "", false
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text, true
}
