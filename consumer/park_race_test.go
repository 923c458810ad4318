package consumer

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/consumer/track"
	"streamer/sink"
)

// parkedRow is a row of key a that is about to be buried, on a partition of its own.
func parkedRow(r *Runner, offset int64) *row {
	p := &partition{runner: r, topic: "t", scope: nil, definition: r.now(), lanes: map[string]*lane{}, tracker: track.New(0, -1)}
	p.address = address{topic: "t", topicID: "id", partition: "0"}
	own := &record{key: []byte("a"), value: []byte("{}")}
	own.Offset = offset
	x := &row{partition: p, record: own, stage: burying}
	p.join(x, "a", false)
	return x
}

// parker is a runner that parks keys, of which nothing runs.
func parker(f *fixture) *Runner {
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	f.Cleanup(i.Close)
	return i.NewRunner(f.job("t", parked, func(c *Config) { c.DeadLetterTopic = f.cluster.Topic(f, "dead", 1) }))
}

// readBack gives the letter to the follower as it stands in the topic.
func (k *parking) readBack(l *letter, offset int64) {
	rec := l.record(k.topic, shape{})
	rec.Partition, rec.Offset = 0, offset
	k.apply(rec)
}

// A letter is in the topic although its write failed: too few replicas were left after it was appended. The follower reads it back, and the
// row is final. The retry of the write must not begin anew with a row that has left its lane: it would be final twice.
func TestALetterThatWasWrittenInSpiteOfItsErrorIsNotWrittenAgain(t *testing.T) {
	r := parker(setup(t, consumertest.Fake(t), nil))
	x := parkedRow(r, 0)
	l := &letter{row: x, outcome: sink.Outcome{Class: sink.Rejected}}
	x.partition.letters = 1
	if !r.now().parking.begins(l) { // the write itself is left out: its answer is told below
		t.Fatal("the letter is not begun")
	}
	r.now().dead.written(r.now().dead.post(l), &kgo.Record{}, errors.New("not enough replicas after append"))
	r.now().parking.readBack(l, 0)
	for _, again := range r.now().dead.take(func(*post) bool { return true }) {
		r.now().dead.write(again)
	}
	r.now().parking.mu.Lock()
	defer r.now().parking.mu.Unlock()
	if n := len(r.now().parking.writing); n != 0 || len(r.now().parking.settled) != 1 {
		t.Errorf("%d letters are being written, %d rows settled; want none and one", n, len(r.now().parking.settled))
	}
}

// A partition is taken away and comes back in the same session, while the letter of its row could not be written. Whoever has the row now
// has to hear of its letter.
func TestALetterOfAPartitionThatCameBackMakesItsRowFinal(t *testing.T) {
	r := parker(setup(t, consumertest.Fake(t), nil))
	k, old, now := r.now().parking, parkedRow(r, 0), parkedRow(r, 0)
	k.begins(&letter{row: old})
	l := &letter{row: now, outcome: sink.Outcome{Class: sink.Rejected}}
	k.begins(l)
	k.acked(now, LetterAddress{0, 0})
	k.readBack(l, 0)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.settled) != 1 || k.settled[0].row != now {
		t.Errorf("settled %+v, want the row of the new assignment", k.settled)
	}
}

// A reading of the dead-letter topic ends, since the topic was made anew, while a partition waits for its end and a row for room. Both are
// there for the next reading.
func TestWhoWaitsForAReadingThatEndsWaitsForTheNext(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	r := parker(f)
	k, x := r.now().parking, parkedRow(r, 0)
	consumertest.Produce(t, f.producer, &kgo.Record{Topic: r.cfg.DeadLetterTopic, Value: []byte("of nobody")})
	f.cluster.Fake.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		return nil, errors.New("nothing can be read"), true
	})
	k.over = []*row{x}
	k.await(x.partition)
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { k.follow(ctx); close(ended) }()
	consumertest.WaitFor(t, within, "the question for the end", func() (any, bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		return nil, len(k.newly) == 0
	})
	end()
	<-ended
	if len(k.newly) != 1 || k.newly[0].partition != x.partition {
		t.Errorf("%v wait for the next reading, want the partition", k.newly)
	}
	if len(k.settled) != 1 || k.settled[0].row != x || len(k.over) > 0 {
		t.Errorf("settled %v, want the row", k.settled)
	}
}
