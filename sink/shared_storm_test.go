package sink

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"streamer/sink/wire"
)

// A record of what the API saw, and of what was wanted, by the clock of the bubble. What happens in one moment may have happened in any order.
type happening struct {
	at   time.Duration
	what happens
	// limits are those from now on.
	limits SharedLimits
}

type happens int

// In the order in which they are taken to have happened at one moment.
const (
	attemptEnds happens = iota
	limitsSet
	resumed
	attemptStarts
	paused
)

// chronicle is what happened to one connection.
type chronicle struct {
	start time.Time
	mu    sync.Mutex
	all   []happening
}

func (c *chronicle) note(what happens, limits SharedLimits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, happening{time.Since(c.start), what, limits})
}

// ServeHTTP takes a while for an answer, which is sometimes bad.
func (c *chronicle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.note(attemptStarts, SharedLimits{})
	defer c.note(attemptEnds, SharedLimits{})
	select {
	case <-time.After(time.Duration(1+rand.IntN(80)) * time.Millisecond):
		if rand.IntN(10) == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	case <-r.Context().Done(): // the attempt was given up
	}
}

// judge says what was against the limits, or in a pause, and how many attempts there were.
func (c *chronicle) judge(t *testing.T) (attempts int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortStableFunc(c.all, func(a, b happening) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.what, b.what)) })
	var limits SharedLimits
	var tokens float64
	var filled, pausedAt time.Duration
	running, rests, atLimit := 0, false, 0
	for _, h := range c.all {
		switch h.what {
		case attemptEnds:
			running--
		case limitsSet:
			if h.limits.Rate != limits.Rate {
				tokens, filled = float64(h.limits.Rate.Burst), h.at
			}
			limits = h.limits
		case paused:
			rests, pausedAt = true, h.at
		case resumed:
			rests = false
		case attemptStarts:
			running++
			attempts++
			if limits.Concurrency > 0 && running > limits.Concurrency {
				t.Errorf("%v: %d attempts in flight, limit %d", h.at, running, limits.Concurrency)
			}
			if running == limits.Concurrency {
				atLimit++
			}
			if rests && h.at > pausedAt {
				t.Errorf("%v: an attempt starts in the pause since %v", h.at, pausedAt)
			}
			if limits.Rate.Count > 0 {
				tokens = min(tokens+(h.at-filled).Seconds()*float64(limits.Rate.Count)/limits.Rate.Per.Seconds(), float64(limits.Rate.Burst))
				filled = h.at
				if tokens--; tokens < -0.01 {
					t.Errorf("%v: an attempt starts %.2f tokens too early", h.at, -tokens)
				}
			}
		}
	}
	if running != 0 {
		t.Errorf("%d attempts have not ended", running)
	}
	if atLimit == 0 {
		t.Error("the limit was never reached: this proves nothing")
	}
	return attempts
}

// Jobs of one connection start, change and stop while their rows flow, and its limits and its pause come and go. Never are there more attempts
// than the limits say, no row of a job that is left in peace is lost, and at the end nobody has a place.
func TestSharedStorm(t *testing.T) {
	const jobs, rounds = 10, 8
	synctest.Test(t, func(t *testing.T) {
		p, c, h := newPipes(), &chronicle{start: time.Now()}, NewShared()
		api := &http.Server{Handler: c}
		var all sync.WaitGroup
		all.Go(func() { _ = api.Serve(p) })
		set := func(l SharedLimits) {
			c.note(limitsSet, l)
			h.Set(l)
		}
		limits := []SharedLimits{
			{Concurrency: 3},
			{Concurrency: 5, Rate: Rate{Count: 200, Per: time.Second, Burst: 10}},
			{Concurrency: 1, Rate: Rate{Count: 50, Per: time.Second, Burst: 1}},
			{Concurrency: 8, Rate: Rate{Count: 500, Per: time.Second, Burst: 2}},
		}
		set(limits[0])
		over := make(chan struct{})
		var storm sync.WaitGroup
		all.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-over:
					return
				case <-time.After(61*time.Millisecond + time.Nanosecond):
				}
				switch i % 4 {
				case 0:
					c.note(paused, SharedLimits{})
					h.Pause(true)
				case 1:
					h.Pause(false)
					c.note(resumed, SharedLimits{})
				default:
					set(limits[i%7%len(limits)])
				}
			}
		})
		for id := range jobs {
			storm.Go(func() {
				random := rand.New(rand.NewPCG(uint64(id), 1))
				for range rounds {
					sharedJob(t, h, p, random)
				}
			})
		}
		storm.Wait()
		close(over)
		_ = api.Close()
		_ = p.Close()
		all.Wait()
		synctest.Wait()
		if n := c.judge(t); n < jobs*rounds*8 {
			t.Errorf("only %d attempts", n)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.running != 0 || len(h.line) != 0 || len(h.members) != 0 || h.timer != nil && h.timer.Stop() {
			t.Errorf("at the end %d places are taken, %d sinks stand in line, %d are members", h.running, len(h.line), len(h.members))
		}
	})
}

// sharedJob is a job that starts, has rows, is changed (another sink takes its place while the first one ends), and ends in one of three ways.
func sharedJob(t *testing.T, h *Shared, p *pipes, random *rand.Rand) {
	const lanes, rows = 3, 4
	start := func() (*Sink, *Scope) {
		c := Config{Concurrency: 1 + random.IntN(6), Shared: h, Retry: Retry{Initial: time.Millisecond, Max: 20 * time.Millisecond}, Breaker: Breaker{Failures: 3, Open: 10 * time.Millisecond}}
		if random.IntN(2) == 0 {
			c.Rate = Rate{Count: 300, Per: time.Second, Burst: 5}
		}
		s, err := build(c, nil, nil, wire.Options{Dial: p.dial})
		if err != nil {
			t.Error(err)
		}
		return s, s.NewScope()
	}
	flow := func(sc *Scope, finished *sync.WaitGroup) {
		finished.Add(lanes * rows)
		for l := range lanes {
			n := 0
			sc.Deliver(&Delivery{Request: Request{Method: "POST", URL: fmt.Sprint("http://api.test/", l)}, Final: func(d *Delivery, o Outcome) {
				if o.Class == Interrupted {
					return
				}
				finished.Done()
				if n++; n < rows {
					sc.Deliver(d)
				}
			}})
		}
	}
	soon := func() time.Duration { return time.Duration(random.IntN(60)) * time.Millisecond }

	first, scope := start()
	var finished, later sync.WaitGroup
	flow(scope, &finished)
	time.Sleep(soon())
	second, next := start()
	flow(next, &later)
	switch random.IntN(3) {
	case 0:
		finished.Wait()
		scope.Cancel()
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), soon())
		scope.Drain(ctx)
		cancel()
	case 2: // its rows are dropped with it
	}
	first.Close()
	switch random.IntN(3) {
	case 0:
		later.Wait()
	case 1:
		time.Sleep(soon())
		next.Cancel()
	case 2:
		time.Sleep(soon())
	}
	second.Close()
}
