package consumertest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/track"
	"streamer/sink/sinktest/checker"
)

// offsetsTopic is where Kafka keeps the commits of groups, each as a record.
const offsetsTopic = "__consumer_offsets"

// CommitWatch sees a group's commits while a test runs.
type CommitWatch struct {
	c     *Cluster
	group string
	stop  context.CancelFunc
	done  chan struct{}

	// The watching goroutine's until done is closed.
	seen   []checker.Commit
	read   map[int32]int64            // next offset to read of each partition of offsetsTopic; nil: the fake has no such topic
	client *kgo.Client                // reads them
	ids    map[string]kadm.TopicID    // as far as they were asked for
	last   map[string]map[int32]int64 // the fake: what the last sample found
}

// WatchCommits sees the group's commits until Stop, or the test's end. A real broker is read where it writes them down, so that each
// one is seen, with the broker's time and what its metadata says. A fake one is asked every so often.
func (c *Cluster) WatchCommits(t testing.TB, group string, every time.Duration) *CommitWatch {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &CommitWatch{c: c, group: group, stop: cancel, done: make(chan struct{}), ids: map[string]kadm.TopicID{}, last: map[string]map[int32]int64{}}
	adm := c.Admin(t)
	watch := func() { w.sample(ctx, adm, every) }
	if c.Mode != ModeFake {
		w.begin(t)
		watch = func() { w.follow(ctx) }
	}
	t.Cleanup(func() {
		cancel()
		<-w.done
		if w.client != nil {
			w.client.Close()
		}
	})
	go func() { // ends with Stop or the test
		defer close(w.done)
		watch()
	}()
	return w
}

// begin notes what is committed already and where the log of commits ends.
func (w *CommitWatch) begin(t testing.TB) {
	t.Helper()
	w.c.ask(t, "the coordinator of group "+w.group, func(ctx context.Context, adm *kadm.Client) error {
		return adm.FindGroupCoordinators(ctx, w.group).Error() // the first question for one makes the topic
	})
	w.read = w.c.EndOffsets(t, offsetsTopic)
	w.note(w.c.Committed(t, w.group), time.Now())
	from := map[int32]kgo.Offset{}
	for p, end := range w.read {
		from[p] = kgo.NewOffset().At(end)
	}
	cl, err := kgo.NewClient(append(w.c.Options(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{offsetsTopic: from}),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	w.client = cl
}

// follow reads commits as they are written.
func (w *CommitWatch) follow(ctx context.Context) {
	for ctx.Err() == nil {
		w.poll(ctx)
	}
}

func (w *CommitWatch) poll(ctx context.Context) {
	// Errors pass while brokers restart; Stop insists on the end.
	w.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
		w.read[r.Partition] = r.Offset + 1
		if c, ok := w.commit(ctx, r); ok {
			w.seen = append(w.seen, c)
		}
	})
}

// commit reads one record of the log; false: it is no commit of the group.
func (w *CommitWatch) commit(ctx context.Context, r *kgo.Record) (c checker.Commit, ok bool) {
	var key kmsg.OffsetCommitKey
	var value kmsg.OffsetCommitValue
	if r.Attrs.IsControl() || len(r.Key) < 2 || binary.BigEndian.Uint16(r.Key) > 1 || r.Value == nil {
		return c, false
	}
	if key.ReadFrom(r.Key) != nil || key.Group != w.group || value.ReadFrom(r.Value) != nil {
		return c, false
	}
	c = checker.Commit{Topic: key.Topic, Partition: key.Partition, Offset: value.Offset, At: time.UnixMilli(value.CommitTimestamp)}
	if value.Metadata == "" {
		return c, true
	}
	id := value.TopicID
	if id == [16]byte{} {
		id = w.topicID(ctx, key.Topic)
	}
	place := track.Place{TopicID: id, Owner: track.Owner(w.c.ID, w.group), Offset: value.Offset, Epoch: value.LeaderEpoch}
	if f, _, err := track.Decode(value.Metadata, place); err == nil && !f.Empty() {
		c.Above = above(f)
	}
	return c, true
}

func above(f track.Finished) func() func(int64, int) bool {
	return func() func(int64, int) bool {
		left := f
		return func(offset int64, row int) bool {
			all, final := left.Take(offset)
			return all || final != nil && final(int32(row))
		}
	}
}

// topicID asks for each topic until a broker knows it, which may take a moment for a new one; zero: none said in time.
func (w *CommitWatch) topicID(ctx context.Context, topic string) kadm.TopicID {
	if id, ok := w.ids[topic]; ok {
		return id
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin) // Stop may come just now, and this record was read
	defer cancel()
	for {
		found, err := kadm.NewClient(w.client).ListTopics(ctx, topic)
		if id := found[topic].ID; err == nil && id != (kadm.TopicID{}) {
			w.ids[topic] = id
			return id
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return kadm.TopicID{}
		}
	}
}

// sample asks for the committed offsets every so often.
func (w *CommitWatch) sample(ctx context.Context, adm *kadm.Client, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if found, err := adm.FetchOffsets(ctx, w.group); err == nil && found.Error() == nil {
			offsets := make(map[string]map[int32]int64)
			for topic, partitions := range found.Offsets() {
				offsets[topic] = make(map[int32]int64)
				for p, o := range partitions {
					offsets[topic][p] = o.At
				}
			}
			w.note(offsets, time.Now())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// note keeps the offsets that changed since the last sample.
func (w *CommitWatch) note(now map[string]map[int32]int64, at time.Time) {
	for topic, partitions := range now {
		for p, offset := range partitions {
			if was, ok := w.last[topic][p]; offset < 0 || ok && was == offset {
				continue
			}
			if w.last[topic] == nil {
				w.last[topic] = make(map[int32]int64)
			}
			w.last[topic][p] = offset
			w.seen = append(w.seen, checker.Commit{Topic: topic, Partition: p, Offset: offset, At: at})
		}
	}
}

// Stop ends the watch, sees to it that the last commit is among those seen, and gives all of them.
func (w *CommitWatch) Stop(t testing.TB) []checker.Commit {
	t.Helper()
	w.stop()
	<-w.done
	if w.read == nil {
		w.note(w.c.Committed(t, w.group), time.Now())
		return w.seen
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*askWithin)
	defer cancel()
	for p, end := range w.c.EndOffsets(t, offsetsTopic) {
		for w.read[p] < end && ctx.Err() == nil {
			w.poll(ctx)
		}
	}
	if err := ctx.Err(); err != nil {
		t.Fatalf("reading the commits of group %s to their end: %v", w.group, errors.Join(err, fmt.Errorf("read up to %v", w.read)))
	}
	return w.seen
}
