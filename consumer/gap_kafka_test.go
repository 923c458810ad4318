package consumer

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

func TestKafkaWhatAJobHasBegunIsRemembered(t *testing.T) {
	begunIsRemembered(t, consumertest.Kafka(t))
}

func TestKafkaALostOffsetHoldsItsPartition(t *testing.T) { lostOffset(t, consumertest.Kafka(t)) }

func TestKafkaALostGroupHoldsTheJob(t *testing.T) { lostGroup(t, consumertest.Kafka(t)) }

func TestKafkaExpiredRecordsHoldThePartition(t *testing.T) { expiredRecords(t, consumertest.Kafka(t)) }

func TestKafkaATopicMadeAnewWhileStoppedIsHeld(t *testing.T) {
	recreatedWhileStopped(t, consumertest.Kafka(t))
}

func TestKafkaATopicMadeAnewWhileRunningIsHeld(t *testing.T) {
	recreatedWhileRunning(t, consumertest.Kafka(t))
}

func TestKafkaRetentionHeadroom(t *testing.T) { retentionHeadroom(t, consumertest.Kafka(t)) }

func TestKafkaRowsInMemoryOutliveTheirLog(t *testing.T) { rowsInMemory(t, consumertest.Kafka(t)) }

// Kafka's own retention takes records of a stopped job: the range it says is the one that the log has lost.
func TestKafkaRetentionHoldsThePartition(t *testing.T) {
	f, k := setup(t, consumertest.Kafka(t), nil), &keeper{}
	topic := f.cluster.Topic(t, "short", 1, "retention.ms=1000", "segment.ms=100", "retention.bytes=-1")
	f.produceN(topic, 0, 3)
	cfg := f.job(topic)
	j := f.runWith(k, cfg)
	f.committed(cfg, topic)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	committed := f.cluster.Committed(t, cfg.Group)[topic][0]
	f.produceN(topic, 0, 5)
	consumertest.WaitFor(t, 2*time.Minute, "retention", func() (any, bool) {
		f.produceN(topic, 0, 1) // which rolls the segment
		start := f.cluster.StartOffsets(t, topic)[0]
		return start, start > committed+2
	})
	j = f.runWith(k, cfg)
	j.heldFor(topic, 0, HoldExpired)
	j.runner.lookAgain()
	start := f.cluster.StartOffsets(t, topic)[0]
	consumertest.WaitFor(t, within, "the range", func() (any, bool) {
		j.runner.lookAgain()
		_, g := j.runner.all()[0].heldLog().cause, j.runner.all()[0].heldLog().gap
		return g, g.from == committed && g.to >= start && g.lost == g.to-g.from
	})
	got := j.accept(Acceptance{Topic: topic, Partition: -1, At: AtEarliest})
	f.committed(cfg, topic)
	if n := f.metric(k, cfg, "streamer_expired_records_total"); len(got) != 1 || got[0].Before != committed || got[0].Skipped != got[0].After-committed || n > float64(got[0].Skipped) || n < float64(start-committed) {
		t.Errorf("accepted %+v, %v counted; committed was %d, the log began at %d", got, n, committed, start)
	}
}

// A topic grows while rows are written to it and delivered: nothing is lost, and the new partitions are read from their start, also
// what was written before anybody knew of them.
func TestKafkaATopicGrowsUnderLoad(t *testing.T) {
	f, k := setup(t, consumertest.Kafka(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: time.Millisecond} }), &keeper{}
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic, func(c *Config) { c.Start = Start{Latest: true} })
	f.runWith(k, cfg)
	b := f.runWith(k, cfg)
	f.begun(k, cfg, topic, 2)
	consumertest.WaitFor(t, within, "both to have a partition", func() (any, bool) { n := b.runner.assigned.Load(); return n, n == 1 })
	ctx, stop := context.WithCancel(t.Context())
	var partitions atomic.Int32
	partitions.Store(2)
	written := make(chan error, 1)
	go func() { // ends with ctx
		p := f.cluster.Producer(f, kgo.MetadataMaxAge(100*time.Millisecond))
		for n := 0; ctx.Err() == nil; n++ {
			id := int32(n) % partitions.Load()
			if err := p.ProduceSync(context.WithoutCancel(ctx), rec(topic, id, fmt.Sprint("k", id, "-", n%7), n)).FirstErr(); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	f.attempts(50)
	if _, err := f.cluster.Admin(t).CreatePartitions(t.Context(), 3, topic); err != nil {
		t.Fatal(err)
	}
	consumertest.WaitFor(t, within, "the new partitions", func() (any, bool) {
		ends := f.cluster.EndOffsets(t, topic)
		return ends, len(ends) == 5
	})
	partitions.Store(5)
	f.begun(k, cfg, topic, 5)
	f.attempts(f.api.Len() + 50)
	stop()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil)
}
