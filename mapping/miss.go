package mapping

import "slices"

// Miss says why a route makes no part of a row.
type Miss struct {
	// Route is its index in Program.Routes; -1: all of them.
	Route int
	// Why names expressions and kinds of values, never what a row holds.
	Why string
}

// Explain makes Map note why routes make no part of a row. That costs time and memory, so it is for dry runs.
func (m *Mapper) Explain() { m.explain = true }

// Misses are those of the row that was mapped last, in the order of the routes.
func (m *Mapper) Misses() []Miss { return slices.Clone(m.misses) }

func (m *Mapper) miss(route int, why string) {
	if m.explain {
		m.misses = append(m.misses, Miss{route, why})
	}
}

// missed notes that the condition of a route does not hold.
func (m *Mapper) missed(i int) {
	if !m.explain {
		return
	}
	s := &m.prog.slots[m.prog.routes[i].when]
	if s.path == nil { // a constant
		m.miss(i, "when ("+s.text+") finds "+refused(&s.fixed)+" in every row")
		return
	}
	f, err := m.search.find(s.path, &m.msg)
	if err != nil {
		return // the condition was found out without one
	}
	why := "when (" + s.path.text + ") finds " + refused(&f)
	switch {
	case s.values == nil || f.nothing():
	case f.many != nil:
		why += ", none of which is among its values"
	default:
		why += ", which is none of its values"
	}
	m.miss(i, why)
}

func refused(f *found) string {
	if b, isBool := f.one.Bool(); isBool && !b {
		return "false"
	}
	return f.kind()
}
