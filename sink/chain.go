package sink

import "time"

// state is what the sink knows of a delivery. Guarded by Sink.mu, but for a worker that holds it: until settle it alone reads and
// writes what the attempt needs.
type state struct {
	scope  *Scope
	target *target
	rest   string // the URL behind its authority
	user   string // Authorization by the URL's user information
	fault  string // why it can never be sent
	health bool   // no row, but the breaker's question to the health URL
	placed bool   // its attempt has a place in what is shared

	// Where it is: in a worker's hands, in the target's queue, or in the alarms.
	inHand         bool
	worker         *worker // whose attempt runs
	queued         bool
	prev, next     *Delivery
	alarm          alarm
	older, younger *Delivery // in its scope

	attempts, failures int
	first              time.Time
	tripped            bool // the breaker has counted it
	last               Outcome
	withdrawn          bool // the attempt that runs is the last one
	fresh              bool // the next attempt must not use a kept connection
	probe              bool
	verdict            func(error) // tells the breaker

	// Who is to blame: evidence.go.
	seen             uint64 // target.delivered when the attempt before this one ended
	counted, unheard int    // attempts that failed with and without evidence
	unproven         bool

	// Whether it alone is refused: hold.go.
	renewed        bool   // its login was renewed, since that had been refused
	credential     uint64 // what it sends as Authorization
	number, begun  uint64 // of its attempt, and of its first one, among all of the sink
	asks           uint64 // the hold that its attempt is a probe for; 0: none
	refused, aside bool   // it was refused; and backs off by itself
	refusal        uint64 // the latest number of all when it was refused last
}

// The chain, first half: pick decides which row may start now. Its steps are the ones every attempt has passed, in this order.
// nil: none; whatever changes that will stir. The caller holds mu.
func (s *Sink) pick(now time.Duration) *Delivery {
	for n := len(s.ring); n > 0 && len(s.ring) > 0; n-- {
		// Scope alive? The rows of one that is not have left all queues (Scope.end).
		// Permit? Just asked (take).
		if s.shut || s.closed {
			return nil
		}
		// Breaker? A target offers nothing while it is open, and one row, or its health URL, when a probe is due (refresh).
		t := s.ring[s.turn%len(s.ring)]
		s.turn = (s.turn + 1) % len(s.ring)
		if t.breaker == nil {
			return s.hand(t, t.queue.head, now)
		}
		// May anything go to its connection? It may have been paused since the target was looked at last.
		if t.access.shared.rests() {
			s.refresh(t, now)
			continue
		}
		// A slot? One target may take all of them, while it is alone. Among several each may take four times what is left then
		// free (dynamic thresholds, Choudhury and Hahne 1998), and the last one goes to a target with nothing under way: a slow one
		// holds 4/5 at most. Over the bound it waits until attempts end.
		if free := s.c.Concurrency - s.inFlight; s.users > 1 && (t.inFlight >= 4*free || free == 1 && t.inFlight > 0) {
			continue
		}
		if t.open && t.health != nil {
			if s.admit(t, t.health, now) {
				return s.hand(t, t.health, now)
			}
			continue
		}
		// Rate? Only a row that could start takes a place in it.
		if !s.mayStart(now) {
			return nil
		}
		// What is shared? Its turn among the sinks of the connection.
		if !s.mayShare(t.access) {
			s.refreshAll(t.access, now)
			continue
		}
		d := t.queue.head
		if s.admit(t, d, now) {
			s.token = false
			d.placed = t.access.shared != nil
			return s.hand(t, d, now)
		}
		if t.access.shared != nil {
			t.access.grants++
		}
	}
	return nil
}

// admit asks the breaker, which agrees with refresh but for the grain of its clock.
func (s *Sink) admit(t *target, d *Delivery, now time.Duration) bool {
	verdict, err := t.breaker.Allow()
	if err != nil {
		s.set(&t.wake, now+time.Millisecond)
		s.refresh(t, now)
		return false
	}
	d.verdict = verdict
	d.probe, t.probing = t.open, t.open
	return true
}

// hand puts d into a worker's hands.
func (s *Sink) hand(t *target, d *Delivery, now time.Duration) *Delivery {
	if !d.health {
		t.queue.remove(d)
		d.inHand = true
		d.scope.running++
		s.number++
		d.number = s.number
		if d.first.IsZero() {
			d.seen, d.begun = t.delivered, d.number
		}
		if h := &t.hold; h.class != "" {
			d.asks, h.probing = h.id, true
			d.fresh = d.fresh || h.class == Address // it asks for a dial
		}
	}
	t.inFlight++
	s.inFlight++
	s.refresh(t, now)
	return d
}

// The chain, second half: deliver makes the attempt and does what its class asks for. The row is in the worker's hands.
func (s *Sink) deliver(w *worker, d *Delivery) {
	// Attempt, class.
	began := time.Now()
	r := result{class: Payload, reason: d.fault, unsent: true}
	if d.fault == "" {
		r = s.attempt(w, d)
	}
	if r.class == Credentials && !r.login && !d.health && s.forbidden(d) {
		r.class = Rejected
		r.reason += ", while other requests with the same credentials succeeded"
	}
	if !r.unsent && !r.login && (!r.again || r.stale) && !d.health {
		s.observer.Attempt(r.class, r.status, time.Since(began))
	}

	s.mu.Lock()
	blame := s.judge(d, r)
	if blame == disputed {
		s.mu.Unlock()
		healthy := s.healthy(w, d.target)
		s.mu.Lock()
		if blame = undecided; healthy {
			blame = byHealth
		}
	}
	now := s.now()
	s.settle(d, r, began, now)
	s.tell()
	if d.health {
		s.searching++
		s.stir(now)
		s.mu.Unlock()
		return
	}
	o := Outcome{Class: r.class, Status: r.status, Reason: r.reason, Attempts: d.attempts, Counted: d.counted, Unproven: d.unproven, First: d.first}
	final := r.class.final()
	if words := blame.words(); words != "" {
		final = true
		o.Reason += "; " + words
	}

	// Wait, and again.
	d.last = o
	if !final && !d.leaves() {
		until := now
		if !r.again {
			until = s.until(d, r, now)
			s.mu.Unlock()
			s.observer.Waiting(d, o, s.start.Add(until))
			s.mu.Lock()
		}
		if !d.leaves() {
			s.requeue(d, r, until, now)
			s.searching++
			s.stir(now)
			s.mu.Unlock()
			return
		}
	}

	// Final.
	if !final {
		o.Class = Interrupted
	}
	o.Response = r.response
	w.left = d.scope
	d.inHand = false
	s.release(d, now)
	s.searching++
	s.tell()
	s.mu.Unlock()
	d.Final(d, o)
}

// leaves says that d is not tried again. The caller holds mu.
func (d *Delivery) leaves() bool { return d.scope.ending || d.withdrawn }

// tell lets go of mu to tell the observer what changed, if anything did.
func (s *Sink) tell() {
	if len(s.events) > 0 {
		s.mu.Unlock()
		s.flush()
		s.mu.Lock()
	}
}

// settle takes the attempt off the books and tells the breaker what it proved. The caller holds mu.
func (s *Sink) settle(d *Delivery, r result, began time.Time, now time.Duration) {
	t := d.target
	d.worker = nil
	t.inFlight--
	s.inFlight--
	if d.placed {
		d.placed = false
		t.access.shared.end(false)
	}
	switch {
	case r.class == Interrupted, r.class == Address, r.unsent, r.login:
	default:
		if d.attempts++; d.first.IsZero() {
			d.first = began
		}
		d.seen = t.delivered
	}
	if r.class == Delivered && !d.health {
		t.delivered++
		t.prove(d)
	}
	d.fresh = r.stale
	if verdict := d.verdict; verdict != nil {
		d.verdict = nil
		probe := d.probe
		if probe {
			d.probe, t.probing = false, false
		}
		switch {
		case r.again || r.unsent || r.class == Interrupted || r.class == Address && !d.health || r.login && r.class != Target:
			verdict(errUncounted)
		case r.class == Target || d.health && r.class != Delivered:
			if probe || !t.open {
				t.cause = r.reason
			}
			// A row is counted once: many failures of one row say less of the target than one of many. A probe always counts; what
			// had begun before the breaker opened does not.
			if probe || !t.open && !d.tripped {
				d.tripped = true
				verdict(errTarget)
			} else {
				verdict(errUncounted)
			}
		default: // it answered with sense: it lives
			verdict(nil) // may close it
			if !t.open {
				t.cause = ""
			}
		}
	}
	s.heed(d, r, now)
	s.refresh(t, now)
}

// until is when d may start again after r: behind an open breaker or a hold when that probes, else after its back-off. The caller
// holds mu.
func (s *Sink) until(d *Delivery, r result, now time.Duration) time.Duration {
	if r.holds() && !d.aside {
		return max(d.target.hold.wake.at, now)
	}
	d.failures++
	if r.class == Target && d.target.open {
		return max(d.target.wake.at, now+min(r.after, s.c.Retry.MaxAfter))
	}
	return now + s.backoff(d.failures, r.after)
}

// requeue puts d where it waits. The caller holds mu.
func (s *Sink) requeue(d *Delivery, r result, until, now time.Duration) {
	t := d.target
	d.inHand = false
	d.scope.running--
	switch {
	case r.again:
		t.queue.pushFront(d)
	case r.holds() && !d.aside:
		t.queue.pushBack(d)
	case r.class == Target && t.open && r.after == 0:
		// The breaker is the brake now. To the back: the next probe is another row.
		t.queue.pushBack(d)
	default:
		s.set(&d.alarm, until)
		s.waiting++
	}
	d.aside = false
	s.refresh(t, now)
}
