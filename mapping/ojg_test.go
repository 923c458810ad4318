package mapping

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ohler55/ojg/jp"

	"streamer/schemas"
)

// ojgObject and ojgList show a Value to ojg with its order kept; scalars are shown as Go values.
type (
	ojgObject struct{ v schemas.Value }
	ojgList   struct{ v schemas.Value }
)

func ojgNode(v schemas.Value) any {
	switch v.Kind() {
	case schemas.Object:
		return ojgObject{v}
	case schemas.Array:
		return ojgList{v}
	}
	return plain(&search{most: maxVisits}, v)
}

func (o ojgObject) ValueForKey(key string) (any, bool) {
	m := o.v.Field(key)
	return ojgNode(m), m.Kind() != schemas.Absent
}
func (o ojgObject) SetValueForKey(string, any) {}
func (o ojgObject) RemoveValueForKey(string)   {}
func (o ojgObject) Keys() (keys []string) {
	for k := range o.v.Members() {
		keys = append(keys, k)
	}
	return keys
}

func (l ojgList) ValueAtIndex(i int) any   { return ojgNode(l.v.Index(i)) }
func (l ojgList) SetValueAtIndex(int, any) {}
func (l ojgList) Size() int                { return l.v.Len() }

// byOjg evaluates an expression by ojg: what Locate finds, sorted into document order.
func byOjg(expr string, doc schemas.Value) (list []string, err error) {
	x, err := jp.ParseString(expr)
	if err != nil {
		return nil, err
	}
	type hit struct {
		place []int
		v     schemas.Value
	}
	var hits []hit
	for _, loc := range x.Locate(ojgNode(doc), 0) {
		h := hit{v: doc}
		for _, f := range loc {
			switch f := f.(type) {
			case jp.Root:
			case jp.Nth:
				i := int(f)
				if i < 0 {
					i += h.v.Len()
				}
				h.place, h.v = append(h.place, i), h.v.Index(i)
			case jp.Child:
				h.place, h.v = append(h.place, slices.Index(ojgObject{h.v}.Keys(), string(f))), h.v.Field(string(f))
			default:
				return nil, fmt.Errorf("location with a %T", f)
			}
		}
		hits = append(hits, h)
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return slices.Compare(a.place, b.place) })
	for _, h := range hits {
		text, err := h.v.AppendJSON(nil)
		if err != nil {
			return nil, err
		}
		list = append(list, string(text))
	}
	return list, nil
}

// byUs evaluates it by the walk, or with straight by the chain of look-ups.
func byUs(p *Path, doc schemas.Value, straight bool) (list []string, err error) {
	q := *p
	if !straight {
		q.steps = nil
	}
	var s search
	f, err := s.find(&q, &message{row: doc, isRow: true})
	if err != nil || f.nothing() {
		return nil, err
	}
	values := f.many
	if values == nil {
		values = []schemas.Value{f.one}
	}
	for _, v := range values {
		text, err := v.AppendJSON(nil)
		if err != nil {
			return nil, err
		}
		list = append(list, string(text))
	}
	return list, nil
}

// exprMaker makes expressions that both languages write alike.
type exprMaker struct{ pick func(n int) int }

var exprNames = []string{"a", "b", "c", "d e", "é"}

func (m exprMaker) name() string { return exprNames[m.pick(len(exprNames))] }

func (m exprMaker) straight() string {
	var b strings.Builder
	b.WriteByte('$')
	for range 1 + m.pick(4) {
		switch n := m.name(); m.pick(3) {
		case 0:
			fmt.Fprintf(&b, "['%s']", n)
		case 1:
			fmt.Fprintf(&b, "[%d]", m.pick(8)-4)
		default:
			if strings.Contains(n, " ") {
				n = "a"
			}
			b.WriteString("." + n)
		}
	}
	return b.String()
}

func (m exprMaker) any() string {
	var b strings.Builder
	b.WriteByte('$')
	for range 1 + m.pick(4) {
		switch m.pick(10) {
		case 0:
			b.WriteString(".*")
		case 1:
			b.WriteString("[*]")
		case 2:
			b.WriteString(".." + exprNames[m.pick(3)])
		case 3:
			b.WriteString("..*")
		case 4:
			fmt.Fprintf(&b, "['%s','%s']", exprNames[0], exprNames[1+m.pick(3)])
		case 5:
			fmt.Fprintf(&b, "[%d:%d]", m.pick(4), m.pick(6))
		case 6:
			fmt.Fprintf(&b, "[?(@.%s %s %d)]", exprNames[m.pick(3)], []string{"==", "!=", "<", ">="}[m.pick(4)], m.pick(4))
		case 7:
			fmt.Fprintf(&b, "[?(@.%s && @ != 1)]", exprNames[m.pick(3)])
		case 8:
			fmt.Fprintf(&b, "[%d]", m.pick(6)-3)
		default:
			b.WriteString("." + exprNames[m.pick(3)])
		}
	}
	return b.String()
}

// doc makes a document out of the same names.
func (m exprMaker) doc(depth int) string {
	switch k := m.pick(8); {
	case k < 3 && depth > 0:
		var parts []string
		for i := range m.pick(4) {
			parts = append(parts, strconv.Quote(exprNames[i])+":"+m.doc(depth-1))
		}
		if m.pick(2) == 0 {
			slices.Reverse(parts)
		}
		return "{" + strings.Join(parts, ",") + "}"
	case k < 6 && depth > 0:
		var parts []string
		for range m.pick(4) {
			parts = append(parts, m.doc(depth-1))
		}
		return "[" + strings.Join(parts, ",") + "]"
	default:
		return []string{"1", "2", "0.5", "null", "true", `"x"`, `"a"`, "3"}[m.pick(8)]
	}
}

func sameAsOjg(t *testing.T, expr, text string) {
	t.Helper()
	doc := parseJSON(t, text)
	p, err := CompilePath(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	want, err := byOjg(expr, doc)
	if err != nil {
		t.Fatalf("%s: ojg: %v", expr, err)
	}
	for _, straight := range []bool{false, true} {
		got, err := byUs(p, doc, straight)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s over %s (straight %v)\nours %v %v\nojg  %v", expr, text, straight, got, err, want)
		}
	}
}

// FuzzStraight holds the chain of look-ups, our walk and ojg to the same answer.
func FuzzStraight(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		m := exprMaker{rand.New(rand.NewPCG(a, b)).IntN}
		sameAsOjg(t, m.straight(), m.doc(5))
	})
}

// FuzzWalk holds our walk to ojg's where the two languages mean the same.
func FuzzWalk(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		m := exprMaker{rand.New(rand.NewPCG(a, b)).IntN}
		expr := m.any()
		sameAsOjg(t, expr, `{"a":`+m.doc(5)+`,"b":`+m.doc(5)+`}`) // a filter over null alone makes ojg panic
	})
}

// Once, values reached on several ways by .. were compared by the way and not by their position, and came out mixed up.
func TestValuesReachedTwiceStayInOrder(t *testing.T) {
	sameAsOjg(t, "$..*..*[0]", `{"c":"a","b":{"a":[],"b":[]},"a":{"a":2,"b":[[null,[3]],{}]}}`)
}
