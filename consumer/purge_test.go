package consumer

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
)

// What is left of a deleted job goes if it is asked to: not while its group has members, and twice is no error.
func TestPurge(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	topic := c.Topic(t, "t", 1)
	letters := c.Topic(t, "letters", 1)
	cfg := f.job(topic, func(c *Config) { c.DeadLetterTopic = letters })
	i, ctx := asker(f), t.Context()
	r := f.run(cfg)
	consumertest.Produce(t, c.Producer(t), &kgo.Record{Topic: topic, Value: []byte(`{"id": "a"}`)})
	consumertest.WaitFor(t, within, "the commit", func() (any, bool) {
		st := r.runner.Status()
		return st, len(st.Partitions) == 1 && st.Partitions[0].Committed == 1
	})
	if err := i.Purge(ctx, cfg, true, true); err == nil {
		t.Error("a group with a member was deleted")
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	admin := c.Admin(t)
	left := func(wantOffsets, wantLetters bool) {
		t.Helper()
		offsets, err := admin.FetchOffsets(ctx, cfg.Group)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			t.Fatal(err)
		}
		_, has := offsets.Lookup(topic, 0)
		if has != wantOffsets {
			t.Errorf("offsets %v, want %v", has, wantOffsets)
		}
		consumertest.WaitFor(t, within, "the topic to be there, or not", func() (any, bool) { // what is known of topics is remembered for a while
			topics, err := admin.ListTopics(ctx)
			return topics, err == nil && topics.Has(letters) == wantLetters
		})
	}
	left(true, true)
	for range 2 {
		if err := i.Purge(ctx, cfg, true, false); err != nil {
			t.Error(err)
		}
		left(false, true)
	}
	for range 2 {
		if err := i.Purge(ctx, cfg, false, true); err != nil {
			t.Error(err)
		}
		left(false, false)
	}
}

// A deleted job has no series any more.
func TestForget(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	i := asker(f)
	cfg := f.job(c.Topic(t, "t", 1))
	i.NewRunner(cfg)
	if n := testutil.CollectAndCount(i.metrics.rows); n == 0 {
		t.Fatal("a job has no series")
	}
	i.Divide(cfg.Job, 0.5, 0.5)
	i.Forget(cfg.Job)
	if n := testutil.CollectAndCount(i.metrics.rows) + testutil.CollectAndCount(i.metrics.expired) + len(i.rates.jobs); n != 0 {
		t.Errorf("%d things are left", n)
	}
}
