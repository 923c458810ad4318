package consumer

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// Two instances of a job under load are changed twenty times, at the same time, and a third one joins and leaves in between. Nothing is lost,
// sent twice or overtaken; no change costs a rebalance.
func TestKafkaChanges(t *testing.T) {
	t.Parallel()
	f := setup(t, consumertest.Kafka(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset%13 == 6 && a.Attempt < 3 {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{Delay: 2 * time.Millisecond}
	})
	topic := f.cluster.Topic(t, "t", 6)
	cfg := f.job(topic)
	jobs := []*running{f.run(cfg), f.run(cfg)}
	assigned := func(want int64) {
		t.Helper()
		consumertest.WaitFor(t, within, "an even assignment", func() (any, bool) {
			a, b := jobs[0].runner.assigned.Load(), jobs[1].runner.assigned.Load()
			return fmt.Sprint(a, b), a == want && b == want
		})
	}
	assigned(3)
	var last Config
	var took [20][2]time.Duration
	changes := func(from, to int) {
		for i := from; i < to; i++ {
			produceKeys(f, topic, 6, 30, 4)
			last = f.to(cfg, fmt.Sprintf("/v%d/", i), func(c *Config) { c.Sink.Concurrency = 16 + i })
			var all sync.WaitGroup
			for n, j := range jobs {
				all.Go(func() { took[i][n] = j.change(last) })
			}
			all.Wait()
		}
	}
	members := func() string { return jobs[0].member() + " " + jobs[1].member() }
	before := members()
	changes(0, 8)
	if now := members(); now != before {
		t.Errorf("members %s, were %s", now, before)
	}
	third := f.run(cfg)
	changes(8, 14)
	consumertest.WaitFor(t, within, "the third instance's part", func() (any, bool) { n := third.runner.assigned.Load(); return n, n == 2 })
	third.change(last)
	if err := third.stop(); err != nil {
		t.Fatal(err)
	}
	assigned(3)
	before = members()
	changes(14, 20)
	if now := members(); now != before {
		t.Errorf("members %s, were %s", now, before)
	}
	slow := 0 // for some of them the machine may have had no time
	for _, of := range took {
		for _, d := range of {
			if d > 2*time.Second {
				slow++
			}
		}
	}
	if slow > 10 {
		t.Errorf("%d of 40 changes took longer than two seconds: %v", slow, took)
	}
	seen := f.api.Len()
	produceKeys(f, topic, 6, 30, 2)
	f.committed(cfg, topic)
	for _, a := range f.api.Attempts()[seen:] {
		if !strings.HasPrefix(a.Path, "/v19/") {
			t.Errorf("an attempt of an old definition: %s", a.Path)
		}
	}
	f.verdict(cfg, topic, nil)
}
