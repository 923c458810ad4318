package schemas

import (
	"encoding/base64"
	"errors"
	"unicode/utf8"
)

// ErrNoJSON says that a value has no JSON form: NaN, an infinity, or Absent.
var ErrNoJSON = errors.New("not a number JSON can write (NaN or infinity)")

var errAbsent = errors.New("nothing found has no JSON")

// AppendJSON appends v as JSON, hidden members left out: key order kept, numbers exact, Float32 as itself, Bytes as a base64 string,
// text that is not UTF-8 with U+FFFD for each wrong byte. NaN, infinities and Absent have no JSON: an error, and dst comes back as it was.
func (v Value) AppendJSON(dst []byte) ([]byte, error) {
	if v.doc == nil {
		return dst, errAbsent
	}
	out, err := v.appendJSON(dst)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (v Value) appendJSON(dst []byte) ([]byte, error) {
	n := &v.doc.nodes[v.at]
	switch n.kind {
	case Null:
		return append(dst, "null"...), nil
	case Bool:
		if n.num != 0 {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case String:
		return appendString(dst, n.str), nil
	case Bytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, raw(n.str))
		return append(dst, '"'), nil
	case Array, Object:
		return v.appendMembers(dst, n)
	default:
		if _, odd := notFinite(n); odd {
			return dst, ErrNoJSON
		}
		return appendNumber(dst, n), nil
	}
}

func (v Value) appendMembers(dst []byte, n *node) ([]byte, error) {
	start, stop := byte('['), byte(']')
	if n.kind == Object {
		start, stop = '{', '}'
	}
	dst = append(dst, start)
	first := true
	var err error
	for i := v.at + 1; i < n.end; i = v.doc.nodes[i].end {
		c := &v.doc.nodes[i]
		if c.hidden {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if n.kind == Object {
			dst = append(appendString(dst, c.key), ':')
		}
		if dst, err = (Value{v.doc, i}).appendJSON(dst); err != nil {
			return dst, err
		}
	}
	return append(dst, stop), nil
}

// AppendText appends v as a text without quotes: a String as it is, Bytes as base64, everything else as AppendJSON does.
func (v Value) AppendText(dst []byte) ([]byte, error) {
	switch n := v.node(); n.kind {
	case String:
		return append(dst, n.str...), nil
	case Bytes:
		return base64.StdEncoding.AppendEncode(dst, raw(n.str)), nil
	default:
		return v.AppendJSON(dst)
	}
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string, as AppendJSON writes a String.
func AppendString(dst []byte, s string) []byte { return appendString(dst, s) }

// appendString appends s in quotes, escaping only what JSON demands (RFC 8259, section 7).
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[from:i]...), "\uFFFD"...)
				from = i + 1
			}
			i += size
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}
