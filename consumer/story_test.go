package consumer

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// The tests of this file tell what was lost, overtaken or stuck once, or would be.

// A fetch brings a good batch and a damaged one, as one partition with records and an error. The good records are not fetched
// again: dropping them would commit past them. Nothing behind the damaged batch is read.
func TestRecordsBeforeADamagedBatchAreSent(t *testing.T) {
	f, cfg, topic, j := damaged(t)
	f.committedTo(cfg, topic, map[int32]int64{0: 2})
	j.waitCause("what was fetched cannot be read")
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	f.run(cfg) // the damage was on the way: the log is good
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil)
}

// damaged runs a job on a topic of four batches with one record each, the third of which is damaged on its way, once.
func damaged(t *testing.T) (f *fixture, cfg Config, topic string, j *running) {
	t.Helper()
	f = setup(t, consumertest.Fake(t), nil)
	topic = f.cluster.Topic(t, "t", 1)
	p := f.cluster.Producer(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	for n, id := range []string{"a", "b", "CORRUPTME", "d"} {
		consumertest.Produce(t, p, rec(topic, 0, id, n))
	}
	cfg = f.job(topic)
	var once atomic.Bool
	j = f.runOn(f.instance(Client{Brokers: f.cluster.Brokers, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return flipping{conn, &once}, err
	}}, 0), cfg)
	return f, cfg, topic, j
}

// flipping changes one byte of what is read, once.
type flipping struct {
	net.Conn
	once *atomic.Bool
}

func (c flipping) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if i := bytes.Index(b[:n], []byte("CORRUPTME")); i >= 0 && c.once.CompareAndSwap(false, true) {
		b[i+7] = 'X'
	}
	return n, err
}

// An unclean election cuts the log and new records take offsets that we have read already. The client goes on there by itself; what
// it then hands over would be taken for repeats, and committed past. The partition is held instead.
func TestACutLogHoldsThePartition(t *testing.T) {
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 6 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "k", n))
	}
	cfg := f.job(topic)
	f.commitEpoch(cfg.Group, topic, 4, 0)
	f.cutAt(2)
	j := f.run(cfg)
	j.waitCause("the log was cut behind us")
	consumertest.WaitFor(t, within, "the fetch to be paused", func() (any, bool) {
		s := j.runner.Status()
		return s, len(s.Partitions) == 1 && s.Partitions[0].Paused
	})
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 4 || f.api.Len() > 0 {
		t.Errorf("committed %d, %d attempts; want 4 and none", got, f.api.Len())
	}
}

// One instance stops and drains while another joins, as in every rolling restart. The group must not give its partitions away before
// it has committed, and the drain has time enough: nothing is sent twice.
func TestARebalanceDuringAStopWaitsForTheDrain(t *testing.T) {
	slow := make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset == 3 {
			<-slow
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 2)
	for n := range 6 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "k0", n), rec(topic, 1, "k1", n))
	}
	cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Minute, time.Minute })
	a := f.run(cfg)
	consumertest.WaitFor(t, within, "the slow rows", func() (any, bool) { return f.api.Len(), f.api.Len() == 8 })
	a.soft()
	consumertest.WaitFor(t, within, "the drain", func() (any, bool) { n := len(a.runner.all()); return n, n == 0 })
	f.run(cfg)
	consumertest.WaitFor(t, within, "two members", func() (any, bool) {
		g := f.cluster.Fake.GroupInfo(cfg.Group)
		return g, len(g.Members) == 2
	})
	if n := f.api.Len(); n != 8 {
		t.Errorf("%d attempts while the rows in flight are not final", n)
	}
	close(slow)
	f.committed(cfg, topic)
	if n := f.api.Len(); n != 12 {
		t.Errorf("%d attempts for 12 rows", n)
	}
	f.verdict(cfg, topic, nil)
}

// A member that was put out learns it from a refused commit, and its client joins again without a word about its partitions. They
// must be given up all the same, and their offsets read again.
func TestAMemberThatWasPutOutGivesItsPartitionsUp(t *testing.T) {
	c := consumertest.Fake(t)
	gate := make(chan struct{})
	f := setup(t, c, func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset == 5 {
			<-gate
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 5 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "k", n))
	}
	cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Minute, time.Minute })
	j := f.run(cfg)
	f.committed(cfg, topic)
	c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownMemberID, Count: 1})
	first := j.runner.all()[0]
	consumertest.Produce(t, f.producer, rec(topic, 0, "k", 5), rec(topic, 0, "j", 6))
	consumertest.WaitFor(t, within, "the partition to be given up and assigned again", func() (any, bool) {
		all := j.runner.all()
		return len(all), first.isClosed() && len(all) == 1 && all[0] != first
	})
	close(gate)
	f.committed(cfg, topic)
}

// Another member takes its time to join while we are told to stop at once: no new attempts, and an end in seconds.
func TestAHardStopDoesNotWaitForARebalance(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	f := setup(t, c, func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: 20 * time.Millisecond} })
	topic := f.cluster.Topic(t, "t", 1)
	var batch []*kgo.Record
	for n := range 3000 {
		batch = append(batch, rec(topic, 0, "k", n))
	}
	consumertest.Produce(t, f.producer, batch...)
	cfg := f.job(topic)
	j := f.run(cfg)
	f.attempts(3)
	joining, over := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c.Fake.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		once.Do(func() { close(joining) })
		c.Fake.SleepControl(func() { <-over })
		return nil, nil, false
	})
	c.Fake.ControlKey(int16(kmsg.Heartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		resp := kreq.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.RebalanceInProgress.Code
		return resp, nil, true
	})
	<-joining
	j.hard()
	began := time.Now()
	j.soft()
	select {
	case err := <-j.ended:
		j.ended <- err
	case <-time.After(within):
		t.Error("the hard stop waits for the rebalance")
	}
	n := f.api.Len()
	close(over)
	t.Logf("stopped after %v, %d attempts in all", time.Since(began), n)
	if n > 1000 {
		t.Errorf("%d attempts: new ones were started after the stop", n)
	}
}

// Brokers have two ways to say that a commit is too large. Without its metadata it is taken at once.
func TestACommitThatIsTooLargeIsMadeWithoutMetadata(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.OffsetMetadataTooLarge, kerr.InvalidCommitOffsetSize} {
		t.Run(refusal.Message, func(t *testing.T) {
			t.Parallel()
			c := consumertest.Fake(t)
			f := setup(t, c, func(a *sinktest.Attempt) sinktest.Answer {
				if a.Offset == 1 {
					return sinktest.Answer{Fault: sinktest.Hang}
				}
				return sinktest.Answer{}
			})
			topic := f.cluster.Topic(t, "t", 1)
			for n, k := range []string{"a", "b", "c"} {
				consumertest.Produce(t, f.producer, rec(topic, 0, k, n))
			}
			refused := refuseCommits(c, refusal, func(metadata []string) bool { return metadata[0] != "" })
			cfg := f.job(topic, func(c *Config) { c.Drain = time.Second })
			f.run(cfg)
			f.committedTo(cfg, topic, map[int32]int64{0: 1})
			consumertest.WaitFor(t, within, "a refused commit", func() (any, bool) { return refused.Hits(), refused.Hits() > 0 })
			consumertest.Produce(t, f.producer, rec(topic, 0, "d", 3))
			f.attempts(3)
			if n := refused.Hits(); n != 1 {
				t.Errorf("%d commits were refused: the metadata is still sent", n)
			}
		})
	}
}
