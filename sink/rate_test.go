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

// Another share takes effect at once, for the place that was reserved ahead too, and no burst comes of it.
func TestShareChangesThePace(t *testing.T) {
	c := Config{Rate: Rate{Count: 1, Per: time.Second}}
	inWorld(t, c, nil, func(w *world) {
		w.sink.SetShare(0.01)
		for i := range 8 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(50 * time.Second) // halfway to the second
		w.sink.SetShare(0.1)     // the other half takes five seconds
		w.pass(6 * time.Second)
		w.sink.SetShare(1)
		w.pass(time.Minute)
		// one at first; half a place by a share of a hundredth and half by a tenth; a tenth of a place and the rest by the whole
		want := []time.Duration{0, 55 * time.Second, 56900 * time.Millisecond, 57900 * time.Millisecond, 58900 * time.Millisecond}
		if got := w.starts(""); len(got) != 8 || !slices.Equal(got[:5], want) {
			t.Errorf("attempts at %v, want %v, …", got, want)
		}
	})
}

// Whatever the shares do, attempts never run ahead of the sum of what they allowed by more than the burst; what was saved by a large
// share is not spent under a small one.
func TestSharesNeverLetABurstPass(t *testing.T) {
	shares := []float64{1, 0.5, 0.05, 0.7, 0.05, 1, 0.01, 0.3}
	for _, r := range []Rate{{Count: 20, Per: time.Second, Burst: 10}, {Count: 2, Per: time.Second}, {Count: 2000, Per: time.Second, Burst: 100}} {
		t.Run(fmt.Sprint(r.Count, " a second"), func(t *testing.T) {
			inWorld(t, Config{Rate: r, Concurrency: 32}, nil, func(w *world) {
				stop := w.traffic(32)
				type span struct {
					from, to time.Duration
					share    float64
				}
				var spans []span
				for i := range 40 {
					sh := shares[i%len(shares)]
					from := time.Since(w.start)
					w.sink.SetShare(sh)
					w.pass(time.Duration(300+137*i%1000) * time.Millisecond)
					spans = append(spans, span{from, time.Since(w.start), sh})
				}
				stop()
				starts := w.starts("")
				allowed := float64(r.Burst) + 1
				n := 0
				for _, sp := range spans {
					_, burst := r.of(sp.share)
					allowed = min(allowed, float64(n+burst+1)) // saved: at most its burst
					for ; n < len(starts) && starts[n] < sp.to; n++ {
						if most := allowed + (starts[n]-sp.from).Seconds()*r.Count*sp.share; float64(n) > most {
							t.Fatalf("attempt %d at %v, with a share of %v: %v were allowed", n+1, starts[n], sp.share, most)
						}
					}
					allowed += (sp.to - sp.from).Seconds() * r.Count * sp.share
				}
				if float64(n) < 0.8*(allowed-float64(r.Burst)) {
					t.Errorf("%d attempts of %v that were allowed", n, allowed)
				}
			})
		})
	}
}
