package schemas

import (
	"iter"
	"math"
	"strconv"
	"unsafe"
)

// Value is one value of a Doc: a row, or anything inside one. The zero Value is Absent. It is two words; pass it by value.
//
// A Value of a Batch is valid until its Decoder's next Decode, and its strings may lie in the bytes that were decoded: who keeps a
// Value calls Clone, who keeps a string clones it. Every method may be called on every kind, Absent included.
type Value struct {
	doc *Doc
	at  int32
}

var absent node

func (v Value) node() *node {
	if v.doc == nil {
		return &absent
	}
	return &v.doc.nodes[v.at]
}

// Kind says what v is.
func (v Value) Kind() Kind { return v.node().kind }

// Len is the number of members of an Object or elements of an Array, hidden ones not counted; 0 for every other kind.
func (v Value) Len() int {
	n := v.node()
	if n.kind != Array && n.kind != Object {
		return 0
	}
	if !v.doc.hides {
		return int(uint32(n.num))
	}
	count := 0
	for i := v.at + 1; i < n.end; i = v.doc.nodes[i].end {
		if !v.doc.nodes[i].hidden {
			count++
		}
	}
	return count
}

// Field gives an Object's member, Absent if there is none or v is no Object. Where JSON had a key more than once, the last one is
// the member and the others do not exist. Cost: a walk over the members.
func (v Value) Field(name string) Value {
	n := v.node()
	if n.kind != Object {
		return Value{}
	}
	nodes := v.doc.nodes
	for i := v.at + 1; i < n.end; i = nodes[i].end {
		if c := &nodes[i]; !c.hidden && c.key == name {
			return Value{v.doc, i}
		}
	}
	return Value{}
}

// Index gives an Array's element, from 0; a negative i counts from the end (-1 is the last). Absent if there is none or v is no
// Array. Cost: a walk over the elements.
func (v Value) Index(i int) Value {
	n := v.node()
	if n.kind != Array {
		return Value{}
	}
	if i < 0 {
		if i += v.Len(); i < 0 {
			return Value{}
		}
	}
	nodes := v.doc.nodes
	for at := v.at + 1; at < n.end; at = nodes[at].end {
		if nodes[at].hidden {
			continue
		}
		if i == 0 {
			return Value{v.doc, at}
		}
		i--
	}
	return Value{}
}

// Members walks an Object in document order, hidden members left out; nothing for every other kind.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		n := v.node()
		if n.kind != Object {
			return
		}
		end := n.end
		for i := v.at + 1; i < end; i = v.doc.nodes[i].end {
			if c := &v.doc.nodes[i]; !c.hidden && !yield(c.key, Value{v.doc, i}) {
				return
			}
		}
	}
}

// Elements walks an Array in order, hidden elements left out; nothing for every other kind.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		n := v.node()
		if n.kind != Array {
			return
		}
		end := n.end
		for i := v.at + 1; i < end; i = v.doc.nodes[i].end {
			if !v.doc.nodes[i].hidden && !yield(Value{v.doc, i}) {
				return
			}
		}
	}
}

// Bool gives a Bool; ok is false for every other kind.
func (v Value) Bool() (b, ok bool) {
	n := v.node()
	return n.num != 0 && n.kind == Bool, n.kind == Bool
}

// Int gives an Int, or a Number whose value is exactly an int64 (1.0 and 1e3 are); ok is false for everything else.
func (v Value) Int() (int64, bool) {
	switch n := v.node(); n.kind {
	case Int:
		return int64(n.num), true
	case Number:
		return exactInt(n.str)
	}
	return 0, false
}

// Float gives the number that v's JSON text denotes, rounded to a float64; so a Float32 that prints as 0.1 gives 0.1. NaN and Inf are
// given as they are. ok is false for what is no number, and for a Number past float64 (the infinity of its sign is given).
func (v Value) Float() (float64, bool) {
	switch n := v.node(); n.kind {
	case Int:
		return float64(int64(n.num)), true
	case Float64:
		return math.Float64frombits(n.num), true
	case Float32:
		f := math.Float32frombits(uint32(n.num))
		if f64 := float64(f); f64 == math.Trunc(f64) || f != f {
			return f64, true
		}
		var buf [32]byte
		text := strconv.AppendFloat(buf[:0], float64(f), 'e', -1, 32)
		shown, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(text), len(text)), 64)
		return shown, err == nil
	case Number:
		f, err := strconv.ParseFloat(n.str, 64)
		return f, err == nil
	}
	return 0, false
}

// Str gives a String; ok is false for every other kind. It may lie in the bytes that were decoded: clone it to keep it.
func (v Value) Str() (string, bool) {
	n := v.node()
	if n.kind != String {
		return "", false
	}
	return n.str, true
}

// Hide makes v vanish from its parent, as masking asks; v itself stays readable, and so does a row, which has no parent. There is no
// way back. On a value of a Schema it has no effect: those are shared.
func (v Value) Hide() {
	if v.doc == nil || v.doc.frozen {
		return
	}
	v.doc.nodes[v.at].hidden = true
	v.doc.hides = true
}

// RecordType is the Avro record type that an Object was read as; nil for maps, JSON and every other kind.
func (v Value) RecordType() *RecordType {
	n := v.node()
	if n.kind != Object {
		return nil
	}
	if i := n.num >> 32; i > 0 {
		return v.doc.types[i-1]
	}
	return nil
}

// Clone gives a copy of v with memory of its own, hidden values left out: safe to keep. The copy of Absent is Absent.
func (v Value) Clone() Value {
	if v.doc == nil {
		return Value{}
	}
	d := &Doc{nodes: make([]node, 0, v.node().end-v.at)}
	d.copyOf("", v)
	size := 0
	for i := range d.nodes {
		size += len(d.nodes[i].key) + len(d.nodes[i].str)
	}
	text := make([]byte, 0, size)
	own := func(s string) string {
		if s == "" {
			return ""
		}
		from := len(text)
		text = append(text, s...)
		return view(text[from:])
	}
	for i := range d.nodes {
		d.nodes[i].key, d.nodes[i].str = own(d.nodes[i].key), own(d.nodes[i].str)
	}
	return Value{d, 0}
}

// view is b as a string without a copy. b must not change while the string is in use: here, until its Doc is reset.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// raw is s as bytes without a copy, to be read only.
func raw(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
