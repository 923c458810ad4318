package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"streamer/consumer/consumertest"
	"streamer/sink"
	"streamer/sink/sinktest"
)

// slowStore makes an operator's decision wait at the audit log.
type slowStore struct {
	processStore
	reached, freed chan struct{}
}

func (s *slowStore) Remember(ctx context.Context, job string, a Audit, change func(*Memory) error) (Memory, error) {
	if a.Action == string(GiveUp) {
		s.reached <- struct{}{}
		<-s.freed
	}
	return s.processStore.Remember(ctx, job, a, change)
}

// inHand is a partition that was read up to a row which the sink does not have yet: its stage says delivering, as when the goroutine that
// freed its lane has not come to hand it over.
func inHand(f *fixture) (*running, *row) {
	topic := f.cluster.Topic(f, "t", 1)
	consumertest.Produce(f, f.producer, rec(topic, 0, "k", 0), rec(topic, 0, "k", 1))
	j := f.run(f.job(topic, func(c *Config) { c.Sink.Retry.Initial, c.Sink.Retry.Max = time.Hour, time.Hour }))
	j.waitFound(topic, 1, FoundBehind)
	p := j.runner.partition(topic, 0)
	p.mu.Lock()
	first := p.tracker.Oldest().Caller.(*record).rows
	p.mu.Unlock()
	consumertest.WaitFor(f, within, "the first row to wait", func() (any, bool) {
		look := p.scope.Look(&first.Delivery)
		return look, !look.Next.IsZero()
	})
	if !p.scope.Withdraw(&first.Delivery) {
		f.Fatal("the row is not to be had")
	}
	return j, first
}

// failing answers the row at offset 0 with 503, which proves nothing against it, until good.
func failing(a *sinktest.Attempt) sinktest.Answer {
	if a.Offset == 0 {
		return sinktest.Answer{Status: 503}
	}
	return sinktest.Answer{}
}

// A row gets its turn, and an operator gives it up before it was handed to the sink. Once it was tried on for hours although the operator
// had been told that it is given up: the sink did not know it when it was to be taken back, and nobody asked later.
func TestARowGivenUpOnItsWayToTheSinkEnds(t *testing.T) {
	f := setup(t, consumertest.Fake(t), failing)
	j, r := inHand(f)
	before := f.api.Len()
	if err := j.runner.Decide(t.Context(), r.position(), GiveUp, "test"); err != nil {
		t.Fatal(err)
	}
	if err := j.runner.Decide(t.Context(), r.position(), GiveUp, "test"); err == nil || !strings.Contains(err.Error(), "given up already") {
		t.Errorf("given up twice: %v", err)
	}
	r.partition.deliver(r)
	f.committed(j.runner.cfg, r.partition.topic)
	letters := f.cluster.DeadLetters(t, j.runner.cfg.DeadLetterTopic)
	if len(letters) != 1 || !strings.Contains(letters[0].Reason, "given up by test") {
		t.Errorf("dead letters %+v", letters)
	}
	if n := f.api.Len(); n != before+1 {
		t.Errorf("%d attempts after the decision, want that of the row behind", n-before)
	}
}

// The same, many times, with the two at the same moment: whoever comes first, the row ends once.
func TestGivingUpRacesWithDelivering(t *testing.T) {
	f := setup(t, consumertest.Fake(t), failing)
	for range 20 {
		j, r := inHand(f)
		var both sync.WaitGroup
		both.Go(func() { r.partition.deliver(r) })
		both.Go(func() {
			if err := j.runner.Decide(context.Background(), r.position(), GiveUp, "test"); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		f.committed(j.runner.cfg, r.partition.topic)
		if n := len(f.cluster.DeadLetters(t, j.runner.cfg.DeadLetterTopic)); n != 1 {
			t.Fatalf("%d dead letters", n)
		}
		if err := j.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// A row is given up while the goroutine with its outcome is about to keep it for the guard: it must not wait for a resume, and for the same
// decision once more.
func TestARowGivenUpIsNotKeptByTheGuard(t *testing.T) {
	f := setup(t, consumertest.Fake(t), failing)
	j, r := inHand(f)
	j.runner.gate.hold(Hold{Cause: HoldGuard})
	if err := j.runner.Decide(t.Context(), r.position(), GiveUp, "test"); err != nil {
		t.Fatal(err)
	}
	r.partition.keep(r, sink.Outcome{Class: sink.Rejected})
	j.runner.gate.release(HoldGuard)
	f.committed(j.runner.cfg, r.partition.topic)
}

// Too many dead letters are open, so the rows of a parked key wait for room. An operator gives the first of them up: it becomes a dead
// letter, and the next one has its turn. Once nothing happened, since the row was in no hands but a list's.
func TestARowThatWaitsForRoomToBeParkedIsGivenUp(t *testing.T) {
	f := setup(t, consumertest.Fake(t), refuse("/rows/a"))
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 6 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "a", n))
	}
	cfg := f.job(topic, parked)
	j := f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, 0), cfg, func(r *Runner) { r.now().parking.fold.most = 3 })
	for offset := int64(3); offset < 6; offset++ {
		over := j.waitFound(topic, offset, FoundNoRoom)
		if over.BehindLetter == nil || *over.BehindLetter != (LetterAddress{0, 0}) || !strings.Contains(over.Reason, "3 dead letters are open") {
			t.Errorf("a row without room: %+v", over)
		}
		if offset < 5 {
			j.waitFound(topic, offset+1, FoundBehind)
		}
		if err := j.runner.Decide(t.Context(), over.Position, Retry, "test"); err == nil || !strings.Contains(err.Error(), "there is no room for more dead letters") {
			t.Errorf("retry: %v", err)
		}
		if err := j.runner.Decide(t.Context(), over.Position, GiveUp, "test"); err != nil {
			t.Fatal(err)
		}
		f.committedTo(cfg, topic, map[int32]int64{0: offset + 1})
	}
	f.states(f.letters(cfg), "a rejected open, a parked parked, a parked parked, a target open, a target open, a target open")
}

// A decision waits at the audit log while its partition is taken away. Nothing is done then, and the answer says that another instance
// may be asked; whoever looks for rows meanwhile gets an answer too.
func TestDecidingWhileThePartitionIsTakenAway(t *testing.T) {
	f := setup(t, consumertest.Fake(t), failing)
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "k", 0), rec(topic, 0, "k", 1))
	store := &slowStore{reached: make(chan struct{}), freed: make(chan struct{})}
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	i.Keep(store)
	cfg := f.job(topic, patient)
	j := f.runOn(i, cfg)
	row := j.waitFound(topic, 0, FoundBackOff)
	answer := make(chan error, 1)
	go func() { answer <- j.runner.Decide(context.Background(), row.Position, GiveUp, "test") }()
	<-store.reached
	looking, looked := make(chan struct{}), make(chan struct{})
	go func() { // ends with looking
		defer close(looked)
		key := "k"
		for {
			select {
			case <-looking:
				return
			default:
			}
			for _, q := range []Query{{Topic: topic}, {Topic: topic, Offset: 1}, {Key: &key}} {
				if _, err := j.runner.Find(context.Background(), q); err != nil && !errors.Is(err, ErrNotAssigned) {
					t.Error(err)
				}
			}
		}
	}()
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	close(looking)
	<-looked
	close(store.freed)
	if err := <-answer; !errors.Is(err, ErrNotAssigned) {
		t.Errorf("decided on a partition that is gone: %v", err)
	}
	if n := len(f.cluster.DeadLetters(t, cfg.DeadLetterTopic)); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// Operators decide about many rows while the job stops, and everything they decide is done or refused: no row is both left and buried.
func TestDecidingRacesWithStopping(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 503} })
	topic := f.cluster.Topic(t, "t", 1)
	const rows = 64
	for n := range rows {
		consumertest.Produce(t, f.producer, rec(topic, 0, fmt.Sprint("k", n), n))
	}
	cfg := f.job(topic, patient)
	j := f.run(cfg)
	j.waitFound(topic, rows-1, FoundBackOff)
	var all sync.WaitGroup
	for n := range int64(rows) {
		all.Go(func() {
			d := GiveUp
			if n%4 == 0 {
				d = Retry
			}
			_ = j.runner.Decide(context.Background(), Position{Topic: topic, Offset: n}, d, "test") // what comes too late is refused
		})
	}
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
}
