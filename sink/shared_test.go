package sink

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"streamer/sink/sinktest"
	"streamer/sink/wire"
)

// crowd is several sinks that share their limits, in fake time.
type crowd struct {
	*Shared
	api    *sinktest.Receiver
	sinks  []*Sink
	scopes []*Scope
	start  time.Time
}

func inCrowd(t *testing.T, n int, c Config, limits SharedLimits, answer func(*sinktest.Attempt) sinktest.Answer, test func(*crowd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		w := &crowd{Shared: NewShared(), api: sinktest.Serve(p, answer), start: time.Now()}
		defer w.api.Close()
		w.Set(limits)
		c.Shared = w.Shared
		for range n {
			s, err := build(c, nil, nil, wire.Options{Dial: p.dial})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			w.sinks, w.scopes = append(w.sinks, s), append(w.scopes, s.NewScope())
		}
		test(w)
	})
}

// send gives a sink so many rows, which are called by it.
func (w *crowd) send(sink, rows int) {
	for range rows {
		w.scopes[sink].Deliver(&Delivery{Request: Request{Method: "POST", URL: w.api.URL() + "/", Header: []Header{{"X-Lane", fmt.Sprint(sink)}}},
			Final: func(*Delivery, Outcome) {}})
	}
}

func (w *crowd) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// made gives the sinks whose attempts have come, in their order.
func (w *crowd) made() string {
	var b strings.Builder
	for _, a := range w.api.Attempts() {
		b.WriteString(a.Lane)
	}
	return b.String()
}

// free says that nobody has a place.
func (w *crowd) free(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running != 0 || len(w.line) != 0 {
		t.Errorf("%d places are taken, %d sinks stand in line", w.running, len(w.line))
	}
}

// One job has many rows, two have few: they take turns, and together keep the rate.
func TestSharedRateIsTakenInTurns(t *testing.T) {
	limits := SharedLimits{Rate: Rate{Count: 10, Per: time.Second}}
	inCrowd(t, 3, Config{}, limits, nil, func(w *crowd) {
		w.send(0, 100)
		w.pass(time.Second)
		w.send(1, 3)
		w.send(2, 3)
		w.pass(time.Second)
		got := w.made()
		if want := strings.Repeat("0", 11); !strings.HasPrefix(got, want) || len(got) < 20 || len(got) > 22 {
			t.Errorf("after two seconds of 10/s: %s", got)
		}
		for _, lane := range []string{"1", "2"} {
			if strings.Count(got[:20], lane) < 3 {
				t.Errorf("rows of sink %s wait behind those of another one: %s", lane, got)
			}
		}
		w.pass(time.Minute)
		if got := w.made(); len(got) != 106 {
			t.Errorf("%d attempts", len(got))
		}
		w.free(t)
		var at []time.Duration
		for _, a := range w.api.Attempts() {
			at = append(at, a.Start.Sub(w.start))
		}
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 99*time.Millisecond {
				t.Errorf("attempt %d came %v after the one before", i, gap)
			}
		}
	})
}

func TestSharedConcurrencyIsTakenInTurns(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	slow := func(*sinktest.Attempt) sinktest.Answer {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(time.Second)
		mu.Lock()
		running--
		mu.Unlock()
		return sinktest.Answer{Status: 200}
	}
	inCrowd(t, 2, Config{}, SharedLimits{Concurrency: 2}, slow, func(w *crowd) {
		w.send(0, 20)
		w.pass(time.Millisecond)
		w.send(1, 4)
		w.pass(5*time.Second + time.Millisecond)
		if got := w.made(); strings.Count(got, "1") < 4 || most != 2 {
			t.Errorf("attempts %s, %d at a time", got, most)
		}
		w.Set(SharedLimits{Concurrency: 8})
		w.pass(10 * time.Second)
		if got := w.made(); len(got) != 24 || most != 8 {
			t.Errorf("with more: attempts %s, %d at a time", got, most)
		}
		w.free(t)
	})
}

// Who waits for the end of an attempt does not wait for a token beside that: the timer of one that was all but there would go off without end.
func TestSharedWaitsForOneThing(t *testing.T) {
	limits := SharedLimits{Concurrency: 1, Rate: Rate{Count: 10, Per: time.Second, Burst: 1}}
	slow := func(*sinktest.Attempt) sinktest.Answer {
		time.Sleep(10 * time.Second)
		return sinktest.Answer{}
	}
	inCrowd(t, 2, Config{}, limits, slow, func(w *crowd) {
		w.send(0, 2)
		w.pass(15 * time.Second)
		w.send(1, 1)
		w.pass(time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.line) == 0 || w.timer != nil && w.timer.Stop() {
			t.Errorf("%d stand in line, for a token with %.3f there", len(w.line), w.tokens)
		}
	})
}

// Nothing starts during a pause, whatever falls due; all sinks go on after it. What is in flight ends.
func TestSharedPause(t *testing.T) {
	first := func(a *sinktest.Attempt) sinktest.Answer {
		time.Sleep(3 * time.Second)
		return sinktest.Answer{Status: 500}
	}
	c := Config{Retry: Retry{Initial: time.Second, Max: time.Second}, Rate: Rate{Count: 10, Per: time.Second, Burst: 10}}
	inCrowd(t, 2, c, SharedLimits{Rate: Rate{Count: 100, Per: time.Second, Burst: 10}}, first, func(w *crowd) {
		w.send(0, 2)
		w.send(1, 2)
		w.pass(time.Second)
		w.Pause(true)
		w.send(0, 2)
		w.pass(time.Hour)
		if got := len(w.made()); got != 4 {
			t.Errorf("%d attempts", got)
		}
		if st := w.sinks[0].Stats(); st.InFlight != 0 || st.Ready != 0 || st.Waiting != 4 {
			t.Errorf("stats are %+v", st)
		}
		w.Pause(false)
		w.Pause(false)
		w.pass(time.Second)
		if got := len(w.made()); got != 10 {
			t.Errorf("%d attempts after the pause", got)
		}
		w.Pause(true)
		w.pass(time.Minute)
		w.free(t)
	})
}

// A health URL is not asked during a pause either.
func TestSharedPauseEndsProbes(t *testing.T) {
	c := Config{Breaker: Breaker{Failures: 1, Open: time.Second, Health: "http://api.test/health"}}
	inCrowd(t, 1, c, SharedLimits{}, answers(500), func(w *crowd) {
		w.send(0, 2)
		w.pass(10 * time.Second)
		w.Pause(true)
		w.pass(time.Second)
		before := len(w.api.Attempts())
		w.pass(time.Hour)
		if after := len(w.api.Attempts()); before < 5 || after != before {
			t.Errorf("%d requests before, %d after an hour of pause", before, after)
		}
		w.Pause(false)
		w.pass(10 * time.Second)
		if after := len(w.api.Attempts()); after < before+5 {
			t.Errorf("%d requests before, %d after the pause", before, after)
		}
	})
}

// A sink that closes, or whose rows are dropped, takes no place with it.
func TestSharedIsLeft(t *testing.T) {
	limits := SharedLimits{Concurrency: 1, Rate: Rate{Count: 1, Per: time.Second}}
	inCrowd(t, 3, Config{}, limits, nil, func(w *crowd) {
		for i := range 3 {
			w.send(i, 5)
		}
		w.pass(100 * time.Millisecond)
		w.scopes[0].Cancel()
		w.sinks[1].Close()
		w.pass(10 * time.Second)
		if got := w.made(); strings.Count(got, "2") != 5 {
			t.Errorf("attempts %s", got)
		}
		w.free(t)
		if n := len(w.members); n != 2 {
			t.Errorf("%d members", n)
		}
	})
}

// A target has the connection's name, and nothing goes anywhere else.
func TestOriginOfAConnection(t *testing.T) {
	c := Config{Target: "registry", Origin: "http://api.test:80", Auth: Auth{APIKey: &APIKey{"X-Key", "geheim"}}, Breaker: Breaker{Failures: 1}}
	inWorld(t, c, answers(500), func(w *world) {
		w.api.KeepHeaders = true
		w.send("here", "http://API.test/a")
		for i, url := range []string{"http://other.test/", "https://api.test/", "http://api.test:81/", "http://u:p@api.test/", "http://api.test@other.test/"} {
			w.send(fmt.Sprint(i), url)
			w.pass(time.Millisecond)
			if o := w.outcome(fmt.Sprint(i)); o.Class != Payload || !strings.Contains(o.Reason, "is not at http://api.test:80") {
				t.Errorf("%s: %+v", url, o)
			}
		}
		for _, a := range w.api.Attempts() {
			if a.Path != "/a" || !slices.Contains(a.Header, sinktest.Header{Name: "X-Key", Value: "geheim"}) {
				t.Errorf("%s %v", a.Path, a.Header)
			}
		}
		if got := w.breakers(); !slices.Equal(got, []string{"open registry"}) {
			t.Errorf("breakers %v", got)
		}
	})
}
