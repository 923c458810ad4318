package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

// within bounds what a test waits for, so that one that hangs ends.
const within = 2 * time.Minute

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

func TestFake(t *testing.T) { conformance(t, consumertest.Fake(t)) }

func TestKafkaReal(t *testing.T) {
	c := consumertest.Kafka(t)
	conformance(t, c)
	t.Run("the broker's clock", func(t *testing.T) { // the fake broker keeps the times that it is given
		t.Parallel()
		testBrokersClock(t, c, consumertest.Name("ns"))
	})
}

// conformance is what a log promises on every Kafka.
func conformance(t *testing.T, c *consumertest.Cluster) {
	for name, test := range map[string]func(*testing.T, *consumertest.Cluster, string){
		"objects":                      testObjects,
		"audit":                        testAudit,
		"who writes":                   testWriters,
		"several objects":              testTransact,
		"a topic that deletes":         testDeletingTopic,
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

func testWriters(t *testing.T, c *consumertest.Cluster, ns string) {
	a, b := open(t, c, ns), open(t, c, ns)
	put(t, a, "k", "unsigned")
	a.Sign("one")
	b.Sign("two")
	put(t, a, "k", "by one")
	put(t, b, "k", "by two")
	lines, _, err := a.Audit(t.Context(), 0, 10, nil)
	if err != nil || len(lines) != 3 {
		t.Fatalf("%v, %v", lines, err)
	}
	for i, want := range []string{"two", "one", ""} {
		if lines[i].Writer != want {
			t.Errorf("%s was written by %q, want %q", lines[i].Value, lines[i].Writer, want)
		}
	}
}

// Times are by the broker's clock: that of who writes may be years behind, or so far ahead that Kafka would refuse what it stamps.
func testBrokersClock(t *testing.T, c *consumertest.Cluster, ns string) {
	l := open(t, c, ns)
	client, err := kgo.NewClient(append(c.Options(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, topic := range l.topics() {
		for _, off := range []time.Duration{-30 * 365 * day, 2 * day} {
			line := &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(off.String()), Timestamp: time.Now().Add(off)}
			if err := client.ProduceSync(t.Context(), line).FirstErr(); err != nil {
				t.Errorf("%s, by a clock that is off by %v: %v", topic, off, err)
			}
		}
	}
	lines, _, err := l.Audit(t.Context(), 0, 10, nil)
	if err != nil || len(lines) != 2 {
		t.Fatalf("%v, %v", lines, err)
	}
	for _, line := range lines {
		if time.Since(line.At).Abs() > time.Hour {
			t.Errorf("what was written by a clock that is off by %s says it was at %v", line.Value, line.At)
		}
	}
}

func testReports(t *testing.T, c *consumertest.Cluster, ns string) {
	a := open(t, c, ns)
	a.Report("instance/a", []byte("1"))
	a.Report("job/a", []byte("2"))
	consumertest.WaitFor(t, within, "two reports", func() (any, bool) { return nil, len(a.Reports("")) == 2 })
	b := open(t, c, ns)
	var got []Entry // an instance begins without reports that take their time
	consumertest.WaitFor(t, within, "the report of a", func() (any, bool) { got = b.Reports("instance/"); return got, len(got) == 1 })
	if string(got[0].Value) != "1" || time.Since(got[0].At) > within {
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
	config := map[string]*string{"cleanup.policy": kmsg.StringPtr("compact"), "delete.retention.ms": kmsg.StringPtr("3600000")}
	if _, err := c.Admin(t).CreateTopic(t.Context(), 2, 1, config, ns+".jobs"); err != nil {
		t.Fatal(err)
	}
	status := map[string]*string{"cleanup.policy": kmsg.StringPtr("compact"), "segment.ms": kmsg.StringPtr("600000"), "max.message.bytes": kmsg.StringPtr("2000000")}
	if _, err := c.Admin(t).CreateTopic(t.Context(), 1, 1, status, ns+".status"); err != nil {
		t.Fatal(err)
	}
	l := open(t, c, ns)
	put(t, l, "a", "1")
	for _, want := range []string{ns + ".jobs has 2 partitions", "delete.retention.ms=3600000; 604800000 is wanted",
		"mend it with: kafka-configs.sh --bootstrap-server HOST:PORT --alter --entity-type topics --entity-name " + ns + ".jobs --add-config delete.retention.ms=604800000",
		ns + ".status --add-config 'cleanup.policy=[compact,delete]',", "message.timestamp.type=LogAppendTime"} {
		if !strings.Contains(l.Problem(), want) {
			t.Errorf("problem %q does not name %q", l.Problem(), want)
		}
	}
}

// A topic of objects that deletes what is old is not used, neither when it was made so nor when somebody alters it later, and the
// problem says how to mend it. Then everything goes on.
func testDeletingTopic(t *testing.T, c *consumertest.Cluster, ns string) {
	config := map[string]*string{"cleanup.policy": kmsg.StringPtr("compact,delete"), "retention.ms": kmsg.StringPtr("3600000")}
	if _, err := c.Admin(t).CreateTopic(t.Context(), 1, 1, config, ns+".jobs"); err != nil {
		t.Fatal(err)
	}
	l := opened(t, c, ns)
	mend := "kafka-configs.sh --bootstrap-server HOST:PORT --alter --entity-type topics --entity-name " + ns + ".jobs --add-config cleanup.policy=compact"
	refused := func(policy string) {
		t.Helper()
		consumertest.WaitFor(t, within, "the problem", func() (any, bool) {
			return l.Problem(), strings.Contains(l.Problem(), "cleanup.policy="+policy+",") && strings.Contains(l.Problem(), mend)
		})
		_, err := l.Update(t.Context(), "a", func(Entry, bool) ([]byte, []byte, error) { return []byte("2"), nil, nil })
		if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), mend) {
			t.Errorf("error %v", err)
		}
	}
	alter := func(policy string) {
		t.Helper()
		if _, err := c.Admin(t).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "cleanup.policy", Value: &policy}}, ns+".jobs"); err != nil {
			t.Fatal(err)
		}
	}
	refused("compact,delete")
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if l.Wait(now) == nil {
		t.Error("a topic that deletes was read")
	}
	alter("compact")
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, l, "a", "1")
	alter("delete")
	refused("delete")
	see(t, l, "a", "1")
	alter("compact")
	consumertest.WaitFor(t, within, "the end of the problem", func() (any, bool) { return l.Problem(), !strings.Contains(l.Problem(), "cleanup.policy") })
	put(t, l, "a", "3")
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
