package mapping

import (
	"fmt"
	"net/http"
	"slices"

	"streamer/schemas"
)

// read asks for an entity.
func (f *Flow) read(m *Mapper, s *jobStep) (Call, error) {
	f.doing = doingRead
	what := readCall
	if f.again {
		what = againCall
	}
	c, err := f.call(m, s, &s.entity.read, what, !f.again)
	if !slices.Contains(c.Accept, http.StatusNotFound) {
		c.Accept = append(slices.Clone(c.Accept), http.StatusNotFound)
	}
	return c, err
}

func (f *Flow) afterRead(m *Mapper, s *jobStep, r *Response) (Call, error) {
	e := s.entity
	a, err := e.read.answer(r)
	if err != nil {
		return Call{}, err
	}
	f.answer = r.Value()
	f.point(m)
	if f.found, err = e.pick(m, a); err != nil {
		return Call{}, err
	}
	if f.found.Kind() == schemas.Absent {
		if f.again {
			return Call{}, e.create.error("was refused by a conflict, and read finds nothing")
		}
		return f.create(m, s)
	}
	f.point(m)
	updates, err := m.asks(e.update, e.updateWhen)
	if err != nil {
		return Call{}, err
	}
	if !updates {
		return f.keep(m, s, a, "found", f.found)
	}
	return f.update(m, s, a)
}

// asks says whether there is such a request, and its condition holds.
func (m *Mapper) asks(r *stepRequest, when int) (bool, error) {
	if r == nil || when < 0 {
		return r != nil, nil
	}
	v, err := m.value(when)
	return err == nil && v.true(), err
}

// pick gives the entity that an answer to read holds; Absent for none.
func (e *entityRule) pick(m *Mapper, a *answer) (schemas.Value, error) {
	if !ok2xx(a.response.Status) || a.kind == "nothing" {
		return schemas.Value{}, nil
	}
	if !a.isJSON {
		return schemas.Value{}, e.read.error("answered " + a.kind + ", not JSON")
	}
	v := a.body
	if e.selects >= 0 {
		found, err := m.value(e.selects)
		if err != nil {
			return schemas.Value{}, err
		}
		if found.many != nil {
			return schemas.Value{}, m.prog.slots[e.selects].error(fmt.Sprintf("finds %d entities; it has to say which one", len(found.many)))
		}
		v = found.one
	}
	switch {
	case v.Kind() == schemas.Object:
		return v.Clone(), nil
	case !given(v) || v.Kind() == schemas.Array && v.Len() == 0:
		return schemas.Value{}, nil
	case e.selects >= 0:
		return schemas.Value{}, m.prog.slots[e.selects].error("finds " + kindOf(v) + ", not an entity")
	default:
		return schemas.Value{}, e.read.error("answered " + kindOf(v) + ", not an entity; write select, as in $.answer.body[?name = $.msg.name]")
	}
}

// create makes what read did not find, or says that it is missing.
func (f *Flow) create(m *Mapper, s *jobStep) (Call, error) {
	e := s.entity
	creates, err := m.asks(e.create, e.createWhen)
	if err != nil {
		return Call{}, err
	}
	if !creates {
		problem := "read finds nothing, and it is not to be created"
		if e.missing != nil {
			problem = m.said(e.missing)
		}
		return Call{}, &Error{e.at, "", problem}
	}
	f.doing = doingCreate
	c, err := f.call(m, s, e.create, createCall, false)
	// Somebody else may have created it a moment ago.
	c.Accept = []int{http.StatusConflict}
	f.sent = c.Body
	return c, err
}

func (f *Flow) afterCreate(m *Mapper, s *jobStep, r *Response) (Call, error) {
	e := s.entity
	if r.Status == http.StatusConflict {
		f.again = true
		f.point(m)
		return f.read(m, s)
	}
	a, err := e.create.answer(r)
	if err != nil {
		return Call{}, err
	}
	made := a.body
	if made.Kind() != schemas.Object {
		if made, err = schemas.ParseJSON(f.sent, schemas.Limits{}); err != nil || made.Kind() != schemas.Object {
			made = emptyObject()
		}
	}
	if given(made.Field("id")) {
		f.found = made.Clone()
	} else {
		f.found = withID(made, a.location())
	}
	f.point(m)
	return f.keep(m, s, a, "created", f.found)
}

// update compares what was found with what it should be, and asks for a change if they differ.
func (f *Flow) update(m *Mapper, s *jobStep, a *answer) (Call, error) {
	e := s.entity
	worded := e.update
	if worded.body.empty() {
		worded = e.create
	}
	should, err := f.wanted(m, worded)
	if err != nil {
		return Call{}, err
	}
	if holds(f.found, should) {
		return f.keep(m, s, a, "found", overlay(f.found, should))
	}
	c, err := f.call(m, s, e.update, updateCall, false)
	if err != nil {
		return Call{}, err
	}
	before := f.found
	f.found = overlay(before, should)
	if e.update.body.empty() {
		v := f.found
		if c.Method == http.MethodPatch {
			v = differing(before, should)
		}
		if c.Body, err = v.AppendJSON(nil); err != nil {
			return Call{}, e.update.error(problemOf(err))
		}
		if !e.update.header.has(contentType) {
			c.Header = append(c.Header, Header{contentType, "application/json"})
		}
	}
	f.doing = doingUpdate
	return c, nil
}

// wanted is what an entity should be: the body that t makes.
func (f *Flow) wanted(m *Mapper, t *stepRequest) (schemas.Value, error) {
	m.at = &t.template
	text, err := m.body()
	if err != nil {
		return schemas.Value{}, err
	}
	v, err := schemas.ParseJSON(text, schemas.Limits{})
	if err != nil || v.Kind() != schemas.Object {
		return schemas.Value{}, t.error("makes " + kindOf(v) + ", not an object that could be compared with what was read")
	}
	return v, nil
}

func (f *Flow) afterUpdate(m *Mapper, s *jobStep, r *Response) (Call, error) {
	a, err := s.entity.update.answer(r)
	if err != nil {
		return Call{}, err
	}
	f.point(m)
	return f.keep(m, s, a, "updated", f.found)
}

// keep ends an entity: what is known of it is the step's result.
func (f *Flow) keep(m *Mapper, s *jobStep, a *answer, outcome string, v schemas.Value) (Call, error) {
	e := s.entity
	id := v.Field("id")
	if e.id >= 0 {
		found, err := m.value(e.id)
		if err != nil {
			return Call{}, err
		}
		if id = found.one; found.many != nil {
			return Call{}, m.prog.slots[e.id].error("finds several values, not what one entity is called")
		}
	}
	return f.done(m, s, ofEntity(a.response.Value(), v, id, outcome))
}
