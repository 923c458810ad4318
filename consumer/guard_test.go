package consumer

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

// What the guard says of the next row to be given up, after a history of d (delivered) and u (given up), a letter for each.
func TestGuardJudges(t *testing.T) {
	now := time.Now()
	many := strings.Repeat
	for name, c := range map[string]struct {
		history string
		share   float64
		age     time.Duration // of the history
		holds   bool
	}{
		"the first outcome":                         {"", 0.5, 0, false},
		"nineteen would be too few":                 {many("u", 18), 0.5, 0, false},
		"twenty are enough":                         {many("u", 19), 0.5, 0, true},
		"half are allowed":                          {many("ud", 20) + "d", 0.5, 0, false},
		"more than half are not":                    {many("ud", 20), 0.5, 0, true},
		"what is a hundred outcomes back is forgot": {many("u", 60) + many("d", 99), 0.5, 0, false},
		"what is ten minutes back is forgot":        {many("u", 60), 0.5, 11 * time.Minute, false},
		"a small share":                             {many("d", 98) + "uu", 0.02, 0, true},
		"one disables":                              {many("u", 99), 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuard(c.share)
			for i, h := range c.history {
				at := now.Add(-c.age).Add(time.Duration(i-len(c.history)) * time.Millisecond)
				g.note(at, int64(map[rune]int{'d': 0, 'u': 1}[h]))
			}
			if h := g.judge(now, sink.Outcome{Class: sink.Rejected, Reason: "answered 422"}); (h != nil) != c.holds {
				t.Fatalf("hold %+v, want one: %v", h, c.holds)
			}
		})
	}
}

// The API begins to refuse everything: a change on its side. Without the guard the whole topic would end in the dead letters before
// anybody has read the first alarm. With it, at most guardLeast rows do; the rest is kept, the hold survives a restart, and after
// the mend and a resume every kept row is delivered, in order.
func TestTheGuardHoldsAJobWhoseRowsAreAllRefused(t *testing.T) {
	var mended atomic.Bool
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer {
		if mended.Load() {
			return sinktest.Answer{}
		}
		return sinktest.Answer{Status: 422}
	})
	topic := f.cluster.Topic(t, "t", 2)
	for n := range 60 {
		consumertest.Produce(t, f.producer, rec(topic, int32(n%2), []string{"a", "b", "c", "d"}[n%4], n))
	}
	cfg := f.job(topic)
	store := &processStore{}
	run := func() *running {
		i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
		i.Keep(store)
		return f.runOn(i, cfg)
	}
	held := func(j *running) {
		t.Helper()
		consumertest.WaitFor(t, within, "the job to be held", func() (any, bool) {
			s := j.runner.Status()
			return s, s.State == Held && len(s.Holds) == 1 && s.Holds[0].Cause == HoldGuard && !j.runner.guard.unsaved()
		})
	}
	j := run()
	held(j)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	seen := f.api.Len()
	j = run()
	held(j)
	if f.api.Len() != seen {
		t.Errorf("%d attempts by a held job after its restart", f.api.Len()-seen)
	}
	letters := map[[2]int64]bool{} // partition and offset
	for _, l := range f.cluster.DeadLetters(t, cfg.DeadLetterTopic) {
		letters[[2]int64{int64(l.Partition), l.Offset}] = true
	}
	if len(letters) >= guardLeast {
		t.Errorf("%d dead letters before the guard held the job, want fewer than %d", len(letters), guardLeast)
	}
	mended.Store(true)
	if _, err := store.Remember(t.Context(), cfg.Job, Audit{}, func(m *Memory) error { m.Hold = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	m, err := store.Memory(t.Context(), cfg.Job)
	if err != nil {
		t.Fatal(err)
	}
	j.runner.Recall(m)
	f.committed(cfg, topic)
	f.verdict(cfg, topic, func(r *kgo.Record) checker.Want {
		if letters[[2]int64{int64(r.Partition), r.Offset}] {
			return checker.GivenUp
		}
		return checker.Delivered
	})
}

// A row that would be given up at the very moment in which the hold ends must not be forgotten.
func TestARowKeptWhileTheHoldEndsIsDelivered(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Attempt == 1 && a.Seq < 40 {
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 60 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "k", n))
	}
	cfg := f.job(topic, func(c *Config) { c.Order = Order{By: OrderNone}; c.DeadLetterShare = 0.01 })
	store := &processStore{}
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	i.Keep(store)
	j := f.runOn(i, cfg)
	consumertest.WaitFor(t, within, "every row final, resuming all the time", func() (any, bool) {
		m, _ := store.Remember(t.Context(), cfg.Job, Audit{}, func(m *Memory) error { m.Hold = nil; return nil }) // never fails
		j.runner.Recall(m)
		got := f.cluster.Committed(t, cfg.Group)[topic][0]
		return got, got == 60
	})
}

// A paused job stays in its group and starts nothing; what runs may end; it goes on where it was.
func TestPause(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	cfg := f.job(topic)
	store := &processStore{jobs: map[string]Memory{cfg.Job: {Desired: WantPaused}}}
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	i.Keep(store)
	j := f.runOn(i, cfg)
	for n := range 10 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "k", n))
	}
	consumertest.WaitFor(t, within, "the rows to wait", func() (any, bool) {
		s := j.runner.Status()
		return s, s.State == Paused && len(s.Partitions) == 1 && s.Partitions[0].Pending == 10
	})
	if n := f.api.Len(); n > 0 {
		t.Errorf("%d attempts by a paused job", n)
	}
	j.runner.Recall(Memory{})
	f.committed(cfg, topic)
	if s := j.runner.Status(); s.State != Running {
		t.Errorf("state %s after the pause", s.State)
	}
	f.verdict(cfg, topic, nil)
}
