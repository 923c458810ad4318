package consumer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// A fetch waits as long as it should, whatever the client wrote, and nothing else of a request is changed.
func TestFetchesAreSentWithThePresentWait(t *testing.T) {
	var p *patience
	sent := func(req kmsg.Request, version int16) (written, passed []byte) {
		req.SetVersion(version)
		written = kmsg.NewRequestFormatter(kmsg.FormatterClientID("streamer.someone")).AppendRequest(nil, req, 7)
		ours, theirs := net.Pipe()
		defer func() { _ = theirs.Close() }()
		passed = make([]byte, len(written))
		read := make(chan error, 1)
		go func() { // ends with the write
			_, err := theirs.Read(passed)
			read <- err
		}()
		c := &groupConn{Conn: ours, patience: p, asked: map[int32]kmsg.Key{}}
		before := bytes.Clone(written)
		if n, err := c.Write(written); err != nil || n != len(written) {
			t.Fatal(n, err)
		}
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, written) {
			t.Error("what the client wrote was changed under its hands")
		}
		return written, passed
	}
	fetch := kmsg.NewPtrFetchRequest()
	fetch.MaxWaitMillis, fetch.MinBytes, fetch.MaxBytes, fetch.SessionID = 5000, 1, 12345, 99
	for _, version := range []int16{15, 16, fetch.MaxVersion()} {
		p = &patience{}
		p.changes(time.Now().Add(time.Hour)) // just now, however long this takes
		fetch.MaxWaitMillis = 5000
		_, passed := sent(fetch, version)
		fetch.MaxWaitMillis = 20
		if want, _ := sent(fetch, version); !bytes.Equal(passed, want) {
			t.Errorf("version %d:\n%x, want\n%x", version, passed, want)
		}
	}
	fetch.MaxWaitMillis = 5000
	for _, other := range []struct {
		req     kmsg.Request
		version int16
	}{{fetch, 14}, {kmsg.NewPtrMetadataRequest(), 12}, {kmsg.NewPtrHeartbeatRequest(), 4}} {
		if written, passed := sent(other.req, other.version); !bytes.Equal(written, passed) {
			t.Errorf("%T of version %d was changed", other.req, other.version)
		}
	}
}

func TestPatience(t *testing.T) {
	var p patience
	now := time.Now()
	waits := func(after, want time.Duration) {
		t.Helper()
		if got := p.wait(now.Add(after)); got != want {
			t.Errorf("waits %v, want %v", got, want)
		}
	}
	waits(0, fetchWait)
	p.changes(now)
	waits(time.Millisecond, leastFetchWait)
	waits(time.Second, 100*time.Millisecond)
	waits(time.Hour, fetchWait)
	now = now.Add(time.Hour)
	p.changes(now) // another partition
	waits(0, leastFetchWait)
	now = now.Add(time.Hour)
	p.grows(now)
	waits(0, leastFetchWait)
	waits(time.Second, time.Second)
	waits(time.Hour, fetchWait)
	p.changes(now)
	waits(time.Second, 100*time.Millisecond)
	p.alone.Store(true)
	waits(time.Second, 100*time.Millisecond)
	waits(time.Hour, aloneFetchWait)
}

// A thousand jobs at rest cost what they ask, so what each asks is bounded. A job that may have others in its group must learn of them soon,
// and a partition that another one could wait behind is not fetched with patience; and no client may learn later that a broker is dead.
func TestWhatAJobAtRestAsks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		instances  int
		partitions int32
		aMinute    time.Duration // heartbeats and fetches
	}{
		"one instance, one partition":  {1, 1, 24},
		"one instance, two partitions": {1, 2, 30},
		"any instance, one partition":  {0, 1, 36},
		"any instance, two partitions": {0, 2, 42},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Fake(t), nil)
			j := f.run(f.job(f.cluster.Topic(t, "t", c.partitions), func(cfg *Config) { cfg.Instances = c.instances }))
			consumertest.WaitFor(t, within, "the assignment", func() (any, bool) { n := j.runner.assigned.Load(); return n, n == int64(c.partitions) })
			heartbeat, _ := j.runner.client.OptValue(kgo.HeartbeatInterval).(time.Duration)
			rest := j.runner.patience.wait(time.Now().Add(time.Hour))
			if asks := time.Minute/heartbeat + time.Minute/rest; asks != c.aMinute {
				t.Errorf("a heartbeat every %v and a fetch every %v: %d requests a minute, want %d", heartbeat, rest, asks, c.aMinute)
			}
			if told := j.runner.client.OptValue(kgo.FetchMaxWait); told != fetchWait {
				t.Errorf("the client is told that a fetch is held back for %v", told)
			}
		})
	}
}

// The client writes down a fetch that leaves a paused partition out, and the partition is resumed before the fetch is sent: it was held back
// for five seconds, since nothing was paused any more, and the partition with room waited for it. Here the sending takes long because the
// fetch needs a new connection.
func TestAFetchFromBeforeAResumeIsNotHeldBack(t *testing.T) {
	hang := make(chan struct{})
	var release sync.Once
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { <-hang; return sinktest.Answer{} })
	free := func() { release.Do(func() { close(hang) }) }
	t.Cleanup(free)
	topic := f.cluster.Topic(t, "t", 2)
	f.fill(topic, 5000) // 10 MB in partition 0; 1 stays empty
	wire := &fetchWire{dialled: make(chan struct{}, 1), sent: make(chan kmsg.FetchRequest, 1)}
	cfg := f.job(topic, func(c *Config) { c.Commit = time.Hour }) // a commit would wait for the connection, too
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 4<<20)
	i.kafka.Dial = wire.dial // of the job alone
	j := f.runOn(i, cfg)
	isPaused := func(want bool) {
		t.Helper()
		consumertest.WaitFor(t, within, fmt.Sprint("partition 0 to be paused: ", want), func() (any, bool) {
			s := j.runner.Status().Partitions
			return s, len(s) == 2 && s[0].Paused == want
		})
		j.runner.regulating.Lock() // until the client was told, too
		defer j.runner.regulating.Unlock()
	}
	isPaused(true)
	for range 2 { // the second one is from after the pause
		wire.watch.Store(true)
		receive(t, wire.sent, "a fetch")
	}
	open := wire.cut()
	t.Cleanup(open)
	receive(t, wire.dialled, "a call for the next fetch")
	free()
	isPaused(false)
	open()
	fetch := receive(t, wire.sent, "a fetch")
	for _, asked := range fetch.Topics { // what it does not name is as in the fetch before it
		for _, p := range asked.Partitions {
			if p.Partition == 0 {
				t.Fatalf("the fetch is from after the resume: %+v", fetch.Topics)
			}
		}
	}
	if wait := time.Duration(fetch.MaxWaitMillis) * time.Millisecond; wait > fetchWait/2 {
		t.Errorf("a fetch that leaves out a partition with room may be held back for %v", wait)
	}
	j.finals(5000)
}

// What is assigned together is not asked for together: the client comes to one partition after the other, and may send a fetch between.
func TestTheFirstFetchIsNotHeldBack(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 2)
	wire := &fetchWire{sent: make(chan kmsg.FetchRequest, 1)}
	wire.watch.Store(true)
	f.runOn(f.instance(Client{Brokers: f.cluster.Brokers, Dial: wire.dial}, 0), f.job(topic))
	fetch := receive(t, wire.sent, "a fetch")
	if wait := time.Duration(fetch.MaxWaitMillis) * time.Millisecond; wait > fetchWait/2 {
		t.Errorf("it may be held back for %v", wait)
	}
}

// The partition of an instance that stops is asked for at once: the fetch that its next owner had sent before, for a partition with nothing
// new, was waited for first, for up to five seconds. Here the broker never answers those.
func TestATakeoverDoesNotWaitForAnIdleFetch(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic)
	a, b := f.run(cfg), f.run(cfg)
	partOf := func(j *running, n int) (parts []PartitionStatus) {
		t.Helper()
		consumertest.WaitFor(t, within, fmt.Sprint("partitions: ", n), func() (any, bool) {
			parts = j.runner.Status().Partitions
			return parts, len(parts) == n
		})
		return parts
	}
	partOf(a, 1)
	theirs := partOf(b, 1)[0].Partition
	held, over := make(chan struct{}, 1), make(chan struct{})
	t.Cleanup(func() { close(over) })
	f.cluster.Fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		if req.(*kmsg.FetchRequest).MaxWaitMillis == int32(aloneFetchWait.Milliseconds()) {
			select {
			case held <- struct{}{}:
				f.cluster.Fake.SleepControl(func() { <-over })
			default: // it is that of another one
			}
		}
		return nil, nil, false
	})
	a.runner.patience.grows(time.Now().Add(-time.Hour))
	consumertest.WaitFor(t, within, "an idle fetch", func() (any, bool) { return nil, len(held) == 1 })
	f.produceN(topic, theirs, 1)
	f.attempts(1) // b has it
	begun := time.Now()
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	f.produceN(topic, theirs, 1)
	f.attempts(2)
	if took := time.Since(begun); took > 5*fetchWait/2 { // the client gives such a fetch up after three of them
		t.Errorf("the partition was taken over, and its next row delivered, within %v", took)
	}
}

// Only a fetch that is held back for long is ended, and only at the brokers that are named.
func TestHurry(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		old      time.Duration // the assignment before
		broker   int32
		answered bool
		ended    bool
	}{
		"held back":          {old: time.Hour, broker: 1, ended: true},
		"at another broker":  {old: time.Hour, broker: 2},
		"held back a moment": {old: worthHurry / 2, broker: 1},
		"answered":           {old: time.Hour, broker: 1, answered: true},
	} {
		p := &patience{}
		p.grows(now.Add(-c.old))
		ours, theirs := net.Pipe()
		conn := &groupConn{Conn: ours, patience: p, asked: map[int32]kmsg.Key{}}
		p.OnBrokerConnect(kgo.BrokerMetadata{NodeID: c.broker}, 0, conn, nil)
		p.sent(conn, now)
		answer := func() {
			go func() { _, _ = theirs.Write([]byte{0}) }() // ends when it is read, or with the pipe
			if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("%s: read %d, %v", name, n, err)
			}
		}
		if c.answered {
			answer()
		}
		p.hurry(now, map[int32]bool{1: true})
		if !c.ended {
			answer()
		}
		for range 2 { // the client sets the deadline before each
			if err := conn.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			if !c.ended {
				break
			}
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, errHurried) {
				t.Errorf("%s: %v", name, err)
			}
		}
		p.sent(conn, now)
		if err := errors.Join(conn.Close(), theirs.Close()); err != nil || len(p.held) != 0 {
			t.Errorf("%s: closed: %v, %d held", name, err, len(p.held))
		}
	}
}

// A fetch that could not be written is held back by nobody: its connection, which was closed before, is not kept.
func TestAFetchThatIsNotWrittenIsForgotten(t *testing.T) {
	t.Parallel()
	p := &patience{}
	ours, theirs := net.Pipe()
	conn := &groupConn{Conn: ours, patience: p, asked: map[int32]kmsg.Key{}}
	if err := errors.Join(conn.Close(), theirs.Close()); err != nil {
		t.Fatal(err)
	}
	fetch := kmsg.NewPtrFetchRequest()
	fetch.SetVersion(fetchVersion)
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, fetch, 7)); err == nil || len(p.held) != 0 {
		t.Errorf("%v, %d held", err, len(p.held))
	}
}

// fill writes n records of 2 KB into partition 0, in small batches: a fetch is whole batches.
func (f *fixture) fill(topic string, n int) {
	f.Helper()
	producer := f.cluster.Producer(f, kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression()))
	filler := bytes.Repeat([]byte("x"), 2000)
	batch := make([]*kgo.Record, n)
	for i := range batch {
		batch[i] = &kgo.Record{Topic: topic, Key: fmt.Append(nil, i%500), Value: fmt.Appendf(nil, `{"id":"%d","n":%d,"filler":%q}`, i%500, i, filler)}
	}
	consumertest.Produce(f, producer, batch...)
}

// fetchWire is a way to the brokers that sees the fetches, as they are sent.
type fetchWire struct {
	watch   atomic.Bool
	sent    chan kmsg.FetchRequest // the first one while watch
	dialled chan struct{}          // there was a call while the wire was cut

	mu      sync.Mutex
	fetches net.Conn      // where the last fetch was sent
	opened  chan struct{} // new connections wait for it; nil: they do not
}

func (w *fetchWire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	opened := w.opened
	w.mu.Unlock()
	if opened != nil {
		select {
		case w.dialled <- struct{}{}:
		default:
		}
		<-opened
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &fetchWireConn{conn, w}, nil
}

// cut breaks the connection of the fetches, and lets no new one through until open.
func (w *fetchWire) cut() (open func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened = make(chan struct{})
	_ = w.fetches.Close() // the client sees it
	return sync.OnceFunc(func() { w.watch.Store(true); close(w.opened) })
}

func receive[T any](t *testing.T, from <-chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(within):
		t.Fatalf("waited %v for %s", within, what)
	}
	return got
}

type fetchWireConn struct {
	net.Conn
	wire *fetchWire
}

func (c *fetchWireConn) Write(b []byte) (int, error) {
	if len(b) > 14 && kmsg.Key(binary.BigEndian.Uint16(b[4:])) == kmsg.Fetch {
		c.wire.mu.Lock()
		c.wire.fetches = c.Conn
		c.wire.mu.Unlock()
		var req kmsg.FetchRequest
		req.SetVersion(int16(binary.BigEndian.Uint16(b[6:])))
		if err := req.ReadFrom(b[15+binary.BigEndian.Uint16(b[12:]):]); err != nil {
			return 0, err
		}
		if c.wire.watch.CompareAndSwap(true, false) {
			c.wire.sent <- req
		}
	}
	return c.Conn.Write(b)
}

// One partition has far more than memory holds, and is paused and resumed all the time; the other has nothing new. A fetch that waits for
// the one must not keep the other waiting: see patience.
func TestAFullPartitionDoesNotWaitForAnIdleOne(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{} })
	topic := f.cluster.Topic(t, "t", 2)
	f.fill(topic, 10_000) // 20 MB
	cfg := f.job(topic)
	f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, 4<<20), cfg)
	f.committed(cfg, topic)
	var last time.Time
	var longest time.Duration
	for _, a := range f.api.Attempts() {
		if !last.IsZero() {
			longest = max(longest, a.Start.Sub(last))
		}
		last = a.Start
	}
	t.Logf("the longest time without an attempt: %v", longest)
	if longest > fetchWait/2 {
		t.Errorf("nothing was sent for %v", longest)
	}
}

// A commit waits for its answer: a coordinator that is slow to give it, or a rebalance, kept a full partition paused although all it held was
// delivered long ago. Here the first commit is not answered before everything has arrived.
func TestAFullPartitionDoesNotWaitForACommit(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{} })
	topic := f.cluster.Topic(t, "t", 1)
	producer := f.cluster.Producer(t, kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression())) // a fetch is whole batches
	filler := bytes.Repeat([]byte("x"), 2000)
	batch := make([]*kgo.Record, 5_000) // 10 MB
	for i := range batch {
		batch[i] = &kgo.Record{Topic: topic, Key: fmt.Append(nil, i%500), Value: fmt.Appendf(nil, `{"id":"%d","n":%d,"filler":%q}`, i%500, i, filler)}
	}
	consumertest.Produce(t, producer, batch...)
	arrived := make(chan struct{})
	f.cluster.Fake.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		if req.(*kmsg.OffsetCommitRequest).Generation >= 0 { // of a member: not that of the beginning
			f.cluster.Fake.SleepControl(func() { <-arrived })
		}
		return nil, nil, false
	})
	cfg := f.job(topic)
	f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, 4<<20), cfg)
	f.attempts(len(batch))
	close(arrived)
	f.committed(cfg, topic)
}
