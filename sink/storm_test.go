package sink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

var loopback = Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

// Scopes come and go, are drained and cancelled, and the permit comes and goes, over real sockets, against an API that does all it
// should not. What must hold: no Final after Drain or Cancel has returned, none twice, every row of a scope left in peace becomes
// final, and the sink ends with nothing left.
func TestStorm(t *testing.T) {
	api, err := sinktest.Listen(func(a *sinktest.Attempt) sinktest.Answer {
		switch n := rand.IntN(100); {
		case n < 5:
			return sinktest.Answer{Status: 503}
		case n < 8:
			return sinktest.Answer{Fault: sinktest.Reset}
		case n < 10:
			return sinktest.Answer{Fault: sinktest.Vanish}
		case n < 12:
			return sinktest.Answer{Fault: sinktest.Cut, Body: []byte("half of this")}
		case n < 14:
			return sinktest.Answer{Status: 400}
		case n < 16:
			return sinktest.Answer{Fault: sinktest.Garbage}
		case n < 40:
			return sinktest.Answer{Delay: time.Duration(n) * 100 * time.Microsecond}
		}
		return sinktest.Answer{}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	for name, c := range map[string]Config{
		"plain":      {Concurrency: 16},
		"rate":       {Concurrency: 16, Rate: Rate{Count: 5000, Per: time.Second, Burst: 10}},
		"tiny":       {Concurrency: 1},
		"health URL": {Concurrency: 8, Breaker: Breaker{Failures: 1, Open: 3 * time.Millisecond, Health: api.URL() + "/health"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.Guard = loopback
			c.Retry = Retry{Initial: time.Millisecond, Max: 5 * time.Millisecond}
			if c.Breaker.Failures == 0 {
				c.Breaker = Breaker{Failures: 3, Open: 2 * time.Millisecond}
			}
			storm(t, c, api.URL())
		})
	}
}

func storm(t *testing.T, c Config, url string) {
	var permits atomic.Int64
	var shut atomic.Bool
	s, err := New(c, func() time.Duration {
		if shut.Load() || permits.Add(1)%50 == 0 {
			return time.Millisecond
		}
		return 0
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	var all sync.WaitGroup
	for lane := range 6 {
		all.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				stormScope(t, s, url, lane, round)
			}
		})
	}
	all.Go(func() {
		for ctx.Err() == nil {
			shut.Store(true)
			s.Stats()
			shut.Store(false)
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Millisecond):
			}
		}
	})
	all.Wait()
	st := s.Stats()
	if st.InFlight+st.Waiting+st.Ready != 0 {
		t.Errorf("left over: %+v", st)
	}
	last := s.NewScope()
	done := make(chan struct{})
	last.Deliver(&Delivery{Request: Request{Method: "POST", URL: url}, Final: func(*Delivery, Outcome) { close(done) }})
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Errorf("the sink is stuck: %+v", s.Stats())
	}
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready != 0 || s.inFlight != 0 || s.waiting != 0 || s.users != 0 || len(s.ring) != 0 {
		t.Errorf("books: ready %d, in flight %d, waiting %d, users %d, ring %d", s.ready, s.inFlight, s.waiting, s.users, len(s.ring))
	}
}

// stormScope sends lanes of rows, each row from the Final of the one before, and ends the scope in one of three ways.
func stormScope(t *testing.T, s *Sink, url string, lane, round int) {
	const lanes, rows = 5, 8
	sc := s.NewScope()
	var over atomic.Bool
	var finished sync.WaitGroup
	finished.Add(lanes * rows)
	for l := range lanes {
		n := 0
		final := func(d *Delivery, o Outcome) {
			if over.Load() {
				t.Errorf("lane %d round %d: Final after the scope's end: %+v", lane, round, o)
			}
			if o.Class == Interrupted {
				return
			}
			finished.Done()
			if n++; n < rows {
				sc.Deliver(d)
			}
		}
		sc.Deliver(&Delivery{Request: Request{Method: "POST", URL: fmt.Sprint(url, "/", l), Body: []byte("{}")}, Final: final})
	}
	switch round % 3 {
	case 0:
		finished.Wait()
		sc.Cancel()
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(4))*time.Millisecond)
		sc.Drain(ctx)
		cancel()
	case 2:
		sc.Cancel()
	}
	over.Store(true)
}

// Close in the middle of everything, many times.
func TestCloseStorm(t *testing.T) {
	api, err := sinktest.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	for range 100 {
		s, err := New(Config{Concurrency: 8, Guard: loopback, Rate: Rate{Count: 10000, Per: time.Second}}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				sc := s.NewScope()
				final := func(d *Delivery, _ Outcome) { sc.Deliver(d) }
				for range 3 {
					sc.Deliver(&Delivery{Request: Request{Method: "GET", URL: api.URL()}, Final: final})
				}
				sc.Drain(context.Background())
			})
			all.Go(s.Close)
		}
		all.Wait()
	}
}
