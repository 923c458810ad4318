package mapping

import (
	"errors"
	"slices"

	"streamer/schemas"
)

// Mapper runs a Program. It holds scratch memory and mask plans, so it belongs to one goroutine; make one for each worker.
type Mapper struct {
	prog *Program
	msg  message
	// row is the message of paths over the row alone.
	row    message
	search search
	masker masker
	// results are the slots' values for the row m is at, known where done is set.
	results []found
	done    []bool
	// at is what m renders.
	at    *template
	buf   []byte
	text  []byte
	check []byte
	jq    jqState
	// misses say why routes make no part of the row m is at, if explain is set.
	explain bool
	misses  []Miss
}

// NewMapper makes a Mapper for p.
func (p *Program) NewMapper() *Mapper {
	return &Mapper{
		prog:    p,
		masker:  masker{rule: p.mask},
		results: make([]found, len(p.slots)),
		done:    make([]bool, len(p.slots)),
	}
}

// Warnings gives what is to be told once to whoever runs the job, and was not given before: mostly nil. Cheap enough to call per record.
func (m *Mapper) Warnings() []string {
	w := m.masker.warnings
	m.masker.warnings = nil
	return w
}

// Map makes requests of a row: emit rule, filter and mask, then of each route that matches it, in their order, a Part, which it appends to
// out. Masking hides values of msg for good, so each row is mapped once. Without Send nothing is appended. What a Part holds is in memory
// of its own, not msg's. The error, of emit rule and filter, is an *Error. Cost: what the requests themselves need (URL, body, headers that
// depend on the row); straight paths allocate nothing.
func (m *Mapper) Map(msg *Message, out []Part) ([]Part, Verdict, error) {
	m.begin(msg)
	if !msg.Tombstone {
		if v, err := m.admit(msg); err != nil || v != Send {
			return out, v, err
		}
	}
	before, verdict, err := len(out), Send, error(nil)
	if m.prog.events != nil {
		out, verdict, err = m.eventParts(msg, out)
	} else {
		for i := range m.prog.routes {
			out = m.part(i, out)
		}
		if len(out) == before {
			verdict = Unmatched
		}
	}
	if m.prog.told && len(out) > before {
		told := m.told(msg.Msg)
		for i := range out[before:] {
			part := &out[before+i]
			if part.Told = told; m.prog.routes[part.Route].quiet {
				part.Told = told.quietly()
			}
		}
	}
	return out, verdict, err
}

// part appends what route i makes of the row, if it matches it.
func (m *Mapper) part(i int, out []Part) []Part {
	r := &m.prog.routes[i]
	matches, err := m.matches(r)
	if err == nil && !matches {
		m.missed(i)
		return out
	}
	part := Part{Route: i, Err: err}
	switch {
	case err != nil:
	case len(m.prog.steps) > 0:
		part.Flow, part.Call, part.Err = m.flow(r)
	default:
		part.Call.Request, part.Err = m.request(&r.template)
	}
	return append(out, part)
}

// forget makes m know nothing of what any expression finds.
func (m *Mapper) forget() {
	m.search.reset()
	m.jq.ready = false
	clear(m.done)
}

// begin points m at a row.
func (m *Mapper) begin(msg *Message) {
	m.forget()
	m.misses = m.misses[:0]
	m.msg = message{}
	p := &m.msg.parts
	p[0], p[2], p[3], p[4] = msg.Msg, m.prog.constant, msg.Kafka, msg.Event
	if msg.Avro != nil {
		p[1] = msg.Avro.JSON()
	}
	const kept = 1 << 20
	if cap(m.buf) > kept {
		m.buf = nil
	}
	if cap(m.text) > kept {
		m.text, m.check = nil, nil
	}
}

// admit applies emit rule, filter and mask.
func (m *Mapper) admit(msg *Message) (Verdict, error) {
	if r := m.prog.emit; r != nil {
		m.row = message{row: msg.Msg, isRow: true}
		if ok, err := r.passes(&m.search, &m.row); err != nil || !ok {
			return NotEmitted, err
		}
	}
	if p := m.prog.filter; p != nil {
		f, err := m.search.find(p, &m.msg)
		if err != nil {
			return Filtered, &Error{"filter", p.text, err.Error()}
		}
		if f.nothing() {
			return Filtered, nil
		}
	}
	if m.prog.mask != nil {
		m.masker.apply(msg.Msg, msg.Avro)
	}
	return Send, nil
}

// Lane gives the JSON text of what p finds in the message, in memory of its own; false if it finds nothing, or null. Call it before Map,
// which hides masked values. The error is an *Error.
func (m *Mapper) Lane(p *Path, msg *Message) (string, bool, error) {
	m.begin(msg)
	f, err := m.search.find(p, &m.msg)
	if err != nil {
		return "", false, &Error{"order", p.text, err.Error()}
	}
	if f.many == nil && !given(f.one) {
		return "", false, nil
	}
	if m.buf, err = appendFound(m.buf[:0], &f); err != nil {
		return "", false, &Error{"order", p.text, problemOf(err)}
	}
	return string(m.buf), true, nil
}

// Finds says whether p finds anything in the message, be it null or false, as a job's filter does. The error is an *Error.
func (m *Mapper) Finds(p *Path, msg *Message) (bool, error) {
	m.begin(msg)
	f, err := m.search.find(p, &m.msg)
	if err != nil {
		return false, &Error{"where", p.text, err.Error()}
	}
	return !f.nothing(), nil
}

// value gives what slot i finds in the row.
func (m *Mapper) value(i int) (*found, error) {
	f := &m.results[i]
	if m.done[i] {
		return f, nil
	}
	s := &m.prog.slots[i]
	if s.path == nil {
		*f = s.fixed
	} else {
		var err error
		if *f, err = m.search.find(s.path, &m.msg); err != nil {
			return nil, s.error(err.Error())
		}
	}
	if s.values != nil {
		*f = s.holds(f)
	}
	m.done[i] = true
	return f, nil
}

// holds tells a condition by what its path found.
func (s *slot) holds(f *found) found {
	isOne := func(v schemas.Value) bool { return slices.ContainsFunc(s.values, v.Equal) }
	if f.many != nil && slices.ContainsFunc(f.many, isOne) || f.many == nil && isOne(f.one) {
		return found{one: yes}
	}
	return found{one: no}
}

var yes, no = boolValue(true), boolValue(false)

func boolValue(b bool) schemas.Value {
	builder := schemas.NewBuilder()
	builder.Bool(b)
	return builder.Value()
}

func (s *slot) error(problem string) error { return &Error{s.key, s.text, problem} }

// appendFound appends what was found as JSON: one value as it is, several as a list.
func appendFound(dst []byte, f *found) ([]byte, error) {
	if f.many == nil {
		return f.one.AppendJSON(dst)
	}
	start := len(dst)
	for i, v := range f.many {
		dst = append(dst, "[,"[min(i, 1)])
		var err error
		if dst, err = v.AppendJSON(dst); err != nil {
			return dst[:start], err
		}
	}
	return append(dst, ']'), nil
}

// problemOf words an error of schemas without what a row holds.
func problemOf(err error) string {
	if errors.Is(err, schemas.ErrNoJSON) {
		return "found a number that JSON cannot write (NaN or infinity)"
	}
	return "found a value that JSON cannot write"
}

// request renders t for the row m is at.
func (m *Mapper) request(t *template) (r Request, err error) {
	m.at = t
	if r.Method, err = choose(m, t.method); err != nil {
		return r, err
	}
	if r.URL, err = m.url(); err != nil {
		return r, err
	}
	if r.Body, err = m.body(); err != nil {
		return r, err
	}
	if t.full && emptyBody(r.Body) {
		return r, &Error{t.body.payload.at, "", "comes out empty; nothing is sent"}
	}
	if r.User, err = m.user(t.user); err != nil {
		return r, err
	}
	r.Header, err = m.header()
	return r, err
}

// emptyBody says that a body is there and says nothing.
func emptyBody(b []byte) bool {
	switch string(b) {
	case "null", "{}", "[]", `""`:
		return true
	}
	return false
}

func (m *Mapper) header() ([]Header, error) {
	h := &m.at.header
	if len(h.made) == 0 {
		return h.fixed[:len(h.fixed):len(h.fixed)], nil
	}
	out := make([]Header, len(h.fixed), len(h.fixed)+len(h.made))
	copy(out, h.fixed)
	for i := range h.made {
		value, ok, err := m.headerValue(&h.made[i])
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, Header{h.made[i].name, value})
		}
	}
	return out, nil
}

// headerValue renders one header; false drops it: a placeholder finds nothing or null.
func (m *Mapper) headerValue(t *headerTemplate) (string, bool, error) {
	m.buf = m.buf[:0]
	for _, p := range t.parts {
		if p.slot < 0 {
			m.buf = append(m.buf, p.text...)
			continue
		}
		f, err := m.value(p.slot)
		if err != nil {
			return "", false, err
		}
		if f.many == nil && !given(f.one) {
			return "", false, nil
		}
		before := len(m.buf)
		if f.many == nil {
			m.buf, err = f.one.AppendText(m.buf)
		} else {
			m.buf, err = appendFound(m.buf, f)
		}
		s := &m.prog.slots[p.slot]
		if err != nil {
			return "", false, s.error(problemOf(err))
		}
		if !isHeaderText(m.buf[before:]) {
			return "", false, s.error("found a text with a line end or control character, which " + t.at + " cannot hold")
		}
	}
	return string(m.buf), true, nil
}
