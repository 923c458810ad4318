package mapping

import (
	"encoding/json"
	"slices"
	"strconv"

	"streamer/schemas"
)

// jqState is what a Mapper keeps for its programs: a machine for each, and the message as they see it, as far as any of them reads it. It
// is converted once for a row. What a program gives is written before the next row comes, so its objects are used again.
type jqState struct {
	machines map[*jqProgram]*jqMachine
	ready    bool
	top      map[string]any
	vars     [len(areaNames)]any
	// constant is the same in every row.
	constant any
	objects  []map[string]any
	used     int
	// elements is what lists are cut from.
	elements []any
}

// jqAppend runs p on the row m is at and appends what it gives as JSON: one output as it is, several as a list; false for none.
func (m *Mapper) jqAppend(p *jqProgram) (bool, error) {
	machine := m.jq.machines[p]
	if machine == nil {
		var err error
		if machine, err = p.machine(); err != nil {
			return false, err
		}
		if m.jq.machines == nil {
			m.jq.machines = map[*jqProgram]*jqMachine{}
		}
		m.jq.machines[p] = machine
	}
	if !m.jq.ready {
		m.jq.convert(&m.msg, &m.prog.jqReads)
	}
	var some bool
	var err error
	m.buf, some, err = machine.run(m.buf, m.jq.top, &m.jq.vars)
	return some, err
}

func (c *jqState) convert(msg *message, reads *reach) {
	const kept = 1 << 12
	if c.used = 0; cap(c.elements) > kept {
		c.elements = nil
	}
	clear(c.elements)
	c.elements = c.elements[:0]
	if c.top == nil {
		c.top = make(map[string]any, len(areaNames))
	}
	clear(c.top)
	for i, name := range areaNames {
		c.vars[i] = nil
		r := reads.member(name)
		v := msg.parts[i]
		if r == nil || v.Kind() == schemas.Absent {
			continue
		}
		if 1<<i == areaConstant {
			if c.constant == nil {
				c.constant = (&jqState{}).value(v, wholeReach)
			}
			c.vars[i] = c.constant
		} else {
			c.vars[i] = c.value(v, r)
		}
		c.top[name] = c.vars[i]
	}
	c.ready = true
}

// value converts what r reaches of v. Texts are v's own, so the result lives no longer than v does.
func (c *jqState) value(v schemas.Value, r *reach) any {
	switch v.Kind() {
	case schemas.Absent, schemas.Null:
		return nil
	case schemas.Bool:
		b, _ := v.Bool()
		return b
	case schemas.String:
		s, _ := v.Str()
		return s
	case schemas.Bytes:
		s, _ := textOf(v)
		return s
	case schemas.Object:
		m := c.object(v.Len())
		for name, e := range v.Members() {
			if kid := r.member(name); kid != nil {
				m[name] = c.value(e, kid)
			}
		}
		return m
	case schemas.Array:
		kid := r.element()
		if kid == nil {
			return []any{} // it is only asked for members, which no list has
		}
		// Lists within come behind it, so its place is taken first.
		from, size := len(c.elements), v.Len()
		c.elements = slices.Grow(c.elements, size)[:from+size]
		list := c.elements[from : from+size : from+size]
		i := 0
		for e := range v.Elements() {
			list[i] = c.value(e, kid)
			i++
		}
		return list
	}
	return jqNumber(v)
}

// object gives an empty object: one of an earlier row, unless it would be large to clear.
func (c *jqState) object(size int) map[string]any {
	const large, kept = 64, 1024
	if size > large || c.used == kept {
		return make(map[string]any, size)
	}
	if c.used == len(c.objects) {
		c.objects = append(c.objects, map[string]any{})
	}
	m := c.objects[c.used]
	c.used++
	clear(m)
	return m
}

// jqNumber gives a number exactly: an int where it is written as one, else a double or, of JSON, its own text, which gojq keeps.
func jqNumber(v schemas.Value) any {
	if v.Kind() != schemas.Number {
		if i, ok := v.Int(); ok {
			return int(i)
		}
		f, _ := v.Float()
		return f
	}
	text, err := v.AppendJSON(nil)
	if err != nil {
		return nil
	}
	if i, err := strconv.Atoi(view(text)); err == nil && view(text) != "-0" {
		return i
	}
	return json.Number(text)
}
