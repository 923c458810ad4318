package sink

import (
	"fmt"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

// failing answers 500 after a second, so that a row can be met in flight and backing off.
func failing(*sinktest.Attempt) sinktest.Answer {
	return sinktest.Answer{Status: 500, Delay: time.Second}
}

func TestLook(t *testing.T) {
	c := Config{Concurrency: 1, Retry: Retry{Initial: 10 * time.Second, Max: 10 * time.Second}, Breaker: Breaker{Failures: 2, Open: time.Hour}}
	inWorld(t, c, failing, func(w *world) {
		a, b, third := w.row("a", "/"), w.row("b", "/"), w.row("c", "/")
		w.pass(time.Millisecond)
		if l := w.scope.Look(a); !l.InFlight || !l.Here || l.Attempts != 0 || l.Last.Class != "" {
			t.Errorf("in flight: %+v", l)
		}
		if l := w.scope.Look(b); l.InFlight || l.Wait != "slot" {
			t.Errorf("without a slot: %+v", l)
		}
		w.pass(time.Second)
		if l := w.scope.Look(a); l.Wait != "back-off" || l.Next.Sub(w.start) != 11*time.Second || l.Attempts != 1 || l.Last.Status != 500 {
			t.Errorf("backing off: %+v", l)
		}
		w.pass(2 * time.Second) // two of them have failed: the breaker is open
		if l := w.scope.Look(third); l.Wait != "breaker" || l.Next.IsZero() {
			t.Errorf("behind the breaker: %+v", l)
		}
		w.scope.Cancel()
		if l := w.scope.Look(a); l.Here || l.Last.Status != 500 {
			t.Errorf("after the end: %+v", l)
		}
	})
}

func TestHurryEndsTheBackOff(t *testing.T) {
	c := Config{Retry: Retry{Initial: time.Hour, Max: time.Hour}}
	inWorld(t, c, failing, func(w *world) {
		a := w.row("a", "/")
		w.pass(2 * time.Second)
		w.scope.Hurry(a)
		w.scope.Hurry(a)
		w.pass(2 * time.Second)
		if n := w.api.Len(); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
	})
}

// A row is taken back while it waits, while its attempt runs (which fails), and when it is final already.
func TestWithdraw(t *testing.T) {
	c := Config{Retry: Retry{Initial: time.Hour, Max: time.Hour}}
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/fine" {
			return sinktest.Answer{}
		}
		return failing(a)
	}
	inWorld(t, c, answer, func(w *world) {
		fine, waiting := w.row("fine", "/fine"), w.row("waiting", "/")
		w.pass(2 * time.Second)
		running := w.row("running", "/")
		w.pass(time.Millisecond)
		if w.scope.Withdraw(fine) {
			t.Error("a final row was taken back")
		}
		if !w.scope.Withdraw(waiting) || w.scope.Withdraw(waiting) {
			t.Error("a waiting row is to be taken back once")
		}
		if w.scope.Withdraw(running) {
			t.Error("a row was taken back although its attempt runs")
		}
		w.pass(2 * time.Hour)
		if o := w.outcome("running"); o.Class != Interrupted || o.Reason == "" || o.Attempts != 1 {
			t.Errorf("the row whose attempt ran: %+v", o)
		}
		if len(w.finals) != 2 || w.api.Len() != 3 {
			t.Errorf("%d attempts, finals %v", w.api.Len(), w.finals)
		}
		if st := w.sink.Stats(); st.Waiting+st.Ready+st.InFlight != 0 || st.Targets[0].Rows != 0 {
			t.Errorf("stats are %+v", st)
		}
		w.scope.Cancel() // every list is in order
	})
}

// The login was mended: the operator need not wait for the next probe.
func TestHurryProbesATargetOnHold(t *testing.T) {
	var api door
	api.status.Store(401)
	inWorld(t, Config{Retry: Retry{Initial: time.Hour, Max: time.Hour}}, api.answer, func(w *world) {
		w.row("a", "/")
		b := w.row("b", "/")
		w.pass(time.Second)
		if l := w.scope.Look(b); l.Wait != "hold" || l.Next.Sub(w.start) < time.Hour || l.Last.Class != Credentials {
			t.Errorf("held: %+v", l)
		}
		api.status.Store(200)
		w.scope.Hurry(b)
		w.pass(time.Second)
		if w.outcome("b"); w.order[0] != "b" {
			t.Errorf("the probe was %s", w.order[0])
		}
		w.outcome("a")
	})
}

// A sink has rows enough while those that only wait for a slot would fill a quarter of all slots, and has never with two targets.
func TestAmple(t *testing.T) {
	inWorld(t, Config{Concurrency: 8}, slow(time.Second), func(w *world) {
		for i := range 11 {
			w.row(fmt.Sprint(i), "/")
			w.pass(0)
			if got, want := w.sink.Ample(), i >= 9; got != want {
				t.Errorf("%d rows for 8 slots: ample %v", i+1, got)
			}
		}
		w.send("other", "http://127.0.0.1:1/")
		w.pass(0)
		if w.sink.Ample() {
			t.Error("ample with two targets")
		}
		w.scope.Cancel()
	})
}
