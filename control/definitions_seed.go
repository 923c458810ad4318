package control

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
)

// Seeds are what files want to be in the log: connections, and jobs.
type Seeds struct {
	Connections []*job.Connection
	Jobs        []*job.Definition
}

// Seeded is what became of one of them.
type Seeded struct {
	// Created: the log has it from now on.
	Created bool
	// Differs: the log has another document of that name or id, which wins.
	Differs bool
	// Refused says why the log cannot have it; nil: it can.
	Refused error
}

// bySelf is who does what nobody asked for.
var bySelf = service.Caller{Name: consumer.BySelf, Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}

// Seed takes what files want into the log, all in one transaction if one can hold it: the connections first, which the jobs may name. What
// the log has already is left as it is there. It gives what became of each, in their order; an error says that not all was written, since the
// log could not be.
func (d *Definitions) Seed(ctx context.Context, s Seeds) (connections, jobs []Seeded, err error) {
	round := sowing{definitions: d, seeds: s, made: map[string]bool{}, connections: make([]Seeded, len(s.Connections)), jobs: make([]Seeded, len(s.Jobs))}
	for {
		_, err := d.log.Transact(ctx, func(read func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error) {
			return round.sow(read)
		})
		if err != nil || !round.full {
			return round.connections, round.jobs, err
		}
		for _, w := range round.writes {
			round.made[w.Key] = true
		}
	}
}

// sowing takes seeds into the log, as many at a time as one transaction takes.
type sowing struct {
	definitions       *Definitions
	seeds             Seeds
	connections, jobs []Seeded
	made              map[string]bool // keys that a transaction of before has written

	// Of this transaction.
	read    func(string) (kafkalog.Entry, bool)
	writes  []kafkalog.Write
	size    int
	full    bool                  // there is more
	targets map[string]job.Target // of the connections that it writes
	groups  map[string]string     // of the jobs that it writes: whose each is
	flows   []*job.Flow           // of those of them that can be on a circle
}

// sow gives one transaction. It may be asked again, of a newer log.
func (s *sowing) sow(read func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error) {
	s.read, s.writes, s.size, s.full, s.targets, s.groups, s.flows = read, nil, 0, false, map[string]job.Target{}, map[string]string{}, nil
	for i, n := range s.seeds.Connections {
		if err := s.connection(n, &s.connections[i]); err != nil || s.full {
			return s.writes, err
		}
	}
	p := s.definitions.process
	p.Connection = s.definitions.connections.with(s.targets)
	for i, def := range s.seeds.Jobs {
		if err := s.job(def, p, &s.jobs[i]); err != nil || s.full {
			return s.writes, err
		}
	}
	return s.writes, nil
}

// connection takes in one connection.
func (s *sowing) connection(n *job.Connection, out *Seeded) error {
	key := connectionPrefix + n.Name
	if e, exists := s.read(key); exists {
		stored, err := decodeConnection(e)
		*out = Seeded{Created: s.made[key], Differs: err != nil || !bytes.Equal(stored.masked(), n.Masked())}
		return nil
	}
	value, audit, target, err := s.definitions.connections.change(bySelf, n, kafkalog.Entry{}, false, func(kafkalog.Entry, *storedConnection, []byte) error { return nil })
	if *out = (Seeded{Refused: err}); err == nil && s.write(out, kafkalog.Write{Key: key, Value: value, Audit: audit}) {
		s.targets[n.Name] = target
	}
	return nil
}

// job takes in one job.
func (s *sowing) job(def *job.Definition, p job.Process, out *Seeded) error {
	key := definitionPrefix + def.ID
	if e, exists := s.read(key); exists {
		*out = Seeded{Created: s.made[key], Differs: differs(def, e)}
		return nil
	}
	value, audit, err := s.definitions.change(bySelf, def.Bare(), p, kafkalog.Entry{}, false, func(kafkalog.Entry, *storedDefinition, []byte) error { return nil })
	if err != nil {
		*out = Seeded{Refused: err}
		return nil
	}
	entry := kafkalog.Entry{Key: key, Value: value}
	stored, err := decodeDefinition(entry)
	if err != nil {
		return err
	}
	if other := s.groups[stored.Group]; other != "" {
		*out = Seeded{Refused: service.Refuse(http.StatusUnprocessableEntity, "group", fmt.Sprintf("group %q is that of job %q", stored.Group, other), "")}
		return nil
	}
	flow := s.definitions.flowOf(entry)
	if err := s.goesRound(flow); err != nil {
		*out = Seeded{Refused: err}
		return nil
	}
	if s.write(out, kafkalog.Write{Key: key, Value: value, Audit: audit}) {
		s.groups[stored.Group] = def.ID
		if flow != nil {
			s.flows = append(s.flows, flow)
		}
	}
	return nil
}

// goesRound refuses a job whose dead letters would come back to it by way of jobs that this transaction writes.
func (s *sowing) goesRound(f *job.Flow) error {
	if f == nil || len(s.flows) == 0 {
		return nil
	}
	d := s.definitions
	d.mu.Lock()
	d.index()
	faults := d.circles(bySelf, f, s.flows...)
	d.mu.Unlock()
	if faults.Err() != nil {
		return invalid(faults)
	}
	return nil
}

// write adds a write, if it has its place in this transaction. One that no transaction takes is refused, so that it holds up no other.
func (s *sowing) write(out *Seeded, w kafkalog.Write) bool {
	if largest := max(len(w.Value), len(w.Audit)); largest > kafkalog.MaxValueBytes {
		*out = Seeded{Refused: fmt.Errorf("%w: it has %d bytes there; at most %d", kafkalog.ErrTooLarge, largest, kafkalog.MaxValueBytes)}
		return false
	}
	s.size += len(w.Key) + len(w.Value) + len(w.Audit)
	s.full = len(s.writes) == kafkalog.MaxWrites || s.size > kafkalog.MaxTransactBytes
	if s.full {
		return false
	}
	*out = Seeded{Created: true}
	s.writes = append(s.writes, w)
	return true
}

// differs says that a file has another document than the log. Secrets are not compared.
func differs(def *job.Definition, e kafkalog.Entry) bool {
	s, err := decodeDefinition(e)
	return err != nil || !bytes.Equal(s.masked(), def.Bare().Masked())
}
