package sink

import (
	"sync"
	"sync/atomic"
	"time"
)

// Shared is what several sinks of an instance have in common, those of all jobs that go to one connection: how many attempts they may make,
// together and at a time, and whether any. NewShared makes one; its methods may be called from any goroutine. A nil Shared is none.
//
// Whoever finds no place stands in line, once per sink, and gets one attempt when it is his turn: sinks with rows take turns, however many
// rows each has. Probes of a health URL take no place, but rest with everything else.
//
// Its lock comes after Sink.mu. It wakes sinks by a timer of no time, since it is called with another sink's lock held; a sink counts
// these among its ticks, and gets none after it has left.
type Shared struct {
	paused atomic.Bool

	mu      sync.Mutex
	limits  SharedLimits
	second  float64 // of the rate: so many a second, 0: no limit
	burst   float64
	tokens  float64 // that may start now
	filled  time.Time
	running int
	members map[*access]struct{}
	line    []*access
	timer   *time.Timer // when the next token is there
}

// SharedLimits are those of a Shared. The zero value has none.
type SharedLimits struct {
	// Concurrency is how many attempts are in flight at once; 0: no limit.
	Concurrency int
	// Rate limits their starts, retries included.
	Rate Rate
}

// NewShared makes a Shared without limits.
func NewShared() *Shared { return &Shared{members: map[*access]struct{}{}} }

// Set changes the limits. What is in flight goes on. A new rate begins with its whole burst, an equal one as it is.
func (h *Shared) Set(l SharedLimits) {
	l.Rate = Config{Rate: l.Rate}.Defaults().Rate
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.Rate != h.limits.Rate {
		limit, burst := l.Rate.of(1)
		h.second, h.burst = float64(limit), float64(burst)
		h.tokens, h.filled = h.burst, time.Now()
	}
	h.limits = l
	h.pass()
}

// Pause lets no attempt start until it is called with false. Attempts in flight may end.
func (h *Shared) Pause(paused bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paused.Swap(paused) == paused || paused {
		return
	}
	for a := range h.members {
		a.wakeBy(0)
	}
	h.pass()
}

// rests says that no attempt may start.
func (h *Shared) rests() bool { return h != nil && h.paused.Load() }

// join makes a sink's access one of the members, so that it hears of the end of a pause.
func (h *Shared) join(a *access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.members[a] = struct{}{}
}

// part takes one out. No wake is scheduled for it from then on.
func (h *Shared) part(a *access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.members, a)
	for i, other := range h.line {
		if other == a {
			h.line = append(h.line[:i], h.line[i+1:]...)
			break
		}
	}
	if len(h.line) == 0 && h.timer != nil {
		h.timer.Stop()
	}
}

// ask takes a place for one attempt by a. False: there is none, and a stands in line. Its sink's mu is held.
func (h *Shared) ask(a *access) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.paused.Load() && len(h.line) == 0 && h.take() {
		return true
	}
	if _, member := h.members[a]; member {
		h.line = append(h.line, a)
		h.pass() // it may be due at a time that nobody waits for yet
	}
	return false
}

// end gives back the place of an attempt that has ended, unused the one of an attempt that was not made.
func (h *Shared) end(unused bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	if unused {
		h.tokens = min(h.tokens+1, h.burst)
	}
	h.pass()
}

// full says that as many attempts are in flight as may be. The caller holds mu.
func (h *Shared) full() bool { return h.limits.Concurrency > 0 && h.running >= h.limits.Concurrency }

// take is one place, if there is one. The caller holds mu.
func (h *Shared) take() bool {
	if h.full() {
		return false
	}
	if h.second > 0 {
		now := time.Now()
		h.tokens = min(h.tokens+now.Sub(h.filled).Seconds()*h.second, h.burst)
		h.filled = now
		if h.tokens < 1-grain {
			return false
		}
		h.tokens--
	}
	h.running++
	return true
}

// grain is what a token may lack, so that arithmetic does not make one late by a timer's tick.
const grain = 1e-6

// pass hands places to those in line, each in its turn. The caller holds mu.
func (h *Shared) pass() {
	for len(h.line) > 0 && !h.paused.Load() {
		if !h.take() {
			h.wind()
			return
		}
		a := h.line[0]
		h.line = h.line[1:]
		a.wakeBy(1)
	}
}

// wind sets the timer for the next token. Without one it is the end of an attempt that is waited for. The caller holds mu.
func (h *Shared) wind() {
	if h.second == 0 || h.tokens >= 1-grain || h.full() {
		return
	}
	in := time.Duration(min((1-h.tokens)/h.second, 3600) * float64(time.Second))
	if h.timer == nil {
		h.timer = time.AfterFunc(in, h.due)
	} else {
		h.timer.Reset(in)
	}
}

// due runs in the timer's goroutine, for a moment.
func (h *Shared) due() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pass()
}

// wakeBy gives a so many places, which it was given in line, and lets its sink look for rows. It does so a moment later, in a goroutine
// that Close waits for. The Shared's lock is held, and a is a member.
func (a *access) wakeBy(places int) {
	s := a.sink
	s.ticks.Add(1)
	time.AfterFunc(0, func() {
		defer s.ticks.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		a.inLine = a.inLine && places == 0
		a.grants += places
		now := s.now()
		s.refreshAll(a, now)
		s.stir(now)
		s.spare()
	})
}

// mayShare takes a place for one attempt in what is shared. The caller holds mu.
func (s *Sink) mayShare(a *access) bool {
	switch {
	case a.shared == nil:
		return true
	case a.grants > 0:
		a.grants--
		return true
	case a.inLine:
		return false
	}
	a.inLine = !a.shared.ask(a)
	return !a.inLine
}

// ungrant gives back the places that no row needs. The caller holds mu.
func (s *Sink) ungrant(a *access) {
	for ; a.grants > 0; a.grants-- {
		a.shared.end(true)
	}
}

// spare gives places back unless somebody is on his way, who may need them. The caller holds mu.
func (s *Sink) spare() {
	if s.searching > 0 {
		return
	}
	for _, a := range s.sharing {
		s.ungrant(a)
	}
}
