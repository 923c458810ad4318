package mapping

import (
	"fmt"
	"strings"

	"streamer/schemas"
)

// maxURL bounds a URL; servers take 8 KiB.
const maxURL = 64 << 10

func (m *Mapper) url() (string, error) {
	t, err := choose(m, m.at.url)
	if err != nil {
		return "", err
	}
	if t.isFixed && len(m.at.query) == 0 {
		return t.fixed, nil
	}
	hasQuery := t.fixedQuery
	if t.isFixed {
		m.buf = append(m.buf[:0], t.fixed...)
	} else {
		m.buf = append(m.buf[:0], t.origin...)
		if err := m.path(t); err != nil {
			return "", err
		}
		for i := range t.query {
			if err := m.param(&t.query[i], &hasQuery); err != nil {
				return "", err
			}
		}
	}
	for i := range m.at.query {
		if err := m.queryKey(&m.at.query[i], &hasQuery); err != nil {
			return "", err
		}
	}
	if t.hasFrag {
		if err := m.fragment(t); err != nil {
			return "", err
		}
	}
	if len(m.buf) > maxURL {
		return "", &Error{m.at.place("url"), "", fmt.Sprintf("comes to %d bytes; at most %d are allowed", len(m.buf), maxURL)}
	}
	return string(m.buf), nil
}

// path renders the path. What a row adds is one or more segments, never a step up: see climbs.
func (m *Mapper) path(t *urlTemplate) error {
	start := len(m.buf)
	suspect := -1
	for _, p := range t.path {
		if p.slot < 0 {
			m.buf = append(m.buf, p.text...)
			continue
		}
		f, err := m.value(p.slot)
		if err != nil {
			return err
		}
		s := &m.prog.slots[p.slot]
		if k := f.one.Kind(); f.many != nil || !given(f.one) || k == schemas.Array || k == schemas.Object {
			return s.error("found " + f.kind() + ", which the path of a URL cannot hold")
		}
		if m.text, err = f.one.AppendText(m.text[:0]); err != nil {
			return s.error(problemOf(err))
		}
		switch string(m.text) {
		case "":
			return s.error("found an empty text, which the path of a URL cannot hold")
		case ".", "..":
			return s.error("found a text that is a step in a path (. or ..), which the path of a URL cannot hold")
		}
		if suspect < 0 && strings.ContainsAny(view(m.text), `.%/\;`) {
			suspect = p.slot
		}
		if len(m.text) > maxURL {
			return s.error(fmt.Sprintf("found a text of %d bytes; a URL holds at most %d", len(m.text), maxURL))
		}
		if p.raw {
			m.buf = appendReserved(m.buf, m.text, inPath)
		} else {
			m.buf = appendEscaped(m.buf, m.text)
		}
	}
	if suspect >= 0 {
		var up bool
		if up, m.check = climbs(m.buf[start:], m.check); up {
			return m.prog.slots[suspect].error("found a text with a segment . or .. in it, encoded perhaps, which the path of a URL cannot hold")
		}
	}
	return nil
}

// param renders one parameter of the template's query.
func (m *Mapper) param(q *queryParam, hasQuery *bool) error {
	var list *found
	for _, slot := range q.slots {
		f, err := m.value(slot)
		if err != nil {
			return err
		}
		if f.many == nil && !given(f.one) {
			return nil
		}
		if f.many != nil || f.one.Kind() == schemas.Array {
			if len(q.slots) > 1 {
				return m.prog.slots[slot].error("found a list, which a query parameter with other placeholders cannot hold")
			}
			list = f
		}
	}
	if list == nil {
		return m.paramOnce(q, schemas.Value{}, hasQuery)
	}
	return eachElement(list, func(v schemas.Value) error { return m.paramOnce(q, v, hasQuery) })
}

// eachElement walks the elements of a list, or several values found; null is left out.
func eachElement(f *found, do func(v schemas.Value) error) error {
	for _, v := range f.many {
		if given(v) {
			if err := do(v); err != nil {
				return err
			}
		}
	}
	if f.many != nil {
		return nil
	}
	for v := range f.one.Elements() {
		if given(v) {
			if err := do(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// paramOnce renders q with element, or if that is Absent with the values found, in its place.
func (m *Mapper) paramOnce(q *queryParam, element schemas.Value, hasQuery *bool) error {
	m.separate(hasQuery)
	for _, p := range q.parts {
		if p.slot < 0 {
			m.buf = append(m.buf, p.text...)
			continue
		}
		v := element
		if v.Kind() == schemas.Absent {
			v = m.results[p.slot].one
		}
		if err := m.encoded(v, p, inQuery); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mapper) separate(hasQuery *bool) {
	if *hasQuery {
		m.buf = append(m.buf, '&')
	} else {
		m.buf = append(m.buf, '?')
	}
	*hasQuery = true
}

// encoded appends a value's text, encoded for where it stands.
func (m *Mapper) encoded(v schemas.Value, p part, where urlPart) (err error) {
	s := &m.prog.slots[p.slot]
	if m.text, err = v.AppendText(m.text[:0]); err != nil {
		return s.error(problemOf(err))
	}
	if len(m.text)+len(m.buf) > maxURL {
		return s.error(fmt.Sprintf("makes the URL longer than %d bytes", maxURL))
	}
	if p.raw {
		m.buf = appendReserved(m.buf, m.text, where)
	} else {
		m.buf = appendEscaped(m.buf, m.text)
	}
	return nil
}

// queryKey renders one of query_params: nothing for nothing and null, a list repeats the key.
func (m *Mapper) queryKey(q *queryKey, hasQuery *bool) error {
	f, err := m.value(q.slot)
	if err != nil || f.many == nil && !given(f.one) {
		return err
	}
	one := func(v schemas.Value) error {
		m.separate(hasQuery)
		m.buf = append(m.buf, q.name...)
		return m.encoded(v, part{slot: q.slot}, inQuery)
	}
	if f.many != nil || f.one.Kind() == schemas.Array {
		return eachElement(f, one)
	}
	return one(f.one)
}

func (m *Mapper) fragment(t *urlTemplate) error {
	m.buf = append(m.buf, '#')
	for _, p := range t.fragment {
		if p.slot < 0 {
			m.buf = append(m.buf, p.text...)
			continue
		}
		f, err := m.value(p.slot)
		if err != nil {
			return err
		}
		if f.many != nil {
			return m.prog.slots[p.slot].error("found several values, which the fragment of a URL cannot hold")
		}
		if given(f.one) {
			if err := m.encoded(f.one, p, inFragment); err != nil {
				return err
			}
		}
	}
	return nil
}
