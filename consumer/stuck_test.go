package consumer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/textproto"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
)

func TestRowsBehindStuckKeys(t *testing.T) {
	behindStuck(t, consumertest.Fake(t), 20_000, 200, 4<<20)
}

func TestKafkaAMillionRowsBehindOneStuckKey(t *testing.T) {
	behindStuck(t, consumertest.Kafka(t), 1_000_000, 1, 48<<20)
}

func TestKafkaManyRowsBehind200StuckKeys(t *testing.T) {
	behindStuck(t, consumertest.Kafka(t), 100_000, 200, 48<<20)
}

// behindStuck: keys in equal distances, the first row among them, cannot be delivered. All other rows are; nothing stalls, memory stays
// flat, and when the process dies its successor sends next to nothing of them again.
func behindStuck(t *testing.T, c *consumertest.Cluster, rows, stuck, budget int) {
	api := count(t, rows, rows/stuck)
	f := setup(t, c, nil)
	topic := f.cluster.Topic(t, "t", 1)
	writer := f.cluster.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(50_000))
	var failed atomic.Value
	for n := range rows {
		value := fmt.Appendf(nil, `{"id":%d}`, n)
		writer.Produce(t.Context(), &kgo.Record{Topic: topic, Key: value[6 : len(value)-1], Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(err)
			}
		})
	}
	if err := writer.Flush(t.Context()); err != nil || failed.Load() != nil {
		t.Fatal(err, failed.Load())
	}
	cfg := f.job(topic, patient, func(c *Config) {
		c.Program = f.program(`{"id": "$.msg.id"}`, "http://"+api.address+"/{id}", `[]`, "")
		c.Instance = "one" // whose successor need not wait for the session to end
		c.Commit = 200 * time.Millisecond
	})
	var up atomic.Bool
	up.Store(true)
	line := &cable{up: &up}
	j := f.runOn(f.instance(Client{Brokers: c.Brokers, Dial: line.dial}, int64(budget)), cfg)
	consumertest.WaitFor(t, within, "the assignment", func() (any, bool) { n := j.runner.assigned.Load(); return n, n == 1 })
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc // of other tests of this process, and of the fake broker's log
	var peak, heap uint64
	began := time.Now()
	consumertest.WaitFor(t, 4*within, "all rows that can be delivered", func() (any, bool) {
		if n := j.runner.account.used.Load(); n > 0 {
			peak = max(peak, uint64(n))
		}
		runtime.ReadMemStats(&m)
		heap = max(heap, m.HeapAlloc)
		n := api.delivered.Load()
		return fmt.Sprintf("%d %+v", n, j.runner.Status()), int(n) == rows-stuck
	})
	t.Logf("%d rows in %v, at most %d MiB held of %d, heap at most %d MiB", rows, time.Since(began), peak>>20, budget>>20, heap>>20)
	if peak > uint64(budget)/2+16<<20 { // the first fetches come before it is known what they inflate to
		t.Errorf("%d bytes were held, of a budget of %d of which one job may take half", peak, budget)
	}
	if heap > 2*before+160<<20 { // what was there may double before it is collected
		t.Errorf("the heap grew from %d to %d bytes", before, heap)
	}
	consumertest.WaitFor(t, within, "the last commit", func() (any, bool) {
		p := j.runner.partition(topic, 0)
		if p == nil {
			return nil, false
		}
		_, changed := p.finished()
		return changed, !changed
	})
	metadata := f.metadataOf(cfg.Group, topic)[0]
	line.cut() // nothing more of the first one reaches Kafka: no last commit, no farewell
	api.free.Store(true)
	f.run(cfg)
	f.committed(cfg, topic)
	again := 0
	for n := range api.seen {
		if v := api.seen[n].Load(); v > 1 {
			again++
		} else if v == 0 {
			t.Fatalf("row %d was never delivered", n)
		}
	}
	t.Logf("%d rows sent again; the metadata has %d characters", again, len(metadata))
	if again >= 256 {
		t.Errorf("%d rows were delivered again", again)
	}
}

// cable is a network that can be cut, as a crash cuts it.
type cable struct {
	up *atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
}

func (c *cable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dialWhen(c.up)(ctx, network, address)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cable) cut() {
	c.up.Store(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close() // it may be closed already
	}
}

// counting is an API that does little but count, so that a million requests are affordable. Row n is at /n.
type counting struct {
	address   string
	every     int // rows at multiples of it are stuck: 503 until free
	free      atomic.Bool
	delivered atomic.Int64
	seen      []atomic.Uint32
}

func count(t *testing.T, rows, every int) *counting {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{address: l.Addr().String(), every: every, seen: make([]atomic.Uint32, rows)}
	var all sync.WaitGroup
	over := make(chan struct{})
	all.Go(func() { // ends when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.serve(conn, over) })
		}
	})
	t.Cleanup(func() { close(over); _ = l.Close(); all.Wait() })
	return c
}

// serve answers one connection's requests until it is closed.
func (c *counting) serve(conn net.Conn, over <-chan struct{}) {
	closed := make(chan struct{})
	defer close(closed)
	go func() {
		select {
		case <-over:
		case <-closed:
		}
		_ = conn.Close()
	}()
	in := textproto.NewReader(bufio.NewReader(conn))
	for {
		line, err := in.ReadLineBytes()
		if err != nil {
			return
		}
		path := strings.Split(string(line), " ")[1]
		for len(line) > 0 { // headers; there is no body
			if line, err = in.ReadLineBytes(); err != nil {
				return
			}
		}
		n, err := strconv.Atoi(strings.TrimPrefix(path, "/"))
		if err != nil {
			return
		}
		answer := "HTTP/1.1 204 No Content\r\n\r\n"
		if n%c.every == 0 && !c.free.Load() {
			answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
		} else {
			c.seen[n].Add(1)
			c.delivered.Add(1)
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}
