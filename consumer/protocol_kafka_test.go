package consumer

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// since43 says that a Kafka is of version 4.3 or later.
func since43(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, _ := strconv.Atoi(major)
	y, _ := strconv.Atoi(minor)
	return x > 4 || x == 4 && y >= 3
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
