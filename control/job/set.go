package job

import (
	"errors"
	"fmt"
	"strings"

	"streamer/consumer"
	"streamer/internal/fault"
	"streamer/internal/nearest"
)

// Compiled is a job with what became of it.
type Compiled struct {
	*Definition
	// Config is only to be used when Faults has no error.
	Config consumer.Config
	Faults fault.List
}

// CompiledConnection is a connection with what became of it.
type CompiledConnection struct {
	*Connection
	// Target is only to be used when Faults has no error.
	Target Target
	Faults fault.List
}

// PlainID is what the ids of two jobs must not have in common: Kafka takes . and _ in the names of topics for the same in its metrics, and so
// do we.
func PlainID(id string) string { return strings.ReplaceAll(id, ".", "_") }

// CompileConnections compiles every connection, and refuses a name that two of them share.
func (s Set) CompileConnections(p Process) []CompiledConnection {
	all := make([]CompiledConnection, len(s.Connections))
	for i, n := range s.Connections {
		t, faults := n.Compile(p)
		all[i] = CompiledConnection{Connection: n, Target: t, Faults: faults}
	}
	shared(all, func(c CompiledConnection) string { return c.Name }, func(c, other *CompiledConnection) {
		c.Faults.Add("name", fmt.Sprintf("connection %q stands in %s:%d too", c.Name, other.File, other.places.find("name").Line), "keep one of them")
	})
	return all
}

// ErrLater is what Process.Connection gives where connections are looked up later: that one is not known now is no fault.
var ErrLater = errors.New("connections are looked up later")

// Usable says that jobs of an owner may use the connection of another one.
func Usable(connection, owner string) bool { return connection == owner || connection == Everyone }

// lookup finds the connections of the set. One that is not among them may be in the log, so that is only a warning.
func (s Set) lookup(p Process) func(owner, name string) (Target, error) {
	compiled := s.CompileConnections(p)
	return func(owner, name string) (Target, error) {
		var near []string
		for _, c := range compiled {
			switch {
			case c.Name != name:
				if Usable(c.Owner, owner) {
					near = append(near, c.Name)
				}
			case !Usable(c.Owner, owner):
				return Target{}, fault.Fault{Problem: fmt.Sprintf("connection %q of %s:%d is for jobs of %s, not of %s", name, c.File, c.Line, c.Owner, owner),
					Mend: "let both have one owner, or the connection the owner \"*\""}
			case c.Faults.Err() != nil:
				return Target{}, fault.Fault{Problem: fmt.Sprintf("connection %q of %s:%d has faults of its own", name, c.File, c.Line), Mend: "mend them first"}
			default:
				return c.Target, nil
			}
		}
		f := fault.Fault{Problem: fmt.Sprintf("connection %q stands in none of these files", name), Mend: "it has to be there when the job is stored", Warning: true}
		if meant := nearest.Name(name, near); meant != "" {
			f.Mend = "did you mean " + meant + "? Else " + f.Mend
		}
		return Target{}, f
	}
}

// Compile compiles every job, and refuses an id or a group that two of them share, and dead letters that go round among them. Unless the
// process knows connections, a job may use those of the set.
func (s Set) Compile(p Process) []Compiled {
	if p.Connection == nil && len(s.Connections) > 0 {
		p.Connection = s.lookup(p)
	}
	all := make([]Compiled, len(s.Jobs))
	for i, d := range s.Jobs {
		cfg, faults := d.Compile(p)
		all[i] = Compiled{Definition: d, Config: cfg, Faults: faults}
	}
	plain := func(c Compiled) string { return PlainID(c.ID) }
	shared(all, plain, func(c *Compiled, other *Compiled) {
		c.Faults.Add("id", fmt.Sprintf("job %q stands in %s:%d too, as %q", c.ID, other.File, other.places.find("id").Line, other.ID),
			"ids must differ by more than . and _")
	})
	group := func(c Compiled) string {
		if c.Faults.Err() != nil {
			return ""
		}
		return c.Config.Group
	}
	shared(all, group, func(c *Compiled, other *Compiled) {
		c.Faults.Add("group", fmt.Sprintf("group %q is that of job %q in %s too", c.Config.Group, other.ID, other.File),
			"a group belongs to one job")
	})
	circles(all)
	return all
}

// circles looks for what comes back to a job by way of others.
func circles(all []Compiled) {
	of, written := make([]*Flow, len(all)), map[string]bool{}
	for i := range all {
		if f := FlowOf(&all[i].Config); f.Goes() && all[i].Faults.Err() == nil {
			of[i] = f
			for _, w := range f.writes {
				written[w.topic] = true
			}
		}
	}
	var flows []*Flow // who reads what one of them writes: few, of how many there may be
	for i, f := range of {
		if f != nil && f.meets(written) {
			flows = append(flows, f)
		} else {
			of[i] = nil
		}
	}
	for i, f := range of {
		if f != nil {
			all[i].Faults = append(all[i].Faults, f.Circles(flows, func(id string) string { return id })...)
		}
	}
}

// shared calls tell for everyone whose name by of is also another's, with the first such other; an empty name is nobody's.
func shared[T any](all []T, of func(T) string, tell func(c, other *T)) {
	byName := map[string][]*T{}
	for i := range all {
		if name := of(all[i]); name != "" {
			byName[name] = append(byName[name], &all[i])
		}
	}
	for _, same := range byName {
		for i, c := range same {
			if i > 0 {
				tell(c, same[0])
			} else if len(same) > 1 {
				tell(c, same[1])
			}
		}
	}
}
