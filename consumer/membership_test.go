package consumer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
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
	if _, err := f.cluster.Admin(t).CreatePartitions(t.Context(), 1, topic); err != nil {
		t.Fatal(err)
	}
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

func TestTransactions(t *testing.T) { transactions(t, consumertest.Fake(t)) }

// transactions: aborted records are never sent, and markers are finished records, so lag reaches 0.
func transactions(t *testing.T, c *consumertest.Cluster) {
	f := setup(t, c, nil)
	topic := f.cluster.Topic(t, "t", 1)
	tx := f.cluster.Producer(t, kgo.TransactionalID(consumertest.Name("tx")))
	write := func(commit kgo.TransactionEndTry, key string) {
		t.Helper()
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			consumertest.Produce(t, tx, rec(topic, 0, key, n))
		}
		if err := tx.EndTransaction(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	write(kgo.TryCommit, "kept")
	write(kgo.TryAbort, "aborted")
	write(kgo.TryCommit, "last")
	write(kgo.TryAbort, "aborted at the end")
	cfg := f.job(topic)
	j := f.run(cfg)
	f.committed(cfg, topic)
	paths := map[string]int{}
	for _, a := range f.attempts(6) {
		paths[a.Path]++
	}
	if paths["/rows/kept"] != 3 || paths["/rows/last"] != 3 || len(paths) != 2 {
		t.Errorf("requests %v", paths)
	}
	consumertest.WaitFor(t, within, "lag 0", func() (any, bool) { s := j.runner.Status(); return s.Lag, s.Lag == 0 })
}

// Two instances share the partitions; one leaves in the middle, another joins. Nothing is lost, no row overtakes its lane, and in
// good order nothing is sent twice.
func TestInstancesJoinAndLeave(t *testing.T) { joinAndLeave(t, consumertest.Fake(t)) }

func joinAndLeave(t *testing.T, c *consumertest.Cluster) {
	f := setup(t, c, func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: time.Millisecond} })
	const partitions, keys, each = 6, 20, 30
	topic := f.cluster.Topic(t, "t", partitions)
	for n := range each {
		var batch []*kgo.Record
		for k := range keys {
			batch = append(batch, rec(topic, int32(k%partitions), fmt.Sprint("k", k), n))
		}
		consumertest.Produce(t, f.producer, batch...)
	}
	cfg := f.job(topic)
	a := f.run(cfg)
	f.attempts(100)
	b := f.run(cfg)
	consumertest.WaitFor(t, within, "the second instance's part", func() (any, bool) { n := b.runner.assigned.Load(); return n, n == partitions/2 })
	f.attempts(250)
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil)
}

// When the group gives the member up, attempts are cancelled at once, nothing is committed, and after joining again the rows are
// sent from the last commit.
func TestLostPartitionsAreCancelledWithoutCommit(t *testing.T) {
	classicOnly(t)
	var hang atomic.Bool
	hang.Store(true)
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/rows/a" && hang.Load() {
			return sinktest.Answer{Fault: sinktest.Hang}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "b", 1))
	cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Minute, time.Minute })
	f.run(cfg)
	consumertest.WaitFor(t, within, "the hanging attempt", func() (any, bool) { return f.api.Len(), f.api.Len() == 2 })
	hang.Store(false)
	var lost, commits atomic.Int64 // commits between the refused heartbeat and the next join
	f.cluster.Fake.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		if lost.Load() == 1 {
			commits.Add(1)
		}
		return nil, nil, false
	})
	f.cluster.Fake.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		lost.CompareAndSwap(1, 2)
		return nil, nil, false
	})
	f.cluster.Fake.ControlKey(int16(kmsg.Heartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		lost.Store(1)
		resp := kreq.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.UnknownMemberID.Code
		return resp, nil, true
	})
	f.committed(cfg, topic)
	for _, a := range f.attempts(3) {
		if a.Path == "/rows/a" && a.Attempt == 1 && a.End.IsZero() {
			t.Error("the attempt that was in flight when the partition was lost still runs")
		}
	}
	if lost.Load() != 2 || commits.Load() != 0 {
		t.Errorf("%d commits after the group had given the member up", commits.Load())
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

// An API that never answers, and far more records than may be held: memory stays within its bound, reading pauses, and goes on when
// the API answers again.
func TestMemoryIsBoundedUnderAStuckAPI(t *testing.T) {
	release := make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { <-release; return sinktest.Answer{} })
	f.api.DropBodies = true
	topic := f.cluster.Topic(t, "t", 2)
	const records = 8000
	random := rand.New(rand.NewPCG(1, 2))
	var batch []*kgo.Record
	for i := range records {
		pad := make([]byte, 1500) // incompressible
		for j := range pad {
			pad[j] = byte(random.Uint32())
		}
		value := fmt.Appendf(nil, `{"id": "x", "n": 1, "pad": %q}`, base64.StdEncoding.EncodeToString(pad))
		batch = append(batch, &kgo.Record{Topic: topic, Partition: int32(i % 2), Key: fmt.Append(nil, i%500), Value: value})
	}
	consumertest.Produce(t, f.producer, batch...)
	const budget = 8 << 20
	cfg := f.job(topic)
	j := f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, budget), cfg)
	consumertest.WaitFor(t, within, "both partitions paused", func() (any, bool) {
		s := j.runner.Status()
		paused := 0
		for _, p := range s.Partitions {
			if p.Paused {
				paused++
			}
		}
		return s, paused == 2
	})
	if used := j.runner.account.used.Load(); used > budget*3/4 || used < budget/8 {
		t.Errorf("%d bytes are held, of a budget of %d of which one job may take half", used, budget)
	}
	close(release)
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "all memory given back", func() (any, bool) { n := j.runner.account.used.Load(); return n, n == 0 })
}

// Commits are refused for a while: nothing is lost, the cause is shown, and goes when they are taken again.
func TestRefusedCommitsAreShownAndMended(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
	cfg := f.job(topic)
	f.commit(cfg.Group, topic, 0, 0)
	fault := f.cluster.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.GroupAuthorizationFailed, Count: 20})
	j := f.run(cfg)
	j.waitCause("the last commit was refused")
	if fault.Hits() == 0 {
		t.Fatal("no commit was refused")
	}
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "a status without cause", func() (any, bool) { c := j.runner.Status().Cause; return c, c == "" })
}

// A dead letter that cannot be written keeps its row, visibly, until it can.
func TestAFailedDeadLetterKeepsTheRecord(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 400} })
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "a", 2))
	cfg := f.job(topic)
	var refuse atomic.Bool
	refuse.Store(true)
	f.cluster.Fake.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		if !refuse.Load() || len(req.Topics) == 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.TopicAuthorizationFailed.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	j := f.run(cfg)
	j.waitCause("dead letters cannot be written to " + cfg.DeadLetterTopic)
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 0 {
		t.Fatalf("committed %d while the dead letter is not written", got)
	}
	if n := f.api.Len(); n != 1 {
		t.Fatalf("%d attempts: the row behind it was sent before the dead letter was written", n)
	}
	refuse.Store(false)
	f.committed(cfg, topic)
	if n := len(f.deadLetters(cfg)); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
	consumertest.WaitFor(t, within, "a status without cause", func() (any, bool) { c := j.runner.Status().Cause; return c, c == "" })
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
}

// A pattern takes the topics it matches, also those made later, and never Kafka's or streamer's own.
func TestPattern(t *testing.T) {
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

// A static member stays in its group when it stops, and has its partitions back at once when it returns.
func TestAStaticMemberReturnsToItsPartitions(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic, func(c *Config) { c.Instance = "one" })
	for n := range 3 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "a", n), rec(topic, 1, "b", n))
		j := f.run(cfg)
		f.committed(cfg, topic)
		if err := j.stop(); err != nil {
			t.Fatal(err)
		}
		g := f.cluster.Fake.GroupInfo(cfg.Group)
		if len(g.Members) != 1 || g.Members[0].InstanceID == nil || *g.Members[0].InstanceID != "one" {
			t.Fatalf("round %d: members %+v", n, g.Members)
		}
	}
	f.verdict(cfg, topic, nil)
}

// A fetch that is too large to be read is the error of no partition: all wait, say so, and are tried again.
func TestAFetchThatIsTooLargeIsSaidAndTriedAgain(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
	cfg := f.job(topic)
	j := f.run(cfg)
	f.committed(cfg, topic)
	j.runner.fetchFailed("", -1, errors.New("response exceeds the limit"))
	j.waitCause("a batch is larger than the 512 MiB that are read at once")
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 2))
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "a status without cause", func() (any, bool) {
		s := j.runner.Status()
		return s, s.Cause == "" && s.Partitions[0].Cause == ""
	})
}
