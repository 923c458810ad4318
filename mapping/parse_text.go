package mapping

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// quoted reads a text in single or double quotes: JSON's escapes, and any other character after a backslash stands for itself.
func (p *pathParser) quoted() (string, error) {
	start := p.at
	quote := p.text[start]
	p.at++
	if end := strings.IndexByte(p.text[p.at:], quote); end >= 0 && strings.IndexByte(p.text[p.at:p.at+end], '\\') < 0 {
		s := p.text[p.at : p.at+end]
		p.at += end + 1
		return s, nil
	}
	var b strings.Builder
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == quote:
			return b.String(), nil
		case c == '\\' && p.at < len(p.text):
			p.escape(&b)
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail(start, "the quoted text does not end", "close it with "+string(rune(quote)))
}

// escape reads what follows a backslash.
func (p *pathParser) escape(b *strings.Builder) {
	c := p.text[p.at]
	if i := strings.IndexByte("bfnrt", c); i >= 0 {
		b.WriteByte("\b\f\n\r\t"[i])
		p.at++
		return
	}
	if c == 'u' {
		if r, ok := p.hex4(p.at + 1); ok {
			p.at += 5
			if utf16.IsSurrogate(r) && strings.HasPrefix(p.text[p.at:], `\u`) {
				if low, ok := p.hex4(p.at + 2); ok {
					if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
						r = pair
						p.at += 6
					}
				}
			}
			b.WriteRune(r)
			return
		}
	}
	_, size := utf8.DecodeRuneInString(p.text[p.at:])
	b.WriteString(p.text[p.at : p.at+size])
	p.at += size
}

func (p *pathParser) hex4(at int) (rune, bool) {
	if at+4 > len(p.text) {
		return 0, false
	}
	n, err := strconv.ParseUint(p.text[at:at+4], 16, 32)
	return rune(n), err == nil
}

// backQuoted reads a text in back-quotes, where a backslash stands for the next character only. escaped tells of a backslash before a
// letter or digit, which people write for regular expressions and which is lost here.
func (p *pathParser) backQuoted() (s string, lost string, err error) {
	start := p.at
	p.at++
	var b strings.Builder
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == '`':
			return b.String(), lost, nil
		case c == '\\' && p.at < len(p.text):
			_, size := utf8.DecodeRuneInString(p.text[p.at:])
			if n := p.text[p.at]; isDigit(n) || isNameStart(n) && n != '_' {
				lost = p.text[p.at : p.at+size]
			}
			b.WriteString(p.text[p.at : p.at+size])
			p.at += size
		default:
			b.WriteByte(c)
		}
	}
	return "", "", p.fail(start, "the operator does not end", "close it with `")
}

// textEnd gives the place of the quote that ends the text beginning at at, past the end of s if there is none.
func textEnd(s string, at int) int {
	quote := s[at]
	for at++; at < len(s) && s[at] != quote; at++ {
		if s[at] == '\\' {
			at++
		}
	}
	return at
}
