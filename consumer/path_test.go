package consumer

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/mapping"
	"streamer/schemas/schemastest"
	"streamer/sink/sinktest"
)

func TestRowsBecomeRequestsAndAreCommitted(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "people", 3)
	for i := range 30 {
		consumertest.Produce(t, f.producer, rec(topic, int32(i%3), fmt.Sprint("p", i), i))
	}
	cfg := f.job(topic)
	f.run(cfg)
	f.committed(cfg, topic)
	got := map[string]string{}
	for _, a := range f.attempts(30) {
		if a.Method != "PUT" || a.Topic != topic || a.Row != 0 || a.Attempt != 1 {
			t.Fatalf("attempt %+v", a)
		}
		if !strings.HasSuffix(a.Key, fmt.Sprintf("/%d/%d/0", a.Partition, a.Offset)) {
			t.Fatalf("idempotency key %q of %d/%d", a.Key, a.Partition, a.Offset)
		}
		got[a.Path] = string(a.Body)
	}
	for i := range 30 {
		if want := fmt.Sprintf(`{"n":%d}`, i); got[fmt.Sprint("/rows/p", i)] != want {
			t.Errorf("row p%d: body %q, want %q", i, got[fmt.Sprint("/rows/p", i)], want)
		}
	}
}

// overlap tells how many attempts of one lane, and of all, ran at the same time.
type overlap struct {
	mu            sync.Mutex
	running       map[string]int
	all           int
	most, mostAll int
	release       chan struct{}
}

func (o *overlap) answer(lane func(*sinktest.Attempt) string) func(*sinktest.Attempt) sinktest.Answer {
	return func(a *sinktest.Attempt) sinktest.Answer {
		l := lane(a)
		o.mu.Lock()
		o.running[l]++
		o.all++
		o.most, o.mostAll = max(o.most, o.running[l]), max(o.mostAll, o.all)
		o.mu.Unlock()
		<-o.release
		o.mu.Lock()
		o.running[l]--
		o.all--
		o.mu.Unlock()
		return sinktest.Answer{}
	}
}

func TestOrder(t *testing.T) {
	orders(t, func(t *testing.T) *consumertest.Cluster { return consumertest.Fake(t) })
}

// orders: every order mode, with three keys in one partition: which rows may be in flight together, and which never.
func orders(t *testing.T, cluster func(*testing.T) *consumertest.Cluster) {
	const keys, each = 3, 4
	for name, c := range map[string]struct {
		order     string
		container bool
		nullKey   bool
		together  int // rows that are in flight at once before the first answer
	}{
		"by key":                             {order: "key", together: keys},
		"by key, without a key":              {order: "key", nullKey: true, together: 1},
		"by partition":                       {order: "partition", together: 1},
		"none":                               {order: "none", together: keys * each},
		"by an expression":                   {order: "$.msg.id", nullKey: true, together: keys},
		"by an expression that finds none":   {order: "$.msg.nothing", together: 1},
		"not given, JSON: by key":            {together: keys},
		"not given, containers: by $.msg.id": {container: true, nullKey: true, together: keys},
		"by key, containers: one record's rows share a lane": {order: "key", container: true, together: keys},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &overlap{running: map[string]int{}, release: make(chan struct{})}
			f := setup(t, cluster(t), o.answer(func(a *sinktest.Attempt) string { return a.Path }))
			topic := f.cluster.Topic(t, "t", 1)
			for n := range each {
				for k := range keys {
					r := rec(topic, 0, fmt.Sprint("k", k), n)
					if c.container {
						r.Value = schemastest.Container(idSchema, "deflate", map[string]any{"id": fmt.Sprint("k", k), "n": int64(n)})
					}
					if c.nullKey {
						r.Key = nil
					}
					consumertest.Produce(t, f.producer, r)
				}
			}
			cfg := f.job(topic, func(cfg *Config) { cfg.Order = order(t, c.order) })
			f.run(cfg)
			inFlight := func() int {
				o.mu.Lock()
				defer o.mu.Unlock()
				return o.all
			}
			consumertest.WaitFor(t, within, "rows in flight", func() (any, bool) { return inFlight(), inFlight() == c.together })
			close(o.release)
			f.committed(cfg, topic)
			if c.order != "none" && o.most > 1 {
				t.Errorf("%d rows of one key were in flight together", o.most)
			}
			if o.mostAll < c.together || c.together == 1 && o.mostAll > 1 {
				t.Errorf("%d rows were in flight together, want %d", o.mostAll, c.together)
			}
			if c.order != "none" {
				inOrder(t, f.api.Attempts())
			}
			f.verdict(cfg, topic, nil)
		})
	}
}

const idSchema = `{"type": "record", "name": "Row", "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": "long"}]}`

func order(t *testing.T, s string) Order {
	switch s {
	case "":
		return Order{}
	case "key":
		return Order{By: OrderKey}
	case "partition":
		return Order{By: OrderPartition}
	case "none":
		return Order{By: OrderNone}
	}
	p, err := mapping.CompilePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return Order{By: OrderPath, Path: p}
}

// inOrder checks that the attempts of each path came with rising n.
func inOrder(t *testing.T, attempts []sinktest.Attempt) {
	t.Helper()
	last := map[string]int{}
	for _, a := range attempts {
		var body struct{ N int }
		if err := json.Unmarshal(a.Body, &body); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[a.Path]; ok && body.N < before {
			t.Errorf("%s: %d after %d", a.Path, body.N, before)
		}
		last[a.Path] = body.N
	}
}

// A row that is retried holds its lane, and nobody else's.
func TestRetriesKeepTheLaneWaiting(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/rows/bad" && failing.Load() {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 5 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "bad", n), rec(topic, 0, "good", n))
	}
	cfg := f.job(topic)
	f.run(cfg)
	good := func() (n int) {
		for _, a := range f.api.Attempts() {
			if a.Path == "/rows/good" && !a.End.IsZero() {
				n++
			}
		}
		return n
	}
	consumertest.WaitFor(t, within, "the other key's rows", func() (any, bool) { return good(), good() == 5 })
	if at := f.cluster.Committed(t, cfg.Group)[topic][0]; at != 0 {
		t.Fatalf("committed %d while the row at offset 0 is not final", at)
	}
	for _, a := range f.api.Attempts() {
		if a.Path == "/rows/bad" && string(a.Body) != `{"n":0}` {
			t.Fatalf("a later row of the lane was sent: %s", a.Body)
		}
	}
	failing.Store(false)
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil)
}

func TestContainerIsFinishedWithItsLastRow(t *testing.T) {
	release := make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/rows/r249" {
			<-release
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	rows := make([]any, 250)
	for i := range rows {
		rows[i] = map[string]any{"id": fmt.Sprint("r", i), "n": int64(i)}
	}
	consumertest.Produce(t, f.producer,
		&kgo.Record{Topic: topic, Value: schemastest.Container(idSchema, "null", rows...)},
		&kgo.Record{Topic: topic, Value: schemastest.Container(idSchema, "snappy")}, // no rows: nothing to send
		&kgo.Record{Topic: topic, Value: schemastest.Container(idSchema, "deflate", rows[0])})
	cfg := f.job(topic)
	f.run(cfg)
	consumertest.WaitFor(t, within, "251 attempts", func() (any, bool) { return f.api.Len(), f.api.Len() == 251 })
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 0 {
		t.Fatalf("committed %d before the last row of the first record was final", got)
	}
	close(release)
	f.committed(cfg, topic)
}

func TestFilteredRowsAndTombstonesAreFinalWithoutARequest(t *testing.T) {
	for name, c := range map[string]struct {
		tombstone Tombstone
		requests  int
		letters   int
	}{
		"skip":    {TombstoneSkip, 2, 0},
		"deliver": {TombstoneDeliver, 3, 0},
		"reject":  {TombstoneReject, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Fake(t), nil)
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer,
				rec(topic, 0, "a", 1), rec(topic, 0, "b", 5), &kgo.Record{Topic: topic, Key: []byte("gone")}, rec(topic, 0, "c", 9))
			cfg := f.job(topic, func(cfg *Config) {
				cfg.Tombstone = c.tombstone
				cfg.Program = f.program(`{"id": "$.kafka.key", "n": "$.msg.n"}`, f.api.URL()+"/rows/{id}", `["n"]`, `"$[?(@.n > 4)]"`)
			})
			f.run(cfg)
			f.committed(cfg, topic)
			if got := len(f.attempts(c.requests)); got != c.requests {
				t.Errorf("%d requests, want %d", got, c.requests)
			}
			if got := len(f.deadLetters(cfg)); got != c.letters {
				t.Errorf("%d dead letters, want %d", got, c.letters)
			}
		})
	}
}

func TestStopDrainsCommitsAndLeaves(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/rows/slow" {
			close(entered)
			<-release
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "slow", 1), rec(topic, 0, "slow", 2))
	cfg := f.job(topic)
	j := f.run(cfg)
	<-entered
	done := make(chan error, 1)
	go func() { done <- j.stop() }()
	consumertest.WaitFor(t, within, "the drain", func() (any, bool) { n := len(j.runner.all()); return n, n == 0 })
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 1 {
		t.Errorf("committed %d, want 1: the row in flight ended, the one behind it never started", got)
	}
	if n := f.api.Len(); n != 1 {
		t.Errorf("%d attempts after the stop began, want 1", n)
	}
	if got := j.runner.Status(); got.Unfinished != 1 || got.State != Stopped {
		t.Errorf("status %+v", got)
	}
	g := f.cluster.Fake.GroupInfo(cfg.Group)
	if g != nil && len(g.Members) > 0 {
		t.Errorf("members are left: %+v", g)
	}
}

func TestHardStopCancelsAndCommitsNothingOfIt(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Fault: sinktest.Hang} })
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
	cfg := f.job(topic, func(c *Config) { c.Drain = time.Minute })
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the attempt", func() (any, bool) { n := f.api.Len(); return n, n == 1 })
	j.hard()
	began := time.Now()
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the hard stop took %v", took)
	}
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 0 {
		t.Errorf("committed %d", got)
	}
}
