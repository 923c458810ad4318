package kafkalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

// transact writes what it is given.
func transact(t *testing.T, l *Log, writes ...Write) []Entry {
	t.Helper()
	entries, err := l.Transact(t.Context(), func(func(string) (Entry, bool)) ([]Write, error) { return writes, nil })
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// Several objects are written together, those that are equal already are left out, and each gives what it is then. Two instances move
// a sum between two objects at once: it stays the same, in every pair that anybody reads.
func testTransact(t *testing.T, c *consumertest.Cluster, ns string) {
	a, b := open(t, c, ns), open(t, c, ns)
	first := transact(t, a, Write{"x", []byte("50"), []byte("made x")}, Write{"y", []byte("50"), nil}, Write{"none", nil, nil})
	if len(first) != 3 || first[0].Revision < 0 || first[1].Revision != first[0].Revision+1 || first[2].Value != nil {
		t.Errorf("entries %v", first)
	}
	again := transact(t, b, Write{"x", []byte("50"), nil}, Write{"y", []byte("50"), []byte("looked")}, Write{"z", []byte("1"), nil})
	if again[0].Revision != first[0].Revision || again[1].Revision <= first[1].Revision || again[2].Revision != again[1].Revision+1 {
		t.Errorf("entries %v after %v", again, first)
	}
	if gone := transact(t, a, Write{"z", nil, nil}); gone[0].Value != nil || gone[0].Revision <= again[2].Revision {
		t.Errorf("deleted: %v", gone)
	}
	see(t, b, "z", "")
	var all sync.WaitGroup
	var moves atomic.Int32
	sum := func(x, y Entry) int {
		n, _ := strconv.Atoi(string(x.Value))
		m, _ := strconv.Atoi(string(y.Value))
		return n + m
	}
	for i, l := range []*Log{a, b} {
		all.Go(func() {
			for range 10 {
				_, err := l.Transact(t.Context(), func(read func(string) (Entry, bool)) ([]Write, error) {
					moves.Add(1)
					x, _ := read("x")
					n, _ := strconv.Atoi(string(x.Value))
					n += 2*i - 1
					y, _ := read("y")
					m, _ := strconv.Atoi(string(y.Value))
					m -= 2*i - 1
					return []Write{{"x", []byte(strconv.Itoa(n)), []byte("moved")}, {"y", []byte(strconv.Itoa(m)), nil}}, nil
				})
				if err != nil {
					t.Error(err)
				}
				read, err := l.Transact(t.Context(), func(read func(string) (Entry, bool)) ([]Write, error) {
					x, _ := read("x")
					y, _ := read("y")
					return []Write{{"x", x.Value, nil}, {"y", y.Value, nil}}, nil
				})
				if err != nil || sum(read[0], read[1]) != 100 {
					t.Errorf("read %v: %v", read, err)
				}
			}
		})
	}
	all.Wait()
	for _, l := range []*Log{a, b} {
		see(t, l, "x", "50")
		see(t, l, "y", "50")
	}
	lines, _, err := a.Audit(t.Context(), 0, maxAuditLines, func(key string) bool { return key == "x" })
	if err != nil || len(lines) != 21 {
		t.Errorf("%d lines of audit: %v", len(lines), err)
	}
}

// What is over a limit is refused before anything is written.
func TestTransactLimits(t *testing.T) {
	t.Parallel()
	l := open(t, consumertest.Fake(t), "ns")
	many := make([]Write, MaxWrites+1)
	for i := range many {
		many[i] = Write{Key: strconv.Itoa(i), Value: []byte("1")}
	}
	large := make([]Write, MaxTransactBytes/MaxValueBytes)
	for i := range large {
		large[i] = Write{Key: strconv.Itoa(i), Value: make([]byte, MaxValueBytes)}
	}
	for name, o := range map[string]struct {
		writes []Write
		want   string
	}{
		"too many":      {many, "too large for the log in Kafka: 20001 objects at once; at most 20000"},
		"too large":     {large, "bytes at once; at most 33554432"},
		"twice":         {[]Write{{"a", []byte("1"), nil}, {"a", []byte("2"), nil}}, "write a: twice at once"},
		"no key":        {[]Write{{"a", []byte("1"), nil}, {"", []byte("2"), nil}}, "a key of the log has 1 to 1024 bytes, not 0"},
		"a large value": {[]Write{{"a", make([]byte, MaxValueBytes+1), nil}}, "a has 1048577 bytes"},
		"a large line":  {[]Write{{"a", nil, make([]byte, MaxValueBytes+1)}}, "and 1048577 of audit"},
	} {
		_, err := l.Transact(t.Context(), func(func(string) (Entry, bool)) ([]Write, error) { return o.writes, nil })
		if err == nil || !strings.Contains(err.Error(), o.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if n := len(l.List("")); n != 0 {
		t.Errorf("%d objects were written", n)
	}
}

// The answer to the commit of several objects is lost, and the revision of each is found.
func TestLostAnswerOfSeveral(t *testing.T) {
	t.Parallel()
	c, lose := consumertest.Fake(t), new(losing)
	l := opened(t, c, "ns", kgo.RequestRetries(0), kgo.Dialer(lose.dial))
	put(t, l, "a", "1")
	lose.armed.Store(true)
	entries := transact(t, l, Write{"a", []byte("1"), nil}, Write{"b", []byte("2"), []byte("2")}, Write{"c", []byte("3"), nil})
	if lose.lost.Load() == 0 {
		t.Error("no answer was lost")
	}
	for _, e := range entries {
		if now, _ := l.Get(e.Key); now.Revision != e.Revision {
			t.Errorf("%s has revision %d, not %d", e.Key, now.Revision, e.Revision)
		}
	}
}

// start writes n objects of so many bytes in one transaction, as the job files of a start-up are, and gives how long that took, and how
// long another instance takes to read them.
func start(t *testing.T, c *consumertest.Cluster, ns string, n, bytes int) (wrote, read time.Duration) {
	t.Helper()
	a := open(t, c, ns)
	writes := make([]Write, n)
	for i := range writes {
		writes[i] = Write{fmt.Sprintf("job/%05d", i), []byte(strings.Repeat("v", bytes)), []byte(`{"action":"create"}`)}
	}
	begun := time.Now()
	transact(t, a, writes...)
	wrote, begun = time.Since(begun), time.Now()
	b := open(t, c, ns)
	read = time.Since(begun)
	if got := len(b.List("job/")); got != n {
		t.Errorf("%d objects were read", got)
	}
	return wrote, read
}

// 10,000 jobs are written in one transaction, and read by the next instance, in seconds.
func TestTenThousand(t *testing.T) {
	t.Parallel()
	wrote, read := start(t, consumertest.Fake(t), "ns", 10_000, 1000)
	t.Logf("written in %v, read in %v", wrote, read)
	if wrote > time.Minute || read > time.Minute {
		t.Errorf("written in %v, read in %v", wrote, read)
	}
}

// muting gives connections that hear nothing any more while they are mute: after mute, or with the next EndTxn after arm.
type muting struct {
	armed  atomic.Bool
	ending func() // called when the EndTxn after arm was written
	mu     sync.Mutex
	until  chan struct{} // closed when they hear again; nil: they do
}

func (m *muting) mute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.until = make(chan struct{})
}

func (m *muting) unmute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until != nil {
		close(m.until)
		m.until = nil
	}
}

func (m *muting) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return &mutedConn{Conn: c, muting: m, closed: make(chan struct{})}, err
}

type mutedConn struct {
	net.Conn
	muting *muting
	once   sync.Once
	closed chan struct{}
}

func (c *mutedConn) Write(b []byte) (int, error) {
	if len(b) > 6 && kmsg.Key(binary.BigEndian.Uint16(b[4:])) == kmsg.EndTxn && c.muting.armed.CompareAndSwap(true, false) {
		c.muting.mute()
		defer c.muting.ending()
	}
	return c.Conn.Write(b)
}

func (c *mutedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.muting.mu.Lock()
	until := c.muting.until
	c.muting.mu.Unlock()
	if until != nil {
		select {
		case <-until:
		case <-c.closed:
		}
	}
	return n, err
}

func (c *mutedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// While Kafka does not answer, a write fails within its time and says that nothing was written; what was read stays, and says how old
// it is. Then all goes on. Where the answer to a commit does not come, nobody knows, and who looks again sees what it was.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	c, m := consumertest.Fake(t), new(muting)
	l := opened(t, c, "ns", kgo.Dialer(m.dial))
	t.Cleanup(m.unmute)
	young := func() {
		t.Helper()
		consumertest.WaitFor(t, within, "news that are young", func() (any, bool) { return l.Age(), l.Age() < time.Second && l.Problem() == "" })
	}
	set := func(ctx context.Context, value string) error {
		_, err := l.Update(ctx, "a", func(Entry, bool) ([]byte, []byte, error) { return []byte(value), nil, nil })
		return err
	}
	put(t, l, "a", "1")
	young()

	m.mute()
	begun := time.Now()
	var both sync.WaitGroup
	for range 2 { // one waits behind the other, and no longer for that
		both.Go(func() {
			err := set(t.Context(), "2")
			if took := time.Since(begun); !errors.Is(err, ErrUnavailable) || took > unreachable+10*time.Second {
				t.Errorf("after %v: %v", took, err)
			}
		})
	}
	both.Wait()
	if age := l.Age(); age < unreachable-time.Second || age > time.Since(begun)+time.Second {
		t.Errorf("the news are %v old, %v after the end", age, time.Since(begun))
	}
	if p := l.Problem(); !strings.Contains(p, "cannot be followed") {
		t.Errorf("problem %q", p)
	}
	see(t, l, "a", "1")
	m.unmute()
	young()
	see(t, l, "a", "1")
	put(t, l, "a", "3")

	m.armed.Store(true)
	short, cancel := context.WithCancel(t.Context())
	m.ending = cancel
	if err := set(short, "4"); !errors.Is(err, ErrUnknown) || errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	m.unmute()
	seen := ""
	if _, err := l.Transact(t.Context(), func(read func(string) (Entry, bool)) ([]Write, error) {
		e, _ := read("a")
		seen = string(e.Value)
		return nil, nil
	}); err != nil || seen != "4" { // the broker did have the commit
		t.Errorf("read %q, %v", seen, err)
	}
}
