package sink

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

// outage answers 503 while it is on.
type outage struct{ on atomic.Bool }

func (o *outage) answer(*sinktest.Attempt) sinktest.Answer {
	if o.on.Load() {
		return sinktest.Answer{Status: 503}
	}
	return sinktest.Answer{}
}

// ending the waits of the rows, so that the breaker's times show alone
var hurried = Retry{Initial: time.Millisecond, Max: time.Millisecond}

func TestBreakerOpensParksProbesWithRotatingRowsAndCloses(t *testing.T) {
	var api outage
	api.on.Store(true)
	c := Config{Concurrency: 1, Breaker: Breaker{Failures: 3, Open: 10 * time.Second}, Retry: hurried}
	inWorld(t, c, api.answer, func(w *world) {
		for i := range 6 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(9 * time.Second)
		if n := w.api.Len(); n != 3 {
			t.Fatalf("%d attempts before the first probe, want the 3 that opened it", n)
		}
		if st := w.sink.Stats(); st.Waiting != 6 || st.Ready != 0 || !st.Targets[0].Open || st.Targets[0].Cause != "answered 503 Service Unavailable" {
			t.Errorf("stats are %+v", st)
		}
		w.pass(32 * time.Second) // probes at 10, 20, 30 and 40 s
		var probers []string
		for _, a := range w.api.Attempts()[3:] {
			probers = append(probers, a.Lane)
		}
		if want := []string{"3", "4", "5", "2"}; !slices.Equal(probers, want) {
			t.Errorf("probes by %v, want each time another row, as %v", probers, want)
		}
		api.on.Store(false)
		w.pass(10 * time.Second)
		for i := range 6 {
			w.outcome(fmt.Sprint(i))
		}
		if want := []string{"open http://api.test:80", "closed http://api.test:80"}; !slices.Equal(w.breaker, want) {
			t.Errorf("breaker said %v", w.breaker)
		}
		if st := w.sink.Stats(); st.Targets[0].Open || st.Targets[0].Cause != "" {
			t.Errorf("stats are %+v", st)
		}
	})
}

// What the open breaker's target failed with stays to be seen until the breaker closes: neither a late success nor a late failure of
// an attempt that had begun before changes it, only a probe does.
func TestCauseOfTheOpenBreakerStaysUntilItCloses(t *testing.T) {
	probe := atomic.Int32{}
	probe.Store(500)
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		switch {
		case a.Lane == "opens":
			if a.Attempt == 1 {
				return sinktest.Answer{Status: 503, Delay: time.Second}
			}
		case a.Lane == "late success":
			return sinktest.Answer{Delay: 2 * time.Second}
		case a.Lane == "late failure" && a.Attempt == 1:
			return sinktest.Answer{Status: 502, Delay: 3 * time.Second}
		}
		return sinktest.Answer{Status: int(probe.Load())}
	}
	c := Config{AttemptHeader: true, Breaker: Breaker{Failures: 1, Open: 10 * time.Second}, Retry: hurried}
	inWorld(t, c, answer, func(w *world) {
		for _, name := range []string{"opens", "late success", "late failure"} {
			w.row(name, "/")
		}
		cause := func(at time.Duration, open bool, want string) {
			t.Helper()
			w.pass(at - time.Since(w.start))
			if ts := w.sink.Stats().Targets[0]; ts.Open != open || ts.Cause != want {
				t.Errorf("after %v the target is %+v, want open %v with cause %q", at, ts, open, want)
			}
		}
		cause(1500*time.Millisecond, true, "answered 503 Service Unavailable")
		cause(2500*time.Millisecond, true, "answered 503 Service Unavailable")
		w.outcome("late success")
		cause(3500*time.Millisecond, true, "answered 503 Service Unavailable")
		cause(12*time.Second, true, "answered 500 Internal Server Error")
		probe.Store(200)
		cause(25*time.Second, false, "")
	})
}

// One row that fails again and again is counted once: its own back-off is the brake.
func TestOneFailingRowDoesNotOpenTheBreaker(t *testing.T) {
	c := Config{Breaker: Breaker{Failures: 2}, Retry: hurried}
	inWorld(t, c, answers(500), func(w *world) {
		w.row("a", "/")
		w.pass(time.Second)
		if n := w.api.Len(); n < 100 || len(w.breaker) != 0 {
			t.Errorf("%d attempts, breaker %v", n, w.breaker)
		}
	})
}

func TestRejectionProvesThatTheTargetLives(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Lane == "rejected" {
			return sinktest.Answer{Status: 400}
		}
		return sinktest.Answer{Status: 500}
	}
	c := Config{Concurrency: 1, Breaker: Breaker{Failures: 3}, Retry: Retry{Initial: time.Hour, Max: time.Hour}}
	inWorld(t, c, answer, func(w *world) {
		for _, name := range []string{"a", "b", "rejected", "c", "d"} {
			w.row(name, "/")
		}
		w.pass(time.Second)
		if len(w.breaker) != 0 {
			t.Errorf("breaker %v", w.breaker)
		}
		w.row("e", "/")
		w.pass(time.Second)
		if len(w.breaker) != 1 {
			t.Errorf("breaker %v", w.breaker)
		}
	})
}

func TestInterruptedProbeProvesNothing(t *testing.T) {
	var api outage
	api.on.Store(true)
	hang := atomic.Bool{}
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if hang.Load() {
			return sinktest.Answer{Fault: sinktest.Hang}
		}
		return api.answer(a)
	}
	c := Config{Breaker: Breaker{Failures: 1, Open: 10 * time.Second}, Retry: hurried}
	inWorld(t, c, answer, func(w *world) {
		w.row("a", "/")
		w.pass(time.Second)
		other := w.sink.NewScope()
		w.row("b", "/")
		hang.Store(true)
		w.pass(9500 * time.Millisecond) // a's probe hangs
		hang.Store(false)
		api.on.Store(false)
		d := &Delivery{Request: Request{Method: "POST", URL: w.api.URL()}, Row: "other", Final: w.final}
		other.Deliver(d)
		w.scope.Cancel()
		w.pass(0)
		if o := w.outcome("other"); o.Class != Delivered {
			t.Errorf("outcome is %+v", o)
		}
		if o := w.outcome("a"); o.Class != Interrupted {
			t.Errorf("outcome is %+v", o)
		}
		if w.isFinal("b") {
			t.Error("a row that waited was told something")
		}
	})
}

func TestHealthURLDecidesInsteadOfRows(t *testing.T) {
	var api outage
	api.on.Store(true)
	c := Config{Breaker: Breaker{Failures: 2, Open: 10 * time.Second, Health: "http://api.test/health"}, Retry: hurried}
	inWorld(t, c, api.answer, func(w *world) {
		for i := range 5 {
			w.row(fmt.Sprint(i), "/rows")
		}
		w.pass(35 * time.Second)
		var health, late int
		for _, a := range w.api.Attempts() {
			if a.Path == "/health" && a.Method == "GET" {
				health++
			} else if a.Start.Sub(w.start) > time.Second {
				late++
			}
		}
		if health != 3 || late != 0 {
			t.Errorf("%d questions to the health URL, %d attempts of rows meanwhile", health, late)
		}
		api.on.Store(false)
		w.pass(10 * time.Second)
		for i := range 5 {
			w.outcome(fmt.Sprint(i))
		}
		if len(w.breaker) != 2 {
			t.Errorf("breaker said %v", w.breaker)
		}
	})
}

func TestOtherTargetsOfTheJobAreUntouched(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/down" {
			return sinktest.Answer{Status: 500}
		}
		return sinktest.Answer{}
	}
	c := Config{Concurrency: 2, Breaker: Breaker{Failures: 2, Open: time.Hour}, Retry: hurried}
	inWorld(t, c, answer, func(w *world) {
		for i := range 50 {
			w.send(fmt.Sprint("down", i), "http://down.test/down")
		}
		for i := range 50 {
			w.send(fmt.Sprint("up", i), "https://up.test:80/up")
			w.send(fmt.Sprint("good", i), "http://UP.test/up")
		}
		w.pass(time.Second)
		for i := range 50 {
			w.outcome(fmt.Sprint("good", i))
		}
		down := 0
		for _, a := range w.api.Attempts() {
			if a.Path == "/down" {
				down++
			}
		}
		if down > 3 {
			t.Errorf("%d attempts at the open target", down)
		}
	})
}

// A slow target may not take the last slots from another one.
func TestSlowTargetLeavesSlotsToOthers(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/slow" {
			return sinktest.Answer{Delay: 20 * time.Second}
		}
		return sinktest.Answer{}
	}
	for name, concurrency := range map[string]int{"two slots": 2, "ten slots": 10, "a hundred slots": 100} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Config{Concurrency: concurrency}, answer, func(w *world) {
				// so that both are in use when the slots are given out
				w.sink.permit = func() time.Duration { return max(time.Until(w.start.Add(time.Second)), 0) }
				for i := range 200 {
					w.send(fmt.Sprint("slow", i), "http://slow.test/slow")
				}
				for i := range 10 {
					w.send(fmt.Sprint("quick", i), "http://quick.test/quick")
				}
				w.pass(2 * time.Second)
				for i := range 10 {
					w.outcome(fmt.Sprint("quick", i))
				}
				if n := w.sink.Stats().InFlight; n < concurrency/2 {
					t.Errorf("the slow one has only %d of %d slots", n, concurrency)
				}
				w.pass(time.Hour)
				w.outcome("slow199")
			})
		})
	}
}

func TestTargetsAreBounded(t *testing.T) {
	inWorld(t, Config{}, nil, func(w *world) {
		for i := range 3 * maxTargets {
			w.send(fmt.Sprint(i), fmt.Sprintf("http://h%d.test/", i))
			w.pass(0)
			w.outcome(fmt.Sprint(i))
		}
		if n := len(w.sink.targets); n > maxTargets {
			t.Errorf("%d targets are remembered", n)
		}
		if n := len(w.sink.prefixes); n > 4*maxTargets {
			t.Errorf("%d places are remembered", n)
		}
	})
}
