package consumer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/consumer/track"
	"streamer/sink/sinktest"
)

// stuckKeys answers 503 for keys that begin with "stuck" until they are freed: their rows wait for their next attempt, which takes
// nothing of the others.
func stuckKeys(freed *atomic.Bool) func(*sinktest.Attempt) sinktest.Answer {
	return func(a *sinktest.Attempt) sinktest.Answer {
		if strings.HasPrefix(a.Path, "/rows/stuck") && !freed.Load() {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	}
}

// scattered writes n rows of a partition, each with a key of its own. Which are stuck is random, but the first one always is.
func (f *fixture) scattered(topic string, partition int32, n int) (stuck int) {
	f.Helper()
	rng := rand.New(rand.NewPCG(uint64(partition), 7))
	var batch []*kgo.Record
	for i := range n {
		key := "free"
		if i == 0 || rng.IntN(4) == 0 {
			key, stuck = "stuck", stuck+1
		}
		batch = append(batch, rec(topic, partition, fmt.Sprint(key, "-", i), i))
	}
	consumertest.Produce(f, f.producer, batch...)
	return stuck
}

// patient is a job that does not hurry with its stuck rows, so that tests spend their time on other things.
func patient(c *Config) {
	c.Sink.Retry.Initial, c.Sink.Retry.Max = 20*time.Second, time.Minute
	c.Drain = time.Second
}

// metadataOf gives what the group's commits say, by partition.
func (f *fixture) metadataOf(group, topic string) map[int32]string {
	f.Helper()
	found, err := f.cluster.Admin(f).FetchOffsets(f.Context(), group)
	if err != nil {
		f.Fatal(err)
	}
	out := map[int32]string{}
	for id, o := range found[topic] {
		out[id] = o.Metadata
	}
	return out
}

// finals waits until the job has made n rows final.
func (j *running) finals(n int) {
	j.f.Helper()
	consumertest.WaitFor(j.f, within, fmt.Sprint(n, " final rows"), func() (any, bool) {
		got := testutil.ToFloat64(j.runner.rows[outcomeDelivered])
		return got, int(got) >= n
	})
}

// commitTells waits until the commit of partition 0 is of all n rows that the job has made final, those that did not fit into its metadata
// included, and the metadata is of the size of a broker that takes most characters. The commit before it may be of that size, too.
func (j *running) commitTells(cfg Config, topic string, n, most int) {
	j.f.Helper()
	place := j.runner.place(j.runner.partition(topic, 0))
	consumertest.WaitFor(j.f, within, "a commit that tells of all final rows", func() (any, bool) {
		o := j.f.whole(cfg.Group, topic, 0)
		place.Offset, place.Epoch = o.At, o.LeaderEpoch
		done, left, err := track.Decode(o.Metadata, place)
		if err != nil {
			j.f.Fatal(err)
		}
		told := 0
		for offset := range j.f.cluster.EndOffsets(j.f, topic)[0] {
			if finished, _ := done.Has(offset); finished {
				told++
			}
		}
		size := len(o.Metadata)
		return fmt.Sprintf("%d characters, %d rows and %d left out of %d", size, told, left, n), size > most*3/4 && size <= most && told+int(left) == n
	})
}

// A broker with a lower limit than ours: commits go on at once without metadata, then with as much as it takes. On a broker that
// looks at partitions one by one, and one that writes a commit as one batch.
func TestTheBrokersLimitIsLearned(t *testing.T) {
	for name, refusal := range map[string]*kerr.Error{"of a partition": kerr.OffsetMetadataTooLarge, "of the whole": kerr.InvalidCommitOffsetSize} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most = 1024
			c := consumertest.Fake(t)
			f := setup(t, c, stuckKeys(new(atomic.Bool)))
			topic := f.cluster.Topic(t, "t", 1)
			stuck := f.scattered(topic, 0, 8000)
			var mu sync.Mutex
			var sizes []int // of the metadata, in the order of commits
			refuseCommits(c, refusal, func(metadata []string) bool {
				mu.Lock()
				defer mu.Unlock()
				sizes = append(sizes, len(metadata[0]))
				return len(metadata[0]) > most
			})
			cfg := f.job(topic, patient)
			j := f.run(cfg)
			j.finals(8000 - stuck)
			j.commitTells(cfg, topic, 8000-stuck, most)
			mu.Lock()
			defer mu.Unlock()
			refused := 0
			for i, n := range sizes {
				if n > most {
					refused++
				}
				if i > 0 && sizes[i-1] > most && n > most {
					t.Errorf("a commit of %d characters was refused, and the next one has %d", sizes[i-1], n)
				}
			}
			if refused == 0 || refused > 4 {
				t.Errorf("%d commits were refused", refused)
			}
			if s := j.runner.Status(); s.Partitions[0].Dropped == 0 || testutil.ToFloat64(j.runner.instance.metrics.metadataDropped) == 0 {
				t.Errorf("what did not fit is not counted: %+v", s.Partitions)
			}
		})
	}
}

// The last commit of a job that stops is refused for its size: it is made without metadata, and then again with less.
func TestTheLastCommitLearnsTheLimitToo(t *testing.T) {
	c := consumertest.Fake(t)
	f := setup(t, c, stuckKeys(new(atomic.Bool)))
	topic := f.cluster.Topic(t, "t", 1)
	stuck := f.scattered(topic, 0, 8000)
	cfg := f.job(topic, patient, func(c *Config) { c.Commit = time.Hour })
	j := f.run(cfg)
	j.finals(8000 - stuck)
	refused := refuseCommits(c, kerr.OffsetMetadataTooLarge, func(metadata []string) bool { return len(metadata[0]) > 512 })
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if m := f.metadataOf(cfg.Group, topic)[0]; len(m) > 512 || len(m) < 384 || refused.Hits() > 4 {
		t.Errorf("%d characters after %d refusals", len(m), refused.Hits())
	}
}

// What is finished above the commit is not sent again by the next owner; what this process knows that it sends again is counted.
func TestRowsSentAgainAreCounted(t *testing.T) {
	var freed atomic.Bool
	f := setup(t, consumertest.Fake(t), stuckKeys(&freed))
	topic := f.cluster.Topic(t, "t", 1)
	stuck := f.scattered(topic, 0, 1000)
	cfg := f.job(topic, patient, func(c *Config) { c.Commit = time.Hour }) // nothing is committed
	j := f.run(cfg)
	j.finals(1000 - stuck)
	freed.Store(true)
	j.runner.expelled("a test says so")
	j.finals(1000 + 1000 - stuck)
	if again := testutil.ToFloat64(j.runner.again); int(again) != 1000-stuck {
		t.Errorf("%v rows sent again are counted, of %d", again, 1000-stuck)
	}
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	before := f.api.Len()
	cfg.Commit = 20 * time.Millisecond
	f.run(cfg)
	consumertest.Produce(t, f.producer, rec(topic, 0, "last", 1))
	f.committed(cfg, topic)
	if n := f.api.Len() - before; n != 1 {
		t.Errorf("%d attempts after a stop in good order, for 1 new row", n)
	}
}

// What is finished above a commit is believed only when the leader says that the log was not cut. A leader that is away at that very
// moment, as after the loss of a broker that caused the rebalance, is asked again: else thousands of rows would be sent again. One
// chaos run did so; another owner was given its partitions and had them taken away again while it asked.
func TestALeaderThatIsAwayIsAskedAgain(t *testing.T) {
	c := consumertest.Fake(t)
	f := setup(t, c, stuckKeys(new(atomic.Bool)))
	topic := f.cluster.Topic(t, "t", 1)
	stuck := f.scattered(topic, 0, 300)
	cfg := f.job(topic, patient)
	j := f.run(cfg)
	j.finals(300 - stuck)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	var refusals atomic.Int64
	c.Fake.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		if refusals.Add(1) > 3 {
			return nil, nil, false
		}
		c.Fake.KeepControl()
		req := kreq.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, asked := range req.Topics {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = asked.Topic
			for _, p := range asked.Partitions {
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.UnknownLeaderEpoch.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	before := f.api.Len()
	next := f.run(cfg)
	consumertest.WaitFor(t, within, "the stuck rows", func() (any, bool) { n := f.api.Len() - before; return n, n >= stuck })
	for _, a := range f.api.Attempts()[before:] {
		if !strings.Contains(a.Path, "stuck") {
			t.Fatalf("%s was sent again, though a commit said that it is finished", a.Path)
		}
	}
	committed, err := f.cluster.Admin(t).FetchOffsets(t.Context(), cfg.Group)
	if err != nil {
		t.Fatal(err)
	}
	at := committed[topic][0]
	next.runner.metadata = map[TopicPartition]string{{topic, 0}: at.Metadata}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	fetched := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(at.At).WithEpoch(at.LeaderEpoch)}}
	if _, err := next.runner.restore(over, fetched); err == nil {
		t.Error("the finished work is forgotten when a rebalance ends the question")
	}
	if done, err := next.runner.restore(t.Context(), fetched); err != nil || len(done) != 1 {
		t.Errorf("restored %d partitions: %v", len(done), err)
	}
}

// Commits of more metadata than a request may have are split: every partition has its whole.
func TestLargeCommitsAreSplit(t *testing.T) {
	c := consumertest.Fake(t)
	f := setup(t, c, stuckKeys(new(atomic.Bool)))
	const partitions, each = 40, 500
	topic := f.cluster.Topic(t, "t", partitions)
	free := 0
	for p := range int32(partitions) {
		free += each - f.scattered(topic, p, each)
	}
	var largest, requests atomic.Int64
	c.Fake.ControlKey(int16(kmsg.OffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake.KeepControl()
		bytes := int64(0)
		for _, rt := range kreq.(*kmsg.OffsetCommitRequest).Topics {
			for _, rp := range rt.Partitions {
				if rp.Metadata != nil {
					bytes += int64(len(*rp.Metadata))
				}
			}
		}
		requests.Add(1)
		largest.Store(max(largest.Load(), bytes))
		return nil, nil, false
	})
	cfg := f.job(topic, patient, func(c *Config) { c.Commit = time.Hour })
	j := f.run(cfg)
	j.runner.limits.request.Store(2000)
	j.finals(free)
	before := requests.Load()
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if n := requests.Load() - before; n < partitions/20 || largest.Load() > 2000 || largest.Load() == 0 {
		t.Errorf("%d requests, the largest with %d bytes of metadata", n, largest.Load())
	}
	for id, m := range f.metadataOf(cfg.Group, topic) {
		if len(m) < 60 {
			t.Errorf("partition %d has metadata %q", id, m)
		}
	}
}
