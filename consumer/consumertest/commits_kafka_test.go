package consumertest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"streamer/consumer/consumertest"
	"streamer/consumer/track"
)

// A commit that is overtaken at once by the next one is seen all the same, with its time and with what its metadata says.
func TestKafkaWatchCommitsSeesEachOne(t *testing.T) {
	c := consumertest.Kafka(t)
	topic, group := c.Topic(t, "watched", 1), consumertest.Name("watched")
	var id kadm.TopicID
	consumertest.WaitFor(t, time.Minute, "the topic's id", func() (any, bool) { // a broker may learn of a new topic a moment late
		topics, err := c.Admin(t).ListTopics(t.Context(), topic)
		if err == nil {
			id = topics[topic].ID
		}
		return err, id != kadm.TopicID{}
	})
	place := track.Place{TopicID: id, Owner: track.Owner(c.ID, group), Offset: 7, Epoch: -1}
	done := track.New(7, -1)
	for offset := int64(7); offset < 10; offset++ {
		r := &track.Record{Offset: offset}
		done.Track(r, 2)
		if offset != 7 { // 8 as a whole, and one row of 9
			done.Done(r, 1)
		}
		if offset == 8 {
			done.Done(r, 0)
		}
	}
	commit := func(at int64, metadata string) {
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, At: at, LeaderEpoch: -1, Metadata: metadata})
		if err := c.Admin(t).CommitAllOffsets(t.Context(), group, o); err != nil {
			t.Fatal(err)
		}
	}
	commit(1, "")
	watch := c.WatchCommits(t, group, time.Hour)
	began := time.Now()
	for at := int64(2); at < 7; at++ {
		commit(at, "")
	}
	var finished track.Finished
	finished.Read(done)
	metadata, _ := finished.Encode(place, 4096)
	commit(7, metadata)
	seen := watch.Stop(t)
	if len(seen) != 7 {
		t.Fatalf("saw %d commits, want the one before and six: %+v", len(seen), seen)
	}
	for i, s := range seen {
		if s.Offset != int64(i+1) || s.Topic != topic || i > 0 && s.At.Sub(began).Abs() > 30*time.Second || (s.Above != nil) != (i == 6) {
			t.Errorf("commit %d is %+v", i, s)
		}
	}
	var rows []string
	if t.Failed() {
		return
	}
	above := seen[6].Above()
	for offset := int64(7); offset < 12; offset++ {
		for row := range 2 {
			if above(offset, row) {
				rows = append(rows, fmt.Sprint(offset, "/", row))
			}
		}
	}
	if want := []string{"8/0", "8/1", "9/1"}; !slices.Equal(rows, want) {
		t.Errorf("finished above the commit: %v, want %v", rows, want)
	}
}
