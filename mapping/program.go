package mapping

import (
	"bytes"
	"strings"
	"sync"

	"streamer/internal/fault"
	"streamer/internal/nearest"
	"streamer/schemas"
)

// Program makes requests of rows: a job's emit rule, filter, mask, data map and routes, compiled. It is immutable and safe for
// concurrent use; each worker maps with a Mapper of its own.
type Program struct {
	slots    []slot
	constant schemas.Value

	emit   *emitRule
	filter *Path
	mask   *maskRule

	steps  []jobStep
	routes []route
	// events are what the routes are for, if the job is one of record events; of the same places as routes.
	events []eventRule

	// reads are the parts of the message that anything in the job reads.
	reads area
	// source is all that it was compiled of, the texts of references included.
	source []byte

	// mappers are for flows, which have none of their own.
	mappers sync.Pool

	// jqReads is what the programs under $jq read of the message.
	jqReads reach
	// told: parts have Part.Told.
	told bool
}

// slot is one expression whose value the request needs; each is evaluated at most once for a row.
type slot struct {
	// key is what errors call it: the mapped key, or its place in the job.
	key  string
	path *Path
	// fixed is what it finds in every row: a constant, or null. path is nil then.
	fixed found
	text  string
	// values make a condition of it: it finds true if any of what the path finds is one of them, else false.
	values []schemas.Value
}

// compiler collects the parts of a Program and everything wrong with them.
type compiler struct {
	prog   *Program
	faults fault.List
	// mapped gives the slot of a mapped key; names are the keys in order. broken are keys whose expression is faulty: they are
	// known, so that no second fault is made of them.
	mapped map[string]int
	names  []string
	inline map[string]int
	search search
	config Config
	// scope are the parts of a Flow that an expression may read where the compiler is.
	scope area
	// isEvents: the job is one of record events. ownerless: what is compiled now may not look at a record's owner.
	isEvents, ownerless bool
}

// Compile makes a Program of c. It finds all that is wrong at once, with paths from the job's root ("datamap.name", "payload.a[2]"); the
// Program is nil if the list has an error, and good to use if it has warnings only.
func Compile(c Config) (*Program, fault.List) {
	c = c.owned()
	k := &compiler{prog: &Program{told: c.Told}, mapped: map[string]int{}, inline: map[string]int{}, config: c}
	k.prog.source = c.source()
	k.isEvents = c.Events.Kind() != schemas.Absent
	k.constant(c.Constant)
	k.dataMap(c.DataMap)
	k.emit(c.Emit)
	k.filter(c.Filter)
	k.mask(c.Mask)
	k.steps(c)
	if len(k.prog.steps) > 0 {
		k.scope |= areaSteps
	}
	if k.isEvents {
		k.events(c)
	} else {
		k.routes(c)
	}
	k.mappedSteps()
	if k.faults.Err() != nil {
		return nil, k.faults
	}
	return k.prog, k.faults
}

// Same says whether p makes what other makes: they were compiled of the same texts. In doubt they differ. A nil Program is only the same as nil.
func (p *Program) Same(other *Program) bool {
	if p == nil || other == nil {
		return p == other
	}
	return bytes.Equal(p.source, other.source)
}

// UsesKafka says whether any expression can reach $.kafka, so that the caller builds Message.Kafka.
func (p *Program) UsesKafka() bool { return p.reads&areaKafka != 0 }

func given(v schemas.Value) bool { return v.Kind() != schemas.Absent && v.Kind() != schemas.Null }

func (k *compiler) constant(v schemas.Value) {
	if given(v) && v.Kind() != schemas.Object {
		k.faults.Add("constant", "found "+kindOf(v)+", not an object", `write {"name": value}`)
	}
	if v.Kind() != schemas.Object {
		b := schemas.NewBuilder()
		b.BeginObject()
		b.End()
		v = b.Value()
	}
	k.prog.constant = v.Clone()
}

func (k *compiler) dataMap(v schemas.Value) {
	switch {
	case v.Kind() == schemas.Absent && k.isEvents:
		return
	case v.Kind() == schemas.Absent:
		k.faults.Add("datamap", "missing", `write {"id": "$.msg.id"}; {} maps nothing`)
		return
	case v.Kind() != schemas.Object:
		k.faults.Add("datamap", "found "+kindOf(v)+", not an object", `write {"id": "$.msg.id"}`)
		return
	}
	for key, expr := range v.Members() {
		at := under("datamap", key)
		s := slot{key: key}
		text, isText := expr.Str()
		switch {
		case expr.Kind() == schemas.Null:
			s.fixed, s.text = found{one: expr.Clone()}, "null"
		case isText:
			s.path = k.path(at, text)
			k.settle(at, &s)
		default:
			k.faults.Add(at, "found "+kindOf(expr)+", not a JSONPath", "write a text such as $.msg.id, or null; put fixed values under constant and write $.constant.name")
		}
		k.mapped[key] = len(k.prog.slots)
		k.names = append(k.names, key)
		k.prog.slots = append(k.prog.slots, s)
	}
}

// path compiles an expression over the message; nil after a fault.
func (k *compiler) path(at, text string) *Path {
	p, err := compilePath(text, k.isEvents)
	if err != nil {
		k.pathFault(at, err)
		return nil
	}
	for _, w := range p.warnings {
		k.faults.Warn(at, w, "")
	}
	k.prog.reads |= p.reads
	if q, ok := p.expr.(*query); ok {
		if k.ownerless && q.namesOwner() {
			k.faults.Add(at, shown(text)+" finds nothing: the owner is not in reach", "write with_record_owner: true beside http_method")
		}
		if name, unknown := q.unknownRoot(); unknown {
			k.faults.Warn(at, shown(text)+" finds nothing: the message has no "+shown(name),
				k.rootMend(name))
		}
	}
	return p
}

// rootMend says where a name may have been meant that the message does not have.
func (k *compiler) rootMend(name string) string {
	const areas = "the row is at $.msg; beside it are $.schema, $.constant, $.kafka and $.event"
	if !k.isEvents {
		return areas
	}
	if n := nearest.Name(name, eventArguments); n != "" {
		return "did you mean $." + n + "?"
	}
	return "an event has $." + strings.Join(eventArguments, ", $.") + "; " + areas
}

func (k *compiler) pathFault(at string, err error) {
	if e, ok := err.(*PathError); ok { //nolint:errorlint // CompilePath gives it unwrapped
		k.faults.Add(at, e.where()+": "+e.Problem, e.Mend)
		return
	}
	k.faults.Add(at, err.Error(), "")
}

// settle evaluates what depends on constants only, now.
func (k *compiler) settle(at string, s *slot) {
	if s.path == nil {
		return
	}
	s.text = s.path.text
	if s.path.reads != areaConstant {
		return
	}
	m := message{}
	m.parts[2] = k.prog.constant
	f, err := k.search.find(s.path, &m)
	if err != nil {
		k.faults.Add(at, shown(s.path.text)+": "+err.Error(), "")
		return
	}
	if f.nothing() {
		k.faults.Warn(at, shown(s.path.text)+" finds nothing in constant", "")
	}
	s.fixed, s.path = found{one: f.one.Clone()}, nil
	for _, v := range f.many {
		s.fixed.many = append(s.fixed.many, v.Clone())
	}
}

// inlinePath gives the slot of an expression written in a template; false after a fault.
func (k *compiler) inlinePath(at, text string) (int, bool) {
	if i, ok := k.inline[text]; ok {
		if p := k.prog.slots[i].path; p != nil {
			k.reachable(at, p)
		}
		return i, true
	}
	s := slot{key: at, path: k.path(at, text)}
	if s.path == nil {
		return 0, false
	}
	k.reachable(at, s.path)
	k.settle(at, &s)
	k.inline[text] = len(k.prog.slots)
	k.prog.slots = append(k.prog.slots, s)
	return len(k.prog.slots) - 1, true
}

func (k *compiler) filter(v schemas.Value) {
	if !given(v) {
		return
	}
	text, ok := v.Str()
	if !ok {
		k.faults.Add("filter", "found "+kindOf(v)+", not a JSONPath", "write a text such as $.msg[?(@.age > 3)]")
		return
	}
	if k.prog.filter = k.path("filter", text); k.prog.filter != nil {
		k.reachable("filter", k.prog.filter)
	}
}
