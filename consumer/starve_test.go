package consumer

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// Two jobs share one instance and its memory. The API of one hangs, with far more waiting for it than memory holds. The other job
// must not notice.
func TestAStuckJobDoesNotStarveTheOthers(t *testing.T) {
	const memory = 8 << 20
	hang := make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if bytes.Contains([]byte(a.Path), []byte("stuck")) {
			<-hang
		}
		return sinktest.Answer{}
	})
	t.Cleanup(func() { close(hang) })
	stuckTopic, topic := f.cluster.Topic(t, "stuck", 4), f.cluster.Topic(t, "t", 4)
	producer := f.cluster.Producer(t, kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression())) // a fetch is whole batches
	filler := bytes.Repeat([]byte("x"), 2000)
	fill := func(topic, prefix string, n int) {
		batch := make([]*kgo.Record, n)
		for i := range batch {
			id := fmt.Sprint(prefix, i%500)
			batch[i] = &kgo.Record{Topic: topic, Partition: int32(i % 4), Key: []byte(id), Value: fmt.Appendf(nil, `{"id":%q,"n":%d,"filler":%q}`, id, i, filler)}
		}
		consumertest.Produce(t, producer, batch...)
	}
	fill(stuckTopic, "stuck", 20_000) // 40 MB
	i := f.instance(Client{Brokers: f.cluster.Brokers}, memory)
	stuckCfg, cfg := f.job(stuckTopic), f.job(topic)
	stuck := f.runOn(i, stuckCfg)
	consumertest.WaitFor(t, within, "the stuck job to hold what it may", func() (any, bool) {
		s := stuck.runner.Status()
		paused := 0
		for _, p := range s.Partitions {
			if p.Paused {
				paused++
			}
		}
		return s.Partitions, paused == 4
	})
	fill(topic, "fine", 4000)
	f.runOn(i, cfg)
	f.committed(cfg, topic)
	if used := stuck.runner.account.used.Load(); used > memory {
		t.Errorf("the stuck job holds %d bytes of %d", used, memory)
	}
}

// A row is stuck for good, and a record larger than its partition's part of the memory comes behind it, with another key. It must not
// wait until nothing else is held: that would be for ever.
func TestALargeRecordPassesAStuckRow(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset == 0 {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 16)
	large := &kgo.Record{Topic: topic, Key: []byte("large"), Value: fmt.Appendf(nil, `{"id":"large","n":1,"filler":%q}`, bytes.Repeat([]byte("x"), 1200<<10))}
	producer := f.cluster.Producer(t, kgo.ProducerBatchMaxBytes(4<<20), kgo.MaxBufferedBytes(8<<20))
	consumertest.Produce(t, producer, rec(topic, 0, "stuck", 0), large, rec(topic, 0, "after", 2))
	cfg := f.job(topic)
	j := f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, 16<<20), cfg) // 8 MiB for the job, 1 MiB for a partition
	j.waitFound(topic, 1, FoundFinished)
	j.waitFound(topic, 2, FoundFinished)
}
