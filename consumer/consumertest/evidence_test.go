package consumertest_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
)

func TestWatchCommitsSeesEachChangeAndTheLast(t *testing.T) {
	c := consumertest.Fake(t)
	topic, group := c.Topic(t, "watched", 1), consumertest.Name("watched")
	for range 3 {
		consumertest.Produce(t, c.Producer(t), &kgo.Record{Topic: topic})
	}
	commit := func(at int64) {
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, At: at, LeaderEpoch: -1})
		if err := c.Admin(t).CommitAllOffsets(t.Context(), group, o); err != nil {
			t.Fatal(err)
		}
	}
	commit(1)
	watch := c.WatchCommits(t, group, time.Hour) // its first sample and the last one
	commit(3)
	seen := watch.Stop(t)
	if n := len(seen); n == 0 || seen[n-1].Offset != 3 || seen[n-1].Topic != topic {
		t.Fatalf("saw %v, want offset 3 of %s last", seen, topic)
	}
}

func TestDeadLettersAreReadWithTheirPosition(t *testing.T) {
	c := consumertest.Fake(t)
	if got := c.DeadLetters(t, "there-is-none"); len(got) != 0 {
		t.Fatalf("%v from a topic that does not exist", got)
	}
	topic := c.Topic(t, "dead", 2)
	header := func(name, value string) kgo.RecordHeader {
		return kgo.RecordHeader{Key: "streamer-" + name, Value: []byte(value)}
	}
	consumertest.Produce(t, c.Producer(t), &kgo.Record{Topic: topic, Partition: 1, Headers: []kgo.RecordHeader{
		header("topic", "the record's own"), header("topic", "source"), header("partition", "4"), header("offset", "17"), header("row", "3"), header("class", "rejected"),
	}})
	got := c.DeadLetters(t, topic)
	if len(got) != 1 || got[0].String() != "source/4/17/3" || got[0].Class != "rejected" || time.Since(got[0].At).Abs() > time.Minute {
		t.Fatalf("got %+v", got)
	}
}
