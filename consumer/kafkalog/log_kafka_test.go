package kafkalog

import (
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

// The broker compacts the log down to what is left of it, tombstones and markers too. A reader that begins then reads the same.
func TestKafkaCompaction(t *testing.T) {
	t.Parallel()
	c, ns := consumertest.Kafka(t), consumertest.Name("ns")
	config := map[string]*string{}
	for k, v := range map[string]string{"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0"} {
		config[k] = kmsg.StringPtr(v)
	}
	if _, err := c.Admin(t).CreateTopic(t.Context(), 1, 1, config, ns+".jobs"); err != nil {
		t.Fatal(err)
	}
	l := open(t, c, ns)
	for i := range 30 {
		put(t, l, "kept/"+strconv.Itoa(i%3), strconv.Itoa(i))
		put(t, l, "gone", strconv.Itoa(i))
	}
	if _, err := l.Update(t.Context(), "gone", func(Entry, bool) ([]byte, []byte, error) { return nil, []byte("gone"), nil }); err != nil {
		t.Fatal(err)
	}
	consumertest.WaitFor(t, time.Minute, "the log to be compacted", func() (any, bool) {
		put(t, l, "kept/0", "27") // rolls the segment before
		n := len(c.ReadAll(t, ns+".jobs"))
		return n, n < 12
	})
	again := open(t, c, ns)
	for i := range 3 {
		see(t, again, "kept/"+strconv.Itoa(i), strconv.Itoa(27+i))
	}
	see(t, again, "gone", "")
	if n := len(again.List("")); n != 3 {
		t.Errorf("%d objects", n)
	}
}

// With three brokers every acknowledged write is on two of them, so one may die without a warning, and writes go on.
func TestKafkaBrokerDies(t *testing.T) {
	t.Parallel()
	c := consumertest.ThreeBrokers(t)
	a, b := open(t, c, "ns"), open(t, c, "ns")
	increment(t, a, "counter")
	for _, topic := range []string{"ns.jobs", "ns.status", "ns.audit"} {
		meta, err := c.Admin(t).Metadata(t.Context(), topic)
		if err != nil || len(meta.Topics[topic].Partitions[0].Replicas) != 3 {
			t.Errorf("topic %s: %v, %v", topic, meta.Topics[topic].Partitions, err)
		}
	}
	meta, err := c.Admin(t).Metadata(t.Context(), "ns.jobs")
	if err != nil {
		t.Fatal(err)
	}
	c.Kill(t, int(meta.Topics["ns.jobs"].Partitions[0].Leader))
	for range 5 {
		increment(t, a, "counter")
		increment(t, b, "counter")
	}
	see(t, a, "counter", "11")
	see(t, b, "counter", "11")
}

// 10,000 jobs on a real Kafka.
func TestKafkaTenThousand(t *testing.T) {
	wrote, read := start(t, consumertest.Kafka(t), consumertest.Name("ns"), 10_000, 1000)
	t.Logf("written in %v, read in %v", wrote, read)
	if wrote > time.Minute || read > time.Minute {
		t.Errorf("written in %v, read in %v", wrote, read)
	}
}
