package schemas

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// numberEnd is the index after the JSON number (RFC 8259, section 6) that begins at s[at], or -1 if none does.
func numberEnd(s string, at int) int {
	i := at
	if i < len(s) && s[i] == '-' {
		i++
	}
	switch {
	case i < len(s) && s[i] == '0':
		i++
	case i < len(s) && '1' <= s[i] && s[i] <= '9':
		i = digitsEnd(s, i)
	default:
		return -1
	}
	if i < len(s) && s[i] == '.' {
		end := digitsEnd(s, i+1)
		if end == i+1 {
			return -1
		}
		i = end
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		end := digitsEnd(s, i)
		if end == i {
			return -1
		}
		i = end
	}
	return i
}

func digitsEnd(s string, i int) int {
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return i
}

// decimal is a number in one form only: ± digits · 10^exp, digits without zeros at either end; zero has no digits. exp is big because
// JSON lets anyone write 1e99999999999999999999.
type decimal struct {
	negative bool
	digits   string
	exp      *big.Int
}

// decimalOf takes the text of a JSON number.
func decimalOf(s string) decimal {
	var d decimal
	if strings.HasPrefix(s, "-") {
		d.negative, s = true, s[1:]
	}
	d.exp = new(big.Int)
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		d.exp.SetString(strings.TrimPrefix(s[i+1:], "+"), 10)
		s = s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	d.exp.Sub(d.exp, big.NewInt(int64(len(fraction))))
	digits := strings.TrimLeft(whole+fraction, "0")
	d.digits = strings.TrimRight(digits, "0")
	d.exp.Add(d.exp, big.NewInt(int64(len(digits)-len(d.digits))))
	if d.digits == "" {
		return decimal{}
	}
	return d
}

func (d decimal) equal(o decimal) bool {
	if d.digits == "" || o.digits == "" {
		return d.digits == o.digits
	}
	return d.negative == o.negative && d.digits == o.digits && d.exp.Cmp(o.exp) == 0
}

// exactInt gives the value of a JSON number's text if it is an int64.
func exactInt(s string) (int64, bool) {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, true
	}
	if !strings.ContainsAny(s, ".eE") {
		return 0, false
	}
	d := decimalOf(s)
	if d.digits == "" {
		return 0, true
	}
	const most = 19 // digits of the largest int64
	if d.exp.Sign() < 0 || d.exp.Cmp(big.NewInt(most)) > 0 || len(d.digits) > most {
		return 0, false
	}
	text := d.digits + strings.Repeat("0", int(d.exp.Int64()))
	if d.negative {
		text = "-" + text
	}
	i, err := strconv.ParseInt(text, 10, 64)
	return i, err == nil
}

// equalNumbers compares two numbers by the values their JSON texts denote; NaN equals nothing, an infinity only itself.
func equalNumbers(a, b *node) bool {
	if a.kind == Int && b.kind == Int {
		return a.num == b.num
	}
	fa, aOdd := notFinite(a)
	fb, bOdd := notFinite(b)
	if aOdd || bOdd {
		return aOdd && bOdd && fa == fb
	}
	if a.kind == b.kind && a.num == b.num && a.str == b.str {
		return true
	}
	var bufA, bufB [32]byte
	return decimalOf(string(appendNumber(bufA[:0], a))).equal(decimalOf(string(appendNumber(bufB[:0], b))))
}

func notFinite(n *node) (float64, bool) {
	var f float64
	switch n.kind {
	case Float32:
		f = float64(math.Float32frombits(uint32(n.num)))
	case Float64:
		f = math.Float64frombits(n.num)
	default:
		return 0, false
	}
	return f, math.IsNaN(f) || math.IsInf(f, 0)
}

// appendNumber appends a finite number as JSON.
func appendNumber(dst []byte, n *node) []byte {
	switch n.kind {
	case Int:
		return strconv.AppendInt(dst, int64(n.num), 10)
	case Float32:
		return appendFloat(dst, float64(math.Float32frombits(uint32(n.num))), 32)
	case Float64:
		return appendFloat(dst, math.Float64frombits(n.num), 64)
	default:
		return append(dst, n.str...)
	}
}

// AppendFloat appends a finite f as a JSON number, as AppendJSON writes a Float64.
func AppendFloat(dst []byte, f float64) []byte { return appendFloat(dst, f, 64) }

// appendFloat appends the shortest text that reads back as f, in the layout of ECMAScript (ECMA-262, Number::toString), which
// encoding/json uses too: an exponent below 1e-6 and from 1e21 on only.
func appendFloat(dst []byte, f float64, bits int) []byte {
	layout := byte('f')
	if abs := math.Abs(f); abs != 0 {
		small, large := abs < 1e-6, abs >= 1e21
		if bits == 32 {
			small, large = float32(abs) < 1e-6, float32(abs) >= 1e21
		}
		if small || large {
			layout = 'e'
		}
	}
	dst = strconv.AppendFloat(dst, f, layout, -1, bits)
	if n := len(dst); layout == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // e-09 is written e-9
		dst = dst[:n-1]
	}
	return dst
}
