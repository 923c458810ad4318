package kafkalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

const within = 30 * time.Second

// open gives a log that runs until the test ends.
func open(t *testing.T, c *consumertest.Cluster, namespace string) *Log {
	t.Helper()
	l := opened(t, c, namespace)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := l.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return l
}

// opened does not wait until the log was read.
func opened(t *testing.T, c *consumertest.Cluster, namespace string, opts ...kgo.Opt) *Log {
	t.Helper()
	l, err := Open(Config{Namespace: namespace, Options: append(c.Options(), opts...), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { l.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		run.Wait()
		l.Close()
	})
	return l
}

// put sets an object, with a line for the audit that says the same.
func put(t *testing.T, l *Log, key, value string) Entry {
	t.Helper()
	e, err := l.Update(t.Context(), key, func(Entry, bool) ([]byte, []byte, error) { return []byte(value), []byte(value), nil })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// increment adds 1 to the number that is the object of key.
func increment(t *testing.T, l *Log, key string) {
	t.Helper()
	_, err := l.Update(t.Context(), key, func(now Entry, _ bool) ([]byte, []byte, error) {
		n, _ := strconv.Atoi(string(now.Value))
		text := []byte(strconv.Itoa(n + 1))
		return text, text, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// see waits until a log has the value at key; "" means no object.
func see(t *testing.T, l *Log, key, want string) {
	t.Helper()
	consumertest.WaitFor(t, within, key+" to be "+want, func() (any, bool) {
		e, ok := l.Get(key)
		return string(e.Value), ok == (want != "") && string(e.Value) == want
	})
}

func TestFake(t *testing.T)      { conformance(t, consumertest.Fake(t)) }
func TestKafkaReal(t *testing.T) { conformance(t, consumertest.Kafka(t)) }

// conformance is what a log promises on every Kafka.
func conformance(t *testing.T, c *consumertest.Cluster) {
	for name, test := range map[string]func(*testing.T, *consumertest.Cluster, string){
		"objects":                      testObjects,
		"audit":                        testAudit,
		"three writers":                testThreeWriters,
		"a writer that died":           testDeadWriter,
		"a zombie":                     testZombie,
		"a decision about old news":    testStaleDecision,
		"reports":                      testReports,
		"limits":                       testLimits,
		"a cluster with other topics":  testOtherTopics,
		"a log that was read a second": testSecondReader,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c, consumertest.Name("ns"))
		})
	}
}

func testObjects(t *testing.T, c *consumertest.Cluster, ns string) {
	a, b := open(t, c, ns), open(t, c, ns)
	changed := b.Changed()
	first := put(t, a, "job/one", "1")
	if e, ok := a.Get("job/one"); !ok || string(e.Value) != "1" || e.Revision != first.Revision {
		t.Errorf("the writer reads %v %v after it wrote %v", e, ok, first)
	}
	see(t, b, "job/one", "1")
	<-changed
	if second := put(t, b, "job/two", "2"); second.Revision <= first.Revision {
		t.Errorf("revisions %d, then %d", first.Revision, second.Revision)
	}
	put(t, a, "other", "3")
	if list := a.List("job/"); len(list) != 2 || list[0].Key != "job/one" || list[1].Key != "job/two" {
		t.Errorf("list %v", list)
	}
	if _, err := b.Update(t.Context(), "job/one", func(Entry, bool) ([]byte, []byte, error) { return nil, []byte("gone"), nil }); err != nil {
		t.Fatal(err)
	}
	see(t, a, "job/one", "")
	end := c.EndOffsets(t, ns+".jobs")[0]
	same := func(now Entry, _ bool) ([]byte, []byte, error) { return now.Value, nil, nil }
	if _, err := a.Update(t.Context(), "job/two", same); err != nil {
		t.Fatal(err)
	}
	if after := c.EndOffsets(t, ns+".jobs")[0]; after != end {
		t.Errorf("an equal value without an audit line was written: the log grew from %d to %d", end, after)
	}
	if p := a.Problem() + b.Problem(); p != "" {
		t.Errorf("problem: %s", p)
	}
}

func testAudit(t *testing.T, c *consumertest.Cluster, ns string) {
	l := open(t, c, ns)
	if lines, next, err := l.Audit(t.Context(), 0, 10, nil); len(lines) != 0 || next != 0 || err != nil {
		t.Errorf("an empty audit gives %v, %d, %v", lines, next, err)
	}
	for i := range 12 {
		put(t, l, "key/"+strconv.Itoa(i%2), strconv.Itoa(i))
	}
	var got []string
	before, pages := int64(0), 0
	for {
		lines, next, err := l.Audit(t.Context(), before, 5, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			got = append(got, string(line.Value))
		}
		pages++
		if before = next; next == 0 {
			break
		}
	}
	if text := strings.Join(got, " "); text != "11 10 9 8 7 6 5 4 3 2 1 0" || pages != 3 {
		t.Errorf("%d pages with lines %s", pages, text)
	}
	lines, _, err := l.Audit(t.Context(), 0, 3, func(key string) bool { return key == "key/0" })
	if err != nil || len(lines) != 3 || string(lines[2].Value) != "6" {
		t.Errorf("lines of one key: %v, %v", lines, err)
	}
}

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
		err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: ns + ".jobs", Key: []byte("counter"), Value: []byte(value)},
			&kgo.Record{Topic: ns + ".audit", Key: []byte("counter"), Value: []byte(value)}).FirstErr()
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

func testReports(t *testing.T, c *consumertest.Cluster, ns string) {
	a := open(t, c, ns)
	a.Report("instance/a", []byte("1"))
	a.Report("job/a", []byte("2"))
	consumertest.WaitFor(t, within, "two reports", func() (any, bool) { return nil, len(a.Reports("")) == 2 })
	b := open(t, c, ns)
	got := b.Reports("instance/")
	if len(got) != 1 || string(got[0].Value) != "1" || time.Since(got[0].At) > within {
		t.Errorf("reports %v", got)
	}
	b.Report("instance/a", nil)
	consumertest.WaitFor(t, within, "the report to be taken back", func() (any, bool) { return nil, len(a.Reports("instance/")) == 0 })
	if _, ok := a.Get("job/a"); ok {
		t.Error("a report is an object")
	}
}

func testLimits(t *testing.T, c *consumertest.Cluster, ns string) {
	l := open(t, c, ns)
	large := strings.Repeat("x", MaxValueBytes)
	put(t, l, "large", large)
	if _, err := l.Update(t.Context(), "large", func(Entry, bool) ([]byte, []byte, error) { return []byte(large + "x"), nil, nil }); err == nil {
		t.Error("a value over the limit was written")
	}
	if _, err := l.Update(t.Context(), strings.Repeat("k", maxKeyBytes+1), nil); err == nil {
		t.Error("a key over the limit was written")
	}
	see(t, l, "large", large)
}

// Somebody made the topics before: the log works with them, and names what they lack.
func testOtherTopics(t *testing.T, c *consumertest.Cluster, ns string) {
	config := map[string]*string{"cleanup.policy": kmsg.StringPtr("delete"), "retention.ms": kmsg.StringPtr("3600000")}
	if _, err := c.Admin(t).CreateTopic(t.Context(), 2, 1, config, ns+".jobs"); err != nil {
		t.Fatal(err)
	}
	l := open(t, c, ns)
	put(t, l, "a", "1")
	for _, want := range []string{ns + ".jobs has 2 partitions", "cleanup.policy=delete; compact is wanted"} {
		if !strings.Contains(l.Problem(), want) {
			t.Errorf("problem %q does not name %q", l.Problem(), want)
		}
	}
}

// What a log that begins later reads is what the one before had.
func testSecondReader(t *testing.T, c *consumertest.Cluster, ns string) {
	a := open(t, c, ns)
	for i := range 20 {
		put(t, a, fmt.Sprintf("key/%d", i%3), strconv.Itoa(i))
	}
	if _, err := a.Update(t.Context(), "key/0", func(Entry, bool) ([]byte, []byte, error) { return nil, nil, nil }); err != nil {
		t.Fatal(err)
	}
	b := open(t, c, ns)
	if got, want := fmt.Sprint(b.List("")), fmt.Sprint(a.List("")); got != want || len(b.List("")) != 2 {
		t.Errorf("read %s, not %s", got, want)
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
	broken atomic.Bool
}

func (c *losingConn) Write(b []byte) (int, error) {
	if len(b) > 6 && kmsg.Key(binary.BigEndian.Uint16(b[4:])) == kmsg.EndTxn && c.losing.armed.CompareAndSwap(true, false) {
		c.broken.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.broken.Load() {
		c.losing.lost.Add(1)
		return 0, net.ErrClosed
	}
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

// Kafka refuses the topics: the problem says exactly what to allow.
func TestTopicsRefused(t *testing.T) {
	t.Parallel()
	for _, key := range []kmsg.Key{kmsg.Metadata, kmsg.CreateTopics} {
		t.Run(key.Name(), func(t *testing.T) {
			t.Parallel()
			c := consumertest.Fake(t)
			refused := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: "ns.jobs", Err: kerr.TopicAuthorizationFailed, Count: -1})
			l := opened(t, c, "ns")
			consumertest.WaitFor(t, within, "the problem", func() (any, bool) {
				return l.Problem(), strings.Contains(l.Problem(), "CREATE, DESCRIBE, DESCRIBE_CONFIGS, READ and WRITE on topics ns.jobs, ns.status and ns.audit")
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if err := l.Wait(ctx); err == nil || !strings.Contains(err.Error(), "CREATE") {
				t.Errorf("error %v", err)
			}
			refused.Remove()
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			put(t, l, "a", "1")
			if p := l.Problem(); p != "" {
				t.Errorf("problem %q", p)
			}
		})
	}
}

// The topics are deleted and made anew under a running log: it follows the new ones, and writes to them.
func TestRecreated(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	l := open(t, c, "ns")
	put(t, l, "a", "1")
	l.Report("old", []byte("1"))
	consumertest.WaitFor(t, within, "the report", func() (any, bool) { return l.Problem(), len(l.Reports("old")) == 1 })
	if _, err := c.Admin(t).DeleteTopics(t.Context(), "ns.jobs", "ns.status"); err != nil {
		t.Fatal(err)
	}
	see(t, l, "a", "")
	put(t, l, "b", "2")
	see(t, l, "b", "2")
	consumertest.WaitFor(t, within, "a report", func() (any, bool) {
		l.Report("r", []byte("1"))
		return l.Problem(), len(l.Reports("r")) == 1
	})
}

// Compaction has removed the end of the log, its last marker too: a reader must not wait for a record that is not there.
func TestGapAtTheEnd(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	a := open(t, c, "ns")
	put(t, a, "a", "1")
	end := c.EndOffsets(t, "ns.jobs")[0]
	// The broker answers every fetch of .jobs with nothing, and says that this was all.
	c.Fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake.KeepControl()
		r := req.(*kmsg.FetchRequest)
		resp := r.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.HighWatermark, rp.LastStableOffset = p.Partition, end, end
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	b := open(t, c, "ns")
	if _, ok := b.Get("a"); ok {
		t.Error("read what the broker did not give")
	}
}

// Reports age by the broker's clock, and a time in which nobody could report makes nobody older.
func TestClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var v view
		v.reports = map[string]report{}
		broker := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // wrong by years, and nobody minds
		hear := func(key string, live bool) {
			v.hear(&kgo.Record{Key: []byte(key), Value: []byte("{}"), Timestamp: broker.Add(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))}, live)
		}
		age := func(key string) time.Duration { return v.clock.age(v.reports[key].at).Round(time.Second) }
		hear("gone", false)
		time.Sleep(24 * time.Hour) // nobody ran
		hear("a", true)
		if got := age("gone"); got != 24*time.Hour {
			t.Errorf("one that ended a day ago is %v old", got)
		}
		hear("b", true)
		for range 3 {
			time.Sleep(5 * time.Second)
			hear("a", true)
		}
		if got := age("b"); got != 15*time.Second {
			t.Errorf("one that was silent for 15 s is %v old", got)
		}
		hear("b", true)
		time.Sleep(5 * time.Minute) // Kafka is away
		hear("a", true)
		if got := age("b"); got != longestSilence {
			t.Errorf("after a pause of everybody, one is %v old", got)
		}
	})
}
