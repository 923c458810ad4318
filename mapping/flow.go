package mapping

import (
	"strconv"

	"streamer/schemas"
)

// Flow is a row's way through the steps of its job to its own request: a machine that gives a call, takes the answer, and gives the next.
// It holds a copy of the message and the answers, and does nothing by itself. After a crash the way begins anew, so every step is such as
// may be made again. One goroutine at a time.
type Flow struct {
	prog  *Program
	route *route
	// base is the message as it came, masked values left out.
	base  message
	bytes int
	// results are what the steps gave: nothing for one that was not made.
	results []result
	// step is the step that the flow is at, item what it is made for; doing is what the call out there does.
	step    int
	entered bool
	items   items
	doing   doing
	// again says that somebody else created the entity meanwhile, so it is read once more. key is what its answer is kept under.
	again bool
	key   string
	// answer, found and sent belong to the entity in hand: the answer to read, the entity, and the body that create sent.
	answer, found schemas.Value
	sent          []byte
	// all is what $.steps is, until the next step.
	all      schemas.Value
	allBytes int
}

// result is what one step gave: a value, or for for_each a list.
type result struct {
	made, isList bool
	list         []schemas.Value
}

type doing uint8

const (
	doingNothing doing = iota
	doingPlain
	doingRead
	doingCreate
	doingUpdate
	doingLast
)

// flow begins the way of the row that m is at to r, and gives the first call. No step that has to be made: no flow.
func (m *Mapper) flow(r *route) (*Flow, Call, error) {
	f := m.newFlow(r)
	whole := m.msg
	c, err := f.advance(m)
	m.forget()
	m.msg = whole
	if f.doing == doingLast || err != nil {
		return nil, c, err
	}
	return f, c, nil
}

// borrow gives a Mapper for a moment.
func (p *Program) borrow() *Mapper {
	if m, ok := p.mappers.Get().(*Mapper); ok {
		return m
	}
	return p.NewMapper()
}

// giveBack ends that; what m has seen of the row is forgotten with it.
func (p *Program) giveBack(m *Mapper) {
	m.forget()
	clear(m.results)
	m.msg = message{}
	p.mappers.Put(m)
}

// newFlow copies what the job reads of the message.
func (m *Mapper) newFlow(r *route) *Flow {
	f := &Flow{prog: m.prog, route: r, results: make([]result, len(m.prog.steps))}
	for i, v := range m.msg.parts {
		area := area(1) << i
		switch {
		case m.prog.reads&area == 0:
		case area == areaConstant:
			f.base.parts[i] = v
		default:
			f.base.parts[i] = v.Clone()
			f.bytes += sizeOf(v)
		}
	}
	return f
}

// Bytes is about how much memory f holds: the copy of its message, the answers so far, and the entity in hand with its answer.
func (f *Flow) Bytes() int {
	n := f.bytes + f.allBytes + f.items.bytes + len(f.sent) + 512
	for _, v := range []schemas.Value{f.answer, f.found} {
		if v.Kind() != schemas.Absent {
			n += sizeOf(v)
		}
	}
	return n
}

// Next takes the answer to the call given last and gives the next call; done is true after the answer to the row's own request. The
// answer's memory is f's from then on. The error is an *Error, a payload error, and ends the flow.
func (f *Flow) Next(r *Response) (c Call, done bool, err error) {
	if f.doing == doingLast || f.doing == doingNothing {
		return Call{}, true, nil
	}
	m := f.prog.borrow()
	defer f.prog.giveBack(m)
	c, err = f.take(m, r)
	return c, false, err
}

// point points m at the message as it is now.
func (f *Flow) point(m *Mapper) {
	m.forget()
	m.msg = f.base
	if f.all.Kind() == schemas.Absent {
		f.all = f.stepsValue()
		f.allBytes = sizeOf(f.all)
	}
	p := &m.msg.parts
	p[indexOf(areaSteps)] = f.all
	p[indexOf(areaItem)] = f.items.value
	p[indexOf(areaAnswer)] = f.answer
	p[indexOf(areaFound)] = f.found
}

// stepsValue is $.steps: what the steps before this one gave. Of its own items a step sees nothing, so it is made once for all of them.
func (f *Flow) stepsValue() schemas.Value {
	b := schemas.NewBuilder()
	b.BeginObject()
	for i, r := range f.results[:f.step] {
		if !r.made {
			continue
		}
		b.Key(f.prog.steps[i].name)
		if !r.isList {
			b.Copy(r.list[0])
			continue
		}
		b.BeginArray()
		for _, v := range r.list {
			b.Copy(v)
		}
		b.End()
	}
	b.End()
	return b.Value()
}

// advance gives the next call from where f is.
func (f *Flow) advance(m *Mapper) (Call, error) {
	for f.step < len(f.prog.steps) {
		s := &f.prog.steps[f.step]
		if !f.entered {
			begins, err := f.enter(m, s)
			if err != nil {
				return Call{}, err
			}
			if !begins {
				f.step++
				continue
			}
		}
		if f.items.begin(f.results[f.step].list) {
			f.point(m)
			if s.entity != nil {
				return f.read(m, s)
			}
			f.doing = doingPlain
			return f.call(m, s, s.plain, "", true)
		}
		f.step, f.entered, f.items, f.all = f.step+1, false, items{}, schemas.Value{}
	}
	f.doing = doingLast
	f.point(m)
	r, err := m.request(&f.route.template)
	return Call{Request: r}, err
}

// enter asks whether a step is made, and for what.
func (f *Flow) enter(m *Mapper, s *jobStep) (bool, error) {
	f.point(m)
	if s.when >= 0 {
		v, err := m.value(s.when)
		if err != nil || !v.true() {
			return false, err
		}
	}
	f.items = items{single: s.each == nil}
	if s.each != nil {
		v, err := m.value(s.each.slot)
		if err != nil {
			return false, err
		}
		if f.items, err = s.each.items(v); err != nil {
			return false, err
		}
	}
	f.entered = true
	f.results[f.step] = result{made: s.each != nil, isList: s.each != nil}
	return true, nil
}

// call renders a request of a step, what it is for in the name it goes by; cached says that a kept answer may stand for it.
func (f *Flow) call(m *Mapper, s *jobStep, t *stepRequest, what string, cached bool) (Call, error) {
	r, err := m.request(&t.template)
	if err != nil {
		return Call{}, err
	}
	name := s.name
	if s.each != nil {
		name += "/" + strconv.Itoa(f.items.at)
	}
	c := Call{Request: r, Step: name + what, Accept: t.accept, Keep: true}
	switch {
	case s.cache == nil:
	case cached:
		if f.key, err = s.cache.of(m, s, &c.Request); err != nil {
			return Call{}, err
		}
		c.CacheKey, c.TTL = f.key, s.cache.ttl
	default:
		c.Forget = f.key
	}
	return c, nil
}

// What ends the name of a call that is made for an entity.
const (
	readCall   = "/read"
	againCall  = "/read-again" // somebody else created it meanwhile
	createCall = "/create"
	updateCall = "/update"
)

// AnyItem stands in CallNames where a call says which item of for_each it is for.
const AnyItem = "N"

// CallNames gives what calls of steps go by: each step, what it does with an entity, and both for any item: owner, groups, groups/read,
// groups/N/read.
func (p *Program) CallNames() (names []string) {
	for i := range p.steps {
		s := &p.steps[i]
		calls := []string{""}
		if e := s.entity; e != nil {
			calls = []string{readCall}
			if e.create != nil {
				calls = append(calls, createCall, againCall)
			}
			if e.update != nil {
				calls = append(calls, updateCall)
			}
		}
		names = append(names, s.name)
		for _, call := range calls {
			if call != "" {
				names = append(names, s.name+call)
			}
			if s.each != nil {
				names = append(names, s.name+"/"+AnyItem+call)
			}
		}
	}
	return names
}

// take takes the answer to what f is doing.
func (f *Flow) take(m *Mapper, r *Response) (Call, error) {
	s := &f.prog.steps[f.step]
	switch f.doing {
	case doingRead:
		return f.afterRead(m, s, r)
	case doingCreate:
		return f.afterCreate(m, s, r)
	case doingUpdate:
		return f.afterUpdate(m, s, r)
	}
	a, err := s.plain.answer(r)
	if err != nil {
		return Call{}, err
	}
	if !a.isJSON && s.needsJSON && ok2xx(r.Status) {
		return Call{}, s.plain.error("answered " + a.kind + ", and what comes after looks into a JSON body")
	}
	return f.done(m, s, r.Value())
}

// done keeps what a step gave for its item and goes on.
func (f *Flow) done(m *Mapper, s *jobStep, v schemas.Value) (Call, error) {
	r := &f.results[f.step]
	if s.each != nil {
		v = withItem(v, f.items.value)
		f.items.remember(len(r.list))
	}
	r.made = true
	r.list = append(r.list, v)
	f.bytes += sizeOf(v)
	f.items.at++
	f.answer, f.found, f.sent, f.again = schemas.Value{}, schemas.Value{}, nil, false
	return f.advance(m)
}

func ok2xx(status int) bool { return status >= 200 && status < 300 }

// error is one of the request at a place of the job.
func (t *template) error(problem string) error { return &Error{t.at, "", problem} }

// said renders a text for people. What finds nothing is a question mark.
func (m *Mapper) said(parts []part) string {
	var text []byte
	for _, p := range parts {
		if p.slot < 0 {
			text = append(text, p.text...)
			continue
		}
		f, err := m.value(p.slot)
		if err != nil || f.nothing() {
			text = append(text, '?')
			continue
		}
		if f.many == nil {
			text, _ = f.one.AppendText(text)
		} else {
			text, _ = appendFound(text, f)
		}
	}
	return string(text)
}

// of gives the key of a kept answer: the step's name, and its key or all of the request.
func (c *cacheRule) of(m *Mapper, s *jobStep, r *Request) (string, error) {
	if c.key == nil {
		key := s.name + "\x00" + r.Method + "\x00" + r.URL + "\x00" + r.User + "\x00" + string(r.Body)
		for _, h := range r.Header {
			key += "\x00" + h.Name + ":" + h.Value
		}
		return key, nil
	}
	key := []byte(s.name + "\x00")
	for _, p := range c.key {
		if p.slot < 0 {
			key = append(key, p.text...)
			continue
		}
		f, err := m.value(p.slot)
		if err != nil {
			return "", err
		}
		if f.nothing() {
			return "", m.prog.slots[p.slot].error("found nothing; a key of the cache needs a value")
		}
		if key, err = appendFound(key, f); err != nil {
			return "", m.prog.slots[p.slot].error(problemOf(err))
		}
	}
	return string(key), nil
}
