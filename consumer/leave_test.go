package consumer

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
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
