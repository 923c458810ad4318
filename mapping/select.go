package mapping

import "streamer/schemas"

func (s *search) selectors(g *segment, m match, to []match, ordered bool) []match {
	for i := range g.selectors {
		if !s.visit() {
			return to
		}
		to = s.selector(&g.selectors[i], m, to, ordered)
	}
	return to
}

func (s *search) selector(sel *selector, m match, to []match, ordered bool) []match {
	switch sel.kind {
	case selectName:
		return s.name(sel.name, m, to, ordered)
	case selectIndex:
		return s.index(sel.from, m, to, ordered)
	case selectSlice:
		return s.slice(sel, m, to, ordered)
	}
	n := 0
	s.children(m, func(_ string, v schemas.Value) bool {
		if sel.kind == selectAll || sel.filter.holds(s, v) {
			to = append(to, s.child(m, v, n, ordered))
		}
		n++
		return s.visit()
	})
	return to
}

func (s *search) name(name string, m match, to []match, ordered bool) []match {
	if !ordered {
		v := m.v
		if m.top {
			v = s.msg.member(name)
		} else {
			v = v.Field(name)
		}
		if v.Kind() != schemas.Absent {
			to = append(to, match{v: v, place: -1})
		}
		return to
	}
	if s.kind(m) != schemas.Object {
		return to
	}
	n := 0
	s.children(m, func(key string, v schemas.Value) bool {
		if key == name {
			to = append(to, s.child(m, v, n, ordered))
			return false
		}
		n++
		return s.visit()
	})
	return to
}

func (s *search) index(i int, m match, to []match, ordered bool) []match {
	list := m.v
	if m.top && s.msg.isRow {
		list = s.msg.row
	}
	if list.Kind() != schemas.Array {
		return to
	}
	if i < 0 {
		i += list.Len()
	}
	if i < 0 {
		return to
	}
	if v := list.Index(i); v.Kind() != schemas.Absent {
		to = append(to, s.child(m, v, i, ordered))
	}
	return to
}

// slice selects as RFC 9535, section 2.3.4, says.
func (s *search) slice(sel *selector, m match, to []match, ordered bool) []match {
	list := m.v
	if m.top && s.msg.isRow {
		list = s.msg.row
	}
	if list.Kind() != schemas.Array {
		return to
	}
	size := list.Len()
	low, high := sel.bounds(size)
	if low >= high {
		return to
	}
	step, first := sel.step, low
	if step < 0 {
		// From high-1 down: the same elements upwards start at what is left of the distance.
		step = -step
		first = (high - 1) - (high-1-low)/step*step
	}
	n := 0
	for v := range list.Elements() {
		if n >= high || !s.visit() {
			break
		}
		if n >= first && (n-first)%step == 0 {
			to = append(to, s.child(m, v, n, ordered))
		}
		n++
	}
	return to
}

// bounds gives the half-open range of indexes that a slice takes of a list.
func (sel *selector) bounds(size int) (low, high int) {
	normal := func(i int) int {
		if i < 0 {
			return i + size
		}
		return i
	}
	if sel.step > 0 {
		low, high = 0, size
		if sel.hasFrom {
			low = max(0, min(size, normal(sel.from)))
		}
		if sel.hasTo {
			high = max(0, min(size, normal(sel.to)))
		}
		return low, high
	}
	upper, lower := size-1, -1
	if sel.hasFrom {
		upper = max(-1, min(size-1, normal(sel.from)))
	}
	if sel.hasTo {
		lower = max(-1, min(size-1, normal(sel.to)))
	}
	return lower + 1, upper + 1
}
