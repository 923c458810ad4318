package schemas

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// datumReader reads data in Avro's binary encoding (specification 1.12, "Binary encoding") onto a Doc, by a compiled program. Every
// length and count is held against what is left of buf before anything is done with it.
type datumReader struct {
	doc *Doc
	buf []byte
	at  int
	// spent counts the text that rows get without having brought it along: names, symbols, decimals, dates. A few bytes of data can
	// ask for much of it, so it has a limit of its own.
	spent  int64
	limits Limits
	// logicalText writes dates and times as text.
	logicalText bool
}

// read reads one datum; key is its name if it is a member.
func (r *datumReader) read(o *op, key string) *DecodeError {
	if len(r.doc.nodes) >= r.limits.Values {
		return tooMuch("values in all rows", settingValues, int64(len(r.doc.nodes))+1, int64(r.limits.Values))
	}
	switch o.code {
	case opNull:
		r.doc.leaf(key, Null)
		return nil
	case opBoolean:
		b, err := r.take(1, "boolean")
		if err != nil {
			return err
		}
		if b[0] > 1 {
			return problem("a boolean is neither 0 nor 1")
		}
		r.doc.leaf(key, Bool).num = uint64(b[0])
		return nil
	case opInt, opLong:
		return r.integer(o, key)
	case opFloat:
		b, err := r.take(4, "float")
		if err != nil {
			return err
		}
		r.doc.leaf(key, Float32).num = uint64(binary.LittleEndian.Uint32(b))
		return nil
	case opDouble:
		b, err := r.take(8, "double")
		if err != nil {
			return err
		}
		r.doc.leaf(key, Float64).num = binary.LittleEndian.Uint64(b)
		return nil
	case opString:
		s, err := r.text()
		if err != nil {
			return err
		}
		if o.logical == jsonText {
			return r.json(s, key)
		}
		r.doc.leaf(key, String).str = s
		return nil
	case opBytes, opFixed:
		return r.bytes(o, key)
	case opEnum:
		i, err := r.long()
		if err != nil {
			return err
		}
		if uint64(i) >= uint64(len(o.names)) {
			return problem("an enum's index is %d, its symbols are %d", i, len(o.names))
		}
		s := o.names[i]
		r.doc.leaf(key, String).str = s
		return r.spend(int64(len(s)))
	case opUnion:
		i, err := r.long()
		if err != nil {
			return err
		}
		if uint64(i) >= uint64(len(o.members)) {
			return problem("a union's branch is %d, its branches are %d", i, len(o.members))
		}
		return r.read(o.members[i], key)
	case opRecord:
		return r.record(o, key)
	case opArray:
		return r.list(o, key, Array)
	default:
		return r.list(o, key, Object)
	}
}

func (r *datumReader) begin(key string, k Kind) *DecodeError {
	if depth := len(r.doc.open); depth >= r.limits.Nesting {
		return tooMuch("records, lists and maps inside each other", settingNesting, int64(depth)+1, int64(r.limits.Nesting))
	}
	r.doc.begin(key, k)
	return nil
}

func (r *datumReader) record(o *op, key string) *DecodeError {
	if err := r.begin(key, Object); err != nil {
		return err
	}
	r.doc.nodes[len(r.doc.nodes)-1].num = o.record
	if err := r.spend(o.nameBytes); err != nil {
		return err
	}
	for i, m := range o.members {
		if err := r.read(m, o.names[i]); err != nil {
			return err
		}
	}
	r.doc.end(false)
	return nil
}

// list reads an array or a map: blocks, each with the count of its items, until a count of 0.
func (r *datumReader) list(o *op, key string, k Kind) *DecodeError {
	if err := r.begin(key, k); err != nil {
		return err
	}
	for {
		count, err := r.blockCount(o, k)
		if err != nil {
			return err
		}
		if count == 0 {
			break
		}
		for range count {
			name := ""
			if k == Object {
				if name, err = r.text(); err != nil {
					return err
				}
			}
			if err = r.read(o.elem, name); err != nil {
				return err
			}
		}
	}
	r.doc.end(k == Object)
	return nil
}

// blockCount reads the head of a block and holds it against what is left, before anything is read for it.
func (r *datumReader) blockCount(o *op, k Kind) (int64, *DecodeError) {
	count, err := r.long()
	if err != nil {
		return 0, err
	}
	if count < 0 {
		// The block's size in bytes follows, for readers that skip it. Writers are known to get it wrong, so it decides nothing.
		if count == math.MinInt64 {
			return 0, problem("a count of items is out of range")
		}
		count = -count
		if _, err = r.long(); err != nil {
			return 0, err
		}
	}
	least := int64(o.elem.least)
	if k == Object {
		least++
	}
	if left := int64(len(r.buf) - r.at); least > 0 && count > left/least {
		return 0, problem("%d items are announced, %d bytes are left", count, left)
	}
	if have := int64(len(r.doc.nodes)); count > int64(r.limits.Values)-have {
		return 0, tooMuch("values in all rows", settingValues, saturated(count, have), int64(r.limits.Values))
	}
	return count, nil
}

// saturated adds without overflow.
func saturated(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// take gives the next n bytes.
func (r *datumReader) take(n int64, what string) ([]byte, *DecodeError) {
	left := int64(len(r.buf) - r.at)
	if n < 0 {
		return nil, problem("a %s has the length %d", what, n)
	}
	if n > left {
		return nil, problem("a %s of %d bytes begins where %d bytes are left", what, n, left)
	}
	b := r.buf[r.at : r.at+int(n)]
	r.at += int(n)
	return b, nil
}

// long reads a variable-length zig-zag integer.
func (r *datumReader) long() (int64, *DecodeError) {
	if r.at < len(r.buf) {
		if b := r.buf[r.at]; b < 0x80 {
			r.at++
			return int64(b>>1) ^ -int64(b&1), nil
		}
	}
	u, n := binary.Uvarint(r.buf[r.at:])
	if n <= 0 {
		if n == 0 {
			return 0, problem("the data ends within an integer")
		}
		return 0, problem("an integer has more than 64 bits")
	}
	r.at += n
	return int64(u>>1) ^ -int64(u&1), nil
}

// text reads a string. It lies in buf, unless bytes that are not UTF-8 had to be replaced.
func (r *datumReader) text() (string, *DecodeError) {
	n, err := r.long()
	if err != nil {
		return "", err
	}
	b, err := r.take(n, "string")
	if err != nil {
		return "", err
	}
	if utf8.Valid(b) {
		return view(b), nil
	}
	if err := r.spend(3 * n); err != nil {
		return "", err
	}
	return r.doc.mended(view(b)), nil
}

// json reads a string that holds a JSON document.
func (r *datumReader) json(s, key string) *DecodeError {
	p := jsonParser{doc: r.doc, src: s, limits: r.limits}
	p.space()
	err := p.value(key)
	if p.space(); err == nil && p.at < len(s) {
		err = p.unexpected("the end")
	}
	if err != nil && err.Setting == "" {
		err.Problem = "a field of JSON text: " + err.Problem
	}
	return err
}

func (r *datumReader) integer(o *op, key string) *DecodeError {
	i, err := r.long()
	if err != nil {
		return err
	}
	if o.code == opInt && (i < math.MinInt32 || i > math.MaxInt32) {
		return problem("an int has more than 32 bits")
	}
	if o.logical != plain && r.logicalText {
		if s, ok := r.clock(o.logical, i); ok {
			r.doc.leaf(key, String).str = s
			return r.spend(int64(len(s)))
		}
	}
	r.doc.leaf(key, Int).num = uint64(i)
	return nil
}

func (r *datumReader) bytes(o *op, key string) *DecodeError {
	n, what := int64(o.size), "fixed"
	if o.code == opBytes {
		var err *DecodeError
		if n, err = r.long(); err != nil {
			return err
		}
		what = "value of bytes"
	}
	b, err := r.take(n, what)
	if err != nil {
		return err
	}
	if o.logical == decimalText {
		s, err := r.decimal(b, o.scale)
		if err != nil {
			return err
		}
		r.doc.leaf(key, String).str = s
		return nil
	}
	r.doc.leaf(key, Bytes).str = view(b)
	return nil
}

// spend counts n bytes of text that the data did not bring along.
func (r *datumReader) spend(n int64) *DecodeError {
	if r.spent += n; r.spent > r.limits.InflatedBytes {
		return tooMuch("bytes of names, symbols, decimals and dates in all rows", settingInflatedBytes, r.spent, r.limits.InflatedBytes)
	}
	return nil
}
