package consumer

import (
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

func TestKafkaWhatAJobHasBegunIsRemembered(t *testing.T) {
	t.Parallel()
	begunIsRemembered(t, consumertest.Kafka(t))
}

func TestKafkaALostOffsetHoldsItsPartition(t *testing.T) { lostOffset(t, consumertest.Kafka(t)) }

func TestKafkaALostGroupHoldsTheJob(t *testing.T) { lostGroup(t, consumertest.Kafka(t)) }

func TestKafkaExpiredRecordsHoldThePartition(t *testing.T) { expiredRecords(t, consumertest.Kafka(t)) }

func TestKafkaATopicMadeAnewWhileStoppedIsHeld(t *testing.T) {
	t.Parallel()
	recreatedWhileStopped(t, consumertest.Kafka(t))
}

func TestKafkaATopicMadeAnewWhileRunningIsHeld(t *testing.T) {
	t.Parallel()
	recreatedWhileRunning(t, consumertest.Kafka(t))
}

func TestKafkaRetentionHeadroom(t *testing.T) { retentionHeadroom(t, consumertest.Kafka(t)) }

func TestKafkaRowsInMemoryOutliveTheirLog(t *testing.T) { rowsInMemory(t, consumertest.Kafka(t)) }

// Kafka's own retention takes records of a stopped job: the range it says is the one that the log has lost.
func TestKafkaRetentionHoldsThePartition(t *testing.T) {
	t.Parallel()
	f, k := setup(t, consumertest.Kafka(t), nil), &keeper{}
	topic := f.cluster.Topic(t, "short", 1, "segment.ms=100", "retention.bytes=-1")
	retention := func(ms string) { // only while nobody reads: on a busy machine all takes longer than that
		t.Helper()
		resp, err := f.cluster.Admin(t).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "retention.ms", Value: &ms}}, topic)
		if err = cmp.Or(err, resp[0].Err); err != nil {
			t.Fatal(err)
		}
	}
	f.produceN(topic, 0, 3)
	cfg := f.job(topic)
	j := f.runWith(k, cfg)
	f.committed(cfg, topic)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	committed := f.cluster.Committed(t, cfg.Group)[topic][0]
	retention("1000")
	f.produceN(topic, 0, 5)
	consumertest.WaitFor(t, 2*time.Minute, "retention", func() (any, bool) {
		f.produceN(topic, 0, 1) // which rolls the segment
		start := f.cluster.StartOffsets(t, topic)[0]
		return start, start > committed+2
	})
	retention("-1")
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
	if n := f.metric(k, cfg, "streamer_expired_records_total"); len(got) != 1 || got[0].Before != committed || got[0].Skipped != got[0].After-committed || n != float64(got[0].Skipped) {
		t.Errorf("accepted %+v, %v counted; committed was %d, the log began at %d", got, n, committed, start)
	}
}

// A topic grows while rows are written to it and delivered: nothing is lost, and the new partitions are read from their start, also
// what was written before anybody knew of them.
func TestKafkaATopicGrowsUnderLoad(t *testing.T) {
	t.Parallel()
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
	p := f.cluster.Producer(f, kgo.MetadataMaxAge(100*time.Millisecond))
	go func() { // ends with ctx
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
	f.cluster.Grow(t, topic, 5)
	consumertest.WaitFor(t, within, "the producer to know the new partitions", func() (any, bool) {
		leader, _, err := p.PartitionLeader(topic, 4)
		return err, leader >= 0
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

// Kafka itself forgets the offsets of a stopped job, as it does after a week by default. With start: latest a new group would skip what
// came meanwhile.
func TestKafkaForgetsTheOffsetsOfAStoppedJob(t *testing.T) {
	t.Parallel()
	c := consumertest.Broker(t, "offsets.retention.minutes=1", "offsets.retention.check.interval.ms=1000")
	f, k := setup(t, c, nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic, func(c *Config) { c.Start = Start{Latest: true} })
	j := f.runWith(k, cfg)
	f.begun(k, cfg, topic, 2)
	f.produceN(topic, 0, 2)
	f.committed(cfg, topic)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	f.produceN(topic, 0, 3)
	consumertest.WaitFor(t, 3*time.Minute, "Kafka to forget", func() (any, bool) {
		got := f.cluster.Committed(t, cfg.Group)
		return got, len(got) == 0
	})
	j = f.runWith(k, cfg)
	j.heldFor("", -1, HoldOffsetsLost)
	if n := f.api.Len(); n != 2 {
		t.Errorf("%d attempts while the job is held", n)
	}
	if got := j.accept(Acceptance{Topic: topic, Partition: 0, At: "2"}); len(got) != 1 || got[0].Skipped != 2 {
		t.Errorf("accepted %+v", got)
	}
	f.committedTo(cfg, topic, map[int32]int64{0: 5})
	j.heldFor(topic, 1, HoldOffsetsLost) // only partition 0 was accepted
	f.onlySent(topic, 0, 0, 5)
}

// A compacted log has a gap of a million offsets, which costs nothing. (Ten million take Kafka two minutes to compact, and were passed
// as quickly; see TestAGapOfTenMillionOffsets.)
func TestKafkaAGapOfAMillionOffsets(t *testing.T) {
	f := setup(t, consumertest.Kafka(t), nil)
	topic := f.cluster.Topic(t, "gap", 1, "cleanup.policy=compact", "min.cleanable.dirty.ratio=0.001", "max.compaction.lag.ms=100")
	const gap, batch = 1_000_000, 50_000
	consumertest.Produce(t, f.producer, rec(topic, 0, "first", 1))
	f.produceFillers(topic, gap/batch, batch)
	soon := []kadm.AlterConfig{{Name: "segment.ms", Value: kadm.StringPtr("100")}} // not before: it would make many segments
	if _, err := f.cluster.Admin(t).AlterTopicConfigs(t.Context(), soon, topic); err != nil {
		t.Fatal(err)
	}
	n := 1
	consumertest.WaitFor(t, 3*time.Minute, "compaction", func() (any, bool) {
		consumertest.Produce(t, f.producer, rec(topic, 0, "filler", n)) // rolls the segment, which compaction leaves alone
		n++
		start, end := f.firstTwo(topic)
		return fmt.Sprint(start, " ", end), end-start > gap*9/10
	})
	cfg := f.job(topic)
	began := time.Now()
	f.runWith(&keeper{}, cfg)
	f.committed(cfg, topic)
	t.Logf("a gap of %d offsets was passed %v after the start, with %d attempts", gap, time.Since(began), f.api.Len())
	if f.api.Len() > 2*n+1000 {
		t.Errorf("%d attempts: there was no gap", f.api.Len())
	}
}

// produceFillers writes batches of n small records with one key, which compaction will remove.
func (f *fixture) produceFillers(topic string, batches int, n int32) {
	f.Helper()
	var records []byte
	for i := range n {
		r := kmsg.Record{OffsetDelta: i, Key: []byte("filler"), Value: []byte("{}")}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // a length of 0 takes one byte
		records = r.AppendTo(records)
	}
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: n - 1, FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1,
		ProducerEpoch: -1, FirstSequence: -1, NumRecords: n, Records: records}
	raw := b.AppendTo(nil)
	b.Length = int32(len(raw) - 12)
	b.CRC = int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	topics, err := f.cluster.Admin(f).ListTopics(f.Context(), topic)
	if err != nil {
		f.Fatal(err)
	}
	raw = b.AppendTo(nil)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 30_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID = topic, topics[topic].ID
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = raw
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	for range batches {
		resp, err := req.RequestWith(f.Context(), f.producer)
		if err == nil {
			err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		if err != nil {
			f.Fatal(err)
		}
	}
}

// firstTwo are the offsets of the first record of a log and the one after it.
func (f *fixture) firstTwo(topic string) (first, second int64) {
	f.Helper()
	cl := f.cluster.Client(f, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}), kgo.FetchMaxBytes(1), kgo.FetchMaxPartitionBytes(1))
	defer cl.Close()
	var found []int64
	for len(found) < 2 {
		fetches := cl.PollRecords(f.Context(), 2-len(found))
		if err := fetches.Err(); err != nil {
			f.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { found = append(found, r.Offset) })
	}
	return found[0], found[1]
}

func TestKafkaAnOpenTransactionIsNamed(t *testing.T) {
	t.Parallel()
	openTransactionIsNamed(t, consumertest.Kafka(t))
}
