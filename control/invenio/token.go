package invenio

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenNumber
	tokenText // a string that is nothing but its text
	tokenMade // a string that is made when Python runs, or is of bytes
	tokenOp
)

// token is a piece of a Python text. Blanks, ends of lines and comments stand between them.
type token struct {
	kind tokenKind
	line int // from 1
	// src is the piece as it stands in the text; at and end say where.
	src     string
	at, end int
	text    string // of a tokenText
}

func (t token) is(op string) bool { return t.kind == tokenOp && t.src == op }

// Operators of several characters that must not be taken for the ends of an expression.
var operators = []string{":=", "==", "!=", "<=", ">=", "->", "**", "|=", "+="}

// scanner cuts a Python text, or a JSON one, into tokens.
type scanner struct {
	src  string
	json bool // strings are JSON's
	at   int
	line int
}

// scan gives all tokens, a tokenEnd last. The error is a string that has no end.
func scan(src string, json bool) ([]token, error) {
	s := scanner{src: src, json: json, line: 1}
	var all []token
	for {
		s.blanks()
		t, err := s.next()
		if err != nil {
			return nil, err
		}
		all = append(all, t)
		if t.kind == tokenEnd {
			return all, nil
		}
	}
}

func (s *scanner) blanks() {
	for s.at < len(s.src) {
		switch c := s.src[s.at]; {
		case c == '\n':
			s.line++
			s.at++
		case c == '#':
			if end := strings.IndexByte(s.src[s.at:], '\n'); end >= 0 {
				s.at += end
			} else {
				s.at = len(s.src)
			}
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\\':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) next() (token, error) {
	t := token{line: s.line, at: s.at}
	if s.at == len(s.src) {
		t.end = s.at
		return t, nil
	}
	rest := s.src[s.at:]
	first, size := utf8.DecodeRuneInString(rest)
	switch {
	case first == '_' || unicode.IsLetter(first):
		name := prefixOf(rest, func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) })
		if after := rest[len(name):]; after != "" && (after[0] == '"' || after[0] == '\'') && isPrefix(name) {
			return s.str(t, name)
		}
		t.kind, s.at = tokenName, s.at+len(name)
	case first == '"' || first == '\'':
		return s.str(t, "")
	case isDigit(rest[0]) || first == '.' && len(rest) > 1 && isDigit(rest[1]):
		t.kind, s.at = tokenNumber, s.at+numberLen(rest)
	default:
		t.kind = tokenOp
		for _, op := range operators {
			if strings.HasPrefix(rest, op) {
				size = len(op)
			}
		}
		s.at += size
	}
	t.end = s.at
	t.src = s.src[t.at:t.end]
	return t, nil
}

func prefixOf(s string, in func(rune) bool) string {
	for i, r := range s {
		if !in(r) {
			return s[:i]
		}
	}
	return s
}

// numberLen is how long a number's text is; whether it is one is said by who reads it.
func numberLen(s string) int {
	i := 0
	for i < len(s) {
		c := s[i]
		sign := (c == '+' || c == '-') && i > 0 && (s[i-1] == 'e' || s[i-1] == 'E') && !strings.HasPrefix(s, "0x") && !strings.HasPrefix(s, "0X")
		if !sign && c != '.' && c != '_' && !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') {
			break
		}
		i++
	}
	return i
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isPrefix says that a string may have name before its quotes.
func isPrefix(name string) bool {
	return len(name) <= 2 && strings.Trim(strings.ToLower(name), "rbuft") == ""
}

// str reads a string; s.at is at its prefix.
func (s *scanner) str(t token, prefix string) (token, error) {
	low := strings.ToLower(prefix)
	raw, made := strings.Contains(low, "r"), strings.ContainsAny(low, "bft")
	end, err := s.endOf(s.at+len(prefix), strings.ContainsAny(low, "ft"), 0)
	if err != nil {
		return t, err
	}
	t.src, t.end = s.src[s.at:end], end
	s.at, s.line = end, s.line+strings.Count(t.src, "\n")
	quotes := 1
	if body := t.src[len(prefix):]; len(body) >= 6 && body[0] == body[1] && body[1] == body[2] {
		quotes = 3
	}
	body := t.src[len(prefix)+quotes : len(t.src)-quotes]
	var ok bool
	if t.text, ok = unescape(body, raw, s.json); made || !ok {
		t.kind, t.text = tokenMade, ""
		return t, nil
	}
	t.kind = tokenText
	return t, nil
}

const maxNesting = 64

// endOf gives where the string whose quotes are at i ends. Between the braces of an f-string there may be strings again.
func (s *scanner) endOf(i int, braces bool, depth int) (int, error) {
	begin, quote := i, s.src[i:i+1]
	unended := fmt.Errorf("line %d: a string that begins here has no end", s.line+strings.Count(s.src[s.at:begin], "\n"))
	if depth > maxNesting {
		return 0, fmt.Errorf("line %d: strings nested deeper than %d", s.line, maxNesting)
	}
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.src[i:], triple) {
		quote = triple
	}
	for i += len(quote); i < len(s.src); {
		switch c := s.src[i]; {
		case strings.HasPrefix(s.src[i:], quote):
			return i + len(quote), nil
		case c == '\\':
			i += 2
		case c == '\n' && len(quote) == 1:
			return 0, unended
		case braces && strings.HasPrefix(s.src[i:], "{{"):
			i += 2
		case braces && c == '{':
			var err error
			if i, err = s.endOfField(i, quote, depth); err != nil {
				return 0, err
			}
		default:
			i++
		}
	}
	return 0, unended
}

// endOfField gives where the braces at i of an f-string end. What is quoted by outer ends there too where the braces never end.
func (s *scanner) endOfField(i int, outer string, depth int) (int, error) {
	open := 0
	for i < len(s.src) {
		switch c := s.src[i]; {
		case c == '{':
			open++
		case c == '}':
			if open--; open == 0 {
				return i + 1, nil
			}
		case c == '"' || c == '\'':
			end, err := s.endOf(i, true, depth+1)
			if err != nil && strings.HasPrefix(s.src[i:], outer) {
				return i, nil
			}
			if err != nil {
				return 0, err
			}
			i = end
			continue
		}
		i++
	}
	return i, nil
}
