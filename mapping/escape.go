package mapping

import (
	"bytes"
	"strings"
)

// urlPart is where in a URL a text stands; it decides which characters may stand there as they are (RFC 3986).
type urlPart uint8

const (
	inPath urlPart = iota
	inQuery
	inFragment
)

// Character classes of RFC 3986.
const (
	classUnreserved = 1 << iota
	classPath       // reserved characters that a path may hold
	classQuery      // … a query or fragment
)

var classes = func() (c [256]uint8) {
	for i := range c {
		b := byte(i)
		if 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9' || strings.IndexByte("-._~", b) >= 0 {
			c[i] = classUnreserved
		}
		if strings.IndexByte("/:@!$&'()*+,;=", b) >= 0 {
			c[i] = classPath | classQuery
		}
		if b == '?' {
			c[i] = classQuery
		}
	}
	return c
}()

const hexUpper = "0123456789ABCDEF"

// appendEscaped appends s percent-encoded as one path segment, query value or piece of a fragment: nothing in it is syntax.
func appendEscaped(dst, s []byte) []byte {
	for _, c := range s {
		if classes[c]&classUnreserved != 0 {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	return dst
}

// appendReserved appends s with the reserved characters that part may hold, and what is encoded already, as they are: {+key}. A ? never
// ends a path, a # never a query.
func appendReserved(dst, s []byte, part urlPart) []byte {
	keep := uint8(classUnreserved | classQuery)
	if part == inPath {
		keep = classUnreserved | classPath
	}
	for i, c := range s {
		if classes[c]&keep != 0 || c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	return dst
}

// escapeLiteral encodes what a template says itself, brackets of a query left as they are.
func escapeLiteral(s string, part urlPart) string {
	if part != inQuery {
		return string(appendReserved(nil, []byte(s), part))
	}
	var dst []byte
	for s != "" {
		i := strings.IndexAny(s, "[]")
		if i < 0 {
			i = len(s)
		}
		dst = appendReserved(dst, []byte(s[:i]), part)
		if i < len(s) {
			dst = append(dst, s[i])
			i++
		}
		s = s[i:]
	}
	return string(dst)
}

// appendForm appends s as application/x-www-form-urlencoded (the WHATWG URL standard, section 5.2).
func appendForm(dst, s []byte) []byte {
	for _, c := range s {
		switch {
		case c == ' ':
			dst = append(dst, '+')
		case c != '~' && classes[c]&classUnreserved != 0 || c == '*':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	return dst
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// maxDecodings bounds how often a path may be encoded over: servers behind proxies decode twice at most.
const maxDecodings = 5

// climbs says whether a path has a segment . or .. for any server that decodes it, however often, or takes a backslash for a slash, or
// cuts parameters (..;x) off a segment first. It writes over path's copy in scratch, which it gives back.
func climbs(path, scratch []byte) (bool, []byte) {
	scratch = append(scratch[:0], path...)
	b := scratch
	for range maxDecodings {
		if hasDotSegment(b) {
			return true, scratch
		}
		n := len(b)
		if b = decodeOnce(b); len(b) == n {
			return false, scratch
		}
	}
	return bytes.IndexByte(b, '%') >= 0, scratch
}

func hasDotSegment(b []byte) bool {
	for len(b) > 0 {
		end := bytes.IndexAny(b, `/\`)
		if end < 0 {
			end = len(b)
		}
		name := b[:end]
		if i := bytes.IndexByte(name, ';'); i >= 0 {
			name = name[:i]
		}
		if len(name) == 1 && name[0] == '.' || len(name) == 2 && name[0] == '.' && name[1] == '.' {
			return true
		}
		b = b[min(end+1, len(b)):]
	}
	return false
}

// decodeOnce percent-decodes in place.
func decodeOnce(b []byte) []byte {
	out := b[:0]
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]) {
			out = append(out, unhex(b[i+1])<<4|unhex(b[i+2]))
			i += 2
		} else {
			out = append(out, b[i])
		}
	}
	return out
}

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
