package mapping

import (
	"slices"
	"strings"

	"github.com/itchyny/gojq"
)

// jqWalk goes over a program's tree before it is compiled: it refuses what is not for programs, keeps the texts that stand in it, and puts
// the meter before what gojq does in one step however large the value is: .[], and indexes and slices that are no names.
type jqWalk struct {
	program *jqProgram
	refused []jqRefusal
}

type jqRefusal struct{ name, problem, mend string }

func (w *jqWalk) refuse(name, problem, mend string) {
	w.refused = append(w.refused, jqRefusal{name, problem, mend})
}

func (w *jqWalk) query(q *gojq.Query) {
	if q == nil {
		return
	}
	for _, i := range q.Imports {
		w.refuse("", "there are no modules ("+strings.TrimSpace(i.String())+")", "write the functions into the program")
	}
	if q.Meta != nil {
		w.refuse("module", "there are no modules", "leave it out")
	}
	for _, def := range q.FuncDefs {
		w.name(def.Name)
		w.query(def.Body)
	}
	w.term(q.Term)
	w.query(q.Left)
	w.query(q.Right)
	for _, p := range q.Patterns {
		w.pattern(p)
	}
}

// name refuses functions and variables that programs may not use.
func (w *jqWalk) name(name string) {
	if i := slices.Index(areaNames[:], strings.TrimPrefix(name, "$")); i >= 0 && name[0] == '$' && !slices.Contains(w.program.vars, i) {
		w.program.vars = append(w.program.vars, i)
	}
	if why, ok := jqForbidden[name]; ok {
		w.refuse(name, name+" is not for payloads", why)
	} else if strings.HasPrefix(name, "_") {
		w.refuse(name, "names that begin with _ are the machine's own", "call it something else")
	}
}

func (w *jqWalk) pattern(p *gojq.Pattern) {
	if p == nil {
		return
	}
	for _, e := range p.Array {
		w.pattern(e)
	}
	for _, o := range p.Object {
		w.text(o.KeyString)
		w.query(o.KeyQuery)
		w.pattern(o.Val)
	}
}

func (w *jqWalk) text(s *gojq.String) {
	if s == nil {
		return
	}
	w.program.constant[s.Str] = true
	for _, q := range s.Queries {
		w.query(q)
	}
}

func (w *jqWalk) index(x *gojq.Index) {
	if x != nil {
		w.text(x.Str)
		w.query(x.Start)
		w.query(x.End)
	}
}

func (w *jqWalk) term(t *gojq.Term) {
	if t == nil {
		return
	}
	w.index(t.Index)
	w.text(t.Str)
	w.query(t.Query)
	if t.Func != nil {
		w.name(t.Func.Name)
		for _, a := range t.Func.Args {
			w.query(a)
		}
	}
	if t.Object != nil {
		for _, kv := range t.Object.KeyVals {
			if strings.HasPrefix(kv.Key, "$") {
				w.name(kv.Key)
			}
			w.text(kv.KeyString)
			w.query(kv.KeyQuery)
			w.query(kv.Val)
		}
	}
	if t.Array != nil {
		w.query(t.Array.Query)
	}
	if t.Unary != nil {
		w.term(t.Unary.Term)
	}
	w.control(t)
	for _, s := range t.SuffixList {
		w.index(s.Index)
	}
	meter(t)
}

func (w *jqWalk) control(t *gojq.Term) {
	if i := t.If; i != nil {
		w.query(i.Cond)
		w.query(i.Then)
		for _, e := range i.Elif {
			w.query(e.Cond)
			w.query(e.Then)
		}
		w.query(i.Else)
	}
	if t.Try != nil {
		w.query(t.Try.Body)
		w.query(t.Try.Catch)
	}
	if r := t.Reduce; r != nil {
		w.query(r.Query)
		w.query(r.Start)
		w.query(r.Update)
		for _, p := range r.Patterns {
			w.pattern(p)
		}
	}
	if f := t.Foreach; f != nil {
		w.query(f.Query)
		w.query(f.Start)
		w.query(f.Update)
		w.query(f.Extract)
		for _, p := range f.Patterns {
			w.pattern(p)
		}
	}
	if t.Label != nil {
		w.query(t.Label.Body)
	}
}

// meter turns .a[] into (.a | _each)[], and the same for indexes and slices. What passes through is the same value, so paths stay paths.
func meter(t *gojq.Term) {
	if x := t.Index; t.Type == gojq.TermTypeIndex && metered(x) {
		t.SuffixList = append([]*gojq.Suffix{{Index: x}}, t.SuffixList...)
		t.Type, t.Index = gojq.TermTypeIdentity, nil
	}
	for i := len(t.SuffixList) - 1; i >= 0; i-- {
		name := ""
		switch s := t.SuffixList[i]; {
		case s.Iter:
			name = "_each"
		case metered(s.Index):
			name = "_look"
		default:
			continue
		}
		head := *t
		head.SuffixList = t.SuffixList[:i:i]
		rest := t.SuffixList[i:]
		meter(&head)
		call := &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name}}
		*t = gojq.Term{Type: gojq.TermTypeQuery, SuffixList: rest, Query: &gojq.Query{
			Left: &gojq.Query{Term: &head}, Op: gojq.OpPipe, Right: &gojq.Query{Term: call},
		}}
		return
	}
}

func metered(x *gojq.Index) bool {
	return x != nil && x.Name == "" && (x.Str == nil || x.Str.Queries != nil)
}
