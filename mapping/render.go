package mapping

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"streamer/schemas"
)

// maxBody bounds a body: many keys that each find the whole row would multiply it.
const maxBody = 256 << 20

var tooLarge = fmt.Sprintf("comes to more than %d bytes", maxBody)

// body renders the request's body, nil for none.
func (m *Mapper) body() ([]byte, error) {
	b := &m.at.body
	m.buf = m.buf[:0]
	var err error
	switch {
	case b.object != nil:
		err = m.object(b.object)
	case b.form != nil:
		err = m.form(b.form)
	case b.payload != nil:
		var some bool
		if some, err = m.payload(b.payload, ""); err == nil && !some {
			err = &Error{b.payload.at, m.expression(b.payload), "found nothing; there is no body to send"}
		}
	default:
		return nil, nil
	}
	if err == nil && len(m.buf) > maxBody {
		err = &Error{m.at.place("body"), "", tooLarge}
	}
	if err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(m.buf)), m.buf...), nil
}

// object renders json_body: keys in the order listed, absent ones left out.
func (m *Mapper) object(keys []bodyKey) error {
	m.buf = append(m.buf, '{')
	for i := range keys {
		f, err := m.value(keys[i].slot)
		if err != nil {
			return err
		}
		if f.nothing() {
			continue
		}
		if len(m.buf) > 1 {
			m.buf = append(m.buf, ',')
		}
		m.buf = append(m.buf, keys[i].name...)
		if m.buf, err = appendFound(m.buf, f); err != nil {
			return m.prog.slots[keys[i].slot].error(problemOf(err))
		}
		if len(m.buf) > maxBody {
			return m.prog.slots[keys[i].slot].error(tooLarge)
		}
	}
	m.buf = append(m.buf, '}')
	return nil
}

// form renders form_body: texts as they are, everything else as JSON, absent ones left out.
func (m *Mapper) form(keys []bodyKey) error {
	for i := range keys {
		f, err := m.value(keys[i].slot)
		if err != nil {
			return err
		}
		if f.nothing() {
			continue
		}
		if f.many == nil {
			m.text, err = f.one.AppendText(m.text[:0])
		} else {
			m.text, err = appendFound(m.text[:0], f)
		}
		if err != nil {
			return m.prog.slots[keys[i].slot].error(problemOf(err))
		}
		if len(m.buf) > 0 {
			m.buf = append(m.buf, '&')
		}
		m.buf = append(m.buf, keys[i].name...)
		m.buf = appendForm(m.buf, m.text)
		if len(m.buf) > maxBody {
			return m.prog.slots[keys[i].slot].error(tooLarge)
		}
	}
	return nil
}

// payload renders p after before (a comma, a name); false, with nothing appended, if p is an expression that finds nothing: the member
// or element is left out.
func (m *Mapper) payload(p *payload, before string) (bool, error) {
	switch {
	case p.isPath:
		return m.payloadPath(p, before)
	case p.jq != nil:
		return m.payloadJQ(p, before)
	case p.isObject:
		m.buf = append(append(m.buf, before...), '{')
		first := true
		for i := range p.members {
			if err := m.payloadItem(p.members[i].value, p.members[i].name, &first); err != nil {
				return false, err
			}
		}
		m.buf = append(m.buf, '}')
	case p.isList:
		m.buf = append(append(m.buf, before...), '[')
		first := true
		for _, e := range p.elements {
			if err := m.payloadItem(e, "", &first); err != nil {
				return false, err
			}
		}
		m.buf = append(m.buf, ']')
	default:
		m.buf = append(append(m.buf, before...), p.text...)
	}
	return true, nil
}

// payloadItem renders a member or element, with the comma before it if it is not the first one there.
func (m *Mapper) payloadItem(p *payload, name string, first *bool) error {
	at := len(m.buf)
	if !*first {
		m.buf = append(m.buf, ',')
	}
	some, err := m.payload(p, name)
	if !some {
		m.buf = m.buf[:at]
		return err
	}
	*first = false
	return nil
}

func (m *Mapper) payloadPath(p *payload, before string) (bool, error) {
	f, err := m.value(p.slot)
	if err != nil || f.nothing() {
		return false, err
	}
	m.buf = append(m.buf, before...)
	if m.buf, err = appendFound(m.buf, f); err != nil {
		return false, &Error{p.at, m.prog.slots[p.slot].text, problemOf(err)}
	}
	if len(m.buf) > maxBody {
		return false, &Error{p.at, m.prog.slots[p.slot].text, tooLarge}
	}
	return true, nil
}

func (m *Mapper) payloadJQ(p *payload, before string) (bool, error) {
	at := len(m.buf)
	m.buf = append(m.buf, before...)
	some, err := m.jqAppend(p.jq)
	if err == nil && len(m.buf) > maxBody {
		err = errors.New(tooLarge)
	}
	if err != nil {
		return false, &Error{p.at, m.expression(p), err.Error()}
	}
	if !some {
		m.buf = m.buf[:at]
	}
	return some, nil
}

// expression is how errors show what stands at p.
func (m *Mapper) expression(p *payload) string {
	if p.jq != nil {
		return jqShown(p.jq.text)
	}
	return m.prog.slots[p.slot].text
}

// view is b as a string without a copy, for a look at it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// owned gives c with memory of its own, so that a Program outlives the document it was made of.
func (c Config) owned() Config {
	for _, v := range c.values() {
		*v = v.Clone()
	}
	return c
}

// source gives all of c as text, a value a line.
func (c Config) source() []byte {
	out := strconv.AppendBool(strconv.AppendBool(nil, c.Told), c.Quiet)
	for _, v := range c.values() {
		out = append(out, '\n')
		if given(*v) {
			out, _ = v.AppendJSON(out) // a document of a file has neither NaN nor nothing
		}
	}
	return append(out, '\n')
}

func (c *Config) values() []*schemas.Value {
	return []*schemas.Value{&c.Type, &c.URL, &c.DataMap, &c.Constant, &c.QueryParams, &c.JSONBody, &c.FormBody, &c.Headers,
		&c.Payload, &c.Filter, &c.Emit, &c.Mask, &c.User, &c.Steps, &c.Routes, &c.Events}
}
