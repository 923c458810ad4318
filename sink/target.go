package sink

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"github.com/sony/gobreaker/v2"

	"streamer/sink/wire"
)

// maxTargets is how many targets are remembered when no row is for them. A job's hosts are written in its definition, so there are
// few; the bound is for definitions that nobody foresaw.
const maxTargets = 256

// target is scheme, host and port of a URL, called by that or by Config.Target, with its rows, its breaker and its connections. Everything in it is guarded by Sink.mu.
type target struct {
	name   string
	origin string // scheme://host:port
	access *access
	host   *wire.Host
	// queue holds its rows that are ready but for the breaker.
	queue queue
	// rows counts all its rows, inFlight those with an attempt running.
	rows, inFlight int
	used           time.Duration // when it last got a row
	delivered      uint64        // rows it took
	hold           hold
	// proved is the number of the latest attempt that was delivered with the job's credential, provedBy with the rows' own.
	proved   uint64
	provedBy map[uint64]uint64

	// breaker is nil for the target of requests that cannot be sent.
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	// open mirrors the breaker: it is not closed. probing: the one probe is under way. wake is set to when the next may start.
	open, probing bool
	wake          alarm
	health        *Delivery
	cause         string // TargetState.Cause

	// offered is how many of its rows may be picked now; ring is its place in Sink.ring, from 1, if that is not 0; user says that
	// it counts in Sink.users.
	offered, ring int
	user          bool
}

// prefix is what a URL's scheme and authority, as written, stand for.
type prefix struct {
	target *target
	// user is the Authorization value of the URL's user information.
	user string
}

// What the breaker is told.
var (
	errTarget    = errors.New("target failure")
	errUncounted = errors.New("proves nothing")
)

// locate finds or makes what a URL begins with. The caller holds mu; evicted hosts are to be closed without it. Errors are
// *wire.RequestError.
func (s *Sink) locate(url string, now time.Duration) (p *prefix, rest string, evicted []*wire.Host, err error) {
	written, rest, _ := wire.SplitURL(url)
	if p = s.prefixes[written]; p != nil {
		return p, rest, nil, nil
	}
	origin, rest, err := wire.ParseOrigin(url)
	if err != nil {
		return nil, "", nil, err
	}
	a := s.others[origin.String()]
	if a == nil {
		a = s.own
	}
	if a == s.own && s.c.Origin != "" && (origin.String() != s.c.Origin || origin.User != "") {
		return nil, "", nil, &wire.RequestError{Part: "url", Problem: "is not at " + s.c.Origin + ", which is all that the connection is for"}
	}
	t := s.targets[origin.String()]
	if t == nil {
		for len(s.targets) >= maxTargets {
			h := s.evict()
			if h == nil {
				break // all are in use: as many as rows
			}
			evicted = append(evicted, h)
		}
		t = s.newTarget(origin, a)
		t.used = now
		s.targets[t.origin] = t
	}
	if len(s.prefixes) >= 4*maxTargets {
		clear(s.prefixes)
	}
	p = &prefix{target: t, user: origin.User}
	s.prefixes[strings.Clone(written)] = p
	return p, rest, evicted, nil
}

// evict forgets the target not used for the longest time; nil if all are in use.
func (s *Sink) evict() *wire.Host {
	var oldest *target
	for _, t := range s.targets {
		if t.rows == 0 && t.inFlight == 0 && (oldest == nil || t.used < oldest.used) {
			oldest = t
		}
	}
	if oldest == nil {
		return nil
	}
	s.unset(&oldest.wake)
	s.endHold(oldest)
	if oldest.open {
		s.events = append(s.events, event{target: oldest.name})
	}
	delete(s.targets, oldest.origin)
	clear(s.prefixes)
	return oldest.host
}

func (s *Sink) newTarget(o wire.Origin, a *access) *target {
	t := &target{name: cmp.Or(a.name, o.String()), origin: o.String(), access: a, host: a.client.Host(o)}
	t.wake.target, t.hold.wake.target = t, t
	failures := uint32(s.c.Breaker.Failures)
	t.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        t.name,
		MaxRequests: 1,
		Timeout:     s.c.Breaker.Open,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failures },
		IsExcluded:  func(err error) bool { return errors.Is(err, errUncounted) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			s.breakerChanged(t, from, to)
		},
	})
	if a == s.own && s.c.Breaker.Health != "" {
		t.health = &Delivery{state: state{target: t, health: true}}
	}
	return t
}

// breakerChanged is called by the breaker from within Allow and done, which are only called with mu held.
func (s *Sink) breakerChanged(t *target, from, to gobreaker.State) {
	switch to {
	case gobreaker.StateOpen:
		t.open = true
		// The breaker lets a probe pass when its time is over, not when it is just up: one more.
		s.set(&t.wake, s.now()+s.c.Breaker.Open+1)
		if from == gobreaker.StateClosed {
			s.events = append(s.events, event{target: t.name, on: true})
		}
	case gobreaker.StateClosed:
		t.open = false
		s.unset(&t.wake)
		s.events = append(s.events, event{target: t.name})
	}
}

// refresh works out again how many rows of t may be picked, after anything about it changed: while its breaker is open or it is on
// hold none, but one when a probe is due. The caller holds mu.
func (s *Sink) refresh(t *target, now time.Duration) {
	offer := t.queue.n
	if t.open {
		if due := t.wake.pos == 0 || t.wake.at <= now; !due || t.probing {
			offer = 0
		}
		offer = min(offer, 1)
	}
	if t.hold.class != "" && (!t.open || t.health == nil) { // the health URL is asked all the same
		offer = min(offer, s.offers(t, now))
	}
	if offer > 0 && t.access != nil {
		offer = min(offer, t.access.room(t))
	}
	s.ready += offer - t.offered
	t.offered = offer
	if user := t.rows > 0 && !t.open && t.hold.class == "" && t.breaker != nil; user != t.user {
		if t.user = user; user {
			s.users++
		} else {
			s.users--
		}
	}
	switch {
	case offer > 0 && t.ring == 0:
		s.ring = append(s.ring, t)
		t.ring = len(s.ring)
	case offer == 0 && t.ring > 0:
		last := s.ring[len(s.ring)-1]
		s.ring[t.ring-1], last.ring = last, t.ring
		s.ring[len(s.ring)-1] = nil
		s.ring = s.ring[:len(s.ring)-1]
		t.ring = 0
	}
}

// event is a change of a breaker or, if that has a class, of a hold, that the observer has not been told yet.
type event struct {
	target string
	hold   Hold
	on     bool
}

// flush tells the observer about breakers and holds, in order, one goroutine at a time, without the lock. The caller does not hold mu.
func (s *Sink) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flushing {
		return // whoever does will see what was added since
	}
	s.flushing = true
	for len(s.events) > 0 {
		events := s.events
		s.events = nil
		s.mu.Unlock()
		for _, e := range events {
			if e.hold.Class != "" {
				s.observer.Held(e.target, e.hold, e.on)
			} else {
				s.observer.BreakerOpen(e.target, e.on)
			}
		}
		s.mu.Lock()
	}
	s.flushing = false
}
