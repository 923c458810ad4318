package consumertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"streamer/sink/sinktest/checker"
)

// DeadLetters reads a dead-letter topic to its end, for the checker. A topic that does not exist has none.
func (c *Cluster) DeadLetters(t testing.TB, topic string) []checker.DeadLetter {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), askWithin)
	defer cancel()
	topics, err := c.Admin(t).ListTopics(ctx, topic)
	if err != nil {
		t.Fatalf("looking for topic %s: %v", topic, err)
	}
	if !topics.Has(topic) {
		return nil
	}
	var out []checker.DeadLetter
	for _, r := range c.ReadAll(t, topic) {
		d, err := checker.ParseDeadLetter(func(name string) (string, bool) {
			for _, h := range slices.Backward(r.Headers) { // the record's own headers stand before the dead letter's
				if h.Key == name {
					return string(h.Value), true
				}
			}
			return "", false
		}, r.Timestamp)
		if err != nil {
			t.Fatalf("%s/%d/%d: %v", topic, r.Partition, r.Offset, err)
		}
		out = append(out, d)
	}
	return out
}

// CommitWatch samples a group's committed offsets while a test runs.
type CommitWatch struct {
	c     *Cluster
	group string
	stop  context.CancelFunc
	done  chan struct{}
	seen  []checker.Commit // the watching goroutine's until done is closed
}

// WatchCommits samples the group's committed offsets every so often until Stop, or the test's end. Only changes are kept.
func (c *Cluster) WatchCommits(t testing.TB, group string, every time.Duration) *CommitWatch {
	t.Helper()
	adm := c.Admin(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := &CommitWatch{c: c, group: group, stop: cancel, done: make(chan struct{})}
	t.Cleanup(func() { cancel(); <-w.done })
	go func() { // ends with Stop or the test
		defer close(w.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		last := make(map[string]map[int32]int64)
		for {
			// A failure while brokers restart is no sample; Stop takes the last one and insists on it.
			if found, err := adm.FetchOffsets(ctx, group); err == nil && found.Error() == nil {
				offsets := make(map[string]map[int32]int64)
				for topic, partitions := range found.Offsets() {
					offsets[topic] = make(map[int32]int64)
					for p, o := range partitions {
						offsets[topic][p] = o.At
					}
				}
				w.note(last, offsets, time.Now())
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

func (w *CommitWatch) note(last, now map[string]map[int32]int64, at time.Time) {
	for topic, partitions := range now {
		for p, offset := range partitions {
			if was, ok := last[topic][p]; offset < 0 || ok && was == offset {
				continue
			}
			if last[topic] == nil {
				last[topic] = make(map[int32]int64)
			}
			last[topic][p] = offset
			w.seen = append(w.seen, checker.Commit{Topic: topic, Partition: p, Offset: offset, At: at})
		}
	}
}

// Stop ends the watch, takes a last sample, and gives all of them.
func (w *CommitWatch) Stop(t testing.TB) []checker.Commit {
	t.Helper()
	w.stop()
	<-w.done
	w.note(make(map[string]map[int32]int64), w.c.Committed(t, w.group), time.Now())
	return w.seen
}
