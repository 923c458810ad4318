package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/schemas/schemastest"
	"streamer/sink"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

// to is cfg with rows that go to another path.
func (f *fixture) to(cfg Config, path string, change ...func(*Config)) Config {
	f.Helper()
	cfg.Program = f.program(`{"id": "$.msg.id", "n": "$.msg.n"}`, f.api.URL()+path+"{id}", `["n"]`, "")
	for _, c := range change {
		c(&cfg)
	}
	return cfg
}

// change changes the job and says how long that took.
func (j *running) change(cfg Config) time.Duration {
	j.f.Helper()
	ctx, cancel := context.WithTimeout(j.f.Context(), within)
	defer cancel()
	began := time.Now()
	if err := j.runner.Change(ctx, cfg); err != nil {
		j.f.Fatal(err)
	}
	return time.Since(began)
}

// member is what the group knows the job as.
func (j *running) member() string {
	id, generation := j.runner.client.GroupMetadata()
	return fmt.Sprint(id, "/", generation)
}

// holdsNothing waits until no account of memory or rows has anything left.
func (j *running) holdsNothing() {
	j.f.Helper()
	consumertest.WaitFor(j.f, within, "all memory given back", func() (any, bool) {
		said := fmt.Sprint(j.runner.account.used.Load())
		for _, p := range j.runner.all() {
			p.mu.Lock()
			said += fmt.Sprint(" ", p.held, p.queued, p.pending, len(p.again), len(p.lanes))
			p.mu.Unlock()
		}
		return said, strings.Trim(said, "0 ") == ""
	})
}

// answerBy answers the rows of a path with a status, others with 200.
func answerBy(path string, status int) func(*sinktest.Attempt) sinktest.Answer {
	return func(a *sinktest.Attempt) sinktest.Answer {
		if strings.HasPrefix(a.Path, path) {
			return sinktest.Answer{Status: status}
		}
		return sinktest.Answer{}
	}
}

// Rows back off for an hour, since their API is dead. They go to another URL as soon as the job says so, in order, without a rebalance; what
// was tried of them counts on, and no account keeps anything.
func TestAChangeDoesNotWaitForBackOff(t *testing.T) {
	f := setup(t, consumertest.Fake(t), answerBy("/rows/", 503))
	topic := f.cluster.Topic(t, "t", 2)
	produceKeys(f, topic, 2, 6, 20)
	cfg := f.job(topic, func(c *Config) {
		c.Sink.Retry = sink.Retry{Initial: time.Hour, Max: time.Hour}
		c.Drain = 10 * time.Minute
	})
	j := f.run(cfg)
	f.attempts(6)
	consumertest.WaitFor(t, within, "all that is there", func() (any, bool) {
		s := j.runner.Status()
		return s, len(s.Partitions) == 2 && s.Partitions[0].Polled+s.Partitions[1].Polled == 120
	})
	before := j.member()
	next := f.to(cfg, "/v2/")
	j.change(next) // which waits for two minutes at most
	f.committed(cfg, topic)
	if now := j.member(); now != before {
		t.Errorf("member %s, was %s", now, before)
	}
	first := map[string]int{}
	for _, a := range f.api.Attempts()[6:] {
		if !strings.HasPrefix(a.Path, "/v2/") {
			t.Errorf("an attempt of the old definition: %s", a.Path)
		}
		if first[a.Path]++; first[a.Path] == 1 && a.Attempt != 2 {
			t.Errorf("%s: attempt %d, want 2", a.Path, a.Attempt)
		}
	}
	f.verdict(cfg, topic, nil)
	j.holdsNothing()
	r := &j.runner.instance.rates
	r.mu.Lock()
	if n := len(r.jobs[cfg.Job].sinks); n != 1 {
		t.Errorf("%d sinks under the limit", n)
	}
	r.mu.Unlock()
	if l := j.runner.instance.Load(cfg.Job); l.Rows.Started != 126 {
		t.Errorf("%d attempts counted, want 126", l.Rows.Started)
	}
	if s := j.runner.Status(); s.Cause != "" {
		t.Errorf("status: %s", s.Cause)
	}
}

// An attempt that hangs is waited for, for the drain: its row may still be carried out, and neither the next one of its lane nor itself is
// sent meanwhile. When the drain is over it is broken off and made again.
func TestAChangeWaitsForAttemptsInFlight(t *testing.T) {
	release := make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		switch {
		case a.Path == "/rows/a" && a.Offset == 0:
			<-release
		case a.Path == "/rows/b":
			return sinktest.Answer{Fault: sinktest.Hang}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 2)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "a", 1))
	cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Minute, 500*time.Millisecond })
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the attempt", func() (any, bool) { n := f.api.Len(); return n, n == 1 })
	changed := make(chan error, 1)
	go func() { changed <- j.runner.Change(context.Background(), f.to(cfg, "/v2/")) }()
	j.waitCause("the job is being changed")
	if n := f.api.Len(); n != 1 {
		t.Errorf("%d attempts while one is in flight", n)
	}
	close(release)
	if err := <-changed; err != nil {
		t.Fatal(err)
	}
	f.committedTo(cfg, topic, map[int32]int64{0: 2})
	if got := paths(f.attempts(2)); got != "/rows/a /v2/a" {
		t.Errorf("sent %s", got)
	}
	j.change(cfg)
	consumertest.Produce(t, f.producer, rec(topic, 1, "b", 0))
	consumertest.WaitFor(t, within, "the attempt that hangs", func() (any, bool) { n := f.api.Len(); return n, n == 3 })
	if took := j.change(f.to(cfg, "/v2/")); took < 400*time.Millisecond || took > 30*time.Second {
		t.Errorf("the change took %v, of a drain of 500ms", took)
	}
	f.committed(cfg, topic)
	if got := paths(f.attempts(4)); got != "/rows/a /v2/a /rows/b /v2/b" {
		t.Errorf("sent %s", got)
	}
	f.verdict(cfg, topic, nil)
}

func paths(attempts []sinktest.Attempt) string {
	var out []string
	for _, a := range attempts {
		out = append(out, a.Path)
	}
	return strings.Join(out, " ")
}

// Every class of field takes effect, on a row that was tried by the definition before.
func TestAChangeOfEachField(t *testing.T) {
	const waits = 503
	for name, c := range map[string]struct {
		first, second int // the statuses before and after
		before, after func(*fixture, *Config)
		want          func(t *testing.T, f *fixture, before, after Config, first, second sinktest.Attempt)
	}{
		"the program": {first: waits, after: func(f *fixture, c *Config) { *c = f.to(*c, "/v2/") }, want: func(t *testing.T, _ *fixture, _, _ Config, _, second sinktest.Attempt) {
			if second.Path != "/v2/a" {
				t.Errorf("to %s", second.Path)
			}
		}},
		"the format": {first: waits, after: func(f *fixture, c *Config) {
			c.Schemas.Format = "bytes"
			c.Program = f.program(`{"id": "$.kafka.key"}`, f.api.URL()+"/rows/{id}", `["id"]`, "")
		}, want: func(t *testing.T, _ *fixture, _, _ Config, _, second sinktest.Attempt) {
			if string(second.Body) != `{"id":"a"}` {
				t.Errorf("body %s", second.Body)
			}
		}},
		"headers": {first: waits, after: func(_ *fixture, c *Config) { c.IdempotencyHeader = "X-Key" }, want: func(t *testing.T, _ *fixture, _, _ Config, first, second sinktest.Attempt) {
			if got := headerOf(second, "X-Key"); got == "" || got != headerOf(first, "Idempotency-Key") || headerOf(second, "Idempotency-Key") != "" {
				t.Errorf("%v, then %v", first.Header, second.Header)
			}
		}},
		"authentication": {first: waits, after: func(_ *fixture, c *Config) { c.Sink.Auth.Bearer = "new" }, want: func(t *testing.T, _ *fixture, _, _ Config, first, second sinktest.Attempt) {
			if headerOf(first, "Authorization") != "" || headerOf(second, "Authorization") != "Bearer new" {
				t.Errorf("%v, then %v", first.Header, second.Header)
			}
		}},
		"credentials that hold the target": {first: 401, after: func(_ *fixture, c *Config) { c.Sink.Auth.Bearer = "new" }},
		"statuses":                         {first: 404, second: 404, before: off, after: func(_ *fixture, c *Config) { c.Sink.Statuses = map[sink.Class][]int{sink.Delivered: {404}} }},
		"dead letters on": {first: 422, second: 422, before: off, after: func(_ *fixture, c *Config) { c.DeadLetterTopic = "test.elsewhere." + c.Job },
			want: func(t *testing.T, f *fixture, _, after Config, _, _ sinktest.Attempt) {
				if n := len(f.cluster.DeadLetters(t, after.DeadLetterTopic)); n != 1 {
					t.Errorf("%d dead letters", n)
				}
			}},
		"commits": {before: func(_ *fixture, c *Config) { c.Commit = time.Hour }, after: func(_ *fixture, c *Config) { c.Commit = 20 * time.Millisecond }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var status atomic.Int64
			status.Store(int64(c.first))
			f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: int(status.Load())} })
			f.api.KeepHeaders = true
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
			cfg := f.job(topic, func(c *Config) { c.Sink.Retry = sink.Retry{Initial: time.Hour, Max: time.Hour} })
			if c.before != nil {
				c.before(f, &cfg)
			}
			j := f.run(cfg)
			f.attempts(1)
			status.Store(int64(c.second))
			before, next := j.member(), cfg
			c.after(f, &next)
			j.change(next)
			f.committed(cfg, topic)
			if j.member() != before {
				t.Errorf("member %s, was %s", j.member(), before)
			}
			if c.want != nil {
				all := f.attempts(2)
				c.want(t, f, cfg, next, all[0], all[1])
			}
		})
	}
}

func headerOf(a sinktest.Attempt, name string) string {
	for _, h := range a.Header {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

func off(_ *fixture, c *Config) { c.DeadLetterTopic = "" }

// Rows of one container of which some are final: those are not sent again, and a filter leaves out others.
func TestAChangeSendsNoFinalRowAgain(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Row%2 == 1 && strings.HasPrefix(a.Path, "/rows/") {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	var rows []any
	for n := range 8 {
		rows = append(rows, map[string]any{"id": fmt.Sprint("k", n), "n": int64(n)})
	}
	consumertest.Produce(t, f.producer, &kgo.Record{Topic: topic, Value: schemastest.Container(idSchema, "deflate", rows...)})
	cfg := f.job(topic, func(c *Config) { c.Sink.Retry = sink.Retry{Initial: time.Hour, Max: time.Hour} })
	j := f.run(cfg)
	f.attempts(8)
	next := cfg
	next.Program = f.program(`{"id": "$.msg.id", "n": "$.msg.n"}`, f.api.URL()+"/v2/{id}", `["n"]`, `"$[?(@.n < 5)]"`)
	consumertest.WaitFor(t, within, "the rows that are final", func() (any, bool) {
		f, err := j.runner.Find(t.Context(), Query{Topic: topic})
		n := 0
		for _, x := range f {
			if x.State == FoundBackOff {
				n++
			}
		}
		return f, err == nil && n == 4
	})
	j.change(next)
	f.committed(cfg, topic)
	got := strings.Fields(paths(f.api.Attempts()[8:]))
	slices.Sort(got)
	if s := strings.Join(got, " "); s != "/v2/k1 /v2/k3" {
		t.Errorf("sent again: %s", s)
	}
	if s := j.runner.Status().Partitions[0]; s.Polled != 1 || s.Final != 1 || s.Pending != 0 {
		t.Errorf("%+v", s)
	}
}

// Twenty changes, and calls that come together, while rows flow, fail, are given up and are parked.
func TestManyChangesUnderLoad(t *testing.T) {
	for name, park := range map[string]bool{"keys go on": false, "keys are parked": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
				switch {
				case strings.HasSuffix(a.Path, "/k3") && a.Offset%11 == 5:
					return sinktest.Answer{Status: 422}
				case a.Offset%7 == 2 && a.Attempt < 3:
					return sinktest.Answer{Status: 503}
				}
				return sinktest.Answer{Delay: time.Millisecond}
			})
			topic := f.cluster.Topic(t, "t", 3)
			cfg := f.job(topic, func(c *Config) { c.DeadLetterPark, c.DeadLetterShare = park, 1 })
			j := f.run(cfg)
			for i := range 20 {
				produceKeys(f, topic, 3, 12, 8)
				next := f.to(cfg, fmt.Sprintf("/v%d/", i), func(c *Config) { c.Sink.Concurrency = 1 + i })
				if i%4 == 3 {
					var all sync.WaitGroup
					for n := range 3 {
						all.Go(func() {
							if err := j.runner.Change(t.Context(), f.to(next, fmt.Sprintf("/x%d/", n))); err != nil {
								t.Error(err)
							}
						})
					}
					all.Wait()
					continue
				}
				j.change(next)
			}
			before := j.member()
			j.change(cfg)
			f.committed(cfg, topic)
			if j.member() != before {
				t.Errorf("member %s, was %s", j.member(), before)
			}
			f.verdict(cfg, topic, func(*kgo.Record) checker.Want { return checker.Either })
			j.holdsNothing()
			for _, p := range j.runner.Status().Partitions {
				if p.Polled != p.Final || p.Pending != 0 {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// Changes race with members that come, go and are stopped.
func TestChangesWhilePartitionsMove(t *testing.T) {
	changesWhilePartitionsMove(t, consumertest.Fake(t), 6)
}

func changesWhilePartitionsMove(t *testing.T, c *consumertest.Cluster, rounds int) {
	f := setup(t, c, func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset%9 == 4 && a.Attempt < 3 {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{Delay: time.Millisecond}
	})
	topic := f.cluster.Topic(t, "t", 6)
	cfg := f.job(topic)
	jobs := []*running{f.run(cfg), f.run(cfg)}
	for i := range rounds {
		produceKeys(f, topic, 6, 24, 10)
		var all sync.WaitGroup
		for n, j := range jobs {
			all.Go(func() {
				for k := range 3 {
					err := j.runner.Change(t.Context(), f.to(cfg, fmt.Sprintf("/v%d-%d-%d/", i, n, k), func(c *Config) { c.Sink.Concurrency = 8 + k }))
					if err != nil && !errors.Is(err, ErrNotRunning) {
						t.Error(err)
					}
				}
			})
		}
		if i%2 == 1 {
			gone := jobs[0]
			jobs = append(jobs[1:], f.run(cfg))
			if err := gone.stop(); err != nil {
				t.Error(err)
			}
		}
		all.Wait()
	}
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil)
}

// A job that is paused, or held by the guard, stays so through a change; and what waited goes by the new definition when it goes on.
func TestAChangeKeepsPauseAndHold(t *testing.T) {
	for name, c := range map[string]struct {
		answer  int
		hold    func(*running)
		state   State
		release func(*running)
	}{
		"paused": {503, func(j *running) { j.runner.Recall(Memory{Revision: 1, Desired: WantPaused}) }, Paused,
			func(j *running) { j.runner.Recall(Memory{Revision: 2}) }},
		"held by the guard": {422, func(*running) {}, Held,
			func(j *running) {
				m, err := j.runner.instance.store.Remember(j.f.Context(), j.runner.cfg.Job, Audit{}, func(m *Memory) error { m.Hold = nil; return nil })
				if err != nil {
					j.f.Fatal(err)
				}
				j.runner.Recall(m)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Fake(t), answerBy("/rows/", c.answer))
			topic := f.cluster.Topic(t, "t", 1)
			produceKeys(f, topic, 1, 40, 2)
			cfg := f.job(topic, func(c *Config) { c.DeadLetterShare = 0.1 })
			j := f.run(cfg)
			f.attempts(20) // the guard judges from then on
			c.hold(j)
			consumertest.WaitFor(t, within, string(c.state), func() (any, bool) {
				s := j.runner.Status()
				return s, s.State == c.state && s.Delivery.InFlight == 0 && !j.runner.guard.unsaved()
			})
			n := f.api.Len()
			j.change(f.to(cfg, "/v2/"))
			if s := j.runner.Status(); s.State != c.state || f.api.Len() != n {
				t.Errorf("%v, %d attempts more", s.State, f.api.Len()-n)
			}
			c.release(j)
			f.committed(cfg, topic)
			for _, a := range f.api.Attempts()[n:] {
				if !strings.HasPrefix(a.Path, "/v2/") {
					t.Errorf("to %s", a.Path)
				}
			}
			f.verdict(cfg, topic, func(*kgo.Record) checker.Want { return checker.Either })
		})
	}
}

// A partition that is held for a log that was cut stays held. The rows of it in memory, whose records are gone from the log, are sent by
// the new definition.
func TestAChangeOfAHeldPartitionGoesOnInPlace(t *testing.T) {
	f := setup(t, consumertest.Fake(t), answerBy("/rows/", 503))
	topic := f.cluster.Topic(t, "t", 1)
	produceKeys(f, topic, 1, 2, 3)
	cfg := f.job(topic, func(c *Config) { c.Sink.Retry = sink.Retry{Initial: time.Hour, Max: time.Hour} })
	j := f.run(cfg)
	f.attempts(2)
	consumertest.WaitFor(t, within, "all that is there", func() (any, bool) {
		s := j.runner.Status()
		return s, len(s.Partitions) == 1 && s.Partitions[0].Polled == 6
	})
	p := j.runner.all()[0]
	g := gap{from: 6, to: 9, lost: 3}
	j.runner.holdPartition(p, j.runner.expiredHold(p, g), g)
	j.change(f.to(cfg, "/v2/"))
	f.committed(cfg, topic)
	if s := j.runner.Status(); s.Partitions[0].Hold == nil || s.Partitions[0].Hold.Cause != HoldExpired || j.runner.all()[0] != p {
		t.Errorf("%+v", s.Partitions)
	}
	if got := paths(f.api.Attempts()[2:]); strings.Count(got, "/v2/") != 6 {
		t.Errorf("sent %s", got)
	}
}

// Before a run, between sessions and after it: a change is in effect at once, or there is nothing to change.
func TestAChangeOutsideOfASession(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0))
	cfg := f.job(topic)
	j := f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, 0), cfg, func(r *Runner) {
		if err := r.Change(t.Context(), f.to(cfg, "/v2/")); err != nil {
			t.Error(err)
		}
	})
	f.committed(cfg, topic)
	if got := paths(f.attempts(1)); got != "/v2/a" {
		t.Errorf("sent %s", got)
	}
	if err := j.runner.Change(t.Context(), f.to(cfg, "/v3/", func(c *Config) { c.Topics = []string{"other"} })); !errors.Is(err, ErrRejoin) {
		t.Errorf("other topics: %v", err)
	}
	var refused *RefusedError
	if err := j.runner.Change(t.Context(), f.to(cfg, "/v3/", func(c *Config) { c.Sink.Auth.Bearer = "a\nb" })); !errors.As(err, &refused) {
		t.Errorf("a token with a line break: %v", err)
	}
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if err := j.runner.Change(t.Context(), f.to(cfg, "/v3/")); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the run: %v", err)
	}
}

// The stop comes while a change waits for an attempt: the attempt may end as in any stop, and the change says that it did not come.
func TestAStopDuringAChange(t *testing.T) {
	release := make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer {
		<-release
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "a", 1))
	cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Minute, time.Minute })
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the attempt", func() (any, bool) { n := f.api.Len(); return n, n == 1 })
	changed := make(chan error, 1)
	go func() { changed <- j.runner.Change(context.Background(), f.to(cfg, "/v2/")) }()
	j.waitCause("the job is being changed")
	j.soft()
	consumertest.WaitFor(t, within, "the drain of the stop", func() (any, bool) { n := len(j.runner.all()); return n, n == 0 })
	close(release)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-changed; !errors.Is(err, ErrNotRunning) {
		t.Errorf("the change: %v", err)
	}
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 1 || f.api.Len() != 1 {
		t.Errorf("committed %d, %d attempts; want 1 and 1", got, f.api.Len())
	}
	f.run(cfg)
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil)
}
