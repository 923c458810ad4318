package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"streamer/consumer/consumertest"
)

// Kafka forgets the offsets of a group without members after offsets.retention.minutes. Those of a stopped job are renewed as they
// are, metadata and leader epoch too, and outlive it many times over; those of a group that nobody renews are gone meanwhile.
func TestKafkaOffsetsOfStoppedJobsAreKept(t *testing.T) {
	t.Parallel()
	c := consumertest.Broker(t, "offsets.retention.minutes=1", "offsets.retention.check.interval.ms=1000")
	f := setup(t, c, nil)
	topic := c.Topic(t, "t", 2)
	cfg := f.job(topic)
	i := asker(f)
	commit := func(group string) {
		t.Helper()
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: 7, LeaderEpoch: 0, Metadata: "what was finished"})
		offsets.Add(kadm.Offset{Topic: topic, Partition: 1, At: 9, LeaderEpoch: -1})
		if err := c.Admin(t).CommitAllOffsets(t.Context(), group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	forgotten := "test.forgotten"
	commit(cfg.Group)
	commit(forgotten)
	begun := time.Now()
	keep := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		if n, err := i.KeepOffsets(ctx, cfg); n != 2 || err != nil {
			t.Fatalf("%d offsets renewed, %v", n, err)
		}
	}
	renewed := time.Time{}
	consumertest.WaitFor(t, 4*time.Minute, "Kafka to forget the other group", func() (any, bool) {
		if time.Since(renewed) > 10*time.Second {
			keep()
			renewed = time.Now()
		}
		return nil, len(c.Committed(t, forgotten)) == 0
	})
	t.Logf("the other group was forgotten after %v", time.Since(begun).Round(time.Second))
	keep()
	got, err := c.Admin(t).FetchOffsets(t.Context(), cfg.Group)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := got.Lookup(topic, 0); !ok || o.At != 7 || o.Metadata != "what was finished" || o.LeaderEpoch != 0 {
		t.Errorf("partition 0 has %+v", o)
	}
	if o, ok := got.Lookup(topic, 1); !ok || o.At != 9 || o.LeaderEpoch != -1 {
		t.Errorf("partition 1 has %+v", o)
	}
}
