package consumer

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"streamer/consumer/consumertest"
	"streamer/consumer/track"
	"streamer/sink"
	"streamer/sink/sinktest"
)

// silentStore is a log that nobody can write until it is told to.
type silentStore struct {
	processStore
	up bool
}

func (s *silentStore) Remember(ctx context.Context, job string, a Audit, change func(*Memory) error) error {
	if !s.up {
		return errors.New("the log cannot be reached")
	}
	return s.processStore.Remember(ctx, job, a, change)
}

// The guard holds the job while the log cannot be written, and the session ends before it can: the next session has to write the hold, or
// others would never know it, and no resume could ever end it here.
func TestAHoldThatOneSessionCouldNotSaveIsSavedByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &silentStore{}
		r := &Runner{instance: &Instance{store: store}, cfg: Config{Job: "j"}, guard: newGuard(0.5), log: logTo(t)}
		for range guardLeast - 1 {
			r.guard.note(time.Now(), 1)
		}
		if r.guard.judge(time.Now(), sink.Outcome{Class: sink.Rejected}) == nil {
			t.Fatal("no hold")
		}
		session := func(d time.Duration) {
			ctx, end := context.WithTimeout(t.Context(), d)
			defer end()
			r.saveHolds(ctx)
		}
		session(time.Second)
		store.up = true
		session(time.Second)
		if m, err := store.Memory(t.Context(), "j"); m.Hold == nil || err != nil || r.guard.unsaved() {
			t.Errorf("remembered %+v, %v; unsaved: %v", m, err, r.guard.unsaved())
		}
	})
}

// The moment in which a hold ends is not the moment to judge by what led to it: a row that can make no request needs no permit, and would
// bring the hold back.
func TestTheGuardForgetsBeforeItsHoldEnds(t *testing.T) {
	r := &Runner{instance: &Instance{}, guard: newGuard(0.5)}
	var again *Hold
	r.log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		again = r.guard.judge(time.Now(), sink.Outcome{Class: sink.Payload})
		return len(b), nil
	}), nil))
	for range guardLeast {
		r.guard.note(time.Now(), 1)
	}
	r.gate.hold(Hold{Cause: HoldGuard})
	r.Recall(Memory{})
	if again != nil || r.gate.held(HoldGuard) {
		t.Errorf("held again: %+v", again)
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(b []byte) (int, error) { return w(b) }

// An operator gives a row up while its attempt runs, and the attempt ends with a refusal. Dead letters are off: the row must not wait for
// the same decision again.
func TestARowGivenUpWhileItsAttemptRunsIsNotAskedAboutAgain(t *testing.T) {
	release := make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer {
		<-release
		return sinktest.Answer{Status: 422}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "k", 0))
	cfg := f.job(topic, func(c *Config) { c.DeadLetterTopic = "" })
	j := f.run(cfg)
	row := j.waitFound(topic, 0, FoundInFlight)
	err := j.runner.Decide(t.Context(), row.Position, GiveUp, "test")
	close(release)
	if err != nil {
		t.Fatal(err)
	}
	f.committed(cfg, topic)
}

// What the watchdog knows of a partition that went does not keep its rows in memory.
func TestTheWatchdogKeepsNoPartition(t *testing.T) {
	var w watchdog
	gone := func() weak.Pointer[partition] {
		p := &partition{topic: "t", tracker: track.New(0, -1)}
		w.look(time.Now(), []view{{of: p, lag: 1}})
		return weak.Make(p)
	}()
	for range 10 {
		if runtime.GC(); gone.Value() == nil {
			return
		}
	}
	t.Errorf("it is still there: %+v", w.seen)
}
