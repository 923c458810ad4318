package schemas

import "math"

// Builder makes a Value that was not read from a record, such as the address a record came from. NewBuilder gives one; Reset makes it
// ready for the next value, which ends the life of the last. One goroutine at a time.
//
// Inside an object every value is preceded by Key. Calls out of order (a value without its key, a second value at the root, an End too
// many) make Value give Absent; nothing panics.
type Builder struct {
	doc    *Doc
	key    string
	hasKey bool
	bad    bool
}

// NewBuilder gives an empty Builder.
func NewBuilder() *Builder { return &Builder{doc: &Doc{}} }

// Reset empties b and keeps its memory; values it gave are no longer valid.
func (b *Builder) Reset() {
	b.doc.reset()
	b.key, b.hasKey, b.bad = "", false, false
}

// Key names the next value, a member of the object begun last. Of members of the same key the last one stays.
func (b *Builder) Key(name string) {
	if b.hasKey || !b.inObject() {
		b.bad = true
	}
	b.key, b.hasKey = name, true
}

func (b *Builder) inObject() bool {
	n := len(b.doc.open)
	return n > 0 && b.doc.nodes[b.doc.open[n-1]].kind == Object
}

// place checks that a value may stand here and gives its key.
func (b *Builder) place() string {
	if b.inObject() != b.hasKey || len(b.doc.open) == 0 && len(b.doc.nodes) > 0 {
		b.bad = true
	}
	key := b.key
	b.key, b.hasKey = "", false
	return key
}

// BeginObject begins an object; End ends it.
func (b *Builder) BeginObject() { b.doc.begin(b.place(), Object) }

// BeginArray begins an array; End ends it.
func (b *Builder) BeginArray() { b.doc.begin(b.place(), Array) }

// End ends the object or array begun last.
func (b *Builder) End() {
	if b.hasKey || len(b.doc.open) == 0 {
		b.bad = true
		return
	}
	b.doc.end(b.inObject())
}

// Null adds null.
func (b *Builder) Null() { b.doc.leaf(b.place(), Null) }

// Bool adds a boolean.
func (b *Builder) Bool(x bool) {
	n := b.doc.leaf(b.place(), Bool)
	if x {
		n.num = 1
	}
}

// Int adds an integer.
func (b *Builder) Int(x int64) { b.doc.leaf(b.place(), Int).num = uint64(x) }

// Float adds a double.
func (b *Builder) Float(x float64) { b.doc.leaf(b.place(), Float64).num = math.Float64bits(x) }

// Number adds a number by its JSON text, kept exactly; a text that is no JSON number counts as a call out of order.
func (b *Builder) Number(text string) {
	if numberEnd(text, 0) != len(text) || text == "" {
		b.bad = true
	}
	b.doc.leaf(b.place(), Number).str = text
}

// String adds a string, which is kept as it is, not copied.
func (b *Builder) String(s string) { b.doc.leaf(b.place(), String).str = s }

// Copy adds v with all it holds, hidden values left out. Strings are shared with v, so the copy lives no longer than v does: Clone the
// result to keep it. Absent becomes null.
func (b *Builder) Copy(v Value) {
	key := b.place()
	if v.Kind() == Absent {
		b.doc.leaf(key, Null)
		return
	}
	b.doc.copyOf(key, v)
}

// Value is what was built: Absent before anything was, while a container is open, and after calls out of order.
func (b *Builder) Value() Value {
	if b.bad || len(b.doc.nodes) == 0 || len(b.doc.open) > 0 {
		return Value{}
	}
	return Value{b.doc, 0}
}
