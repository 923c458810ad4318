package schemas

import (
	"math/big"
	"slices"
	"strconv"
	"time"
)

// decimalBytes is the longest decimal that is written out, in bytes of its unscaled value: 2,466 digits. Turning a number into digits
// costs more than linear time.
const decimalBytes = 1024

// decimal writes a decimal's unscaled two's-complement value, most significant byte first, with scale digits after the point. Trailing
// zeros are kept: they are the scale.
func (r *datumReader) decimal(b []byte, scale int) (string, *DecodeError) {
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:] // sign extension
	}
	if len(b) > decimalBytes {
		return "", problem("a decimal has %d bytes, at most %d are written out", len(b), decimalBytes)
	}
	// Held before the text is made: one byte of data can have a scale of thousands of digits.
	if err := r.spend(int64(len(b))*3 + int64(scale) + 3); err != nil {
		return "", err
	}
	start := len(r.doc.text)
	text := r.doc.text
	if len(b) <= 8 {
		var x int64
		if len(b) > 0 && b[0] >= 0x80 {
			x = -1
		}
		for _, c := range b {
			x = x<<8 | int64(c)
		}
		text = strconv.AppendInt(text, x, 10)
	} else {
		x := new(big.Int).SetBytes(b)
		if b[0] >= 0x80 {
			x.Sub(x, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
		text = x.Append(text, 10)
	}
	if scale > 0 {
		digits := start
		if text[start] == '-' {
			digits++
		}
		if missing := scale + 1 - (len(text) - digits); missing > 0 {
			text = slices.Grow(text, missing+1)
			text = text[:len(text)+missing]
			copy(text[digits+missing:], text[digits:])
			for i := range missing {
				text[digits+i] = '0'
			}
		}
		text = slices.Insert(text, len(text)-scale, '.')
	}
	r.doc.text = text
	return view(text[start:]), nil
}

// Layouts without and with a zone; a local timestamp has none. Zeros at the end of a fraction are left out.
const (
	localLayout = "2006-01-02T15:04:05.999999999"
	timeLayout  = "15:04:05.999999999"
)

// clock writes a date, time or timestamp as RFC 3339 text; ok is false where that has no form for it.
func (r *datumReader) clock(l logical, i int64) (s string, ok bool) {
	var t time.Time
	layout := time.RFC3339Nano
	switch l {
	case date:
		t, layout = time.Unix(i*86400, 0), time.DateOnly
	case timeMillis, timeMicros:
		unit := time.Millisecond
		if l == timeMicros {
			unit = time.Microsecond
		}
		if i < 0 || i >= int64(24*time.Hour/unit) {
			return "", false
		}
		t, layout = time.Unix(0, i*int64(unit)), timeLayout
	case timestampMillis:
		t = time.UnixMilli(i)
	case timestampMicros:
		t = time.UnixMicro(i)
	case timestampNanos:
		t = time.Unix(0, i)
	case localMillis:
		t, layout = time.UnixMilli(i), localLayout
	case localMicros:
		t, layout = time.UnixMicro(i), localLayout
	case localNanos:
		t, layout = time.Unix(0, i), localLayout
	default:
		return "", false
	}
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return "", false
	}
	start := len(r.doc.text)
	r.doc.text = t.AppendFormat(r.doc.text, layout)
	return view(r.doc.text[start:]), true
}
