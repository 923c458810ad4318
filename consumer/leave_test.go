package consumer

import (
	"fmt"
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

// An instance is stopped while its group waits for a dead member's session: its rows are committed and it leaves, all the same. The story:
//
//  1. C dies, and D comes. The group waits for C's session, ten seconds, and A's client for the group.
//  2. A is stopped. Before that wait is over its client says neither what was finished since it began, nor farewell.
//  3. So A was long in stopping, its last rows were sent again, and then the group waited for A's session too.
func TestAStopDoesNotWaitForADeadMember(t *testing.T) {
	t.Parallel()
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 4)
	cfg := f.job(topic)
	a := f.run(cfg)
	var up atomic.Bool
	up.Store(true)
	line := &cable{up: &up}
	c := f.runOn(f.instance(Client{Brokers: f.cluster.Brokers, Dial: line.dial}, 0), cfg)
	consumertest.WaitFor(t, within, "the partitions to be shared", func() (any, bool) {
		x, y := a.runner.assigned.Load(), c.runner.assigned.Load()
		return fmt.Sprint(x, y), x == 2 && y == 2
	})
	line.cut()
	member, _ := a.runner.client.GroupMetadata()
	joining, once := make(chan struct{}), sync.Once{}
	f.cluster.Fake.ControlKey(int16(kmsg.JoinGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		if req.(*kmsg.JoinGroupRequest).MemberID == member {
			once.Do(func() { close(joining) })
		}
		return nil, nil, false
	})
	f.run(cfg)
	<-joining
	var batch []*kgo.Record
	for _, p := range a.runner.all() {
		batch = append(batch, rec(topic, p.id, "k", 1))
	}
	consumertest.Produce(t, f.producer, batch...)
	f.attempts(len(batch))
	began := time.Now()
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(began))
	for _, m := range f.cluster.Fake.GroupInfo(cfg.Group).Members {
		if m.MemberID == member {
			t.Error("it has not left the group")
		}
	}
	f.committed(cfg, topic)
	if n := f.api.Len(); n != len(batch) {
		t.Errorf("%d attempts for %d rows", n, len(batch))
	}
}

// Nothing is committed in the name of another member than the one that was given the partitions. The story:
//
//  1. A is put out of its group, and learns it when it joins again: its client goes on as B, without a word about A's partitions.
//  2. They may be somebody else's by now. A is stopped before B is given any: what A has finished, committed by B, would be taken, over
//     what their owner has committed since.
func TestAStopCommitsForNoOtherMember(t *testing.T) {
	classicOnly(t)
	t.Parallel()
	gate := make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer {
		<-gate
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "k", 0))
	cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Minute, time.Minute })
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the attempt", func() (any, bool) { return f.api.Len(), f.api.Len() == 1 })
	first, _ := j.runner.client.GroupMetadata()
	var others atomic.Int32
	joining, once := make(chan struct{}), sync.Once{}
	f.cluster.Fake.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		if req.(*kmsg.OffsetCommitRequest).MemberID != first {
			others.Add(1)
		}
		return nil, nil, false
	})
	f.cluster.Fake.ControlKey(int16(kmsg.JoinGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		switch id := req.(*kmsg.JoinGroupRequest).MemberID; id {
		case "":
		case first:
			resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
			resp.ErrorCode = kerr.UnknownMemberID.Code
			return resp, nil, true
		default:
			once.Do(func() { close(joining) })
		}
		return nil, nil, false
	})
	f.cluster.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.RebalanceInProgress, Count: 1})
	<-joining
	close(gate)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if n := others.Load(); n > 0 {
		t.Errorf("%d commits in the name of another member", n)
	}
}

// What A has finished is not committed by B either while A's partitions are being given up, and B's name is known. The story:
//
//  1. The commit loop has read A's positions. The client waits with them, since its group gathers anew.
//  2. It comes back as B. The commit goes on, in B's name, while onAssigned gives A's partitions up, for which it waits for the commit loop.
func TestTheHolderOfPartitionsIsNoOther(t *testing.T) {
	m := membership{}
	for i, step := range []struct {
		id      string
		holding bool
		another bool
		holder  string
	}{{"A", false, false, "A"}, {"A", true, false, "A"}, {"B", true, true, "A"}, {"B", false, false, "B"}, {"", false, false, ""}, {"C", false, false, "C"}} {
		if another := m.named(step.id, step.holding); another != step.another || m.holder() != step.holder {
			t.Errorf("step %d: %v, and the holder is %q", i, another, m.holder())
		}
	}
}
