package control

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
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
	// state and cause are what to show when it does not run; cause also why it is paused, if that is not its own operator's wish.
	state State
	cause string
	// plan is what its runner is to run, memory what it is to know.
	plan   *plan
	memory consumer.Memory
	// revision is that of memory.
	revision int64
	// short: connections were missing.
	short bool
}

func (d decision) same(other decision) bool {
	return d.run == other.run && d.state == other.state && d.cause == other.cause && d.plan == other.plan && d.revision == other.revision &&
		d.memory.Log == other.memory.Log
}

func (d decision) log(log *slog.Logger) {
	switch d.state {
	case Failed:
		log.Error("job failed", "cause", d.cause)
	case Stopped:
		log.Info("job does not run here", "cause", d.cause)
	}
}

// decide says again and again which jobs are to run here, until ctx ends: whenever the log has news, and every now and then. It is
// the one place where this is decided; launch starts supervise. It looks at the jobs that there are news of, and at all of them when
// instances come or go.
func (s *Supervisor) decide(ctx context.Context, launch func(*supervised)) {
	var mark kafkalog.Mark
	var before []string
	for read := false; ; {
		changed := s.options.Bulletin.Changed()
		objects, whole, now := s.options.Store.log.Since(mark)
		mark = now
		dirty := s.takeDirty()
		for _, e := range objects {
			if id, ok := strings.CutPrefix(e.Key, statePrefix); ok {
				dirty[id] = true
			}
		}
		live := s.liveIDs()
		if whole || !read || (live == nil) != (before == nil) || !slices.Equal(live, before) {
			dirty = nil
		}
		read, before = notRead(s.options.Store.log) == nil, live
		s.decideAll(dirty, live, launch)
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

// takeDirty gives the jobs that are to be decided anew.
func (s *Supervisor) takeDirty() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.dirty
	s.dirty = map[string]bool{}
	return dirty
}

// decideAll decides anew of the dirty jobs; nil: of all. Those that connections were missing for are looked at whenever one changes.
func (s *Supervisor) decideAll(dirty map[string]bool, live []string, launch func(*supervised)) {
	if dirty != nil && len(dirty) == 0 {
		return
	}
	all := s.all()
	budget := &budget{total: s.options.Connections}
	next := make([]decision, len(all))
	news := make([]bool, len(all))
	for i, j := range all {
		was := j.decided()
		next[i] = was
		if news[i] = dirty == nil || dirty[j.ID] || was.short; news[i] {
			next[i] = s.decideOne(j, live)
		}
		if next[i].run && was.run { // who has its connections keeps them
			budget.take(j.need())
		}
	}
	for i, j := range all {
		d := &next[i]
		if news[i] && d.run && !j.decided().run {
			if cause := budget.ask(j.need()); cause != "" {
				*d = decision{state: Failed, cause: cause, short: true}
			}
		}
		if news[i] {
			j.note(*d, launch)
			s.drop(j)
		}
	}
}

// decideOne is about one job, but for its connections. live are the ids of live instances; nil: not known yet.
func (s *Supervisor) decideOne(j *supervised, live []string) decision {
	if notRead(s.options.Store.log) != nil {
		if d := j.stray(); d != nil {
			return *d
		}
		return s.waiting()
	}
	m, revision, err := s.options.Store.look(j.ID)
	j.mu.Lock()
	defer j.mu.Unlock()
	d := decision{plan: j.plan, memory: m, revision: revision, state: Stopped}
	switch {
	case j.gone:
		d.cause = "it was deleted"
	case j.deleting != nil:
		d.cause = "it is being deleted"
		if j.plan == nil && j.broken != "" {
			d.cause = j.broken
		}
	case j.plan == nil && j.broken != "":
		return decision{state: Failed, cause: j.broken}
	case j.plan == nil:
		return decision{state: Starting, cause: "waiting for its file to be taken into the log in Kafka"}
	case err != nil:
		return decision{state: Failed, cause: err.Error(), revision: revision}
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
		d.run = slices.Contains(chosen, s.me.ID)
		if !d.run {
			d.cause = "runs on " + strings.Join(chosen, ", ")
		}
	}
	if d.run {
		s.heedConnection(j, &d)
	}
	return d
}

// heedConnection makes a job whose connection is paused a paused one: what its operator wants of it stays as it is. That nothing is sent
// meanwhile is sink.Shared's to see to, which hears of it before. The caller holds j.mu.
func (s *Supervisor) heedConnection(j *supervised, d *decision) {
	if d.memory.Desired != consumer.WantRunning {
		return
	}
	if cause := s.options.Definitions.connections.paused(j.connection); cause != "" {
		d.memory.Desired, d.cause = consumer.WantPaused, cause
	}
}

// stray is the decision about a broken job of a file; nil: it is none.
func (j *supervised) stray() *decision {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.plan != nil || j.broken == "" {
		return nil
	}
	return &decision{state: Failed, cause: j.broken}
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
