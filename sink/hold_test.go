package sink

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"streamer/sink/sinktest"
	"streamer/sink/wire"
)

// door answers with its status while that is not 0.
type door struct {
	status atomic.Int32
	after  atomic.Int32 // Retry-After
}

func (d *door) answer(*sinktest.Attempt) sinktest.Answer {
	a := sinktest.Answer{Delay: 10 * time.Millisecond, Status: int(d.status.Load())}
	if s := d.after.Load(); s > 0 {
		a.Header = []sinktest.Header{{Name: "Retry-After", Value: fmt.Sprint(s)}}
	}
	return a
}

// lanesOf are the rows of attempts, in their order.
func lanesOf(attempts []sinktest.Attempt) (out []string) {
	for _, a := range attempts {
		out = append(out, a.Lane)
	}
	return out
}

// 401 for everybody: nothing is given up or counted, probes go one at a time, each by another row, with growing waits, and the first
// that passes lets all rows go on without a restart.
func TestRefusedCredentialsHoldTheTarget(t *testing.T) {
	var api door
	api.status.Store(401)
	c := Config{Concurrency: 3, Retry: Retry{Initial: time.Second, Max: 8 * time.Second, Attempts: 1}, AttemptHeader: true}
	inWorld(t, c, api.answer, func(w *world) {
		for i := range 8 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(60 * time.Second)
		// Three were in flight; all others came as probes, 1, 2, 4, 8, 8, … seconds apart.
		probes := w.api.Attempts()[3:]
		got, want := lanesOf(probes), []string{"3", "4", "5", "6", "7", "0", "1", "2", "3"}
		slices.Sort(got[5:8]) // those in flight were answered in any order
		if !slices.Equal(got, want) {
			t.Errorf("probes by %v, want each time another row, as %v", got, want)
		}
		for i, p := range probes[1:] {
			if wait := p.Start.Sub(probes[i].End).Round(time.Second); wait != min(time.Second<<(i+1), 8*time.Second) {
				t.Errorf("probe %d came %v after the one before", i+1, wait)
			}
		}
		st := w.sink.Stats()
		if len(st.Holds) != 1 || st.Waiting != 8 || st.InFlight+st.Ready != 0 || st.Targets[0].Open {
			t.Fatalf("stats are %+v", st)
		}
		h := st.Holds[0]
		if h.Target != "http://api.test:80" || h.Class != Credentials || h.Cause != "answered 401 Unauthorized" || h.Since.Sub(w.start) > time.Second || !h.Next.After(time.Now()) {
			t.Errorf("hold is %+v", h)
		}
		api.status.Store(200)
		w.pass(8 * time.Second)
		for i := range 8 {
			if o := w.outcome(fmt.Sprint(i)); o.Class != Delivered || o.Counted != 0 {
				t.Errorf("row %d: %+v", i, o)
			}
		}
		if got, want := w.heldSaid(), []string{"held credentials http://api.test:80", "ended credentials http://api.test:80"}; !slices.Equal(got, want) {
			t.Errorf("the observer was told %v", got)
		}
		if st := w.sink.Stats(); len(st.Holds) != 0 || len(w.breaker) != 0 {
			t.Errorf("stats are %+v, breaker %v", st, w.breaker)
		}
	})
}

// One record is forbidden and all others pass: it is rejected, and the others hardly notice.
func TestForbiddenRecordAmongSuccessesIsRejected(t *testing.T) {
	for name, c := range map[string]Config{"one at a time": {Concurrency: 1}, "many": {Concurrency: 16}} {
		t.Run(name, func(t *testing.T) {
			answer := poisoned(sinktest.Answer{Status: 403, Delay: 100 * time.Millisecond})
			inWorld(t, c, answer, func(w *world) {
				stop := w.traffic(3)
				w.row("poison", "/")
				w.pass(10 * time.Second)
				stop()
				// How many back-offs fall into the time before another request can have begun and succeeded is chance; one attempt after that
				// is the last.
				proven := 100*time.Millisecond + 2*100*time.Millisecond
				late := 0
				for _, start := range w.starts("poison") {
					if start > proven {
						late++
					}
				}
				o := w.outcome("poison")
				if o.Class != Rejected || o.Status != 403 || late > 1 || o.Reason != "answered 403 Forbidden, while other requests with the same credentials succeeded" {
					t.Errorf("outcome is %+v", o)
				}
				if n, most := len(w.starts("")), 100*min(c.Concurrency, 3); n < most-3 {
					t.Errorf("%d attempts in ten seconds, want nearly %d", n, most)
				}
				if said := w.heldSaid(); len(said) != 0 {
					t.Errorf("one refused row was news: %v", said)
				}
			})
		})
	}
}

// The forbidden record is alone: there is nobody to prove it by, so it waits. The first other row proves it at once, however long
// the wait until the next probe was.
func TestForbiddenRecordThatWasAloneIsRejectedWhenAnotherComes(t *testing.T) {
	inWorld(t, Config{}, poisoned(sinktest.Answer{Status: 403}), func(w *world) {
		w.row("poison", "/")
		w.pass(time.Hour)
		if st := w.sink.Stats(); len(st.Holds) != 1 || w.isFinal("poison") {
			t.Fatalf("stats are %+v", st)
		}
		w.row("good", "/")
		w.pass(150 * time.Millisecond)
		w.outcome("good")
		if o := w.outcome("poison"); o.Class != Rejected {
			t.Errorf("outcome is %+v", o)
		}
		if said := w.heldSaid(); len(said) != 2 {
			t.Errorf("the observer was told %v", said)
		}
	})
}

// A slow request had passed the door before the credentials were withdrawn. Its late success proves nothing of the rows that were
// refused meanwhile: if it did, all of them would be given up.
func TestLateSuccessOfTheTimeBeforeProvesNothing(t *testing.T) {
	var withdrawn atomic.Bool
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if withdrawn.Load() {
			return sinktest.Answer{Status: 401, Delay: 2 * time.Second}
		}
		return sinktest.Answer{Delay: 2500 * time.Millisecond}
	}
	inWorld(t, Config{Concurrency: 10}, answer, func(w *world) {
		for i := range 5 {
			w.row(fmt.Sprint("before", i), "/")
		}
		w.pass(time.Second)
		withdrawn.Store(true)
		for i := range 5 {
			w.row(fmt.Sprint("behind", i), "/")
		}
		w.pass(10 * time.Second)
		for i := range 5 {
			w.outcome(fmt.Sprint("before", i))
			if name := fmt.Sprint("behind", i); w.isFinal(name) {
				t.Errorf("%s: %+v", name, w.outcome(name))
			}
		}
		if st := w.sink.Stats(); len(st.Holds) != 1 {
			t.Errorf("stats are %+v", st)
		}
	})
}

// Requests overtake one another: one that began later passed the door just before the credentials were withdrawn, one that began
// earlier came just after. The first one's success is no proof that the second one alone is refused.
func TestASuccessThatOvertookTheRefusedRowProvesNothing(t *testing.T) {
	var open atomic.Bool
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Lane == "overtakes" || open.Load() {
			return sinktest.Answer{Delay: 20 * time.Millisecond}
		}
		return sinktest.Answer{Status: 401, Delay: 50 * time.Millisecond}
	}
	inWorld(t, Config{Concurrency: 10, Retry: steady}, answer, func(w *world) {
		for i := range 5 {
			w.row(fmt.Sprint("late", i), "/")
		}
		w.row("overtakes", "/")
		w.pass(10 * time.Second)
		w.outcome("overtakes")
		open.Store(true)
		w.pass(10 * time.Second)
		for i := range 5 {
			if o := w.outcome(fmt.Sprint("late", i)); o.Class != Delivered {
				t.Errorf("row %d: %+v", i, o)
			}
		}
	})
}

// A probe that fails otherwise ends the hold, too: the credentials are not what is wrong now.
func TestProbeWithAnotherAnswerEndsTheHold(t *testing.T) {
	for _, status := range []int{500, 404} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var api door
			api.status.Store(401)
			inWorld(t, Config{Retry: steady}, api.answer, func(w *world) {
				for i := range 3 {
					w.row(fmt.Sprint(i), "/")
				}
				w.pass(10 * time.Second)
				api.status.Store(int32(status))
				w.pass(2 * time.Second)
				if said := w.heldSaid(); len(said) != 2 || len(w.sink.Stats().Holds) != 0 {
					t.Errorf("the observer was told %v", said)
				}
			})
		})
	}
}

func TestRetryAfterOfRefusedCredentialsIsRespected(t *testing.T) {
	var api door
	api.status.Store(403)
	api.after.Store(60)
	inWorld(t, Config{Concurrency: 1, Retry: steady}, api.answer, func(w *world) {
		for i := range 3 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(150 * time.Second)
		if got := w.starts(""); len(got) != 3 || got[1] < time.Minute || got[2] < 2*time.Minute {
			t.Errorf("attempts at %v", got)
		}
	})
}

// Rows with logins of their own: the one that is refused does not stop the others but for a moment at a time, and is not given up,
// since nothing was delivered with its login.
func TestLoginOfOneRowIsNotProvenByThatOfOthers(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		for _, h := range a.Header {
			if h.Name == "Authorization" && h.Value == "wrong" {
				return sinktest.Answer{Status: 401}
			}
		}
		return sinktest.Answer{Delay: 100 * time.Millisecond}
	}
	inWorld(t, Config{}, answer, func(w *world) {
		w.api.KeepHeaders = true
		defer w.traffic(2)()
		d := &Delivery{Request: Request{Method: "POST", URL: w.api.URL(), Header: []Header{{"X-Lane", "wrong"}, {"Authorization", "wrong"}}}, Row: "wrong", Final: w.final}
		w.scope.Deliver(d)
		w.pass(10 * time.Minute)
		if w.isFinal("wrong") {
			t.Errorf("outcome is %+v", w.outcome("wrong"))
		}
		if n := len(w.starts("wrong")); n < 10 || n > 30 {
			t.Errorf("%d attempts of the refused row", n)
		}
		if n := len(w.starts("traffic0")); n < 5900 {
			t.Errorf("%d attempts of the others", n)
		}
	})
}

// Our own guard refuses the address: no attempt is counted, the breaker knows nothing of it, and a probe dials again.
func TestRefusedAddressHoldsTheTarget(t *testing.T) {
	var closed atomic.Bool
	closed.Store(true)
	c := Config{Concurrency: 2, Breaker: Breaker{Failures: 1}, Retry: steady}
	inWorld(t, c, nil, func(w *world) {
		request := w.sink.attempt
		var dials, kept atomic.Int32 // kept: those that might have had a kept connection, the two at first
		w.sink.attempt = func(wk *worker, d *Delivery) result {
			dials.Add(1)
			if closed.Load() && !d.fresh && kept.Add(1) > 2 {
				t.Error("a probe may use a kept connection")
			}
			if closed.Load() {
				return w.sink.classify(anyRow(), nil, &wire.Error{Op: wire.OpDial, Err: &AddressError{Host: "api.test", IP: netip.MustParseAddr("10.0.0.1")}})
			}
			d.fresh = false
			return request(wk, d)
		}
		for i := range 4 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(10500 * time.Millisecond)
		st := w.sink.Stats()
		if len(st.Holds) != 1 || st.Holds[0].Class != Address || !strings.Contains(st.Holds[0].Cause, "STREAMER_ALLOW_HOSTS") || len(w.breaker) != 0 || st.Waiting != 4 {
			t.Errorf("stats are %+v", st)
		}
		if n := dials.Load(); n < 12 || n > 14 {
			t.Errorf("%d dials in ten seconds, want two at first and one a second", n)
		}
		if o := w.lastWait().outcome; o.Attempts != 0 || o.Class != Address {
			t.Errorf("outcome is %+v", o)
		}
		closed.Store(false)
		w.pass(time.Second)
		for i := range 4 {
			w.outcome(fmt.Sprint(i))
		}
	})
}

// A hold without rows is no news, and stays in force: the next row is a probe.
func TestHoldOutlivesItsRowsUnseen(t *testing.T) {
	var api door
	api.status.Store(401)
	inWorld(t, Config{Retry: steady}, api.answer, func(w *world) {
		for i := range 4 {
			w.row(fmt.Sprint(i), "/")
		}
		w.pass(5 * time.Second)
		w.scope.Cancel()
		if st := w.sink.Stats(); len(st.Holds) != 0 || len(w.heldSaid()) != 2 {
			t.Errorf("stats are %+v, the observer was told %v", st, w.heldSaid())
		}
		w.pass(time.Minute)
		before := w.api.Len()
		w.scope = w.sink.NewScope()
		for i := range 4 {
			w.row(fmt.Sprint("late", i), "/")
		}
		w.pass(100 * time.Millisecond)
		if n := w.api.Len() - before; n != 1 || len(w.sink.Stats().Holds) != 1 {
			t.Errorf("%d attempts at once, stats %+v", n, w.sink.Stats())
		}
		api.status.Store(200)
		w.pass(time.Second)
		w.outcome("late3")
	})
}

// Two targets of a job: the other one goes on.
func TestHoldOfOneTargetLeavesOthersAlone(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/closed" {
			return sinktest.Answer{Status: 401}
		}
		return sinktest.Answer{}
	}
	inWorld(t, Config{Concurrency: 2}, answer, func(w *world) {
		for i := range 20 {
			w.send(fmt.Sprint("closed", i), "http://closed.test/closed")
			w.send(fmt.Sprint("open", i), "http://open.test/")
		}
		w.pass(time.Second)
		for i := range 20 {
			w.outcome(fmt.Sprint("open", i))
		}
	})
}

// Doors that open and close while rows, scopes and operators come and go: the books agree in the end, and every row is delivered.
func TestHoldStorm(t *testing.T) {
	var api door
	inWorld(t, Config{Concurrency: 4, Retry: Retry{Initial: 20 * time.Millisecond, Max: 100 * time.Millisecond}}, api.answer, func(w *world) {
		var all sync.WaitGroup
		for lane := range 5 {
			all.Go(func() {
				for round := range 200 {
					sc := w.sink.NewScope()
					var left atomic.Int32
					rows := make([]*Delivery, 3)
					for i := range rows {
						left.Add(1)
						rows[i] = &Delivery{Request: Request{Method: "POST", URL: w.api.URL()}, Row: "storm", Final: func(*Delivery, Outcome) { left.Add(-1) }}
						sc.Deliver(rows[i])
					}
					time.Sleep(time.Duration(lane+round%7) * 3 * time.Millisecond)
					sc.Hurry(rows[0])
					if sc.Look(rows[1]); sc.Withdraw(rows[1]) {
						left.Add(-1)
					}
					if round%3 == 0 {
						sc.Cancel()
						continue
					}
					for left.Load() > 0 {
						time.Sleep(10 * time.Millisecond)
					}
					sc.Cancel()
				}
			})
		}
		all.Go(func() {
			for i := range 300 {
				api.status.Store([]int32{401, 200, 200, 403, 500}[i%5])
				time.Sleep(37 * time.Millisecond)
			}
			api.status.Store(200)
		})
		all.Wait()
		w.scope.Cancel()
		w.sink.mu.Lock()
		defer w.sink.mu.Unlock()
		if s := w.sink; s.ready != 0 || s.inFlight != 0 || s.waiting != 0 || s.users != 0 || len(s.ring) != 0 || s.unproven != 0 {
			t.Errorf("books: ready %d, in flight %d, waiting %d, users %d, ring %d, unproven %d", s.ready, s.inFlight, s.waiting, s.users, len(s.ring), s.unproven)
		}
	})
}
