package consumer

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// The tests of this file tell what other consumers lost or sent twice when partitions changed hands.

// An answer arrives after its partition was given up: the drain had run out and the row was cancelled. Whoever acknowledges it then
// would commit past rows that the new owner has not sent, or move the accounts of an assignment that is over.
func TestALateAnswerAfterARevokeChangesNothing(t *testing.T) {
	var answers atomic.Bool
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset == 0 && !answers.Load() {
			return sinktest.Answer{Fault: sinktest.Hang}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 2)
	for p := range int32(2) {
		consumertest.Produce(t, f.producer, rec(topic, p, fmt.Sprint("k", p), 0), rec(topic, p, fmt.Sprint("k", p), 1))
	}
	cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Minute, 100*time.Millisecond })
	a := f.run(cfg)
	consumertest.WaitFor(t, within, "an attempt in each partition", func() (any, bool) { return f.api.Len(), f.api.Len() == 2 })
	waiting := map[*partition]*row{}
	for _, p := range a.runner.all() {
		p.mu.Lock()
		waiting[p] = p.tracker.Oldest().Caller.(*record).rows
		p.mu.Unlock()
	}
	b := f.run(cfg)
	consumertest.WaitFor(t, within, "the second instance's attempt", func() (any, bool) {
		return f.api.Len(), b.runner.assigned.Load() == 1 && f.api.Len() == 3
	})
	late := 0
	for p, row := range waiting {
		if !p.isClosed() {
			continue
		}
		late++
		used, seen := a.runner.account.used.Load(), f.api.Len()
		p.ack(row, outcomeDelivered)
		if now := a.runner.account.used.Load(); now != used {
			t.Errorf("%d bytes are held, %d after the late answer", used, now)
		}
		if c, changed := p.finished(); changed || c.Offset != 0 {
			t.Errorf("the late answer moved the commit to %d", c.Offset)
		}
		if n := f.api.Len(); n != seen {
			t.Errorf("the late answer started %d attempts of a partition that is another's", n-seen)
		}
		if got := f.cluster.Committed(t, cfg.Group)[topic][p.id]; got != 0 {
			t.Errorf("committed %d", got)
		}
	}
	if late != 1 {
		t.Errorf("%d partitions were given up, want 1", late)
	}
	answers.Store(true)
	if err := b.stop(); err != nil { // ends its hanging attempt, and gives its partition back
		t.Fatal(err)
	}
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	f.run(cfg)
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil)
}

// The last commit of a stop is made when the context that the job ran under has ended: a client that commits under it commits
// nothing, and all that finished since the last commit is sent again.
func TestTheLastCommitOutlivesItsContext(t *testing.T) {
	for name, stop := range map[string]func(*running){"soft": func(*running) {}, "hard": func(j *running) { j.hard() }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
				if a.Offset == 2 {
					return sinktest.Answer{Fault: sinktest.Hang}
				}
				return sinktest.Answer{}
			})
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "b", 1), rec(topic, 0, "c", 2))
			cfg := f.job(topic, func(c *Config) { c.Commit, c.Drain = time.Hour, 100*time.Millisecond }) // no commit but the last
			j := f.run(cfg)
			consumertest.WaitFor(t, within, "two finished rows", func() (any, bool) {
				all := j.runner.all()
				if len(all) == 0 {
					return nil, false
				}
				c, _ := all[0].finished()
				return c.Offset, c.Offset == 2
			})
			stop(j)
			if err := j.stop(); err != nil {
				t.Fatal(err)
			}
			if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 2 {
				t.Errorf("committed %d, want 2", got)
			}
		})
	}
}

// A partition is not read on since its buffer is full, and is revoked, and comes back. A pause that outlives the assignment keeps the
// partition silent for ever, while its instance looks well.
func TestARevokeWhilePaused(t *testing.T) {
	t.Parallel()
	var released atomic.Bool
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer {
		if !released.Load() {
			return sinktest.Answer{Fault: sinktest.Hang}
		}
		return sinktest.Answer{}
	})
	f.api.DropBodies = true
	topic := f.cluster.Topic(t, "t", 2)
	random := rand.New(rand.NewPCG(1, 2))
	var batch []*kgo.Record
	for i := range 4000 {
		pad := make([]byte, 1500) // incompressible
		for j := range pad {
			pad[j] = byte(random.Uint32())
		}
		batch = append(batch, &kgo.Record{Topic: topic, Partition: int32(i % 2), Key: fmt.Append(nil, i%500),
			Value: fmt.Appendf(nil, `{"id": "x", "n": 1, "pad": %q}`, base64.StdEncoding.EncodeToString(pad))})
	}
	consumertest.Produce(t, f.producer, batch...)
	cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Second, 100*time.Millisecond })
	const budget = 4 << 20
	a := f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, budget), cfg)
	paused := func(j *running, n int) {
		t.Helper()
		consumertest.WaitFor(t, within, fmt.Sprint(n, " paused partitions"), func() (any, bool) {
			s, got := j.runner.Status(), 0
			for _, p := range s.Partitions {
				if p.Paused {
					got++
				}
			}
			return s, got == n && len(s.Partitions) == n
		})
	}
	paused(a, 2)
	b := f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, budget), cfg)
	paused(a, 1)
	paused(b, 1)
	if err := b.stop(); err != nil { // the partition comes back, and is full again
		t.Fatal(err)
	}
	paused(a, 2)
	released.Store(true)
	f.committed(cfg, topic)
}

// The group rebalances as often as its heartbeats tell of it, every two seconds or so. Each time the members that stay must keep
// what they have and go on; a consumer that begins anew with every rebalance never gets anywhere, one that forgets what was in
// flight loses it.
func TestARebalanceEveryTwoSeconds(t *testing.T) {
	t.Parallel()
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: 20 * time.Millisecond} })
	const partitions, keys, times = 6, 12, 15 // two rebalances each: a minute
	topic := f.cluster.Topic(t, "t", partitions)
	n := 0
	produce := func() {
		var batch []*kgo.Record
		for range 20 {
			for k := range keys {
				batch = append(batch, rec(topic, int32(k%partitions), fmt.Sprint("k", k), n))
			}
			n++
		}
		consumertest.Produce(t, f.producer, batch...)
	}
	produce()
	cfg := f.job(topic)
	stays := f.run(cfg)
	f.attempts(1)
	for range times {
		produce()
		comes := f.run(cfg)
		consumertest.WaitFor(t, within, "its part", func() (any, bool) { n := comes.runner.assigned.Load(); return n, n == partitions/2 })
		seen := f.api.Len()
		produce()
		if err := comes.stop(); err != nil {
			t.Fatal(err)
		}
		consumertest.WaitFor(t, within, "the partitions to come back", func() (any, bool) { n := stays.runner.assigned.Load(); return n, n == partitions })
		if f.api.Len() == seen {
			t.Error("nothing was sent between two rebalances")
		}
	}
	f.committed(cfg, topic)
	if got, want := f.api.Len(), n*keys; got != want {
		t.Errorf("%d attempts for %d rows, though nothing was broken off", got, want)
	}
	f.verdict(cfg, topic, nil)
}

// A client that keeps fewer idle connections than it has requests in flight opens a new one for most requests, until the machine
// has no port left. Ours keeps what it needed.
func TestConnectionsAreKept(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: time.Millisecond} })
	topic := f.cluster.Topic(t, "t", 4)
	var batch []*kgo.Record
	for i := range 3000 {
		batch = append(batch, rec(topic, int32(i%4), fmt.Sprint("k", i), 0))
	}
	consumertest.Produce(t, f.producer, batch...)
	cfg := f.job(topic, func(c *Config) { c.Sink.Concurrency = 48 })
	f.run(cfg)
	f.committed(cfg, topic)
	if n := f.api.Connections(); n > 48 {
		t.Errorf("%d connections for 3000 requests, of which at most 48 ran at a time", n)
	}
	f.verdict(cfg, topic, nil)
}

// isClosed says that nothing of the partition counts any more.
func (p *partition) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life == closed
}
