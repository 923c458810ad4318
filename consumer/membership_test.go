package consumer

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// Two instances share the partitions; one leaves in the middle, another joins. Nothing is lost, no row overtakes its lane, and in
// good order nothing is sent twice.
func TestInstancesJoinAndLeave(t *testing.T) { joinAndLeave(t, consumertest.Fake(t)) }

func joinAndLeave(t *testing.T, c *consumertest.Cluster) {
	f := setup(t, c, func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: time.Millisecond} })
	const partitions, keys, each = 6, 20, 30
	topic := f.cluster.Topic(t, "t", partitions)
	for n := range each {
		var batch []*kgo.Record
		for k := range keys {
			batch = append(batch, rec(topic, int32(k%partitions), fmt.Sprint("k", k), n))
		}
		consumertest.Produce(t, f.producer, batch...)
	}
	cfg := f.job(topic)
	a := f.run(cfg)
	f.attempts(100)
	b := f.run(cfg)
	consumertest.WaitFor(t, within, "the second instance's part", func() (any, bool) { n := b.runner.assigned.Load(); return n, n == partitions/2 })
	f.attempts(250)
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil)
}

// When the group gives the member up, attempts are cancelled at once, nothing is committed, and after joining again the rows are
// sent from the last commit.
func TestLostPartitionsAreCancelledWithoutCommit(t *testing.T) {
	classicOnly(t)
	var hang atomic.Bool
	hang.Store(true)
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/rows/a" && hang.Load() {
			return sinktest.Answer{Fault: sinktest.Hang}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "b", 1))
	cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Minute, time.Minute })
	f.run(cfg)
	consumertest.WaitFor(t, within, "the hanging attempt", func() (any, bool) { return f.api.Len(), f.api.Len() == 2 })
	hang.Store(false)
	var lost, commits atomic.Int64 // commits between the refused heartbeat and the next join
	f.cluster.Fake.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		if lost.Load() == 1 {
			commits.Add(1)
		}
		return nil, nil, false
	})
	f.cluster.Fake.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		lost.CompareAndSwap(1, 2)
		return nil, nil, false
	})
	f.cluster.Fake.ControlKey(int16(kmsg.Heartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		lost.Store(1)
		resp := kreq.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.UnknownMemberID.Code
		return resp, nil, true
	})
	f.committed(cfg, topic)
	for _, a := range f.attempts(3) {
		if a.Path == "/rows/a" && a.Attempt == 1 && a.End.IsZero() {
			t.Error("the attempt that was in flight when the partition was lost still runs")
		}
	}
	if lost.Load() != 2 || commits.Load() != 0 {
		t.Errorf("%d commits after the group had given the member up", commits.Load())
	}
}

// A static member stays in its group when it stops, and has its partitions back at once when it returns.
func TestAStaticMemberReturnsToItsPartitions(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic, func(c *Config) { c.Instance = "one" })
	for n := range 3 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "a", n), rec(topic, 1, "b", n))
		j := f.run(cfg)
		f.committed(cfg, topic)
		if err := j.stop(); err != nil {
			t.Fatal(err)
		}
		g := f.cluster.Fake.GroupInfo(cfg.Group)
		if len(g.Members) != 1 || g.Members[0].InstanceID == nil || *g.Members[0].InstanceID != "one" {
			t.Fatalf("round %d: members %+v", n, g.Members)
		}
	}
	f.verdict(cfg, topic, nil)
}
