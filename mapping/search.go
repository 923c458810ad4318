package mapping

import (
	"cmp"
	"errors"
	"slices"

	"streamer/schemas"
)

// Bounds on what one expression may do with one row: far above honest use, low enough that a hostile row or a clumsy expression
// ($..*..*) ends as a payload error and not as an outage.
const (
	maxVisits = 2_000_000
	maxFound  = 1_000_000
)

var (
	errVisits = errors.New("looks at more than 2,000,000 values of the row")
	errFound  = errors.New("finds more than 1,000,000 values")
)

// message is what an absolute path starts at: the parts of the message, or with isRow a row alone.
type message struct {
	parts [len(areaNames)]schemas.Value
	row   schemas.Value
	isRow bool
}

// member gives $.name.
func (m *message) member(name string) schemas.Value {
	if m.isRow {
		return m.row.Field(name)
	}
	for i, n := range areaNames {
		if n == name {
			return m.parts[i]
		}
	}
	return schemas.Value{}
}

// found is what an expression found: nothing (the zero found), one value, or with many several, in document order.
type found struct {
	one  schemas.Value
	many []schemas.Value
}

func (f *found) nothing() bool { return f.many == nil && f.one.Kind() == schemas.Absent }

// match is one value found. top marks the message itself, which is no value of any Doc. place is its entry in search.places, used only
// where the order must be made.
type match struct {
	v     schemas.Value
	top   bool
	place int32
}

// place says where a value stands: the n-th child of the value at parent.
type place struct {
	parent, n, depth int32
}

// search evaluates expressions. It holds scratch memory and belongs to one goroutine; the zero search is ready.
type search struct {
	msg *message
	// visits counts looks at values, most bounds them; 0 is maxVisits.
	visits, most int
	places       []place
	// lists are the scratch lists in use, from the outermost evaluation inwards.
	lists [][]match
	used  int
	err   error
	// values holds what was found more than one at a time.
	values []schemas.Value
}

// find evaluates p over m. What it gives is valid until the next reset.
func (s *search) find(p *Path, m *message) (found, error) {
	if p.steps != nil {
		return found{one: p.start(m)}, nil
	}
	s.msg, s.visits, s.used, s.err, s.places = m, 0, 0, nil, s.places[:0]
	if s.most == 0 {
		s.most = maxVisits
	}
	out := s.expression(p.expr, match{top: true, place: -1}, p.ordered)
	switch {
	case s.err != nil:
		return found{}, s.err
	case len(out) == 0:
		return found{}, nil
	case len(out) == 1:
		return found{one: s.value(out[0])}, nil
	}
	from := len(s.values)
	for _, m := range out {
		s.values = append(s.values, s.value(m))
	}
	return found{many: s.values[from:len(s.values):len(s.values)]}, nil
}

// reset ends the life of everything found, and keeps memory of a usual size.
func (s *search) reset() {
	const kept = 1 << 16
	if cap(s.values) > kept {
		s.values = nil
	}
	if cap(s.places) > kept {
		s.places = nil
	}
	s.values = s.values[:0]
}

// start follows a straight path.
func (p *Path) start(m *message) schemas.Value {
	if m.isRow {
		return follow(m.row, p.steps)
	}
	for i := range m.parts {
		if p.root == 1<<i {
			return follow(m.parts[i], p.steps[1:])
		}
	}
	return schemas.Value{}
}

// value gives a match as a value; the message itself has to be put together.
func (s *search) value(m match) schemas.Value {
	if !m.top {
		return m.v
	}
	if s.msg.isRow {
		return s.msg.row
	}
	b := schemas.NewBuilder()
	b.BeginObject()
	for i, name := range areaNames {
		if v := s.msg.parts[i]; v.Kind() != schemas.Absent {
			b.Key(name)
			b.Copy(v)
		}
	}
	b.End()
	return b.Value()
}

// take gives an empty scratch list; keep puts it back, grown, for the next evaluation. Bringing used back ends its use.
func (s *search) take() []match {
	if s.used == len(s.lists) {
		s.lists = append(s.lists, nil)
	}
	s.used++
	return s.lists[s.used-1][:0]
}

func (s *search) keep(slot int, list []match) {
	if cap(list) <= 1<<16 {
		s.lists[slot] = list
	}
}

// single gives a list of one value.
func (s *search) single(v schemas.Value) []match {
	slot := s.used
	list := append(s.take(), match{v: v, place: -1})
	s.keep(slot, list)
	return list
}

// expression evaluates e, paths that are not absolute from the match given; what it gives is valid until the scratch lists are used again.
func (s *search) expression(e expr, from match, ordered bool) []match {
	switch e := e.(type) {
	case *query:
		return s.query(e, from, ordered)
	case *literal:
		return s.single(e.v)
	case *operation:
		return s.operation(e, from)
	}
	return nil
}

// query walks q from the message or, in a filter, from the candidate.
func (s *search) query(q *query, from match, ordered bool) []match {
	if q.absolute {
		from = match{top: true, place: -1}
	}
	slot := s.used
	here, next := s.take(), s.take()
	here = append(here, from)
	for i := range q.segments {
		next = s.segment(&q.segments[i], here, next[:0], ordered)
		here, next = next, here
		if len(here) == 0 || s.err != nil {
			break
		}
	}
	s.keep(slot, here)
	s.keep(slot+1, next)
	if ordered && len(here) > 1 {
		slices.SortStableFunc(here, s.compare)
	}
	return here
}

// compare puts places in document order: a value before what is in it, siblings by position.
func (s *search) compare(a, b match) int {
	x, y := a.place, b.place
	for s.depth(x) > s.depth(y) {
		x = s.places[x].parent
	}
	for s.depth(y) > s.depth(x) {
		y = s.places[y].parent
	}
	if c := s.compareLevel(x, y); c != 0 {
		return c
	}
	return cmp.Compare(s.depth(a.place), s.depth(b.place))
}

// compareLevel compares two places of one depth. A value reached on two ways has two places, so it is positions that count.
func (s *search) compareLevel(x, y int32) int {
	if x == y {
		return 0
	}
	if c := s.compareLevel(s.places[x].parent, s.places[y].parent); c != 0 {
		return c
	}
	return cmp.Compare(s.places[x].n, s.places[y].n)
}

func (s *search) depth(place int32) int32 {
	if place < 0 {
		return 0
	}
	return s.places[place].depth
}

// child makes the match for the n-th child of m.
func (s *search) child(m match, v schemas.Value, n int, ordered bool) match {
	c := match{v: v, place: -1}
	if ordered {
		c.place = int32(len(s.places))
		s.places = append(s.places, place{m.place, int32(n), s.depth(m.place) + 1})
	}
	return c
}

// visit counts one look at a value; false ends the search.
func (s *search) visit() bool {
	if s.visits++; s.visits > s.most && s.err == nil {
		s.err = errVisits
	}
	return s.err == nil
}

func (s *search) segment(g *segment, from, to []match, ordered bool) []match {
	for _, m := range from {
		if s.err != nil {
			return to
		}
		switch {
		case g.op != nil:
			if v, ok := g.op.apply(s.value(m)); ok {
				to = append(to, match{v: v, place: m.place})
			}
		case g.descend:
			to = s.descend(g, m, to, ordered)
		default:
			to = s.selectors(g, m, to, ordered)
		}
		if len(to) > maxFound && s.err == nil {
			s.err = errFound
		}
	}
	return to
}

// descend applies the selectors to m and to everything in it.
func (s *search) descend(g *segment, m match, to []match, ordered bool) []match {
	if !s.visit() {
		return to
	}
	to = s.selectors(g, m, to, ordered)
	n := 0
	s.children(m, func(_ string, v schemas.Value) bool {
		if k := v.Kind(); k == schemas.Object || k == schemas.Array {
			to = s.descend(g, s.child(m, v, n, ordered), to, ordered)
		}
		n++
		if len(to) > maxFound && s.err == nil {
			s.err = errFound
		}
		return s.visit()
	})
	return to
}

// children walks the members or elements of m.
func (s *search) children(m match, yield func(string, schemas.Value) bool) {
	v := m.v
	if m.top {
		if !s.msg.isRow {
			for i, name := range areaNames {
				if p := s.msg.parts[i]; p.Kind() != schemas.Absent && !yield(name, p) {
					return
				}
			}
			return
		}
		v = s.msg.row
	}
	if v.Kind() == schemas.Object {
		v.Members()(yield)
		return
	}
	for e := range v.Elements() {
		if !yield("", e) {
			return
		}
	}
}

func (s *search) kind(m match) schemas.Kind {
	switch {
	case !m.top:
		return m.v.Kind()
	case s.msg.isRow:
		return s.msg.row.Kind()
	default:
		return schemas.Object
	}
}
