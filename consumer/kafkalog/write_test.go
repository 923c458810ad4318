package kafkalog

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

// Three instances count together: no increment is lost, and each is applied once, although they fence each other all the time.
func testThreeWriters(t *testing.T, c *consumertest.Cluster, ns string) {
	const each = 15
	var all sync.WaitGroup
	var logs []*Log
	for range 3 {
		l := open(t, c, ns)
		logs = append(logs, l)
		all.Go(func() {
			for range each {
				increment(t, l, "counter")
			}
		})
	}
	all.Wait()
	for _, l := range logs {
		see(t, l, "counter", strconv.Itoa(3*each))
	}
	lines, _, err := logs[0].Audit(t.Context(), 0, maxAuditLines, nil)
	if err != nil || len(lines) != 3*each {
		t.Fatalf("%d lines of audit for %d increments: %v", len(lines), 3*each, err)
	}
	for i, line := range lines {
		if want := strconv.Itoa(3*each - i); string(line.Value) != want {
			t.Errorf("line %d says %s, not %s", i, line.Value, want)
		}
	}
}

// transaction opens one as a writer does that will not come to its end. Logs that were just opened ask whether they can write, which
// may fence it: then it begins again.
func transaction(t *testing.T, c *consumertest.Cluster, ns, value string) (cl *kgo.Client) {
	t.Helper()
	consumertest.WaitFor(t, within, "an open transaction", func() (any, bool) {
		cl = c.Producer(t, kgo.TransactionalID(ns+".log"), kgo.TransactionTimeout(transactionTimeout))
		if err := cl.BeginTransaction(); err != nil {
			return err, false
		}
		object := &kgo.Record{Topic: ns + ".jobs", Key: []byte("counter"), Value: []byte(value)}
		line := &kgo.Record{Topic: ns + ".audit", Key: []byte("counter"), Value: []byte(value)}
		err := cl.ProduceSync(t.Context(), object, line).FirstErr()
		if err == nil {
			err = learned(t.Context(), cl, []*kgo.Record{object}, []*kgo.Record{line})
		}
		return err, err == nil
	})
	return cl
}

// A writer dies between its records and their commit. The next writer does not wait for the transaction's timeout, builds on what
// was committed, and nobody ever sees what was not.
func testDeadWriter(t *testing.T, c *consumertest.Cluster, ns string) {
	a := open(t, c, ns)
	put(t, a, "counter", "1")
	transaction(t, c, ns, "1000").Close()
	begun := time.Now()
	increment(t, a, "counter")
	if took := time.Since(begun); took > transactionTimeout/2 {
		t.Errorf("the write after it took %v", took)
	}
	b := open(t, c, ns)
	for _, l := range []*Log{a, b} {
		see(t, l, "counter", "2")
	}
	lines, _, err := b.Audit(t.Context(), 0, 10, nil)
	if err != nil || len(lines) != 2 {
		t.Errorf("audit %v, %v", lines, err)
	}
}

// A writer that was frozen between its records and their commit wakes up after others have written: its commit is refused.
func testZombie(t *testing.T, c *consumertest.Cluster, ns string) {
	a := open(t, c, ns)
	put(t, a, "counter", "1")
	zombie := transaction(t, c, ns, "1000")
	increment(t, a, "counter")
	if err := zombie.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
		t.Error("the zombie has committed")
	}
	see(t, a, "counter", "2")
	// The same between two logs: b takes over, and a, which believes that it wrote last, has to find out.
	b := open(t, c, ns)
	increment(t, b, "counter")
	increment(t, a, "counter")
	see(t, b, "counter", "4")
}

// A refusal is about the newest object: a, whose follower is behind, must not say "there is none" of what b has written.
func testStaleDecision(t *testing.T, c *consumertest.Cluster, ns string) {
	a, b := open(t, c, ns), open(t, c, ns)
	put(t, a, "x", "1") // a believes that it wrote last
	put(t, b, "y", "1")
	missing := errors.New("there is none")
	_, err := a.Update(t.Context(), "y", func(_ Entry, exists bool) ([]byte, []byte, error) {
		if !exists {
			return nil, nil, missing
		}
		return []byte("2"), nil, nil
	})
	if err != nil {
		t.Error(err)
	}
	_, err = a.Update(t.Context(), "z", func(Entry, bool) ([]byte, []byte, error) { return nil, nil, missing })
	if !errors.Is(err, missing) {
		t.Errorf("error %v", err)
	}
}

// losing loses the answer to the next EndTxn after arm, when the broker has given it: the connection breaks.
type losing struct {
	armed atomic.Bool
	lost  atomic.Int32
}

func (l *losing) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return &losingConn{Conn: c, losing: l}, err
}

type losingConn struct {
	net.Conn
	losing *losing
	waits  atomic.Uint32 // correlation id of the request whose answer gets lost; 0: none
	rest   int           // bytes of an answer that the next Read still gives
}

// Write sees one request: its length, its kind, its version, its correlation id.
func (c *losingConn) Write(b []byte) (int, error) {
	if len(b) >= 12 && kmsg.Key(binary.BigEndian.Uint16(b[4:])) == kmsg.EndTxn && c.losing.armed.CompareAndSwap(true, false) {
		c.waits.Store(binary.BigEndian.Uint32(b[8:]))
	}
	return c.Conn.Write(b)
}

// Read may give several answers, each behind its length and with the correlation id first; others may be under way too.
func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	for at := c.rest; at+8 <= n; {
		if id := c.waits.Load(); id > 0 && binary.BigEndian.Uint32(b[at+4:]) == id {
			c.losing.lost.Add(1)
			return 0, net.ErrClosed
		}
		at += 4 + int(binary.BigEndian.Uint32(b[at:]))
		c.rest = at
	}
	c.rest = max(0, c.rest-n)
	return n, err
}

// The answer to a commit is lost, and the log cannot know whether the broker has done it. It finds out: what was done is not done
// again, and what was not is.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]struct {
		done  bool
		asked int32
	}{"after it was done": {true, 1}, "before it was done": {false, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, lose := consumertest.Fake(t), new(losing)
			l := opened(t, c, "ns", kgo.RequestRetries(0), kgo.Dialer(lose.dial))
			put(t, l, "counter", "1")
			if lose.armed.Store(o.done); !o.done {
				c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Count: 1})
			}
			var asked atomic.Int32
			_, err := l.Update(t.Context(), "counter", func(now Entry, _ bool) ([]byte, []byte, error) {
				asked.Add(1)
				n, _ := strconv.Atoi(string(now.Value))
				return []byte(strconv.Itoa(n + 1)), nil, nil
			})
			if err != nil || asked.Load() != o.asked || o.done != (lose.lost.Load() > 0) {
				t.Fatalf("error %v; asked %d times; %d answers lost", err, asked.Load(), lose.lost.Load())
			}
			see(t, l, "counter", "2")
		})
	}
}

// A commit that is answered as done, and left nothing behind, is not believed: what the log holds counts.
func TestCommitThatLeftNothing(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	l := open(t, c, "ns")
	put(t, l, "counter", "1")
	var turned atomic.Bool
	c.Fake.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		if req := kreq.(*kmsg.EndTxnRequest); req.Commit && turned.CompareAndSwap(false, true) {
			req.Commit = false // the broker aborts, and says that all went well
		}
		return nil, nil, false
	})
	increment(t, l, "counter")
	if !turned.Load() {
		t.Fatal("no transaction was ended")
	}
	see(t, l, "counter", "2")
}

// A Kafka that refuses transactions: everything can be read, nothing written, and Problem says why. It mends itself when the user is
// allowed to.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	put(t, open(t, c, "ns"), "a", "1")
	refused := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TxnID: "ns.log", Err: kerr.TransactionalIDAuthorizationFailed, Count: -1})
	l := open(t, c, "ns")
	consumertest.WaitFor(t, within, "the problem", func() (any, bool) {
		return l.Problem(), strings.Contains(l.Problem(), "WRITE and DESCRIBE on transactional id ns.log")
	})
	see(t, l, "a", "1")
	if _, err := l.Update(t.Context(), "a", func(Entry, bool) ([]byte, []byte, error) { return []byte("2"), nil, nil }); !errors.Is(err, ErrReadOnly) {
		t.Errorf("error %v", err)
	}
	refused.Remove()
	put(t, l, "a", "3")
	if p := l.Problem(); p != "" {
		t.Errorf("problem %q", p)
	}
}

// Kafka answers a commit before the marker is in all topics: the line of a write that was just answered is waited for.
func TestAuditOfAWriteJustAnswered(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	l := open(t, c, "ns")
	put(t, l, "a", "1")
	var late atomic.Bool
	c.Fake.ControlKey(int16(kmsg.ListOffsets), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		const readCommitted = 1
		req := kreq.(*kmsg.ListOffsetsRequest)
		c.Fake.KeepControl()
		if req.IsolationLevel != readCommitted || !late.CompareAndSwap(false, true) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, asked := range req.Topics {
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic = asked.Topic
			partition := kmsg.NewListOffsetsResponseTopicPartition()
			partition.Offset = 0 // all of it is still open
			topic.Partitions = append(topic.Partitions, partition)
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
	lines, _, err := l.Audit(t.Context(), 0, 10, nil)
	if err != nil || len(lines) != 1 || !late.Load() {
		t.Errorf("lines %v, error %v; the end was late: %v", lines, err, late.Load())
	}
}

// A topic that somebody made for smaller records refuses one that is within our limits: that too is too large, and waiting does not mend it.
func TestTooLargeForTheTopic(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	l := open(t, c, "ns")
	put(t, l, "a", "1")
	fault := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "ns.jobs", Err: kerr.MessageTooLarge, Count: -1})
	_, err := l.Update(t.Context(), "a", func(Entry, bool) ([]byte, []byte, error) { return []byte("2"), nil, nil })
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "max.message.bytes") {
		t.Errorf("error %v", err)
	}
	see(t, l, "a", "1")
	fault.Remove()
	put(t, l, "a", "3")
}
