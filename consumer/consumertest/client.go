package consumertest

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// askWithin bounds one question to the brokers, one of which may be restarting.
const askWithin = 90 * time.Second

// Name gives name with an ending of its own, so that tests on one broker do not meet: for topics, groups and job ids.
func Name(name string) string { return name + "-" + strings.ToLower(rand.Text()[:8]) }

// Grow gives a topic so many partitions. A broker that stands still answers that it had no time, and is asked again.
func (c *Cluster) Grow(t testing.TB, topic string, partitions int) {
	t.Helper()
	WaitFor(t, askWithin, "topic "+topic+" to grow", func() (any, bool) {
		ctx, cancel := context.WithTimeout(t.Context(), askWithin)
		defer cancel()
		resp, err := c.Admin(t).UpdatePartitions(ctx, partitions, topic)
		if err == nil {
			err = resp.Error()
		}
		return err, err == nil || errors.Is(err, kerr.InvalidPartitions) // done at the last try
	})
}

// Topic creates a topic, named after name, with so many partitions and as many replicas as the cluster has nodes, at most 3. configs
// are "key=value". It returns the topic's own name, once every partition has a leader.
func (c *Cluster) Topic(t testing.TB, name string, partitions int32, configs ...string) string {
	t.Helper()
	topic := Name(name)
	settings := make(map[string]*string, len(configs))
	for _, kv := range configs {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			t.Fatalf("topic config %q: want key=value", kv)
		}
		settings[key] = &value
	}
	adm := c.Admin(t)
	ctx, cancel := context.WithTimeout(t.Context(), askWithin)
	defer cancel()
	if _, err := adm.CreateTopic(ctx, partitions, int16(min(c.nodes, 3)), settings, topic); err != nil {
		t.Fatalf("creating topic %s: %v", topic, err)
	}
	if c.Mode == ModeExternal {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), askWithin)
			defer cancel()
			if _, err := adm.DeleteTopic(ctx, topic); err != nil {
				t.Logf("topic %s stays: %v", topic, err)
			}
		})
	}
	WaitFor(t, askWithin, "leaders for topic "+topic, func() (any, bool) {
		ends, err := adm.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		return err, err == nil && len(ends[topic]) == int(partitions)
	})
	return topic
}

// Options are what a test's client wants: the brokers, and metadata asked again soon, since a test waits where a service would not.
func (c *Cluster) Options() []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.MetadataMinAge(50 * time.Millisecond)}, c.login...)
}

// Client gives a client which closes with the test. opts come after Options and win over them. What it writes to a topic that its broker does
// not know yet waits: of several busy ones, one may learn of a new topic seconds after another.
func (c *Cluster) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(append(c.Options(), kgo.UnknownTopicRetries(-1)), opts...)...)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// Producer gives a client that writes to the partition its records name, waits for all replicas and does not linger.
func (c *Cluster) Producer(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return c.Client(t, append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0)}, opts...)...)
}

// Admin gives the cluster's admin client, which closes with the cluster.
func (c *Cluster) Admin(t testing.TB) *kadm.Client {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asker == nil {
		cl, err := kgo.NewClient(c.Options()...)
		if err != nil {
			t.Fatalf("admin client: %v", err)
		}
		c.asker = kadm.NewClient(cl)
	}
	return c.asker
}

// Produce writes records and waits until the brokers have them all; their Partition and Offset are set then.
func Produce(t testing.TB, cl *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*askWithin)
	defer cancel()
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("producing %d records: %v", len(records), err)
	}
}

// ReadAll gives every record of a topic from its start to its high watermark, partition by partition. With opts, aborted
// transactions can be left out (kgo.FetchIsolationLevel).
func (c *Cluster) ReadAll(t testing.TB, topic string, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	ends := c.EndOffsets(t, topic)
	left := 0
	for p, start := range c.StartOffsets(t, topic) {
		if ends[p] > start {
			left++
		} else {
			delete(ends, p)
		}
	}
	cl := c.Client(t, append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords()}, opts...)...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*askWithin)
	defer cancel()
	var out []*kgo.Record
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading topic %s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() && r.Offset < ends[r.Partition] {
				out = append(out, r)
			}
			if r.Offset == ends[r.Partition]-1 {
				left--
			}
		})
	}
	return out
}
