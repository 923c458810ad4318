package schemas

import "encoding/base64"

// Equal compares by JSON value: numbers by the exact value their text denotes (1, 1.0 and 1e0 are equal), objects whatever their key
// order, Bytes as their base64 text, hidden members left out. Absent equals only Absent; NaN equals nothing.
func (v Value) Equal(o Value) bool {
	a, b := v.node(), o.node()
	switch {
	case isNumber(a.kind) && isNumber(b.kind):
		return equalNumbers(a, b)
	case a.kind == Bytes && b.kind == String:
		return base64.StdEncoding.EncodeToString(raw(a.str)) == b.str
	case a.kind == String && b.kind == Bytes:
		return a.str == base64.StdEncoding.EncodeToString(raw(b.str))
	case a.kind != b.kind:
		return false
	}
	switch a.kind {
	case Bool:
		return a.num == b.num
	case String, Bytes:
		return a.str == b.str
	case Array:
		return v.equalElements(o)
	case Object:
		return v.equalMembers(o)
	}
	return true
}

func isNumber(k Kind) bool { return k == Int || k == Float32 || k == Float64 || k == Number }

func (v Value) equalElements(o Value) bool {
	i, iEnd := v.first()
	j, jEnd := o.first()
	for i < iEnd && j < jEnd {
		if !(Value{v.doc, i}).Equal(Value{o.doc, j}) {
			return false
		}
		i, j = v.next(i, iEnd), o.next(j, jEnd)
	}
	return i >= iEnd && j >= jEnd
}

// equalMembers takes members in step as long as their keys agree, which they nearly always do, and looks the others up.
func (v Value) equalMembers(o Value) bool {
	size := v.Len()
	if size != o.Len() {
		return false
	}
	var byKey map[string]Value
	j, jEnd := o.first()
	i, iEnd := v.first()
	for i < iEnd {
		key := v.doc.nodes[i].key
		var other Value
		switch {
		case j < jEnd && o.doc.nodes[j].key == key:
			other = Value{o.doc, j}
		case size <= pairwise:
			other = o.Field(key)
		default:
			if byKey == nil {
				byKey = make(map[string]Value, size)
				for k, m := range o.Members() {
					byKey[k] = m
				}
			}
			other = byKey[key]
		}
		if other.doc == nil || !(Value{v.doc, i}).Equal(other) {
			return false
		}
		i = v.next(i, iEnd)
		if j < jEnd {
			j = o.next(j, jEnd)
		}
	}
	return true
}

// first gives the first visible child of a container and the end of its children.
func (v Value) first() (at, end int32) {
	end = v.node().end
	return v.visible(v.at+1, end), end
}

// next gives the visible child after the one at i.
func (v Value) next(i, end int32) int32 { return v.visible(v.doc.nodes[i].end, end) }

func (v Value) visible(i, end int32) int32 {
	for i < end && v.doc.nodes[i].hidden {
		i = v.doc.nodes[i].end
	}
	return i
}
