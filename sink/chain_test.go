package sink

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

func TestDeliveredRowIsFinalWithItsFirstAttempt(t *testing.T) {
	inWorld(t, Config{AttemptHeader: true}, nil, func(w *world) {
		w.row("a", "/x?y=1")
		w.pass(0)
		if o := w.outcome("a"); o.Class != Delivered || o.Status != 200 || o.Attempts != 1 || o.Reason != "" || !o.First.Equal(w.start) {
			t.Errorf("outcome is %+v", o)
		}
		if a := w.api.Attempts()[0]; a.Method != "POST" || a.Path != "/x?y=1" || a.Attempt != 1 {
			t.Errorf("attempt is %+v", a)
		}
		if st := w.sink.Stats(); st.InFlight+st.Waiting+st.Ready != 0 {
			t.Errorf("stats are %+v", st)
		}
	})
}

func TestTargetFailureBacksOffExponentiallyUpToMax(t *testing.T) {
	c := Config{Retry: Retry{Initial: time.Second, Max: 5 * time.Second}, AttemptHeader: true}
	inWorld(t, c, answers(500, 502, 503, 504, 429, 200), func(w *world) {
		w.row("a", "/")
		w.pass(time.Minute)
		want := []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 12 * time.Second, 17 * time.Second}
		if got := w.starts("a"); !slices.Equal(got, want) {
			t.Errorf("attempts at %v, want %v", got, want)
		}
		if o := w.outcome("a"); o.Class != Delivered || o.Attempts != 6 {
			t.Errorf("outcome is %+v", o)
		}
		for i, a := range w.api.Attempts() {
			if a.Attempt != i+1 {
				t.Errorf("attempt %d says %d", i+1, a.Attempt)
			}
		}
		if len(w.waits) != 5 || w.waits[1].outcome.Reason != "answered 502 Bad Gateway" || w.waits[1].until != 3*time.Second || w.waits[1].outcome.Attempts != 2 {
			t.Errorf("waits are %+v", w.waits)
		}
	})
}

func TestJitterStaysWithinTheBackoff(t *testing.T) {
	s, err := New(Config{Retry: Retry{Initial: time.Second, Max: 8 * time.Second}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	low, high := false, false
	for range 1000 {
		if d := s.backoff(3, 0); d < 0 || d > 4*time.Second {
			t.Fatalf("third back-off is %s", d)
		} else {
			low, high = low || d < time.Second, high || d > 3*time.Second
		}
		if d := s.backoff(1_000_000, 0); d > 8*time.Second {
			t.Fatalf("late back-off is %s", d)
		}
		if d := s.backoff(1, 3*time.Second); d < 3*time.Second || d > 4*time.Second {
			t.Fatalf("back-off after 3s is %s", d)
		}
	}
	if !low || !high {
		t.Error("the jitter is not full")
	}
}

func TestRetryAfterIsALowerBoundAndClamped(t *testing.T) {
	for name, c := range map[string]struct {
		value func(start time.Time) string
		want  time.Duration
	}{
		"seconds":             {func(time.Time) string { return "7" }, 7 * time.Second},
		"date":                {func(s time.Time) string { return s.Add(9 * time.Second).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }, 9 * time.Second},
		"date in the past":    {func(s time.Time) string { return s.Add(-time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }, 0},
		"clamped":             {func(time.Time) string { return "86400" }, time.Minute},
		"beyond any number":   {func(time.Time) string { return strings.Repeat("9", 40) }, time.Minute},
		"nothing to be read":  {func(time.Time) string { return "soon" }, 0},
		"negative is no time": {func(time.Time) string { return "-5" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			first := true
			answer := func(a *sinktest.Attempt) sinktest.Answer {
				if first {
					first = false
					return sinktest.Answer{Status: 503, Header: []sinktest.Header{{Name: "Retry-After", Value: c.value(a.Start)}}}
				}
				return sinktest.Answer{}
			}
			inWorld(t, Config{Retry: Retry{Initial: 10 * time.Millisecond, MaxAfter: time.Minute}}, answer, func(w *world) {
				w.row("a", "/")
				w.pass(2 * time.Minute)
				if got := w.starts("a"); len(got) != 2 || got[1] != c.want+10*time.Millisecond {
					t.Errorf("attempts at %v, want the second at %v and the back-off", got, c.want)
				}
			})
		})
	}
}

func TestRejectedRowIsFinalAtOnceAndOthersGoOn(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Lane == "bad" {
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	}
	inWorld(t, Config{Concurrency: 1}, answer, func(w *world) {
		w.row("bad", "/")
		w.row("good", "/")
		w.pass(0)
		if o := w.outcome("bad"); o.Class != Rejected || o.Status != 422 || o.Reason != "answered 422 Unprocessable Entity" {
			t.Errorf("outcome is %+v", o)
		}
		w.outcome("good")
	})
}

func TestCredentialsWaitAndDoNotOpenTheBreaker(t *testing.T) {
	inWorld(t, Config{Breaker: Breaker{Failures: 1}}, answers(401, 403, 407, 200), func(w *world) {
		w.row("a", "/")
		w.pass(time.Hour)
		if o := w.outcome("a"); o.Class != Delivered || o.Attempts != 4 {
			t.Errorf("outcome is %+v", o)
		}
		if w.waits[0].outcome.Class != Credentials || len(w.breaker) != 0 {
			t.Errorf("waits %+v, breaker %v", w.waits, w.breaker)
		}
	})
}

func TestStatusesOfTheJobWin(t *testing.T) {
	c := Config{Statuses: map[Class][]int{Delivered: {404}, Target: {422}}}
	inWorld(t, c, answers(422, 404), func(w *world) {
		w.row("a", "/")
		w.pass(time.Minute)
		if o := w.outcome("a"); o.Class != Delivered || o.Status != 404 || o.Attempts != 2 {
			t.Errorf("outcome is %+v", o)
		}
	})
}

// Ten rows that always fail have two slots: if a waiting row held one, the good rows would never start.
func TestWaitingRowsHoldNoSlot(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if strings.HasPrefix(a.Lane, "poison") {
			return sinktest.Answer{Status: 500}
		}
		return sinktest.Answer{}
	}
	c := Config{Concurrency: 2, Breaker: Breaker{Failures: 1000}, Retry: Retry{Initial: time.Hour, Max: time.Hour}}
	inWorld(t, c, answer, func(w *world) {
		for i := range 10 {
			w.row("poison"+string(rune('0'+i)), "/")
		}
		w.row("good", "/")
		w.pass(time.Second)
		w.outcome("good")
		if st := w.sink.Stats(); st.Waiting != 10 || st.InFlight != 0 {
			t.Errorf("stats are %+v", st)
		}
	})
}

func TestPermitIsAskedAgainAfterItsTime(t *testing.T) {
	inWorld(t, Config{}, nil, func(w *world) {
		open := w.start.Add(10 * time.Second)
		asked := 0
		w.sink.permit = func() time.Duration {
			asked++
			if time.Now().Before(open) {
				return 4 * time.Second
			}
			return 0
		}
		w.row("a", "/")
		w.pass(9 * time.Second)
		if st := w.sink.Stats(); st.Waiting != 1 || st.Ready != 0 || st.InFlight != 0 || w.api.Len() != 0 {
			t.Errorf("without a permit the stats are %+v", st)
		}
		w.pass(time.Minute)
		if got := w.starts("a"); len(got) != 1 || got[0] != 12*time.Second {
			t.Errorf("attempts at %v", got)
		}
		if asked > 8 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// The permit is withdrawn between pick and write: nothing is sent and no attempt counted.
func TestPermitWithdrawnInTheLastMoment(t *testing.T) {
	inWorld(t, Config{AttemptHeader: true}, nil, func(w *world) {
		calls := 0
		w.sink.permit = func() time.Duration {
			if calls++; calls == 2 || calls == 3 {
				return time.Second
			}
			return 0
		}
		w.row("a", "/")
		w.pass(time.Minute)
		if o := w.outcome("a"); o.Attempts != 1 || w.starts("a")[0] != time.Second || len(w.tries) != 1 || len(w.waits) != 0 {
			t.Errorf("outcome %+v, starts %v, tries %v", o, w.starts("a"), w.tries)
		}
	})
}

// The server closes a kept connection while a request is on its way: the row is tried again at once on a new one, once, and the
// server would see by Streamer-Attempt that it was not the first.
func TestKeptConnectionClosedByTheServer(t *testing.T) {
	var resets atomic.Int32
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Lane != "a" && resets.Add(-1) >= 0 {
			return sinktest.Answer{Fault: sinktest.Reset}
		}
		return sinktest.Answer{}
	}
	c := Config{AttemptHeader: true, Breaker: Breaker{Failures: 2}, Retry: Retry{Initial: time.Minute}}
	inWorld(t, c, answer, func(w *world) {
		w.row("a", "/")
		w.pass(time.Second)
		resets.Store(1)
		w.row("b", "/")
		w.pass(0)
		if o := w.outcome("b"); o.Class != Delivered || o.Attempts != 2 || len(w.waits) != 0 {
			t.Errorf("outcome is %+v, waits %+v", o, w.waits)
		}
		if a := w.api.Attempts()[2]; a.Attempt != 2 || a.Lane != "b" {
			t.Errorf("attempt is %+v", a)
		}
		resets.Store(2)
		w.row("c", "/")
		w.pass(time.Hour)
		if o := w.outcome("c"); o.Class != Delivered || o.Attempts != 3 || len(w.waits) != 1 || w.waits[0].outcome.Class != Target {
			t.Errorf("outcome is %+v, waits %+v", o, w.waits)
		}
		if len(w.breaker) != 0 {
			t.Errorf("breaker %v", w.breaker)
		}
	})
}

// A lane's next row is delivered from within Final.
func TestDeliverFromFinal(t *testing.T) {
	inWorld(t, Config{Concurrency: 3}, nil, func(w *world) {
		var next func(*Delivery, Outcome)
		left := 100
		next = func(d *Delivery, o Outcome) {
			if left--; left > 0 {
				w.scope.Deliver(d)
			}
		}
		w.scope.Deliver(&Delivery{Request: Request{Method: "POST", URL: w.api.URL()}, Final: next})
		w.pass(0)
		if left != 0 || w.api.Len() != 100 || w.workers() != 1 {
			t.Errorf("%d left, %d attempts, %d workers", left, w.api.Len(), w.workers())
		}
		w.pass(time.Minute)
		if n := w.workers(); n != 0 {
			t.Errorf("%d workers remain", n)
		}
	})
}
