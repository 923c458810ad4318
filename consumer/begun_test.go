package consumer

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"streamer/consumer/consumertest"
)

// A job marks what it has begun: at its first start before anything is read, then as topics grow and appear. What is marked is marked
// once, and audited.
func TestWhatAJobHasBegunIsRemembered(t *testing.T) { begunIsRemembered(t, consumertest.Fake(t)) }

func begunIsRemembered(t *testing.T, c *consumertest.Cluster) {
	f, k := setup(t, c, nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic)
	j := f.runWith(k, cfg)
	f.begun(k, cfg, topic, 2)
	m, _ := k.Memory(t.Context(), cfg.Job) // never fails
	topics, err := f.cluster.Admin(t).ListTopics(t.Context(), topic)
	if err != nil || m.Begun[topic].TopicID != encodeTopicID(topics[topic].ID) {
		t.Fatalf("marked %+v, the topic is %v %v", m.Begun, topics[topic].ID, err)
	}
	f.cluster.Grow(t, topic, 4)
	f.begun(k, cfg, topic, 4)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	lines := k.audited("begin")
	f.run(cfg)
	f.runWith(k, cfg)
	f.produceN(topic, 3, 2)
	f.committed(cfg, topic)
	if again := k.audited("begin"); len(again) != len(lines) || len(lines) > 3 {
		t.Errorf("audit lines %+v, and %+v after a restart", lines, again)
	}
}

// A job that is older than its marks has commits and no marks: it gets them, and goes on where it was. So does one that crashed between
// its first commit and the marks.
func TestAGroupWithCommitsAndWithoutMarksGetsThem(t *testing.T) {
	f, k := setup(t, consumertest.Fake(t), nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 2)
	f.produceN(topic, 0, 5)
	cfg := f.job(topic, func(c *Config) { c.Start = Start{Latest: true} })
	f.commit(cfg.Group, topic, 0, 3)
	f.runWith(k, cfg)
	f.begun(k, cfg, topic, 2)
	f.committed(cfg, topic)
	f.onlySent(topic, 0, 3, 5)
}

// The log cannot be written for a while: a new job delivers all the same, says what it waits for, and marks what it has begun when it
// can.
func TestMarksThatCannotBeWrittenHoldNobody(t *testing.T) {
	f, k := setup(t, consumertest.Fake(t), nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 3)
	k.refuse(errors.New("no broker of the log answers"))
	cfg := f.job(topic)
	j := f.runWith(k, cfg)
	f.committed(cfg, topic)
	j.waitCause("what the job has begun to read cannot be remembered (" + topic + "): no broker of the log answers")
	k.refuse(nil)
	j.runner.lookAgain()
	f.begun(k, cfg, topic, 1)
	consumertest.WaitFor(t, within, "a status without cause", func() (any, bool) { c := j.runner.Status().Cause; return c, c == "" })
}

// A job that is given another group begins anew there, whatever it has begun with the one before.
func TestAnotherGroupIsANewBeginning(t *testing.T) {
	f, k := setup(t, consumertest.Fake(t), nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 3)
	cfg := f.job(topic)
	j := f.runWith(k, cfg)
	f.committed(cfg, topic)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	cfg.Group += "-second"
	f.runWith(k, cfg)
	f.committed(cfg, topic)
	f.begun(k, cfg, topic, 1)
}

func TestALostOffsetHoldsItsPartition(t *testing.T) { lostOffset(t, consumertest.Fake(t)) }

// lostOffset: one partition's commit disappears while the job is stopped. The other one goes on; nothing of the first is read until an
// operator says where.
func lostOffset(t *testing.T, c *consumertest.Cluster) {
	f, k := setup(t, c, nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 2)
	f.produceN(topic, 0, 4)
	f.produceN(topic, 1, 4)
	cfg := f.job(topic)
	j := f.runWith(k, cfg)
	f.committed(cfg, topic)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	f.forget(cfg.Group, topic, 0)
	f.produceN(topic, 0, 2)
	f.produceN(topic, 1, 2)
	j = f.runWith(k, cfg)
	j.heldFor(topic, 0, HoldOffsetsLost)
	j.waitCause(topic + "/0 is held: offsets lost")
	f.committedTo(cfg, topic, map[int32]int64{1: 6})
	if got, ok := f.cluster.Committed(t, cfg.Group)[topic][0]; ok {
		t.Fatalf("%d was committed over the lost offset", got)
	}
	f.onlySent(topic, 0, 0, 4)
	j.refused(Acceptance{Topic: topic, Partition: 0, At: AtCommitted}, "has no committed offset")
	j.refused(Acceptance{Topic: topic, Partition: 1, At: AtEarliest}, "is not held")
	j.refused(Acceptance{Topic: topic, Partition: 0, At: "soon"}, "says not where to go on")
	got := j.accept(Acceptance{Topic: topic, Partition: 0, At: "5"})
	if want := (Accepted{Topic: topic, Partition: 0, Cause: HoldOffsetsLost, Before: -1, After: 5, Skipped: 5}); len(got) != 1 || got[0] != want {
		t.Errorf("accepted %+v, want %+v", got, want)
	}
	f.committed(cfg, topic)
	if f.sent(topic, 0)[4] != 0 || f.sent(topic, 0)[5] != 1 {
		t.Errorf("sent %v: it was to go on at 5", f.sent(topic, 0))
	}
	if lines := k.audited("accept"); len(lines) != 1 || lines[0].By != "alice" {
		t.Errorf("audit lines %+v", lines)
	}
	j.refused(Acceptance{Partition: -1, At: AtEarliest}, "no partition of the job is held")
}

func TestALostGroupHoldsTheJob(t *testing.T) { lostGroup(t, consumertest.Fake(t)) }

// lostGroup: Kafka forgets a group that was away for long. With start: latest a new group would skip what came meanwhile. The job is
// held as a whole, does not join, and two instances of it go on when one of them is told where.
func lostGroup(t *testing.T, c *consumertest.Cluster) {
	f, k := setup(t, c, nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic, func(c *Config) { c.Start = Start{Latest: true} })
	j := f.runWith(k, cfg)
	f.begun(k, cfg, topic, 2)
	f.produceN(topic, 0, 3)
	f.committed(cfg, topic)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	consumertest.WaitFor(t, within, "the group to be deleted", func() (any, bool) {
		resp, err := f.cluster.Admin(t).DeleteGroup(t.Context(), cfg.Group)
		return fmt.Sprint(resp, err), err == nil
	})
	f.produceN(topic, 0, 3)
	f.produceN(topic, 1, 3)
	a, b := f.runWith(k, cfg), f.runWith(k, cfg)
	a.heldFor("", -1, HoldOffsetsLost)
	b.heldFor("", -1, HoldOffsetsLost)
	if got := f.cluster.Committed(t, cfg.Group); len(got) > 0 {
		t.Fatalf("committed %v while the job is held", got)
	}
	a.refused(Acceptance{Partition: -1, At: AtCommitted}, "has no committed offset")
	a.refused(Acceptance{Topic: "another", Partition: -1, At: AtEarliest}, "no partition of topic another is held")
	if got := a.accept(Acceptance{Partition: -1, At: AtEarliest}); len(got) != 2 || got[0].After != 0 || got[0].Before != -1 {
		t.Errorf("accepted %+v", got)
	}
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "both instances to run", func() (any, bool) {
		x, y := a.runner.Status(), b.runner.Status()
		return fmt.Sprint(x, y), x.State == Running && y.State == Running && len(x.Holds)+len(y.Holds) == 0
	})
	f.onlySent(topic, 1, 0, 3)
}

// Partition 3 has begun and 2 has not, since its member crashed first. A mark of 4 would hold 2 as lost; so 2 are marked, then all.
// Another topic of the same name never takes the mark over.
func TestAMarkEndsBeforeThePartitionThatHasNotBegun(t *testing.T) {
	f, k := setup(t, consumertest.Fake(t), nil), &keeper{}
	cfg := f.job("t")
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	defer i.Close()
	i.Keep(k)
	r := i.NewRunner(cfg)
	note := func(id byte, committed ...int32) Begun {
		offsets := kadm.OffsetResponses{}
		for _, p := range committed {
			offsets.Add(kadm.OffsetResponse{Offset: kadm.Offset{Topic: "t", Partition: p, At: 7}})
		}
		r.noteBegun(t.Context(), foundTopics{"t": {id: [16]byte{id}, partitions: 4}}, offsets)
		m, _ := k.Memory(t.Context(), cfg.Job) // never fails
		return m.Begun["t"]
	}
	for _, c := range []struct {
		id         byte
		committed  []int32
		partitions int32
	}{
		{1, []int32{1, 2, 3}, 0},
		{1, []int32{0, 1, 3}, 2},
		{1, []int32{0}, 2},
		{2, []int32{0, 1, 2, 3}, 2},
		{1, []int32{0, 1, 2, 3}, 4},
	} {
		if got := note(c.id, c.committed...); got.Partitions != c.partitions || got.Partitions > 0 && got.TopicID != encodeTopicID([16]byte{1}) {
			t.Errorf("with commits of %v under id %d: marked %+v, want %d", c.committed, c.id, got, c.partitions)
		}
	}
	if n := len(k.audited("begin")); n != 2 {
		t.Errorf("%d audit lines, want one for each change", n)
	}
}
