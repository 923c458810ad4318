package mapping

import (
	"slices"

	"github.com/itchyny/gojq"
)

// reach says what of a value programs may look at: all of it, or some of its members, or something of each of its elements. What they
// cannot look at is not converted, which is most of what a large row costs.
type reach struct {
	whole bool
	kids  map[string]*reach
	each  *reach
}

var wholeReach = &reach{whole: true}

// member gives what is looked at of a member; nil for nothing.
func (r *reach) member(name string) *reach {
	if r.whole || r.each != nil {
		return wholeReach
	}
	return r.kids[name]
}

// element gives what is looked at of the elements of a list; nil for nothing.
func (r *reach) element() *reach {
	if r.whole {
		return wholeReach
	}
	return r.each
}

func (r *reach) elements() *reach {
	if r.each == nil {
		r.each = &reach{}
	}
	return r.each
}

// reads are the parts of the message that r, of the message, looks at by name.
func (r *reach) reads() (a area) {
	for name := range r.kids {
		a |= areaOf(name)
	}
	return a
}

// names are the members looked at by name, in order.
func (r *reach) names() []string {
	var out []string
	for name := range r.kids {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (r *reach) child(name string) *reach {
	if r.kids == nil {
		r.kids = map[string]*reach{}
	}
	if r.kids[name] == nil {
		r.kids[name] = &reach{}
	}
	return r.kids[name]
}

// add makes r reach what other does too.
func (r *reach) add(other *reach) {
	r.whole = r.whole || other.whole
	for name, kid := range other.kids {
		r.child(name).add(kid)
	}
	if other.each != nil {
		r.elements().add(other.each)
	}
}

// reacher follows a program from the message on, by name and by []: what it cannot follow any further (a place in a list, an argument,
// the result) is reached whole. A value that was computed is none of the message's, so nil stands for it.
type reacher struct {
	root *reach
	vars []boundVar
	// defined are the functions that the program defines itself.
	defined map[string]bool
}

// boundVar is a variable, and what of the message it may be; part marks those that every program has.
type boundVar struct {
	name string
	to   []*reach
	part bool
}

func reachOf(q *gojq.Query) *reach {
	w := &reacher{root: &reach{}, defined: map[string]bool{}}
	for _, name := range areaNames {
		w.vars = append(w.vars, boundVar{name: "$" + name, part: true})
	}
	whole(w.query(q, []*reach{w.root}))
	return w.root
}

func whole(list []*reach) []*reach {
	for _, r := range list {
		r.whole = true
	}
	return nil
}

func elements(list []*reach) []*reach {
	var out []*reach
	for _, r := range list {
		out = append(out, r.elements())
	}
	return out
}

// both is a list of its own, each once: programs could double it with every comma.
func both(a, b []*reach) []*reach {
	out := slices.Clone(a)
	for _, r := range b {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// query gives the parts of the message that q's values may be.
func (w *reacher) query(q *gojq.Query, in []*reach) []*reach {
	if q == nil {
		return nil
	}
	bound := len(w.vars)
	defer func() { w.vars = w.vars[:bound] }()
	for _, def := range q.FuncDefs {
		w.definition(def)
	}
	if q.Term != nil {
		return w.term(q.Term, in)
	}
	switch {
	case q.Op == gojq.OpPipe && len(q.Patterns) > 0:
		w.bind(q.Patterns, w.query(q.Left, in), in)
		return w.query(q.Right, in)
	case q.Op == gojq.OpPipe:
		return w.query(q.Right, w.query(q.Left, in))
	case q.Op == gojq.OpComma, q.Op == gojq.OpAlt:
		return both(w.query(q.Left, in), w.query(q.Right, in))
	case q.Op >= gojq.OpAssign:
		whole(in)
	}
	whole(w.query(q.Left, in))
	return whole(w.query(q.Right, in))
}

// definition looks at a function's body. Its input and its arguments are reached whole where it is called.
func (w *reacher) definition(def *gojq.FuncDef) {
	bound := len(w.vars)
	w.defined[def.Name] = true
	for _, arg := range def.Args {
		w.defined[arg] = true
		w.vars = append(w.vars, boundVar{name: arg})
	}
	whole(w.query(def.Body, nil))
	w.vars = w.vars[:bound]
}

// bind gives the variables of patterns what from may be.
func (w *reacher) bind(patterns []*gojq.Pattern, from, in []*reach) {
	if len(patterns) == 1 && patterns[0].Name != "" {
		w.vars = append(w.vars, boundVar{name: patterns[0].Name, to: from})
		return
	}
	whole(from)
	for _, p := range patterns {
		w.pattern(p, in)
	}
}

func (w *reacher) pattern(p *gojq.Pattern, in []*reach) {
	if p == nil {
		return
	}
	if p.Name != "" {
		w.vars = append(w.vars, boundVar{name: p.Name})
	}
	for _, e := range p.Array {
		w.pattern(e, in)
	}
	for _, o := range p.Object {
		if o.Key != "" {
			w.vars = append(w.vars, boundVar{name: o.Key})
		}
		w.text(o.KeyString, in)
		whole(w.query(o.KeyQuery, in))
		w.pattern(o.Val, in)
	}
}

func (w *reacher) text(s *gojq.String, in []*reach) {
	if s != nil {
		for _, q := range s.Queries {
			whole(w.query(q, in))
		}
	}
}

// variable gives what $name may be. The parts of the message are variables too.
func (w *reacher) variable(name string) []*reach {
	for i := len(w.vars) - 1; i >= 0; i-- {
		if v := w.vars[i]; v.name == name {
			if v.part {
				return []*reach{w.root.child(name[1:])}
			}
			return v.to
		}
	}
	return nil
}

func (w *reacher) term(t *gojq.Term, in []*reach) []*reach {
	out := w.head(t, in)
	for _, s := range t.SuffixList {
		switch {
		case s.Index != nil:
			out = w.index(s.Index, out, in)
		case s.Iter:
			out = elements(out)
		}
	}
	return out
}

func (w *reacher) index(x *gojq.Index, from, in []*reach) []*reach {
	name := x.Name
	if x.Str != nil && x.Str.Queries == nil {
		name = x.Str.Str
	} else if x.Str != nil || x.Name == "" {
		w.text(x.Str, in)
		whole(w.query(x.Start, in))
		whole(w.query(x.End, in))
		return whole(from)
	}
	var out []*reach
	for _, r := range from {
		out = append(out, r.child(name))
	}
	return out
}

// head is a term without its suffixes.
func (w *reacher) head(t *gojq.Term, in []*reach) []*reach {
	switch t.Type {
	case gojq.TermTypeIdentity:
		return in
	case gojq.TermTypeIndex:
		return w.index(t.Index, in, in)
	case gojq.TermTypeQuery:
		return w.query(t.Query, in)
	case gojq.TermTypeFunc:
		return w.call(t.Func, in)
	case gojq.TermTypeObject:
		w.object(t.Object, in)
	case gojq.TermTypeArray:
		whole(w.query(t.Array.Query, in))
	case gojq.TermTypeUnary:
		whole(w.term(t.Unary.Term, in))
	case gojq.TermTypeString:
		w.text(t.Str, in)
	case gojq.TermTypeFormat:
		if t.Str == nil {
			whole(in)
		}
		w.text(t.Str, in)
	case gojq.TermTypeIf:
		return w.branches(t.If, in)
	case gojq.TermTypeTry:
		whole(w.query(t.Try.Catch, nil))
		return w.query(t.Try.Body, in)
	case gojq.TermTypeReduce, gojq.TermTypeForeach:
		return w.loop(t, in)
	case gojq.TermTypeLabel:
		return w.query(t.Label.Body, in)
	case gojq.TermTypeNull, gojq.TermTypeTrue, gojq.TermTypeFalse, gojq.TermTypeNumber, gojq.TermTypeBreak:
	default:
		whole(in)
	}
	return nil
}

func (w *reacher) call(f *gojq.Func, in []*reach) []*reach {
	if f.Name[0] == '$' {
		return w.variable(f.Name)
	}
	switch {
	case f.Name == "empty" && !w.defined["empty"]:
		return nil
	case f.Name == "select" && len(f.Args) == 1 && !w.defined["select"]:
		whole(w.query(f.Args[0], in))
		return in
	case f.Name == "map" && len(f.Args) == 1 && !w.defined["map"]:
		return whole(w.query(f.Args[0], elements(in)))
	}
	if f.Name != "error" || len(f.Args) == 0 {
		whole(in)
	}
	for _, a := range f.Args {
		whole(w.query(a, in))
	}
	return nil
}

func (w *reacher) object(o *gojq.Object, in []*reach) {
	for _, kv := range o.KeyVals {
		w.text(kv.KeyString, in)
		whole(w.query(kv.KeyQuery, in))
		if kv.Val != nil {
			whole(w.query(kv.Val, in))
			continue
		}
		switch { // {name}, {$name}, {"name"}
		case kv.Key != "" && kv.Key[0] == '$':
			whole(w.variable(kv.Key))
		case kv.Key != "":
			whole(w.index(&gojq.Index{Name: kv.Key}, in, in))
		default:
			whole(w.index(&gojq.Index{Str: kv.KeyString}, in, in))
		}
	}
}

func (w *reacher) branches(i *gojq.If, in []*reach) []*reach {
	whole(w.query(i.Cond, in))
	out := w.query(i.Then, in)
	for _, e := range i.Elif {
		whole(w.query(e.Cond, in))
		out = both(out, w.query(e.Then, in))
	}
	if i.Else == nil {
		return both(out, in)
	}
	return both(out, w.query(i.Else, in))
}

func (w *reacher) loop(t *gojq.Term, in []*reach) []*reach {
	bound := len(w.vars)
	defer func() { w.vars = w.vars[:bound] }()
	if r := t.Reduce; r != nil {
		whole(w.query(r.Start, in))
		w.bind(r.Patterns, whole(w.query(r.Query, in)), in)
		return whole(w.query(r.Update, nil))
	}
	f := t.Foreach
	whole(w.query(f.Start, in))
	w.bind(f.Patterns, whole(w.query(f.Query, in)), in)
	whole(w.query(f.Update, nil))
	return whole(w.query(f.Extract, nil))
}
