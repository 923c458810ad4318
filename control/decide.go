package control

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"streamer/consumer"
)

const (
	// decideEvery is how often decisions are looked over without news: instances die silently.
	decideEvery = time.Second
	// decideMost bounds how often news are looked at.
	decideMost = 50 * time.Millisecond
)

// decision says whether a job is to run on this instance now.
type decision struct {
	run bool
	// state and cause are what to show when it does not run.
	state State
	cause string
	// memory is what its runner is to know.
	memory consumer.Memory
	// revision is that of memory.
	revision int64
}

func (d decision) same(other decision) bool {
	return d.run == other.run && d.state == other.state && d.cause == other.cause && d.revision == other.revision && d.memory.Log == other.memory.Log
}

func (d decision) log(log *slog.Logger) {
	switch d.state {
	case Failed:
		log.Error("job failed", "cause", d.cause)
	case Stopped:
		log.Info("job does not run here", "cause", d.cause)
	}
}

// decided is what is to be done with the job now.
func (j *supervised) decided() decision {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.decision
}

// decide says again and again which jobs are to run here, until ctx ends: whenever the log has news, and every now and then. It is
// the one place where this is decided.
func (s *Supervisor) decide(ctx context.Context) {
	for {
		changed := s.options.Bulletin.Changed()
		s.decideAll()
		select {
		case <-changed:
		case <-s.asked:
		case <-time.After(decideEvery):
		case <-ctx.Done():
			return
		}
		if !sleep(ctx, decideMost) {
			return
		}
	}
}

// again asks decide to look now.
func (s *Supervisor) again() {
	select {
	case s.asked <- struct{}{}:
	default:
	}
}

func (s *Supervisor) decideAll() {
	live := s.liveIDs()
	budget := &budget{total: s.options.Connections}
	next := make([]decision, len(s.jobs))
	for i, j := range s.jobs {
		if j.Broken != "" {
			continue
		}
		next[i] = s.decideOne(j, live)
		if next[i].run && j.decided().run { // who has its connections keeps them
			budget.take(j.need())
		}
	}
	for i, j := range s.jobs {
		if j.Broken != "" {
			continue
		}
		if d := &next[i]; d.run && !j.decided().run {
			if cause := budget.ask(j.need()); cause != "" {
				*d = decision{state: Failed, cause: cause}
			}
		}
		j.note(next[i])
	}
}

// note makes d the job's decision, and tells who waits for one.
func (j *supervised) note(d decision) {
	j.mu.Lock()
	news := !d.same(j.decision)
	j.decision = d
	j.mu.Unlock()
	if !news {
		return
	}
	select {
	case j.news <- struct{}{}:
	default:
	}
}

// decideOne is about one job, but for its connections. live are the ids of live instances; nil: not known yet.
func (s *Supervisor) decideOne(j *supervised, live []string) decision {
	if !s.options.Store.read() {
		return s.waiting()
	}
	m, revision, err := s.options.Store.look(j.ID)
	if err != nil {
		return decision{state: Failed, cause: err.Error(), revision: revision}
	}
	d := decision{memory: m, revision: revision, state: Stopped}
	switch j.mu.Lock(); {
	case m.Reset != nil:
		d.state, d.cause = Resetting, resetCause(m.Reset, j.resetNote)
	case m.Desired == consumer.WantStopped:
		d.cause = "an operator stopped it"
	case live == nil && j.decision.run: // the others have not heard us lately, and may help; the group knows whose partitions are whose
		d.run = true
	case live == nil:
		d.state, d.cause = Starting, "waiting for the log: this instance's own report is not in it yet"
	case j.extent == nil:
		d.state, d.cause = Starting, "asking Kafka for brokers and partitions"
	default:
		chosen := place(j.ID, j.instances(), live)
		for _, id := range chosen {
			d.run = d.run || id == s.me.ID
		}
		if !d.run {
			d.cause = "runs on " + strings.Join(chosen, ", ")
		}
	}
	j.mu.Unlock()
	return d
}

// waiting is the decision while the log was not read yet.
func (s *Supervisor) waiting() decision {
	d := decision{state: Starting, cause: "waiting for the log in Kafka"}
	if p := s.options.Store.log.Problem(); p != "" {
		d.cause += ": " + p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unreach != "" {
		d.cause = s.unreach
	}
	if s.refused {
		d.state = Failed
	}
	return d
}
