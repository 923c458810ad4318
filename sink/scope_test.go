package sink

import (
	"context"
	"fmt"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

func slow(d time.Duration) func(*sinktest.Attempt) sinktest.Answer {
	return func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: d} }
}

func TestDrainWaitsForAttemptsAndDropsTheRest(t *testing.T) {
	inWorld(t, Config{Concurrency: 2}, slow(3*time.Second), func(w *world) {
		for i := range 5 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		defer cancel()
		w.scope.Drain(ctx)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("drain took %s", took)
		}
		if len(w.finals) != 2 || w.outcome("0").Class != Delivered || w.outcome("1").Class != Delivered {
			t.Errorf("finals are %v", w.finals)
		}
		w.row("late", "/")
		w.pass(time.Hour)
		if w.api.Len() != 2 || len(w.finals) != 2 {
			t.Errorf("%d attempts, finals %v", w.api.Len(), w.finals)
		}
		if st := w.sink.Stats(); st.Waiting+st.Ready+st.InFlight != 0 || st.Targets[0].Rows != 0 {
			t.Errorf("stats are %+v", st)
		}
	})
}

func TestDrainThatRunsOutBreaksAttemptsOff(t *testing.T) {
	inWorld(t, Config{}, slow(time.Hour), func(w *world) {
		w.row("a", "/")
		w.pass(time.Second)
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		w.scope.Drain(ctx)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("drain took %s", took)
		}
		if o := w.outcome("a"); o.Class != Interrupted || o.Attempts != 0 {
			t.Errorf("outcome is %+v", o)
		}
	})
}

func TestCancelEndsAtOnceAndLeavesOtherScopesAlone(t *testing.T) {
	inWorld(t, Config{}, slow(10*time.Second), func(w *world) {
		other := w.sink.NewScope()
		w.row("a", "/")
		w.pass(time.Second)
		other.Deliver(&Delivery{Request: Request{Method: "POST", URL: w.api.URL()}, Row: "other", Final: w.final})
		w.pass(time.Second)
		began := time.Now()
		w.scope.Cancel()
		w.scope.Cancel()
		w.scope.Drain(w.t.Context())
		if took := time.Since(began); took != 0 {
			t.Errorf("cancel took %s", took)
		}
		if w.outcome("a").Class != Interrupted {
			t.Errorf("outcome is %+v", w.outcome("a"))
		}
		w.pass(time.Minute)
		if w.outcome("other").Class != Delivered {
			t.Errorf("outcome is %+v", w.outcome("other"))
		}
	})
}

// Rows in back-off are dropped without a word; one whose attempt fails during the drain is told Interrupted.
func TestDrainDropsWaitingRows(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Lane == "slow" {
			return sinktest.Answer{Delay: 10 * time.Second, Status: 503}
		}
		return sinktest.Answer{Status: 503}
	}
	inWorld(t, Config{Retry: Retry{Initial: time.Minute}}, answer, func(w *world) {
		w.row("waits", "/")
		w.row("slow", "/")
		w.pass(time.Second)
		w.scope.Drain(w.t.Context())
		if w.isFinal("waits") {
			t.Error("the row that waited was told something")
		}
		if o := w.outcome("slow"); o.Class != Interrupted || o.Status != 503 || o.Attempts != 1 {
			t.Errorf("outcome is %+v", o)
		}
		w.sink.mu.Lock() // a worker that has nothing to do any more may just be setting the trim
		defer w.sink.mu.Unlock()
		if n := len(w.sink.alarms); n > 1 { // the trim
			t.Errorf("%d alarms remain", n)
		}
	})
}

func TestDrainWaitsForFinal(t *testing.T) {
	inWorld(t, Config{}, nil, func(w *world) {
		release := make(chan struct{})
		w.scope.Deliver(&Delivery{Request: Request{Method: "POST", URL: w.api.URL()}, Final: func(*Delivery, Outcome) { <-release }})
		w.pass(0)
		drained := make(chan struct{})
		go func() {
			w.scope.Cancel()
			close(drained)
		}()
		w.pass(time.Hour)
		select {
		case <-drained:
			t.Error("Cancel returned before Final did")
		default:
		}
		close(release)
		<-drained
	})
}

func TestCloseInterruptsWhatRuns(t *testing.T) {
	inWorld(t, Config{Breaker: Breaker{Failures: 1, Health: "http://api.test/health"}}, func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/health" || a.Lane == "a" {
			return sinktest.Answer{Fault: sinktest.Hang}
		}
		return sinktest.Answer{Status: 500}
	}, func(w *world) {
		w.row("a", "/")
		w.row("fails", "/")
		w.pass(29500 * time.Millisecond)
		w.sink.Close()
		if w.outcome("a").Class != Interrupted {
			t.Errorf("outcome is %+v", w.outcome("a"))
		}
		w.sink.Close()
		w.scope.Cancel()
		w.sink.NewScope().Cancel()
		w.row("late", "/")
		w.pass(time.Hour)
		if len(w.finals) != 1 {
			t.Errorf("finals are %v", w.finals)
		}
	})
}

func TestTimeoutBoundsTheWholeAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		answer sinktest.Answer
		reason string
	}{
		"never answers": {sinktest.Answer{Fault: sinktest.Hang}, "no whole answer within 5s"},
		"too late":      {sinktest.Answer{Delay: 6 * time.Second}, "no whole answer within 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Config{Timeout: 5 * time.Second, Retry: Retry{Initial: time.Hour, Max: time.Hour}}, func(*sinktest.Attempt) sinktest.Answer { return c.answer }, func(w *world) {
				w.row("a", "/")
				w.pass(10 * time.Second)
				if len(w.waits) != 1 || w.waits[0].at.Round(10*time.Millisecond) != 5*time.Second || w.waits[0].outcome.Reason != c.reason || w.waits[0].outcome.Class != Target {
					t.Errorf("waits are %+v", w.waits)
				}
			})
		})
	}
}
