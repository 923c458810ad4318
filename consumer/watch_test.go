package consumer

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// How long the oldest unfinished record will be kept is known as long as there is one, and where time takes records at all.
func TestRetentionHeadroom(t *testing.T) { retentionHeadroom(t, consumertest.Fake(t)) }

func retentionHeadroom(t *testing.T, c *consumertest.Cluster) {
	for name, x := range map[string]struct {
		config []string
		least  float64
		most   float64
	}{
		"an hour of a record that is half an hour old": {[]string{"retention.ms=3600000"}, 1700, 1800},
		"without limit":              {[]string{"retention.ms=-1"}, -1, -1},
		"a compacted topic":          {[]string{"retention.ms=3600000", "cleanup.policy=compact"}, -1, -1},
		"compacted and deleted":      {[]string{"retention.ms=3600000", "cleanup.policy=compact,delete"}, 1700, 1800},
		"gone from the log, perhaps": {[]string{"retention.ms=600000"}, -1250, -1190},
	} {
		t.Run(name, func(t *testing.T) {
			if x.least < -1 && c.Mode != consumertest.ModeFake {
				t.Skip("Kafka would take the records")
			}
			var up atomic.Bool
			f, k := setup(t, c, func(*sinktest.Attempt) sinktest.Answer {
				if !up.Load() {
					return sinktest.Answer{Status: 503}
				}
				return sinktest.Answer{}
			}), &keeper{}
			topic := f.cluster.Topic(t, "t", 2, x.config...)
			old := rec(topic, 0, "a", 1)
			old.Timestamp = time.Now().Add(-30 * time.Minute)
			consumertest.Produce(t, f.producer, old, rec(topic, 1, "b", 1))
			cfg := f.job(topic)
			f.runWith(k, cfg)
			f.attempts(2)
			if x.least == -1 {
				f.attempts(20)
				if n := f.metric(k, cfg, "streamer_retention_headroom_seconds"); n != -1 {
					t.Errorf("headroom %v, want none", n)
				}
			} else {
				consumertest.WaitFor(t, within, "the headroom", func() (any, bool) {
					n := f.metric(k, cfg, "streamer_retention_headroom_seconds")
					return n, n >= x.least && n <= x.most
				})
			}
			up.Store(true)
			f.committed(cfg, topic)
			consumertest.WaitFor(t, within, "no headroom", func() (any, bool) {
				n := f.metric(k, cfg, "streamer_retention_headroom_seconds")
				return n, n == -1
			})
		})
	}
}

func TestAnOpenTransactionIsNamed(t *testing.T) {
	t.Parallel()
	openTransactionIsNamed(t, consumertest.Fake(t))
}

// openTransactionIsNamed: somebody began a transaction and does not end it. All that follows is kept from readers of committed records,
// also what others write. Lag does not reach 0, and the status says whose transaction it is; it goes when the transaction does.
func openTransactionIsNamed(t *testing.T, c *consumertest.Cluster) {
	f := setup(t, c, nil)
	topic := f.cluster.Topic(t, "t", 2)
	f.produceN(topic, 0, 2)
	tx := f.cluster.Producer(t, kgo.TransactionalID(consumertest.Name("tx")), kgo.TransactionTimeout(10*time.Minute)) // it stays open
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	consumertest.Produce(t, tx, rec(topic, 0, "in", 1))
	f.produceN(topic, 0, 3)
	cfg := f.job(topic)
	j := f.run(cfg)
	f.committedTo(cfg, topic, map[int32]int64{0: 2})
	id, _, err := tx.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("an open transaction of producer id %d, whose last write was at", id)
	consumertest.WaitFor(t, within, "the transaction to be named", func() (any, bool) {
		j.runner.lookAgain()
		s := j.runner.Status()
		for _, p := range s.Partitions {
			if p.Partition == 0 && strings.HasPrefix(p.Cause, want) && strings.Contains(p.Cause, "keeps 4 records from offset 2 on") && !p.Since.IsZero() && p.Hold == nil {
				return s, true
			}
		}
		return s, false
	})
	if err := tx.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "lag 0 without cause", func() (any, bool) {
		j.runner.lookAgain()
		s := j.runner.Status()
		return s, s.Lag == 0 && s.Partitions[0].Cause == "" && s.Partitions[1].Cause == ""
	})
}

// The news that the log was cut, and records that the client has fetched at the cut, may come with one poll. Were the records taken
// first, those whose offsets we have not seen would be sent, and committed past what was cut. The story needs the poll loop to stand
// still meanwhile.
func TestACutLogIsHeldBeforeWhatComesWithTheNews(t *testing.T) {
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	topic := f.cluster.Topic(t, "t", 2)
	f.produceN(topic, 0, 6)
	cfg := f.job(topic)
	f.commitEpoch(cfg.Group, topic, 4, 0)
	f.commit(cfg.Group, topic, 1, 0)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	c.Fake.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kmsg.Request) (kmsg.Response, error, bool) {
		f.cutAt(2) // answers this one and all that follow
		asked <- struct{}{}
		c.Fake.SleepControl(func() { <-answer })
		return nil, nil, false
	})
	j := f.run(cfg)
	<-asked
	r := j.runner
	r.regulating.Lock()
	f.produceN(topic, 1, 1)
	f.attempts(1) // the poll loop has handed it over, and goes to regulate
	close(answer)
	consumertest.WaitFor(t, within, "records at the cut", func() (any, bool) { n := r.client.BufferedFetchRecords(); return n, n > 0 })
	r.regulating.Unlock()
	j.heldFor(topic, 0, HoldLogCut)
	f.committedTo(cfg, topic, map[int32]int64{1: 1})
	f.produceN(topic, 1, 1)
	f.committedTo(cfg, topic, map[int32]int64{1: 2})
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 4 || len(f.sent(topic, 0)) > 0 {
		t.Errorf("committed %d, sent %v; want 4 and none", got, f.sent(topic, 0))
	}
}

// A gap of ten million offsets, as compaction or transactions leave them, below a row and behind one that is stuck: it is one step of
// the tracker, and one run in the metadata.
func TestAGapOfTenMillionOffsets(t *testing.T) {
	var up atomic.Bool
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/rows/stuck" && !up.Load() {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	cfg := f.job(topic)
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the assignment", func() (any, bool) {
		n := len(j.runner.all())
		return n, n == 1 && j.runner.all()[0].status().Committed == 0
	})
	p := j.runner.all()[0]
	const gap = 10_000_000
	at := func(key string, offset int64) *kgo.Record {
		r := rec(topic, 0, key, 1)
		r.Offset = offset
		return r
	}
	began := time.Now()
	p.enqueue([]*kgo.Record{at("a", gap), at("stuck", gap+1), at("b", 2*gap), at("c", 3*gap)}, 3*gap+1)
	f.committedTo(cfg, topic, map[int32]int64{0: gap + 1})
	f.attempts(4)
	consumertest.WaitFor(t, within, "the metadata", func() (any, bool) {
		c, changed := p.finished()
		return len(c.metadata), !changed && len(c.metadata) > 0 && len(c.metadata) < 100
	})
	up.Store(true)
	f.committedTo(cfg, topic, map[int32]int64{0: 3*gap + 1})
	t.Logf("three gaps of %d offsets were passed in %v", gap, time.Since(began))
}

func TestTransactions(t *testing.T) { transactions(t, consumertest.Fake(t)) }

// transactions: aborted records are never sent, and markers are finished records, so lag reaches 0.
func transactions(t *testing.T, c *consumertest.Cluster) {
	f := setup(t, c, nil)
	topic := f.cluster.Topic(t, "t", 1)
	tx := f.cluster.Producer(t, kgo.TransactionalID(consumertest.Name("tx")))
	write := func(commit kgo.TransactionEndTry, key string) {
		t.Helper()
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			consumertest.Produce(t, tx, rec(topic, 0, key, n))
		}
		if err := tx.EndTransaction(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	write(kgo.TryCommit, "kept")
	write(kgo.TryAbort, "aborted")
	write(kgo.TryCommit, "last")
	write(kgo.TryAbort, "aborted at the end")
	cfg := f.job(topic)
	j := f.run(cfg)
	f.committed(cfg, topic)
	paths := map[string]int{}
	for _, a := range f.attempts(6) {
		paths[a.Path]++
	}
	if paths["/rows/kept"] != 3 || paths["/rows/last"] != 3 || len(paths) != 2 {
		t.Errorf("requests %v", paths)
	}
	consumertest.WaitFor(t, within, "lag 0", func() (any, bool) { s := j.runner.Status(); return s.Lag, s.Lag == 0 })
}

// A fetch that is too large to be read is the error of no partition: all wait, say so, and are tried again.
func TestAFetchThatIsTooLargeIsSaidAndTriedAgain(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
	cfg := f.job(topic)
	j := f.run(cfg)
	f.committed(cfg, topic)
	j.runner.fetchFailed("", -1, errors.New("response exceeds the limit"))
	j.waitCause("a batch is larger than the 512 MiB that are read at once")
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 2))
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "a status without cause", func() (any, bool) {
		s := j.runner.Status()
		return s, s.Cause == "" && s.Partitions[0].Cause == ""
	})
}

// A job at rest takes no wake-ups of the loops that commit and regulate: a thousand of them would cost. It takes them again when rows come.
func TestAJobAtRestIsNotLookedAt(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic)
	j := f.run(cfg)
	for round := range 2 {
		f.produceN(topic, 0, 3)
		f.committed(cfg, topic)
		begun, before := j.runner.looks.Load(), int64(0)
		consumertest.WaitFor(t, within, "a second without a look", func() (any, bool) {
			now := j.runner.looks.Load()
			still := now == before && now > 0
			before = now
			if !still {
				time.Sleep(5 * regulateEvery)
			}
			return now, still
		})
		if before > begun+40 {
			t.Errorf("%d looks after the last commit of round %d", before-begun, round)
		}
	}
}
