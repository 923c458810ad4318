// Package sink delivers rows: it makes their requests, tries again what may succeed later, and says when a row is final.
//
// A Sink belongs to one job on one instance. Rows come through a Scope (one assignment of one partition), each as a Delivery, and
// leave through Delivery.Final. chain.go has the whole way of a row, top to bottom:
//
//	scope alive? → permit → breaker → rate → what is shared → attempt → class → final, or wait and again
//
// Up to Config.Concurrency workers make attempts, one at a time each. A row that waits holds none of them: it lies in its target's
// queue (behind an open breaker, the rate, the permit or others) or in one heap of times (back-off, Retry-After).
//
// # Locks
//
// Sink.mu guards everything but the attempts themselves. Order: Sink.mu, then a breaker's, the rate limiter's, a Shared's, a wire.Call's or the
// wire.Client's own lock. Neither Final nor Observer nor permit is called with a lock held.
//
// # Not obvious, told as races
//
//  1. Cancel wants to break the attempt of a row; its worker is just about to begin it. Picking the row (worker noted, Call.Reset)
//     is one step under mu, and so is Cancel's Abort: it comes before the pick, then the row is gone from the queue; or after, then
//     the Call is marked and ends before it writes. It cannot hit the worker's next row: the worker lets go of this one under mu.
//  2. A row's attempt failed; while the observer is told, without the lock, its scope is cancelled. The row is in no queue then, so
//     Cancel does not drop it; it counts as running, Cancel waits. Before it is put to wait the scope is looked at again.
//  3. A worker finds nothing to do and goes to sleep; a row is delivered at that moment. Both are steps under mu: the row is seen
//     by the worker, or the worker by the Deliver.
//  4. A row is delivered from within Final. Its worker is about to look for work, so nobody else is woken (Sink.searching counts
//     those who will look): a lane goes on without a switch of goroutines.
//  5. The breaker opens while attempts of its target run. Their results belong to the time before: gobreaker ignores them by
//     generation, so that a late success does not close it and a late failure does not prolong it. Their rows queue up.
//  6. The process is frozen between the permit and the first byte. The permit is asked twice: when a row is picked and right
//     before the write; what remains is the moment of the system call.
package sink

import (
	"hash/maphash"
	"math/rand/v2"
	"sort"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"streamer/sink/wire"
)

// Sink delivers the rows of one job on one instance. Its methods may be called from any goroutine.
type Sink struct {
	c        Config
	permit   func() time.Duration // nil: always
	observer Observer
	classes  classes
	own      *access            // the job's own way to its targets
	others   map[string]*access // those of its Places, by origin
	sharing  []*access          // those that share limits
	health   health
	hidden   forms                           // of c.Hidden
	attempt  func(*worker, *Delivery) result // request; tests put another in its place
	jitter   func(time.Duration) time.Duration
	limiter  *rate.Limiter // nil: no limit
	start    time.Time
	ticks    sync.WaitGroup // timer callbacks scheduled or running
	gone     sync.WaitGroup // workers

	mu     sync.Mutex
	closed bool
	scopes map[*Scope]struct{}

	targets  map[string]*target
	prefixes map[string]*prefix
	nowhere  *target // of requests that cannot be sent
	ring     []*target
	turn     int // of the ring
	ready    int // rows offered by the ring
	users    int // targets that have rows and no open breaker

	workers   int // goroutines
	searching int // of them: on their way to pick
	idle      []*worker
	idleLow   int // the fewest idle since the last trim
	trim      alarm
	inFlight  int
	waiting   int    // rows in alarms
	unproven  int    // rows
	number    uint64 // of the last attempt
	holds     uint64 // so far
	seed      maphash.Seed

	shut   bool  // the permit said no
	gate   alarm // when it is asked again
	token  bool  // the next attempt's place in the rate is reserved
	turnAt time.Duration
	pace   alarm         // when it is up
	refill time.Duration // the rate's burst takes so long to come back

	alarms   alarms
	timer    *time.Timer
	timerSet bool
	timerAt  time.Duration

	events   []event
	flushing bool
}

// New makes a Sink; c's zero fields mean their defaults. permit is asked before every attempt, from many goroutines: 0 lets it
// start, anything else is how long to wait before asking again; nil always lets it start. o may be nil. The error is a fault.List.
// Close the Sink when done; it has no goroutine before the first row.
func New(c Config, permit func() time.Duration, o Observer) (*Sink, error) {
	return build(c, permit, o, wire.Options{})
}

func build(c Config, permit func() time.Duration, o Observer, w wire.Options) (*Sink, error) {
	if err := c.Validate().Err(); err != nil {
		return nil, err
	}
	if o == nil {
		o = silent{}
	}
	c = c.Defaults()
	s := &Sink{
		c: c, permit: permit, observer: o,
		classes:  newClasses(c.Statuses),
		jitter:   func(most time.Duration) time.Duration { return rand.N(most + 1) },
		start:    time.Now(),
		seed:     maphash.MakeSeed(),
		scopes:   map[*Scope]struct{}{},
		targets:  map[string]*target{},
		prefixes: map[string]*prefix{},
		others:   map[string]*access{},
		nowhere:  &target{},
	}
	var err error
	if s.own, err = s.newAccess(Place{Target: c.Target, Auth: c.Auth, TLS: c.TLS, Success: c.Success, Shared: c.Shared}, w); err != nil {
		return nil, err
	}
	for _, p := range c.Places {
		if s.others[p.Origin], err = s.newAccess(p, w); err != nil {
			return nil, err
		}
	}
	for _, secret := range c.Hidden {
		s.hidden.note(secret.Reveal())
	}
	s.attempt = s.request
	s.health = s.newHealth()
	s.nowhere.wake.target = s.nowhere
	s.gate.sink = func(time.Duration) { s.shut = false }
	s.pace.sink = func(time.Duration) {}
	s.trim.sink = s.trimIdle
	if r := c.Rate; r.Count > 0 {
		limit, burst := r.of(1)
		s.limiter, s.refill = rate.NewLimiter(limit, burst), refillOf(limit, burst)
	}
	return s, nil
}

// now is the time since the sink began, on the monotonic clock.
func (s *Sink) now() time.Duration { return time.Since(s.start) }

// Stats counts the rows in the sink. It takes time in the number of targets, not of rows.
func (s *Sink) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{InFlight: s.inFlight, Waiting: s.waiting, Unproven: s.unproven, Started: s.number, Held: s.pace.pos > 0, Holds: s.holdsNow()}
	for _, t := range s.targets {
		ts := TargetState{Target: t.name, Open: t.open, Cause: t.cause, Rows: t.rows}
		if t.open || t.hold.class != "" || t.access.waits() {
			st.Waiting += t.queue.n
		} else {
			st.Ready += t.queue.n
		}
		st.Targets = append(st.Targets, ts)
	}
	st.Ready += s.nowhere.queue.n
	if s.shut || s.pace.pos > 0 {
		st.Waiting, st.Ready = st.Waiting+st.Ready, 0
	}
	sort.Slice(st.Targets, func(i, j int) bool { return st.Targets[i].Target < st.Targets[j].Target })
	return st
}

// Ample says that rows wait for nothing but a free slot, their turn in the rate, or the permit, as many as would take a quarter of all
// slots: more rows would change nothing. It is never said of a sink with several targets: the next row may be for another one.
func (s *Sink) Ample() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.targets) == 1 && 4*s.ready >= s.c.Concurrency
}

// Close cancels all scopes, closes the connections and returns when the sink's goroutines have ended. It may be called twice.
// Deliver does nothing from then on.
func (s *Sink) Close() {
	s.mu.Lock()
	s.closed = true
	for _, a := range s.sharing {
		a.shared.part(a)
		s.ungrant(a)
	}
	var waits []<-chan struct{}
	for sc := range s.scopes {
		waits = append(waits, sc.end())
		sc.abort()
	}
	for _, t := range s.targets {
		if t.health != nil && t.health.worker != nil {
			t.health.worker.call.Abort()
		}
	}
	for _, w := range s.idle {
		close(w.wake)
	}
	s.idle = nil
	if s.timer != nil && s.timer.Stop() {
		s.ticks.Done()
	}
	s.mu.Unlock()
	for _, w := range waits {
		<-w
	}
	s.gone.Wait()
	s.ticks.Wait()
	for _, a := range s.accesses() {
		a.client.Close()
	}
}

// silent is the Observer that nobody gave.
type silent struct{}

func (silent) Attempt(Class, int, time.Duration)     {}
func (silent) Waiting(*Delivery, Outcome, time.Time) {}
func (silent) BreakerOpen(string, bool)              {}
func (silent) Held(string, Hold, bool)               {}
