package invenio

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape gives the text of a string, without its quotes. It is false for one that has no text as JSON knows it: half a surrogate pair, or
// a character by its name.
func unescape(body string, raw, json bool) (string, bool) {
	body = strings.ReplaceAll(body, "\r\n", "\n")
	if raw || !strings.Contains(body, `\`) {
		return body, true
	}
	var b strings.Builder
	for i := 0; i < len(body); {
		if body[i] != '\\' || i+1 == len(body) {
			b.WriteByte(body[i])
			i++
			continue
		}
		r, n, ok := escape(body[i:], json)
		if !ok {
			return "", false
		}
		b.WriteString(r)
		i += n
	}
	return b.String(), true
}

var escapes = map[byte]string{'\n': "", '\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}

// escape gives what the escape that s begins with stands for, and how long it is.
func escape(s string, json bool) (text string, length int, ok bool) {
	if known, ok := escapes[s[1]]; ok {
		return known, 2, true
	}
	switch c := s[1]; {
	case c == '/' && json:
		return "/", 2, true
	case c >= '0' && c <= '7':
		n := 2
		for n < len(s) && n < 4 && s[n] >= '0' && s[n] <= '7' {
			n++
		}
		v, _ := strconv.ParseUint(s[1:n], 8, 16)
		return string(rune(v)), n, true
	case c == 'x':
		return code(s, 4)
	case c == 'u':
		return code(s, 6)
	case c == 'U':
		return code(s, 10)
	case c == 'N':
		return "", 0, false
	}
	return s[:2], 2, true // what is no escape stands for itself
}

// code reads the hexadecimal number of a character that ends at n, and a second one where it is half a pair.
func code(s string, n int) (text string, length int, ok bool) {
	if len(s) < n {
		return "", 0, false
	}
	v, err := strconv.ParseUint(s[2:n], 16, 32)
	if err != nil || v > utf8.MaxRune {
		return "", 0, false
	}
	r := rune(v)
	if utf16.IsSurrogate(r) {
		if n != 6 || len(s) < 12 || s[6:8] != `\u` {
			return "", 0, false
		}
		low, err := strconv.ParseUint(s[8:12], 16, 32)
		if r = utf16.DecodeRune(r, rune(low)); err != nil || r == utf8.RuneError {
			return "", 0, false
		}
		return string(r), 12, true
	}
	return string(r), n, true
}
