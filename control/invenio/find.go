package invenio

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Setting is the name of the setting that is read.
const Setting = "REMOTE_API_PROVISIONER_EVENTS"

// maxBytes is the size of a file that is read at most.
const maxBytes = 4 << 20

// read finds the setting in a text and gives its value.
func read(src []byte, tell func(line int, format string, args ...any)) (value, error) {
	switch {
	case len(src) > maxBytes:
		return value{}, fmt.Errorf("the file is larger than %d bytes", maxBytes)
	case !utf8.Valid(src):
		return value{}, errors.New("the file is no UTF-8 text")
	}
	text := strings.TrimPrefix(string(src), "\ufeff")
	tokens, err := scan(text, json.Valid([]byte(text)))
	if err != nil {
		return value{}, err
	}
	p := &parser{src: text, tokens: tokens}
	given := p.assignments()
	switch {
	case len(given) > 0:
		p.at = given[len(given)-1]
		for _, at := range given[:len(given)-1] {
			tell(tokens[at].line, "%s is given here and again in line %d, which is the one that is read", Setting, p.peek().line)
		}
	case !p.peek().is("{"):
		return value{}, fmt.Errorf("found no %s = {…} and no dict", Setting)
	}
	begin := p.at
	v, ok, err := p.literal(0)
	switch {
	case err != nil:
		return value{}, err
	case !ok || v.kind != kindDict:
		return value{}, fmt.Errorf("line %d: the value of %s is no dict that is written out; Python makes it when it runs", tokens[begin].line, Setting)
	}
	if next := p.peek(); next.kind == tokenOp && next.line == tokens[p.at-1].line && !next.is(";") {
		tell(next.line, "what follows the dict (%s) is not carried", next.src)
	}
	p.changes(p.at, tell)
	if inner, found := v.field(Setting); found && len(v.pairs) == 1 {
		v = inner
	}
	if v.kind != kindDict {
		return value{}, fmt.Errorf("line %d: the value of %s is no dict", v.line, Setting)
	}
	return v, nil
}

// named says that token i names the setting: as a variable, or as a key in brackets. after is where what is done with it begins.
func (p *parser) named(i int) (after int, ok bool) {
	t := p.tokens[i]
	switch {
	case t.kind == tokenName && t.src == Setting:
		return i + 1, true
	case t.kind == tokenText && t.text == Setting && i > 0 && p.tokens[i-1].is("[") && p.tokens[i+1].is("]"):
		return i + 2, true
	}
	return 0, false
}

// assignments gives where the values begin that the setting is given.
func (p *parser) assignments() []int {
	var found []int
	for i := range p.tokens {
		after, ok := p.named(i)
		if !ok {
			continue
		}
		if p.tokens[after].is(":") { // what type it is
			for after < len(p.tokens)-1 && p.tokens[after].line == p.tokens[i].line && !p.tokens[after].is("=") {
				after++
			}
		}
		if p.tokens[after].is("=") {
			found = append(found, after+1)
		}
	}
	return found
}

// changes tells of what is done to the setting after token from.
func (p *parser) changes(from int, tell func(line int, format string, args ...any)) {
	for i := from; i < len(p.tokens)-1; i++ {
		after, ok := p.named(i)
		if !ok {
			continue
		}
		next := p.tokens[after]
		switch {
		case next.is("["), next.is("|="), next.is("."):
			tell(next.line, "%s is changed or read here; if it is changed, that is not carried", Setting)
		}
	}
}
