package schemas

import "slices"

// Kind says what a Value is.
type Kind uint8

// The kinds of a Value. Absent, the kind of the zero Value, is "nothing found" and has no JSON; Null is JSON's null. A number is an
// Int (exact), a Float32 or Float64 as Avro wrote it, or a Number: a JSON number kept as its text. Bytes print as base64 text.
const (
	Absent Kind = iota
	Null
	Bool
	Int
	Float32
	Float64
	Number
	String
	Bytes
	Array
	Object
)

var kindNames = [...]string{"nothing", "null", "boolean", "integer", "float", "double", "number", "string", "bytes", "list", "object"}

// String gives the kind in a word for error texts: "null", "string", "list".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Doc holds values as one flat tape of nodes in document order: a container's members follow it, and its node says where they end.
// So a record of any shape costs no allocation once the tape has grown, and a walk in document order is a walk along the tape.
//
// A Doc belongs to one goroutine, but for a frozen one (a schema's), which is never written again.
type Doc struct {
	nodes []node
	// text holds strings that do not stand in the source as they are: unescaped, decimals, dates. A string points into the array
	// that text had when it was added, so growing the slice leaves it valid; only reset does not.
	text []byte
	// types are the record types that nodes point to, by number from 1.
	types []*RecordType
	// open are the containers begun and not ended.
	open []int32
	// seen finds duplicate keys of large objects.
	seen map[string]int32
	// hides is set once any node was hidden: until then a container's count of children is its length.
	hides  bool
	frozen bool
}

// node is one value. For a container, num is the count of children in the low half and the record type's number in the high one;
// for a number or a boolean, its bits. end is the index after the node's last descendant.
type node struct {
	key  string
	str  string
	num  uint64
	end  int32
	kind Kind
	// hidden nodes are skipped by everything: masked fields, and the earlier ones of duplicate keys.
	hidden bool
}

const (
	nodeBytes = 48
	// pairwise is the size of object up to which duplicate keys are looked for pair by pair.
	pairwise = 32
	// seenKept is the largest object after which the map of its keys is kept: clearing a large one for every small object would
	// make a hostile document quadratic.
	seenKept = 1024
)

func (d *Doc) reset() {
	d.nodes = d.nodes[:0]
	d.text = d.text[:0]
	d.types = nil // a Decoder's are the schema's own
	d.open = d.open[:0]
	d.hides = false
}

// leaf adds a value without members and gives its node, valid until the next addition.
func (d *Doc) leaf(key string, k Kind) *node {
	at := len(d.nodes)
	d.nodes = append(d.nodes, node{key: key, kind: k, end: int32(at + 1)})
	if n := len(d.open); n > 0 {
		d.nodes[d.open[n-1]].num++
	}
	return &d.nodes[at]
}

// begin adds a container; what is added until the matching end is in it.
func (d *Doc) begin(key string, k Kind) {
	d.leaf(key, k)
	d.open = append(d.open, int32(len(d.nodes)-1))
}

// end closes the container begun last. With dedupe the earlier ones of members of the same key are hidden.
func (d *Doc) end(dedupe bool) {
	last := len(d.open) - 1
	at := d.open[last]
	d.open = d.open[:last]
	d.nodes[at].end = int32(len(d.nodes))
	if dedupe && uint32(d.nodes[at].num) > 1 {
		d.dropDuplicates(at)
	}
}

func (d *Doc) dropDuplicates(at int32) {
	count, first, end := int(uint32(d.nodes[at].num)), at+1, d.nodes[at].end
	if count <= pairwise {
		for i := first; i < end; i = d.nodes[i].end {
			for j := d.nodes[i].end; j < end; j = d.nodes[j].end {
				if d.nodes[i].key == d.nodes[j].key {
					d.nodes[i].hidden = true
					d.nodes[at].num--
					break
				}
			}
		}
		return
	}
	if d.seen == nil {
		d.seen = make(map[string]int32, count)
	}
	for i := first; i < end; i = d.nodes[i].end {
		if before, ok := d.seen[d.nodes[i].key]; ok {
			d.nodes[before].hidden = true
			d.nodes[at].num--
		}
		d.seen[d.nodes[i].key] = i
	}
	if count > seenKept {
		d.seen = nil
	} else {
		clear(d.seen)
	}
}

// typeNumber gives the number under which t stands in types, adding it if need be.
func (d *Doc) typeNumber(t *RecordType) uint64 {
	if t == nil {
		return 0
	}
	i := slices.Index(d.types, t)
	if i < 0 {
		i = len(d.types)
		d.types = append(d.types, t)
	}
	return uint64(i+1) << 32
}

// copyOf adds what v holds, hidden nodes left out, under key. Strings are shared with v's Doc.
func (d *Doc) copyOf(key string, v Value) {
	n := v.node()
	switch n.kind {
	case Array, Object:
		d.begin(key, n.kind)
		d.nodes[len(d.nodes)-1].num = d.typeNumber(v.RecordType())
		for i := v.at + 1; i < n.end; i = v.doc.nodes[i].end {
			if c := &v.doc.nodes[i]; !c.hidden {
				d.copyOf(c.key, Value{v.doc, i})
			}
		}
		d.end(false)
	default:
		c := d.leaf(key, n.kind)
		c.num, c.str = n.num, n.str
	}
}
