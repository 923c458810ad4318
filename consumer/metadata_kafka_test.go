package consumer

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/consumer/track"
)

// halfDone runs a job over rows 0 to n-1 of one partition, of which row 0 is stuck, and stops it when all others are delivered: the
// group has committed 0, with metadata that says so.
func (f *fixture) halfDone(cfg Config, topic string, n int) (commit kadm.OffsetResponse) {
	f.Helper()
	batch := []*kgo.Record{rec(topic, 0, "stuck", 0)}
	for i := 1; i < n; i++ {
		batch = append(batch, rec(topic, 0, fmt.Sprint("k", i), i))
	}
	consumertest.Produce(f, f.producer, batch...)
	j := f.run(cfg)
	j.finals(n - 1)
	if err := j.stop(); err != nil {
		f.Fatal(err)
	}
	commit = f.whole(cfg.Group, topic, 0)
	if commit.At != 0 || !strings.HasPrefix(commit.Metadata, "streamer/") {
		f.Fatalf("committed %+v", commit)
	}
	return commit
}

func (f *fixture) whole(group, topic string, partition int32) kadm.OffsetResponse {
	f.Helper()
	found, err := f.cluster.Admin(f).FetchOffsets(f.Context(), group)
	if err != nil {
		f.Fatal(err)
	}
	o, _ := found.Lookup(topic, partition)
	return o
}

// write commits o from outside the group, as tools do that copy offsets.
func (f *fixture) write(group string, o kadm.Offset) {
	f.Helper()
	var all kadm.Offsets
	all.Add(o)
	if err := f.cluster.Admin(f).CommitAllOffsets(f.Context(), group, all); err != nil {
		f.Fatal(err)
	}
}

// sends runs the job until everything is committed, and wants exactly n requests of it.
func (f *fixture) sends(cfg Config, topic string, n int) {
	f.Helper()
	before := f.api.Len()
	j := f.run(cfg)
	f.committed(cfg, topic)
	if err := j.stop(); err != nil {
		f.Fatal(err)
	}
	if got := f.api.Len() - before; got != n {
		f.Errorf("%d rows were sent, want %d", got, n)
	}
}

// What was finished above a commit is believed by the next owner of the same group, topic and commit, and by nobody else.
func TestKafkaMetadataIsBelievedOfItsOwnCommitOnly(t *testing.T) {
	const rows = 50
	for name, story := range map[string]struct {
		change func(f *fixture, cfg *Config, topic *string, o kadm.Offset)
		sent   int
	}{
		"as it stands": {func(*fixture, *Config, *string, kadm.Offset) {}, 1},
		"copied within the group, as it stands": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			f.write(cfg.Group, o)
		}, 1},
		"copied to another group": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			cfg.Group += "-copy"
			f.write(cfg.Group, o)
		}, rows},
		"mirrored to another topic": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			*topic = f.cluster.Topic(f, "mirror", 1)
			for i := range rows {
				consumertest.Produce(f, f.producer, rec(*topic, 0, fmt.Sprint("m", i), i))
			}
			cfg.Topics, o.Topic = []string{*topic}, *topic
			f.write(cfg.Group, o)
		}, rows},
		"copied without its leader epoch, as mirrors do": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			o.LeaderEpoch = -1
			f.write(cfg.Group, o)
		}, rows},
		"moved to another offset, metadata and all": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			o.At = 10
			f.write(cfg.Group, o)
		}, rows - 10},
		"set by Kafka's own tool": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			f.cluster.Tool(f, consumertest.ToolGroups, "--group", cfg.Group, "--topic", *topic, "--reset-offsets", "--to-offset", "20", "--execute")
		}, rows - 20},
		"set by Kafka's own tool to where it was": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			f.cluster.Tool(f, consumertest.ToolGroups, "--group", cfg.Group, "--topic", *topic, "--reset-offsets", "--to-earliest", "--execute")
		}, rows},
		"of a stranger": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			o.Metadata = "consumer-7@host"
			f.write(cfg.Group, o)
		}, rows},
		"of a stranger who speaks our language badly": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			o.Metadata = o.Metadata[:len(o.Metadata)-3] + "zzz"
			f.write(cfg.Group, o)
		}, rows},
		"a topic made anew": {func(f *fixture, cfg *Config, topic *string, o kadm.Offset) {
			admin := f.cluster.Admin(f)
			if _, err := admin.DeleteTopic(f.Context(), *topic); err != nil {
				f.Fatal(err)
			}
			consumertest.WaitFor(f, within, "the topic to be made anew", func() (any, bool) {
				_, err := admin.CreateTopic(f.Context(), 1, 1, nil, *topic)
				return err, err == nil
			})
			f.cluster.EndOffsets(f, *topic) // once it has a leader
			fresh := f.cluster.Producer(f)
			for i := range rows {
				consumertest.Produce(f, fresh, rec(*topic, 0, fmt.Sprint("new", i), i))
			}
			f.write(cfg.Group, o)
		}, rows},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var freed atomic.Bool
			f := setup(t, consumertest.Kafka(t), stuckKeys(&freed))
			topic := f.cluster.Topic(t, "t", 1)
			cfg := f.job(topic, patient)
			o := f.halfDone(cfg, topic, rows)
			freed.Store(true)
			story.change(f, &cfg, &topic, o.Offset)
			f.sends(cfg, topic, story.sent)
		})
	}
}

// An unclean election, as Finished.Top tells it: of three brokers, the topic is on two. While one of them is down the other takes rows
// 100 to 199, which are finished above the commit at 0. Then the first comes back without them, and leads.
func TestKafkaUncleanElectionAboveTheCommit(t *testing.T) {
	t.Parallel()
	var freed atomic.Bool
	f := setup(t, consumertest.ThreeBrokers(t), stuckKeys(&freed))
	topic := consumertest.Name("cut")
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
	at := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	at.Replicas = []int32{1, 2}
	rt.ReplicaAssignment = append(rt.ReplicaAssignment, at)
	for name, value := range map[string]string{"unclean.leader.election.enable": "true", "min.insync.replicas": "1"} {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, kmsg.StringPtr(value)
		rt.Configs = append(rt.Configs, c)
	}
	req.Topics = append(req.Topics, rt)
	consumertest.WaitFor(t, within, "the topic", func() (any, bool) {
		resp, err := req.RequestWith(t.Context(), f.producer)
		if err == nil {
			err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
		}
		return err, err == nil || errors.Is(err, kerr.TopicAlreadyExists) // of an answer that was lost
	})
	write := func(from, to int, key string) {
		t.Helper()
		var batch []*kgo.Record
		for i := from; i < to; i++ {
			batch = append(batch, rec(topic, 0, fmt.Sprint(key, i), i))
		}
		consumertest.Produce(t, f.producer, batch...)
	}
	leader := func(want int32) {
		t.Helper()
		consumertest.WaitFor(t, 2*within, fmt.Sprint("broker ", want, " to lead"), func() (any, bool) {
			topics, err := f.cluster.Admin(t).ListTopics(t.Context(), topic)
			if err != nil {
				return err, false
			}
			p := topics[topic].Partitions[0]
			return p, p.Leader == want && (want != 1 || len(p.ISR) == 1 || f.api.Len() == 0)
		})
	}
	consumertest.Produce(t, f.producer, rec(topic, 0, "stuck", 0))
	write(1, 100, "k")
	f.cluster.Kill(t, 2)
	leader(1)
	write(100, 200, "lost")
	cfg := f.job(topic, patient)
	j := f.run(cfg)
	j.finals(199)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	o := f.whole(cfg.Group, topic, 0)
	if o.At != 0 || o.Metadata == "" {
		t.Fatalf("committed %+v", o)
	}
	f.cluster.Kill(t, 1)
	f.cluster.Start(t, 2)
	leader(2)
	if end := f.cluster.EndOffsets(t, topic)[0]; end != 100 {
		t.Fatalf("the log ends at %d: the election was not unclean", end)
	}
	write(100, 160, "new")
	f.cluster.Start(t, 1)
	freed.Store(true)
	before := f.api.Len()
	f.run(cfg)
	f.committed(cfg, topic)
	sent := map[string]int{}
	for _, a := range f.api.Attempts()[before:] {
		sent[strings.TrimRight(a.Path, "0123456789")]++
	}
	if sent["/rows/new"] != 60 || sent["/rows/stuck"] != 1 || sent["/rows/k"] != 0 {
		t.Errorf("sent after the election: %v; want the 60 new rows and the stuck one", sent)
	}
}

// 300 partitions with as much metadata as a partition may have, 1.2 MB in all: every one is committed whole, and read again.
func TestKafkaCommitOf300FullPartitions(t *testing.T) {
	f := setup(t, consumertest.Kafka(t), nil)
	const partitions = 300
	topic := f.cluster.Topic(t, "t", partitions)
	cfg := f.job(topic, func(c *Config) { c.Commit = time.Hour })
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the assignment", func() (any, bool) { n := j.runner.assigned.Load(); return n, n == partitions })
	all := commits{}
	for _, p := range j.runner.all() {
		c := commit{Place: j.runner.place(p)}
		c.metadata = fullMetadata(c.Place)
		if n := len(c.metadata); n < maxMetadata*15/16 || n > maxMetadata {
			t.Fatalf("%d characters", n)
		}
		all[TopicPartition{p.topic, p.id}] = c
	}
	if parts := len(j.runner.split(all)); parts < 5 {
		t.Errorf("%d requests for %d full partitions", parts, partitions)
	}
	if err := j.runner.commitNow(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for id, m := range f.metadataOf(cfg.Group, topic) {
		if m != all[TopicPartition{topic, id}].metadata {
			t.Fatalf("partition %d: %d characters were committed of %d", id, len(m), len(all[TopicPartition{topic, id}].metadata))
		}
	}
}

// fullMetadata finds rows in a pattern that cannot be told in short.
func fullMetadata(place track.Place) string {
	tr := track.New(0, 0)
	for i, x := int64(0), uint64(place.TopicID[0])|1; i < 40_000; i++ {
		r := &track.Record{Offset: i}
		tr.Track(r, 1)
		if x ^= x << 13; i > 0 && (x^x>>7)%3 == 0 {
			tr.Done(r, 0)
		}
		x ^= x >> 7
		x ^= x << 17
	}
	var f track.Finished
	f.Read(tr)
	m, _ := f.Encode(place, maxMetadata)
	return m
}

// A broker that takes 1,024 characters: the commits go on, with as much as it takes, and what they tell is not sent again.
func TestKafkaLowMetadataLimit(t *testing.T) {
	t.Parallel()
	var freed atomic.Bool
	f := setup(t, consumertest.Broker(t, "offset.metadata.max.bytes=1024"), stuckKeys(&freed))
	topic := f.cluster.Topic(t, "t", 1)
	const rows = 8000
	stuck := f.scattered(topic, 0, rows)
	cfg := f.job(topic, patient)
	j := f.run(cfg)
	j.finals(rows - stuck)
	j.commitTells(cfg, topic, rows-stuck, 1024)
	if s := j.runner.Status(); strings.Contains(s.Cause, "commit") {
		t.Errorf("status %q", s.Cause)
	}
	dropped := int(j.runner.Status().Partitions[0].Dropped)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if dropped == 0 || dropped > rows/2 {
		t.Errorf("%d of %d finished rows did not fit", dropped, rows-stuck)
	}
	freed.Store(true)
	f.sends(cfg, topic, stuck+dropped)
}
