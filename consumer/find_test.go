package consumer

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

// found asks where the record at an offset of partition 0 is.
func (j *running) found(topic string, offset int64) Found {
	j.f.Helper()
	found, err := j.runner.Find(j.f.Context(), Query{Topic: topic, Offset: offset})
	if errors.Is(err, ErrNotAssigned) {
		return Found{}
	}
	if err != nil {
		j.f.Fatal(err)
	}
	if len(found) == 0 {
		j.f.Fatalf("nothing found at %d", offset)
	}
	return found[0]
}

func (j *running) waitFound(topic string, offset int64, state FoundState) Found {
	j.f.Helper()
	var f Found
	consumertest.WaitFor(j.f, within, string(state), func() (any, bool) {
		f = j.found(topic, offset)
		return f, f.State == state
	})
	return f
}

// Each record of a partition with one row in trouble is found, with what it waits for.
func TestFind(t *testing.T) {
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		switch {
		case a.Offset == 1 && a.Attempt <= 2:
			return sinktest.Answer{Status: 503}
		case a.Offset == 5:
			<-release
		}
		return sinktest.Answer{}
	})
	defer let()
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "fine", 0), rec(topic, 0, "poor", 1), rec(topic, 0, "poor", 2), rec(topic, 0, "other", 3),
		&kgo.Record{Topic: topic, Key: []byte("other")}, rec(topic, 0, "slow", 5))
	cfg := f.job(topic, func(c *Config) { c.Sink.Retry.Initial, c.Sink.Retry.Max = time.Hour, time.Hour })
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the first attempt", func() (any, bool) {
		f := j.found(topic, 1)
		return f, f.Attempts == 1 && f.Next != nil
	})
	poor := j.waitFound(topic, 1, FoundBackOff)
	if poor.Attempts != 1 || poor.Next == nil || !strings.Contains(poor.Last, "503") || !strings.Contains(poor.Reason, "backs off") {
		t.Errorf("the row in trouble: %+v", poor)
	}
	if b := j.waitFound(topic, 2, FoundBehind).Behind; b == nil || *b != poor.Position {
		t.Errorf("the row behind it waits behind %v", b)
	}
	j.waitFound(topic, 3, FoundFinished)
	if s := j.waitFound(topic, 4, FoundFiltered); !strings.Contains(s.Reason, "tombstone") {
		t.Errorf("the tombstone: %+v", s)
	}
	j.waitFound(topic, 0, FoundCommitted)
	j.waitFound(topic, 5, FoundInFlight)
	j.waitFound(topic, 6, FoundBeyond)
	j.runner.Recall(Memory{Desired: WantPaused})
	if err := j.runner.Decide(t.Context(), poor.Position, Retry, "test"); err != nil {
		t.Fatal(err)
	}
	consumertest.WaitFor(t, within, "the pause to be told", func() (any, bool) { f := j.found(topic, 1); return f, f.Reason == "the job is paused" })
	j.runner.Recall(Memory{})
	key := "poor"
	found, err := j.runner.Find(t.Context(), Query{Key: &key})
	if err != nil || len(found) != 2 || found[0].Offset != 1 || found[1].Offset != 2 {
		t.Errorf("by key: %+v, %v", found, err)
	}
	if _, err := j.runner.Find(t.Context(), Query{Topic: topic, Partition: 9}); !errors.Is(err, ErrNotAssigned) {
		t.Errorf("a partition of nobody: %v", err)
	}
	let()
	consumertest.WaitFor(t, within, "the attempt that waited for the end of the pause", func() (any, bool) {
		poor := j.found(topic, 1)
		return poor, poor.State == FoundBackOff && poor.Attempts == 2 && poor.Next != nil
	})
	if err := j.runner.Decide(t.Context(), poor.Position, Retry, "test"); err != nil { // the next one, an hour early
		t.Fatal(err)
	}
	f.committed(cfg, topic)
	f.verdict(cfg, topic, func(r *kgo.Record) checker.Want {
		if r.Value == nil {
			return checker.Nothing
		}
		return checker.Delivered
	})
}

// A row that nobody can judge stands in the way of its lane. An operator gives it up: its dead letter says so, and the lane goes on.
// What waits behind another row is not decided about, nor what is final.
func TestGiveUpOneRow(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset == 0 {
			return sinktest.Answer{Status: 500}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "k", 0), rec(topic, 0, "k", 1), rec(topic, 0, "k", 2))
	cfg := f.job(topic, func(c *Config) { c.Sink.Retry.Attempts = 3 })
	j := f.run(cfg)
	row := j.waitFound(topic, 0, FoundUnproven)
	if row.Attempts < 3 || row.Counted != 0 {
		t.Errorf("the unproven row: %+v", row)
	}
	if err := j.runner.Decide(t.Context(), Position{Topic: topic, Offset: 1}, GiveUp, "test"); err == nil || !strings.Contains(err.Error(), "waits behind "+row.Position.String()) {
		t.Errorf("giving up a row behind another one: %v", err)
	}
	if err := j.runner.Decide(t.Context(), row.Position, GiveUp, "test"); err != nil {
		t.Fatal(err)
	}
	f.committed(cfg, topic)
	if err := j.runner.Decide(t.Context(), row.Position, GiveUp, "test"); err == nil || !strings.Contains(err.Error(), "final") {
		t.Errorf("giving up a final row: %v", err)
	}
	letters := f.cluster.DeadLetters(t, cfg.DeadLetterTopic)
	if len(letters) != 1 || !strings.Contains(letters[0].Reason, "given up by test") {
		t.Errorf("dead letters %+v", letters)
	}
	f.verdict(cfg, topic, func(r *kgo.Record) checker.Want {
		if r.Offset == 0 {
			return checker.GivenUp
		}
		return checker.Delivered
	})
}

// With dead letters off a row that is refused keeps its lane. Retried after the API is mended it is delivered; another one is given up
// without a trace.
func TestDecideWithoutDeadLetters(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Attempt == 1 && a.Offset < 2 {
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "b", 1), rec(topic, 0, "a", 2), rec(topic, 0, "b", 3))
	cfg := f.job(topic, func(c *Config) { c.DeadLetterTopic = "" })
	j := f.run(cfg)
	a, b := j.waitFound(topic, 0, FoundStuck), j.waitFound(topic, 1, FoundStuck)
	if err := j.runner.Decide(t.Context(), a.Position, Retry, "test"); err != nil {
		t.Fatal(err)
	}
	j.waitFound(topic, 2, FoundFinished)
	if err := j.runner.Decide(t.Context(), b.Position, GiveUp, "test"); err != nil {
		t.Fatal(err)
	}
	f.committed(cfg, topic)
	if n := len(f.attempts(4)); n != 5 {
		t.Errorf("%d attempts, want 5: one each, and the retry", n)
	}
}
