package schemas

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ParseJSON reads one JSON document (RFC 8259): key order kept, numbers exact, surrogate pairs put together; of members of the same key
// the last one stays. As encoding/json does, a lone surrogate and a byte that is not UTF-8 become U+FFFD. Data after the document is an
// error, and so is nesting, size or count past l. The error is a *DecodeError and names the byte.
//
// The Value's strings may lie in src, which must not be written as long as the Value is in use.
func ParseJSON(src []byte, l Limits) (Value, error) {
	d := &Doc{}
	if err := parseJSON(d, view(src), l.withDefaults()); err != nil {
		err.Format = FormatJSON
		return Value{}, err
	}
	return Value{d, 0}, nil
}

// parseJSON adds the document in src to d.
func parseJSON(d *Doc, src string, l Limits) *DecodeError {
	if int64(len(src)) > l.RecordBytes {
		return tooMuch("bytes of JSON", settingRecordBytes, int64(len(src)), l.RecordBytes)
	}
	p := jsonParser{doc: d, src: src, limits: l}
	p.space()
	if err := p.value(""); err != nil {
		return err
	}
	p.space()
	if p.at < len(src) {
		return p.unexpected("the end")
	}
	return nil
}

type jsonParser struct {
	doc    *Doc
	src    string
	at     int
	limits Limits
}

func (p *jsonParser) space() {
	for p.at < len(p.src) {
		switch p.src[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// unexpected names a byte by its kind when it could be part of a row's text, as it is when it is JSON's own.
func (p *jsonParser) unexpected(want string) *DecodeError {
	found := "the end"
	if p.at < len(p.src) {
		switch c := p.src[p.at]; {
		case strings.IndexByte(`{}[]:,"`, c) >= 0:
			found = string(c)
		case c < 0x20 || c == 0x7f:
			found = fmt.Sprintf("control byte %#02x", c)
		case c >= utf8.RuneSelf:
			found = "a byte that is not ASCII"
		default:
			found = "another character"
		}
	}
	return problem("no JSON: expected %s, found %s", want, found).atByte(p.at)
}

func (p *jsonParser) value(key string) *DecodeError {
	if len(p.doc.nodes) >= p.limits.Values {
		return tooMuch("values", settingValues, int64(len(p.doc.nodes))+1, int64(p.limits.Values)).atByte(p.at)
	}
	if p.at >= len(p.src) {
		return p.unexpected("a value")
	}
	switch c := p.src[p.at]; c {
	case '{':
		return p.object(key)
	case '[':
		return p.array(key)
	case '"':
		s, err := p.text()
		if err != nil {
			return err
		}
		p.doc.leaf(key, String).str = s
		return nil
	case 't':
		return p.word(key, "true", Bool, 1)
	case 'f':
		return p.word(key, "false", Bool, 0)
	case 'n':
		return p.word(key, "null", Null, 0)
	default:
		end := numberEnd(p.src, p.at)
		if end < 0 {
			return p.unexpected("a value")
		}
		p.doc.leaf(key, Number).str = p.src[p.at:end]
		p.at = end
		return nil
	}
}

func (p *jsonParser) word(key, word string, k Kind, num uint64) *DecodeError {
	if !strings.HasPrefix(p.src[p.at:], word) {
		return p.unexpected("a value")
	}
	p.at += len(word)
	p.doc.leaf(key, k).num = num
	return nil
}

func (p *jsonParser) begin(key string, k Kind) *DecodeError {
	if depth := len(p.doc.open); depth >= p.limits.Nesting {
		return tooMuch("lists and objects inside each other", settingNesting, int64(depth)+1, int64(p.limits.Nesting)).atByte(p.at)
	}
	p.doc.begin(key, k)
	p.at++
	p.space()
	return nil
}

// next is after a member or element: true when another one follows the comma.
func (p *jsonParser) next(stop byte, want string) (bool, *DecodeError) {
	p.space()
	if p.at < len(p.src) {
		switch p.src[p.at] {
		case ',':
			p.at++
			p.space()
			return true, nil
		case stop:
			p.at++
			return false, nil
		}
	}
	return false, p.unexpected(want)
}

func (p *jsonParser) array(key string) *DecodeError {
	if err := p.begin(key, Array); err != nil {
		return err
	}
	more := true
	if p.at < len(p.src) && p.src[p.at] == ']' {
		p.at++
		more = false
	}
	for more {
		err := p.value("")
		if err != nil {
			return err
		}
		if more, err = p.next(']', ", or ]"); err != nil {
			return err
		}
	}
	p.doc.end(false)
	return nil
}

func (p *jsonParser) object(key string) *DecodeError {
	if err := p.begin(key, Object); err != nil {
		return err
	}
	more := true
	if p.at < len(p.src) && p.src[p.at] == '}' {
		p.at++
		more = false
	}
	for more {
		if p.at >= len(p.src) || p.src[p.at] != '"' {
			return p.unexpected("a key")
		}
		name, err := p.text()
		if err != nil {
			return err
		}
		p.space()
		if p.at >= len(p.src) || p.src[p.at] != ':' {
			return p.unexpected(":")
		}
		p.at++
		p.space()
		if err = p.value(name); err != nil {
			return err
		}
		if more, err = p.next('}', ", or }"); err != nil {
			return err
		}
	}
	p.doc.end(true)
	return nil
}

// text reads the string that begins at the quote: out of the source when it stands there as it is, else out of the Doc's text.
func (p *jsonParser) text() (string, *DecodeError) {
	from := p.at + 1
	ascii := true
	for i := from; i < len(p.src); i++ {
		switch c := p.src[i]; {
		case c == '"':
			s := p.src[from:i]
			p.at = i + 1
			if !ascii && !utf8.ValidString(s) {
				s = p.doc.mended(s)
			}
			return s, nil
		case c == '\\':
			return p.escaped(from, i)
		case c < 0x20:
			p.at = i
			return "", p.unexpected("a string's next character")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	p.at = len(p.src)
	return "", p.unexpected(`a string's closing "`)
}

// escaped reads on from the first backslash, at i, of the string whose text begins at from.
func (p *jsonParser) escaped(from, i int) (string, *DecodeError) {
	d := p.doc
	start := len(d.text)
	d.text = append(d.text, p.src[from:i]...)
	for i < len(p.src) {
		c := p.src[i]
		switch {
		case c == '"':
			p.at = i + 1
			s := view(d.text[start:])
			if !utf8.ValidString(s) {
				s = d.mended(s)
			}
			return s, nil
		case c < 0x20:
			p.at = i
			return "", p.unexpected("a string's next character")
		case c != '\\':
			d.text = append(d.text, c)
			i++
			continue
		}
		r, size := unescape(p.src[i:])
		if size == 0 {
			p.at = i
			return "", problem("no JSON: wrong escape in a string").atByte(i)
		}
		d.text = utf8.AppendRune(d.text, r)
		i += size
	}
	p.at = len(p.src)
	return "", p.unexpected(`a string's closing "`)
}

// unescape gives the character that s, which begins with a backslash, escapes, and how many bytes that takes; 0: none.
func unescape(s string) (rune, int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r := hexRune(s)
		if r < 0 {
			return 0, 0
		}
		if utf16.IsSurrogate(r) {
			if pair := utf16.DecodeRune(r, hexRune(s[6:])); pair != utf8.RuneError {
				return pair, 12
			}
			return utf8.RuneError, 6
		}
		return r, 6
	}
	return 0, 0
}

// hexRune reads \uXXXX at the start of s; -1: it is not there.
func hexRune(s string) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range []byte(s[2:6]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// mended is s with U+FFFD for each byte that is not UTF-8, so that what a filter sees, what is sent and what is compared is one text.
func (d *Doc) mended(s string) string {
	start := len(d.text)
	for _, r := range s {
		d.text = utf8.AppendRune(d.text, r)
	}
	return view(d.text[start:])
}

// quote is s in quotes for an error text, cut when long.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "…"
	}
	return fmt.Sprintf("%q", s)
}
