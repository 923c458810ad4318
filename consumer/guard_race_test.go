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

func (s *silentStore) Remember(ctx context.Context, job string, a Audit, change func(*Memory) error) (Memory, error) {
	if !s.up {
		return Memory{}, errors.New("the log cannot be reached")
	}
	return s.processStore.Remember(ctx, job, a, change)
}

// The guard holds the job while the log cannot be written, and the session ends before it can: the next session has to write the hold, or
// others would never know it, and no resume could ever end it here.
func TestAHoldThatOneSessionCouldNotSaveIsSavedByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &silentStore{}
		r := &Runner{instance: &Instance{store: store}, cfg: Config{Job: "j"}, guard: newGuard(0.5), log: logTo(t)}
		trip(t, r)
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

// The guard's hold is written at revision 2 of the log. Who has looked at revision 1 comes late and says that there is none: the job must
// not go on for a moment, with all outcomes forgotten. The operator's resume at revision 3 ends it; and a log that was deleted and made
// anew counts from 0 again, and is believed.
func TestWhatTheLogSaidBeforeAHoldDoesNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &silentStore{up: true}
		r := &Runner{instance: &Instance{store: store}, cfg: Config{Job: "j"}, guard: newGuard(0.5), log: logTo(t)}
		remember := func(change func(*Memory) error) Memory {
			m, err := store.Remember(t.Context(), "j", Audit{}, change)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		before := remember(func(m *Memory) error { m.Group = "g"; return nil })
		r.Recall(before)
		trip(t, r)
		ctx, end := context.WithTimeout(t.Context(), time.Second)
		r.saveHolds(ctx)
		end()
		held := func(want bool, when string) {
			t.Helper()
			if r.gate.held(HoldGuard) != want {
				t.Errorf("%s: held is %v", when, !want)
			}
		}
		r.Recall(before)
		held(true, "after revision 1")
		r.Recall(remember(func(m *Memory) error { m.Hold = nil; return nil }))
		held(false, "after the resume")
		r.Recall(Memory{Revision: 2, Hold: &Hold{Cause: HoldGuard}})
		held(false, "after revision 2")
		r.Recall(Memory{Revision: 1, Log: [16]byte{1}, Hold: &Hold{Cause: HoldGuard}})
		held(true, "after revision 1 of another log")
	})
}

// The operator is faster than the answer to the write of the hold: he resumes at revision 2 what was written at revision 1, and the runner
// hears of 2 first. When the answer comes there is nobody who would tell it once more.
func TestAResumeThatOvertakesTheHoldEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Runner{guard: newGuard(0.5), cfg: Config{Job: "j"}, log: logTo(t)}
		store := &tellingStore{}
		store.wrote = func(job string) {
			resumed, err := store.processStore.Remember(t.Context(), job, Audit{}, func(m *Memory) error { m.Hold = nil; return nil })
			if err != nil {
				t.Error(err)
			}
			r.Recall(resumed)
		}
		r.instance = &Instance{store: store}
		trip(t, r)
		ctx, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		r.saveHolds(ctx)
		if r.gate.held(HoldGuard) || r.guard.unsaved() {
			t.Error("still held")
		}
	})
}

// tellingStore tells of a write before who has asked for it learns of it.
type tellingStore struct {
	processStore
	wrote func(job string)
}

func (s *tellingStore) Remember(ctx context.Context, job string, a Audit, change func(*Memory) error) (Memory, error) {
	m, err := s.processStore.Remember(ctx, job, a, change)
	s.wrote(job)
	return m, err
}

// trip lets the guard hold the job, as giveUp does.
func trip(t *testing.T, r *Runner) {
	t.Helper()
	for range guardLeast - 1 {
		r.guard.note(time.Now(), 1)
	}
	h := r.guard.judge(time.Now(), sink.Outcome{Class: sink.Rejected})
	if h == nil {
		t.Fatal("no hold")
	}
	r.gate.hold(*h)
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
