package consumer

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
)

func TestFetchSizeFollowsCompression(t *testing.T) {
	c := compression{asked: firstFetchBytes}
	step := func(read, inflated int, want int32) {
		t.Helper()
		c.OnFetchBatchRead(kgo.BrokerMetadata{}, "t", 0, kgo.FetchBatchMetrics{CompressedBytes: read, UncompressedBytes: inflated})
		if got, _ := c.adjust(32 << 20); got != want {
			t.Fatalf("asks for %d, want %d", got, want)
		}
	}
	if got, changed := c.adjust(32 << 20); changed || got != firstFetchBytes {
		t.Fatal("changed without anything read")
	}
	step(100, 100, firstFetchBytes*3/2) // grows step by step
	step(100, 100, firstFetchBytes*9/4)
	step(1000, 50_000, fetchBytes/50) // and shrinks at once
	step(1000, 49_000, fetchBytes/50) // about the same: left alone
	step(100, 100, fetchBytes/50*3/2)
	step(1, 1_000_000, leastFetchBytes)
	small := compression{asked: firstFetchBytes}
	small.OnFetchBatchRead(kgo.BrokerMetadata{}, "t", 0, kgo.FetchBatchMetrics{CompressedBytes: 10, UncompressedBytes: 10})
	if got, _ := small.adjust(256 << 10); got != 256<<10 {
		t.Fatalf("asks for %d of a job that may fetch 256 KiB", got)
	}
}

func TestReadRecord(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	r := rec(topic, 0, "a", 1)
	r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}
	consumertest.Produce(t, f.producer, r)
	client := Client{Brokers: f.cluster.Brokers}
	got, err := ReadRecord(t.Context(), client, topic, 0, 0, slog.Default())
	if err != nil || string(got.Key) != "a" || string(got.Value) != string(r.Value) || len(got.Headers) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	cfg := f.job(topic)
	rows := Render(cfg, got)
	if len(rows) != 1 || rows[0].Verdict != "send" || rows[0].Request.URL != f.api.URL()+"/rows/a" || rows[0].Lane != "a" {
		t.Fatalf("%+v", rows)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := ReadRecord(ctx, client, topic, 0, 1, slog.Default()); !errors.Is(err, ErrNoRecord) {
		t.Errorf("past the end: %v", err)
	}
	// For a job nothing but its own topics is read, and what is not there is not waited for.
	other := f.cluster.Topic(t, "other", 1)
	i := f.instance(client, 0)
	t.Cleanup(i.Close)
	consumertest.Produce(t, f.producer, rec(other, 0, "a", 1))
	if got, err := i.ReadRecord(t.Context(), cfg, topic, 0, 0); err != nil || string(got.Key) != "a" {
		t.Errorf("of the job: %+v %v", got, err)
	}
	if _, err := i.ReadRecord(t.Context(), cfg, topic, 0, 1); !errors.Is(err, ErrNoRecord) || !strings.Contains(err.Error(), "from 0 to before 1") {
		t.Errorf("past the end, for the job: %v", err)
	}
	for _, c := range []struct {
		topic     string
		partition int32
		field     string
	}{{other, 0, "topic"}, {"__consumer_offsets", 0, "topic"}, {"streamer.audit", 0, "topic"}, {topic, 1, "partition"}} {
		var none *NoPartitionError
		if got, err := i.ReadRecord(t.Context(), cfg, c.topic, c.partition, 0); !errors.As(err, &none) || none.Field != c.field || got.Value != nil {
			t.Errorf("%s/%d: %+v %v", c.topic, c.partition, got, err)
		}
	}
}
