package consumer

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

// The consumer protocol, where the broker has it: members come, freeze for longer than their session, wake up, and die; nothing is lost,
// and no row overtakes its lane. Elsewhere the job says why it does not run.
func TestKafkaConsumerProtocol(t *testing.T) {
	f := setup(t, consumertest.Kafka(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: 2 * time.Millisecond} })
	const partitions, keys = 6, 24
	topic := f.cluster.Topic(t, "t", partitions)
	cfg := f.job(topic)
	if !since43(f.cluster.Version) {
		i := f.instance(Client{Brokers: f.cluster.Brokers, GroupProtocol: GroupConsumer}, 0)
		defer i.Close()
		if err := i.NewRunner(cfg).Run(t.Context(), t.Context()); err == nil || !strings.Contains(err.Error(), "needs Kafka 4.3 on every broker") {
			t.Errorf("ended with %v", err)
		}
		return
	}
	member := func(dial func(context.Context, string, string) (net.Conn, error)) *running {
		t.Helper()
		return f.runOn(f.instance(Client{Brokers: f.cluster.Brokers, GroupProtocol: GroupConsumer, Dial: dial}, 0), cfg)
	}
	shares := func(want int64, members ...*running) {
		t.Helper()
		consumertest.WaitFor(t, within, "the partitions to be shared", func() (any, bool) {
			var got []int64
			fair := true
			for _, m := range members {
				n := m.runner.assigned.Load()
				got, fair = append(got, n), fair && n == want
			}
			return got, fair
		})
	}
	ice := &frozen{}
	ice.thawed.Store(true)
	var up atomic.Bool
	up.Store(true)
	line := &cable{up: &up}
	a, b := member(ice.dial), member(line.dial)
	shares(partitions/2, a, b)
	produceKeys(f, topic, partitions, keys, 40)
	f.attempts(200)

	froze := time.Now()
	ice.thawed.Store(false)
	shares(partitions, b)
	produceKeys(f, topic, partitions, keys, 10)
	f.attempts(400)
	ice.thawed.Store(true)
	shares(partitions/2, a, b)
	woke := time.Now()
	produceKeys(f, topic, partitions, keys, 20)
	f.attempts(900)

	cut := time.Now()
	line.cut()
	c := member(nil)
	shares(partitions/2, a, c)
	taken := time.Now()
	produceKeys(f, topic, partitions, keys, 10)
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil,
		checker.Event{Cause: checker.Lost, At: froze, Until: woke, Within: 2 * time.Second},
		checker.Event{Cause: checker.Lost, At: cut, Until: taken, Within: 2 * time.Second})
}

// A process with a STREAMER_INSTANCE_ID is killed, and the next one with that id comes at once. The coordinator keeps the place for the
// dead one until its session ends; the new one says so, tries on by itself, and gets its partitions. Nothing is lost, and no row overtakes
// its lane.
func TestKafkaAKilledStaticMemberComesBack(t *testing.T) {
	f := setup(t, consumertest.Kafka(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: 2 * time.Millisecond} })
	if !since43(f.cluster.Version) {
		t.Skip("needs Kafka 4.3")
	}
	const partitions, keys = 4, 16
	topic := f.cluster.Topic(t, "t", partitions)
	cfg := f.job(topic)
	member := func(id string, dial func(context.Context, string, string) (net.Conn, error)) *running {
		t.Helper()
		cfg := cfg
		cfg.Instance = id
		return f.runOn(f.instance(Client{Brokers: f.cluster.Brokers, GroupProtocol: GroupConsumer, Dial: dial}, 0), cfg)
	}
	shares := func(a, b *running) {
		t.Helper()
		consumertest.WaitFor(t, within, "the partitions to be shared", func() (any, bool) {
			x, y := a.runner.assigned.Load(), b.runner.assigned.Load()
			return fmt.Sprint(x, y), x == partitions/2 && y == partitions/2
		})
	}
	var up atomic.Bool
	up.Store(true)
	line := &cable{up: &up}
	dead, other := member("one", line.dial), member("two", nil)
	shares(dead, other)
	produceKeys(f, topic, partitions, keys, 20)
	f.attempts(50)
	cut := make(chan time.Time, 1)
	next := member("one", (&joining{begins: func() { // at once: on a busy machine it may need longer to begin than the dead one's session lasts
		cut <- time.Now()
		line.cut()
	}}).dial)
	killed := <-cut
	consumertest.WaitFor(t, within, "the new process to say what it waits for", func() (any, bool) {
		s := next.runner.Status()
		return s.Cause, strings.Contains(s.Cause, "UNRELEASED_INSTANCE_ID") && strings.Contains(s.Cause, "a member with STREAMER_INSTANCE_ID=one is in it")
	})
	shares(next, other)
	back := time.Now()
	t.Logf("back %v after the kill, with a session of 6 s", back.Sub(killed).Round(100*time.Millisecond))
	if cause := next.runner.Status().Cause; cause != "" {
		t.Errorf("back, it still says %q", cause)
	}
	produceKeys(f, topic, partitions, keys, 10)
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil, checker.Event{Cause: checker.Lost, At: killed, Until: back, Within: 2 * time.Second})
}

// A process with a STREAMER_INSTANCE_ID is stopped and started again: its partitions wait for it, nobody else moves, and nobody waits for
// a session to end. When its job is to run elsewhere, its member is taken out, and the others have its partitions at once.
func TestKafkaAStaticMemberGoesForAWhileOrForGood(t *testing.T) {
	f := setup(t, consumertest.Kafka(t), nil)
	if !since43(f.cluster.Version) {
		t.Skip("needs Kafka 4.3")
	}
	topic := f.cluster.Topic(t, "t", 4)
	cfg := f.job(topic)
	member := func(id string) *running {
		t.Helper()
		cfg := cfg
		cfg.Instance = id
		j := f.runOn(f.instance(Client{Brokers: f.cluster.Brokers, GroupProtocol: GroupConsumer}, 0), cfg)
		f.cluster.GroupTimes(t, cfg.Group, time.Minute, time.Second) // longer than any wait here
		return j
	}
	has := func(j *running) (ids []int32) {
		for _, p := range j.runner.all() {
			ids = append(ids, p.id)
		}
		slices.Sort(ids)
		return ids
	}
	wait := func(j *running, n int) {
		t.Helper()
		consumertest.WaitFor(t, within, fmt.Sprint(n, " partitions"), func() (any, bool) { ids := has(j); return fmt.Sprint(ids, j.runner.Status().Cause), len(ids) == n })
	}
	one, other := member("one"), member("two")
	wait(one, 2)
	wait(other, 2)
	mine, theirs := has(one), has(other)
	if err := one.stop(); err != nil {
		t.Fatal(err)
	}
	one = member("one")
	wait(one, 2)
	if !slices.Equal(has(one), mine) || !slices.Equal(has(other), theirs) {
		t.Errorf("%v and %v before, %v and %v after", mine, theirs, has(one), has(other))
	}
	if err := one.stop(); err != nil {
		t.Fatal(err)
	}
	i := f.instance(Client{Brokers: f.cluster.Brokers, GroupProtocol: GroupConsumer}, 0)
	defer i.Close()
	gone := cfg
	gone.Instance = "one"
	for range 2 { // it may be gone already
		if err := i.RemoveMember(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
	}
	wait(other, 4)
}

// since43 says that a Kafka is of version 4.3 or later.
func since43(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, _ := strconv.Atoi(major)
	y, _ := strconv.Atoi(minor)
	return x > 4 || x == 4 && y >= 3
}

// joining tells that a member of the consumer protocol is about to join, just before it does.
type joining struct {
	once   sync.Once
	begins func()
}

func (j *joining) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return joiningConn{conn, j}, err
}

type joiningConn struct {
	net.Conn
	member *joining
}

func (c joiningConn) Write(b []byte) (int, error) {
	if len(b) > 6 && kmsg.Key(binary.BigEndian.Uint16(b[4:])) == kmsg.ConsumerGroupHeartbeat {
		c.member.once.Do(c.member.begins)
	}
	return c.Conn.Write(b)
}

// frozen is a network that stands still while it is not thawed: what is written and read waits, and nothing breaks.
type frozen struct{ thawed atomic.Bool }

func (f *frozen) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return frozenConn{conn, f}, err
}

type frozenConn struct {
	net.Conn
	ice *frozen
}

func (c frozenConn) wait() {
	for !c.ice.thawed.Load() {
		<-time.After(10 * time.Millisecond)
	}
}

func (c frozenConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wait()
	return n, err
}

func (c frozenConn) Write(b []byte) (int, error) {
	c.wait()
	return c.Conn.Write(b)
}
