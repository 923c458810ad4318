package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// behindStore is the log as an instance has read it that is slow; what it writes is about the newest all the same.
type behindStore struct {
	*keeper
	read atomic.Pointer[Memory]
}

// stop reads nothing more.
func (s *behindStore) stop(t *testing.T, job string) {
	m, err := s.keeper.Memory(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	s.read.Store(&m)
}

func (s *behindStore) goOn() { s.read.Store(nil) }

// Memory implements Store.
func (s *behindStore) Memory(ctx context.Context, job string) (Memory, error) {
	if m := s.read.Load(); m != nil {
		return m.clone(), nil
	}
	return s.keeper.Memory(ctx, job)
}

// makeAnew deletes a topic and makes it again with so many partitions.
func (f *fixture) makeAnew(topic string, partitions int32) {
	f.Helper()
	admin := f.cluster.Admin(f)
	if _, err := admin.DeleteTopic(f.Context(), topic); err != nil {
		f.Fatal(err)
	}
	consumertest.WaitFor(f, within, "the topic to be made anew", func() (any, bool) {
		_, err := admin.CreateTopic(f.Context(), partitions, 1, nil, topic)
		return err, err == nil
	})
	consumertest.WaitFor(f, within, "the broker to serve it", func() (any, bool) {
		ends, err := admin.ListEndOffsets(f.Context(), topic)
		if err == nil {
			err = ends.Error()
		}
		return err, err == nil && len(ends[topic]) == int(partitions)
	})
	f.producer = f.cluster.Producer(f)
}

func TestATopicMadeAnewWhileStoppedIsHeld(t *testing.T) {
	recreatedWhileStopped(t, consumertest.Fake(t))
}

// recreatedWhileStopped: offsets of the old topic may even be there still (a broker that drops them late, a tool that copied them).
// Nothing of the new one is read before an operator says from where, for all partitions and all instances at once.
func recreatedWhileStopped(t *testing.T, c *consumertest.Cluster) {
	f, k := setup(t, c, nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 2)
	f.produceN(topic, 0, 3)
	cfg := f.job(topic)
	j := f.runWith(k, cfg)
	f.committed(cfg, topic)
	f.begun(k, cfg, topic, 2)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	f.makeAnew(topic, 3)
	for n := range 5 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "new", n), rec(topic, 1, "new", n), rec(topic, 2, "new", n))
	}
	consumertest.WaitFor(t, within, "a commit of the old topic's offset", func() (any, bool) {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: topic, At: 3, LeaderEpoch: -1})
		resp, err := f.cluster.Admin(t).CommitOffsets(t.Context(), cfg.Group, offsets)
		return fmt.Sprint(resp, err), err == nil && resp.Error() == nil
	})
	a := f.runWith(k, cfg)
	consumertest.WaitFor(t, within, "all partitions", func() (any, bool) { n := a.runner.assigned.Load(); return n, n == 3 })
	slow := &behindStore{keeper: k}
	i := f.instance(Client{Brokers: f.cluster.Brokers, MetadataMinAge: 20 * time.Millisecond}, 0)
	i.Keep(slow)
	b := f.runOn(i, cfg)
	consumertest.WaitFor(t, within, "both to have partitions", func() (any, bool) {
		x, y := a.runner.assigned.Load(), b.runner.assigned.Load()
		return fmt.Sprint(x, y), x > 0 && y > 0 && x+y == 3
	})
	for _, j := range []*running{a, b} {
		for _, p := range j.runner.all() {
			j.heldFor(topic, p.id, HoldRecreated)
		}
	}
	if got := f.cluster.Committed(t, cfg.Group)[topic]; len(got) != 1 || got[0] != 3 {
		t.Errorf("committed %v to the new topic", got)
	}
	a.refused(Acceptance{Topic: topic, Partition: a.runner.all()[0].id, At: AtEarliest}, "accept it as a whole")
	a.refused(Acceptance{Topic: topic, Partition: -1, At: AtCommitted}, "its committed offsets are of the old one")
	k.refuse(errors.New("no broker of the log answers"))
	if got, err := a.runner.Accept(t.Context(), Acceptance{Topic: topic, Partition: -1, At: AtLatest}, "alice"); err == nil || !strings.Contains(err.Error(), "so nothing is") {
		t.Errorf("accepted %+v, %v", got, err)
	}
	if got := f.cluster.Committed(t, cfg.Group)[topic]; len(got) != 1 || got[0] != 3 {
		t.Errorf("committed %v to the new topic, though nothing was accepted", got)
	}
	k.refuse(nil)
	slow.stop(t, cfg.Job)
	if got := a.accept(Acceptance{Topic: topic, Partition: -1, At: "1"}); len(got) != 3 || got[2].After != 1 || got[2].Skipped != 1 {
		t.Errorf("accepted %+v", got)
	}
	// b still holds its part, has not read of it in the log, and looks anew when it is asked. Were that accepted once more, what a reads by
	// now would be passed over.
	b.refused(Acceptance{Topic: topic, Partition: -1, At: AtLatest}, "no partition of topic")
	slow.goOn()
	b.runner.lookAgain()
	f.committed(cfg, topic)
	sent := map[string]bool{}
	for _, at := range f.api.Attempts() {
		if at.Path == "/rows/new" {
			sent[fmt.Sprintf("%d/%d", at.Partition, at.Offset)] = true
		}
	}
	if len(sent) != 12 || sent["0/0"] || sent["1/0"] || sent["2/0"] {
		t.Errorf("sent %v, want all but the first of each partition", sent)
	}
	m, _ := k.Memory(t.Context(), cfg.Job) // never fails
	if got := m.Begun[topic]; got.Partitions != 3 || got.TopicID != encodeTopicID(a.runner.topicID(topic)) {
		t.Errorf("marked %+v, the topic's id is %s", got, encodeTopicID(a.runner.topicID(topic)))
	}
}

func TestATopicMadeAnewWhileRunningIsHeld(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"by name":         func(*Config) {},
		"by pattern":      func(c *Config) { c.Topics, c.Pattern = []string{"^" + c.Topics[0] + "$"}, true },
		"a static member": func(c *Config) { c.Instance = "one" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recreatedWhileRunning(t, consumertest.Fake(t), change)
		})
	}
}

// recreatedWhileRunning: rows of the old topic that are in memory are delivered, but their commits must not reach the new one.
func recreatedWhileRunning(t *testing.T, c *consumertest.Cluster, change ...func(*Config)) {
	gate := make(chan struct{})
	f, k := setup(t, c, func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset == 1 && a.Path == "/rows/slow" {
			<-gate
		}
		return sinktest.Answer{}
	}), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "slow", 1))
	cfg := f.job(topic, append(change, func(c *Config) { c.Sink.Timeout = time.Minute })...)
	j := f.runWith(k, cfg)
	f.committedTo(cfg, topic, map[int32]int64{0: 1})
	f.begun(k, cfg, topic, 1)
	f.makeAnew(topic, 1)
	for n := range 5 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "new", n))
	}
	j.heldFor(topic, 0, HoldRecreated)
	close(gate)
	consumertest.WaitFor(t, within, "the row in memory", func() (any, bool) { s := j.runner.Status(); return s, s.Partitions[0].Pending == 0 })
	j.runner.lookAgain()
	if got, ok := f.cluster.Committed(t, cfg.Group)[topic][0]; ok && got > 1 {
		t.Errorf("%d was committed to the new topic", got)
	}
	if cause := j.runner.Status().Cause; cause != topic+"/0 is held: topic recreated" {
		t.Errorf("the job says %q", cause)
	}
	for offset, state := range []FoundState{FoundCommitted, FoundFinished, FoundNotRead} { // the new record at an offset says nothing of the old one
		found, err := j.runner.Find(t.Context(), Query{Topic: topic, Offset: int64(offset)})
		if err != nil || len(found) != 1 || found[0].State != state || !strings.Contains(found[0].Reason, "made anew") || strings.Contains(found[0].Reason, "rows:") {
			t.Errorf("the record at %d: %+v, %v", offset, found, err)
		}
	}
	for _, a := range f.api.Attempts() {
		if a.Path == "/rows/new" {
			t.Fatal("a row of the new topic was sent")
		}
	}
	j.accept(Acceptance{Topic: topic, Partition: -1, At: AtEarliest})
	f.committed(cfg, topic)
	fresh := 0
	for _, a := range f.api.Attempts() {
		if a.Path == "/rows/new" {
			fresh++
		}
	}
	if fresh != 5 {
		t.Errorf("%d rows of the new topic were sent, want 5", fresh)
	}
}

func TestRowsInMemoryOutliveTheirLog(t *testing.T) { rowsInMemory(t, consumertest.Fake(t)) }

// rowsInMemory: the API is away, memory is full, reading stands still, and retention takes what was read and more. What is in memory
// is delivered when the API is back; what was never read holds the partition; and accepting that does not cost the rows in memory.
func rowsInMemory(t *testing.T, c *consumertest.Cluster) {
	var up atomic.Bool
	f, k := setup(t, c, func(*sinktest.Attempt) sinktest.Answer {
		if !up.Load() {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	}), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 5)
	cfg := f.job(topic)
	j := f.runWith(k, cfg)
	consumertest.WaitFor(t, within, "what is read", func() (any, bool) {
		s := j.runner.Status()
		return s, len(s.Partitions) == 1 && s.Partitions[0].Pending == 5
	})
	p := j.runner.all()[0]
	p.mu.Lock()
	p.held += 1 << 40 // memory is full
	p.mu.Unlock()
	j.runner.signalRoom() // nobody looks otherwise: nothing was read
	consumertest.WaitFor(t, within, "the pause", func() (any, bool) { s := j.runner.Status(); return s, s.Partitions[0].Paused })
	f.produceN(topic, 0, 5)
	f.deleteRecords(topic, 0, 8)
	p.mu.Lock()
	p.held -= 1 << 40
	p.mu.Unlock()
	j.runner.signalRoom()
	j.waitCause("would go on at offset 5, the log begins at 8; of the 3 offsets between, 3 were not finished")
	if got := j.accept(Acceptance{Partition: -1, At: AtCommitted}); len(got) != 1 || got[0].Before != 5 || got[0].After != 8 || got[0].Skipped != 3 {
		t.Errorf("accepted %+v", got)
	}
	consumertest.WaitFor(t, within, "what is left of the log", func() (any, bool) { s := j.runner.Status(); return s, s.Partitions[0].Pending == 7 })
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 0 {
		t.Errorf("%d was committed past rows in memory", got)
	}
	up.Store(true)
	f.committed(cfg, topic)
	delivered := map[int64]bool{}
	for _, a := range f.api.Attempts() {
		delivered[a.Offset] = delivered[a.Offset] || a.Status == 200
	}
	for _, o := range []int64{0, 1, 2, 3, 4, 8, 9} {
		if !delivered[o] {
			t.Errorf("offset %d was not delivered: %v", o, delivered)
		}
	}
	if j.runner.all()[0] != p {
		t.Error("the partition was assigned anew: what was in memory would be gone")
	}
}

// All that is left expired: there is nothing behind the gap that would move the commit, so accepting it must.
func TestAcceptingAnEmptyLogMovesTheCommit(t *testing.T) {
	f, k := setup(t, consumertest.Fake(t), nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 5)
	f.deleteRecords(topic, 0, 5)
	cfg := f.job(topic)
	f.commit(cfg.Group, topic, 0, 2)
	j := f.runWith(k, cfg)
	j.heldFor(topic, 0, HoldExpired)
	j.accept(Acceptance{Topic: topic, Partition: -1, At: AtLatest})
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "lag 0", func() (any, bool) { s := j.runner.Status(); return s, s.Lag == 0 && s.Partitions[0].Hold == nil })
	f.produceN(topic, 0, 1)
	f.committed(cfg, topic)
	f.onlySent(topic, 0, 5, 6)
}

func TestAnOffsetAboveTheLogIsAcceptedWhereTheLogIs(t *testing.T) {
	f, k := setup(t, consumertest.Fake(t), nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 5)
	cfg := f.job(topic)
	f.commit(cfg.Group, topic, 0, 50)
	j := f.runWith(k, cfg)
	j.heldFor(topic, 0, HoldLogCut)
	if got := j.accept(Acceptance{Topic: topic, Partition: 0, At: AtCommitted}); len(got) != 1 || got[0].Before != 50 || got[0].After != 5 || got[0].Skipped != 0 {
		t.Errorf("accepted %+v", got)
	}
	f.committed(cfg, topic)
	f.produceN(topic, 0, 2)
	f.committed(cfg, topic)
	f.onlySent(topic, 0, 5, 7)
}

// The log was cut at 2 while the committed offset is 4: the job goes on at 2, where other records are now.
func TestACutLogIsAcceptedWhereItWasCut(t *testing.T) {
	c := consumertest.Fake(t)
	f, k := setup(t, c, nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 6)
	cfg := f.job(topic)
	f.commitEpoch(cfg.Group, topic, 4, 0)
	f.cutAt(2)
	j := f.runWith(k, cfg)
	j.heldFor(topic, 0, HoldLogCut)
	if got := j.accept(Acceptance{Topic: topic, Partition: 0, At: AtCommitted}); len(got) != 1 || got[0].Before != 4 || got[0].After != 2 {
		t.Errorf("accepted %+v", got)
	}
	f.committed(cfg, topic)
	f.onlySent(topic, 0, 2, 6)
}

// cutAt makes the leader say that the first epoch ended at an offset, as after an unclean election.
func (f *fixture) cutAt(offset int64) {
	f.cluster.Fake.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		req := kreq.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, asked := range req.Topics {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = asked.Topic
			for _, p := range asked.Partitions {
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, 0, offset
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
}

// A batch that was damaged on the way is read again when an operator says so, without a new session.
func TestADamagedBatchIsReadAgain(t *testing.T) {
	f, cfg, topic, j := damaged(t)
	j.heldFor(topic, 0, HoldUnreadable)
	j.refused(Acceptance{Topic: topic, Partition: 0, At: AtEarliest}, "was read up to offset 2 already")
	f.committedTo(cfg, topic, map[int32]int64{0: 2})
	if got := j.accept(Acceptance{Topic: topic, Partition: 0, At: AtCommitted}); len(got) != 1 || got[0].After != 2 || got[0].Skipped != 0 {
		t.Errorf("accepted %+v", got)
	}
	f.committed(cfg, topic)
	f.onlySent(topic, 0, 0, 4)
}
