package sink

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestRateSpacesAttemptsRetriesIncluded(t *testing.T) {
	c := Config{Rate: Rate{Count: 2, Per: time.Second}, Breaker: Breaker{Failures: 100}, Retry: hurried}
	inWorld(t, c, answers(500, 500, 200), func(w *world) {
		for i := range 3 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(time.Minute)
		want := []time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond, 2 * time.Second}
		if got := w.starts(""); !slices.Equal(got, want) {
			t.Errorf("attempts at %v, want %v", got, want)
		}
	})
}

func TestRateBurstThenPace(t *testing.T) {
	c := Config{Rate: Rate{Count: 60, Per: time.Minute, Burst: 3}}
	inWorld(t, c, nil, func(w *world) {
		for i := range 5 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(100 * time.Millisecond)
		if st := w.sink.Stats(); st.Waiting != 2 || st.InFlight != 0 || st.Ready != 0 {
			t.Errorf("stats are %+v", st)
		}
		w.pass(time.Hour)
		for i := range 5 { // the burst has come back, and not more
			w.row(fmt.Sprint("late", i), "/")
		}
		w.pass(time.Hour)
		got := w.starts("")
		for i, want := range []time.Duration{0, 0, 0, time.Second, 2 * time.Second} {
			if got[i] != want {
				t.Errorf("attempts at %v", got)
			}
			if late := got[5+i] - got[5]; late != want {
				t.Errorf("late attempts at %v", got[5:])
			}
		}
	})
}

// A row that is dropped while it waits for the rate must not take its place with it, nor leave a second one behind.
func TestDroppedRowLeavesTheRateAsItWas(t *testing.T) {
	c := Config{Rate: Rate{Count: 1, Per: time.Second}}
	inWorld(t, c, nil, func(w *world) {
		w.row("a", "/")
		w.row("dropped", "/")
		w.pass(100 * time.Millisecond)
		w.scope.Cancel()
		w.scope = w.sink.NewScope()
		w.pass(time.Minute)
		w.row("b", "/")
		w.row("c", "/")
		w.pass(time.Minute)
		got := w.starts("")
		if len(got) != 3 || got[2]-got[1] != time.Second {
			t.Errorf("attempts at %v", got)
		}
	})
}

// An open breaker takes no place in the rate.
func TestParkedRowsDoNotUseTheRate(t *testing.T) {
	c := Config{Rate: Rate{Count: 1, Per: time.Second}, Breaker: Breaker{Failures: 1, Open: time.Hour}, Retry: hurried}
	inWorld(t, c, answers(500, 200), func(w *world) {
		w.send("down", "http://down.test/")
		w.pass(0)
		for i := range 10 {
			w.send(fmt.Sprint("parked", i), "http://down.test/")
		}
		w.send("a", "http://up.test/")
		w.send("b", "http://up.test/")
		w.pass(2 * time.Second)
		if got := w.starts("b"); len(got) != 1 || got[0] != 2*time.Second {
			t.Errorf("b at %v", got)
		}
	})
}

func TestHighRatesAreReached(t *testing.T) {
	c := Config{Rate: Rate{Count: 20_000, Per: time.Second}}
	inWorld(t, c, nil, func(w *world) {
		for i := range 2000 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(time.Second)
		got := w.starts("")
		if last := got[len(got)-1]; len(got) != 2000 || last < 95*time.Millisecond || last > 105*time.Millisecond {
			t.Errorf("%d attempts, the last at %v, want 100ms", len(got), last)
		}
	})
}
