package consumer

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
)

func TestStart(t *testing.T) {
	day := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		start  Start
		commit int64 // a commit that the group has already; -1: none
		first  int64
	}{
		"earliest":                       {Start{}, -1, 0},
		"latest":                         {Start{Latest: true}, -1, 4},
		"at a time":                      {Start{Time: day.Add(90 * time.Minute)}, -1, 2},
		"at a time after all":            {Start{Time: day.Add(24 * time.Hour)}, -1, 4},
		"a group's own commit wins":      {Start{Latest: true}, 1, 1},
		"and is no reason to start over": {Start{}, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Fake(t), nil)
			topic := f.cluster.Topic(t, "t", 1)
			for n := range 4 {
				r := rec(topic, 0, "k", n)
				r.Timestamp = day.Add(time.Duration(n) * time.Hour)
				consumertest.Produce(t, f.producer, r)
			}
			cfg := f.job(topic, func(cfg *Config) { cfg.Start = c.start })
			if c.commit >= 0 {
				f.commit(cfg.Group, topic, 0, c.commit)
			}
			f.run(cfg)
			f.committed(cfg, topic)
			consumertest.Produce(t, f.producer, rec(topic, 0, "k", 4))
			f.committed(cfg, topic)
			attempts := f.attempts(int(5 - c.first))
			if attempts[0].Offset != c.first || int64(len(attempts)) != 5-c.first {
				t.Errorf("first request is of offset %d of %d requests, want %d", attempts[0].Offset, len(attempts), c.first)
			}
		})
	}
}

// commit sets a committed offset from outside the group, as Kafka's own tools do.
func (f *fixture) commit(group, topic string, partition int32, at int64) {
	f.Helper()
	f.commitOf(group, kadm.Offset{Topic: topic, Partition: partition, At: at, LeaderEpoch: -1})
}

// commitEpoch is commit for partition 0, with the leader epoch that its records were read in.
func (f *fixture) commitEpoch(group, topic string, at int64, epoch int32) {
	f.Helper()
	f.commitOf(group, kadm.Offset{Topic: topic, At: at, LeaderEpoch: epoch})
}

func (f *fixture) commitOf(group string, o kadm.Offset) {
	f.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(o)
	resp, err := f.cluster.Admin(f).CommitOffsets(f.Context(), group, offsets)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		f.Fatal(err)
	}
}

// The start is committed before anything is fetched, and only once: a job that is stopped before its first record goes on from
// there, not from a later end.
func TestStartIsResolvedOnce(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 2)
	consumertest.Produce(t, f.producer, rec(topic, 0, "old", 1))
	cfg := f.job(topic, func(cfg *Config) { cfg.Start = Start{Latest: true} })
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the first commit of both partitions", func() (any, bool) {
		got := f.cluster.Committed(t, cfg.Group)[topic]
		return got, len(got) == 2 && got[0] == 1
	})
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	consumertest.Produce(t, f.producer, rec(topic, 0, "new", 2))
	f.run(cfg)
	f.committed(cfg, topic)
	if a := f.attempts(1); len(a) != 1 || a[0].Path != "/rows/new" {
		t.Fatalf("attempts %+v", a)
	}
}

func TestAPartitionThatAppearsLaterBeginsAtItsLogStart(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	cfg := f.job(topic, func(cfg *Config) { cfg.Start = Start{Latest: true} })
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the assignment", func() (any, bool) { n := j.runner.assigned.Load(); return n, n == 1 })
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	f.cluster.Grow(t, topic, 2)
	consumertest.Produce(t, f.producer, rec(topic, 1, "first", 1))
	f.run(cfg)
	f.committed(cfg, topic)
	if a := f.attempts(1); a[0].Path != "/rows/first" {
		t.Fatalf("attempts %+v", a)
	}
}

func TestAMissingTopicIsWaitedForAndNeverMade(t *testing.T) {
	f := setup(t, consumertest.Fake(t, kfake.AllowAutoTopicCreation()), nil)
	topic := consumertest.Name("later")
	cfg := f.job(topic)
	j := f.run(cfg)
	j.waitCause("waiting for topics that do not exist: " + topic)
	if topics, err := f.cluster.Admin(t).ListTopics(t.Context()); err != nil || topics.Has(topic) {
		t.Fatalf("the topic was made: %v %v", topics.Names(), err)
	}
	if _, err := f.cluster.Admin(t).CreateTopic(t.Context(), 2, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	consumertest.Produce(t, f.producer, rec(topic, 1, "a", 1))
	f.committed(cfg, topic)
}

func TestOffsetsOutOfRangeHoldThePartition(t *testing.T) {
	outOfRange(t, func(t *testing.T) *consumertest.Cluster { return consumertest.Fake(t) })
}

// outOfRange: a committed offset that the log no longer holds is never jumped over, forwards or backwards.
func outOfRange(t *testing.T, cluster func(*testing.T) *consumertest.Cluster) {
	for name, c := range map[string]struct {
		commit, cut int64
		says        string
		hold        HoldCause
	}{
		"records expired":        {1, 3, "the job would go on at offset 1, the log begins at 3; of the 2 offsets between, 2 were not finished", HoldExpired},
		"committed past the end": {50, 0, "the job would go on at 50, the log ends at 5", HoldLogCut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, cluster(t), nil)
			topic := f.cluster.Topic(t, "t", 2)
			for n := range 5 {
				consumertest.Produce(t, f.producer, rec(topic, 0, "held", n), rec(topic, 1, "free", n))
			}
			cfg := f.job(topic)
			f.commit(cfg.Group, topic, 0, c.commit)
			f.commit(cfg.Group, topic, 1, 0)
			if c.cut > 0 {
				offsets := kadm.Offsets{}
				offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: c.cut})
				if _, err := f.cluster.Admin(t).DeleteRecords(t.Context(), offsets); err != nil {
					t.Fatal(err)
				}
			}
			j := f.run(cfg)
			j.waitCause(c.says)
			j.heldFor(topic, 0, c.hold)
			f.committedTo(cfg, topic, map[int32]int64{1: 5})
			for _, a := range f.api.Attempts() {
				if a.Partition != 1 {
					t.Fatalf("a row of the held partition was sent: %+v", a)
				}
			}
			if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != c.commit {
				t.Errorf("the held partition's offset went from %d to %d", c.commit, got)
			}
		})
	}
}

func TestAForeignMemberIsRefused(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	cfg := f.job(topic)
	foreign := f.cluster.Client(t, kgo.ConsumerGroup(cfg.Group), kgo.ConsumeTopics(topic), kgo.ClientID("somebody-else"))
	go foreign.PollFetches(t.Context())
	consumertest.WaitFor(t, within, "the foreign member", func() (any, bool) {
		g := f.cluster.Fake.GroupInfo(cfg.Group)
		return g, g != nil && len(g.Members) == 1
	})
	j := f.run(cfg)
	err := <-j.ended
	j.ended <- err
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), `client "somebody-else"`) {
		t.Fatalf("got %v", err)
	}
}

func TestBrokerDownAtTheStartIsWaitedFor(t *testing.T) {
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
	var up atomic.Bool
	cfg := f.job(topic)
	j := f.runOn(f.instance(Client{Brokers: c.Brokers, Dial: dialWhen(&up)}, 0), cfg)
	j.waitCause("kafka")
	if s := j.runner.Status(); s.State != Starting {
		t.Errorf("state %q", s.State)
	}
	up.Store(true)
	f.committed(cfg, topic)
}

// A runner can be stopped at any moment of its start.
func TestStartStopStorm(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 2)
	for n := range 50 {
		consumertest.Produce(t, f.producer, rec(topic, int32(n%2), fmt.Sprint(n%14), n))
	}
	cfg := f.job(topic)
	for n := range 25 {
		j := f.run(cfg)
		select {
		case <-time.After(time.Duration(n*n/4) * time.Millisecond): // a moment further into the start each time
		case <-t.Context().Done():
		}
		if err := j.stop(); err != nil {
			t.Fatal(err)
		}
	}
	f.run(cfg)
	f.committed(cfg, topic)
	attempts := f.api.Attempts()
	inOrder(t, attempts)
	if len(attempts) != 50 {
		t.Errorf("%d attempts for 50 rows: what a stop left finished was sent again", len(attempts))
	}
}

// A pattern takes the topics it matches, also those made later, and never Kafka's or streamer's own.
func TestPattern(t *testing.T) {
	t.Parallel()
	f := setup(t, consumertest.Fake(t), nil)
	one := f.cluster.Topic(t, "form-a", 1)
	admin := f.cluster.Admin(t)
	for _, name := range []string{"__form", "test.form", "test.outform", "test.out.form"} {
		if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, name); err != nil {
			t.Fatal(err)
		}
		consumertest.Produce(t, f.producer, rec(name, 0, name, 1))
	}
	consumertest.Produce(t, f.producer, rec(one, 0, "first", 1))
	cfg := f.job("^.*form.*$", func(c *Config) { c.Pattern = true })
	f.run(cfg)
	f.committed(cfg, one)
	f.committed(cfg, "test.out.form")
	two := f.cluster.Topic(t, "form-b", 1)
	consumertest.Produce(t, f.producer, rec(two, 0, "second", 1))
	f.committed(cfg, two)
	for _, a := range f.attempts(3) {
		if a.Topic != one && a.Topic != two && a.Topic != "test.out.form" {
			t.Errorf("topic %s was read", a.Topic)
		}
	}
}
