package sink

import "time"

// Look is one row as the sink has it.
type Look struct {
	// Here is false for a row that is final, or was never delivered: the rest is of its last attempt then.
	Here bool
	// InFlight: an attempt runs. Otherwise Wait says what the next one waits for, in a word: back-off, breaker, hold, rate, permit, connection (what its jobs share) or slot;
	// Next is when it may start, zero if that is not a matter of time.
	InFlight bool
	Wait     string
	Next     time.Time
	// Attempts were made, Counted of them against the row; see evidence.go.
	Attempts, Counted int
	Unproven          bool
	// Last is what the last attempt came to; its class is empty before the first one.
	Last Outcome
}

// Look tells how far d is. It may be called at any time after Deliver.
func (sc *Scope) Look(d *Delivery) Look {
	s := sc.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	l := Look{Here: d.here(), InFlight: d.worker != nil, Attempts: d.attempts, Counted: d.counted, Unproven: d.unproven, Last: d.last}
	switch {
	case l.InFlight || !l.Here:
	case d.inHand: // its attempt has just ended
		l.Wait = "back-off"
	case d.alarm.pos > 0:
		l.Wait, l.Next = "back-off", s.start.Add(d.alarm.at)
	case d.target.open:
		l.Wait, l.Next = "breaker", s.start.Add(d.target.wake.at)
	case d.target.hold.class != "":
		l.Wait, l.Next = "hold", s.start.Add(d.target.hold.wake.at)
	case s.shut:
		l.Wait = "permit"
	case s.pace.pos > 0:
		l.Wait = "rate"
	case d.target.access != nil && d.target.access.waits():
		l.Wait = "connection"
	default:
		l.Wait = "slot"
	}
	return l
}

// here says that the sink has d. The caller holds mu.
func (d *Delivery) here() bool { return d.inHand || d.queued || d.alarm.pos > 0 }

// Hurry ends d's back-off: its next attempt starts as soon as breaker, rate and permit let it. A row that is queued goes to the front;
// a target on hold is probed with it now. It does nothing to a row with an attempt running.
func (sc *Scope) Hurry(d *Delivery) {
	s := sc.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	switch {
	case d.queued:
		d.target.queue.remove(d)
	case d.alarm.pos > 0:
		s.unset(&d.alarm)
		s.waiting--
	default:
		return
	}
	d.target.queue.pushFront(d)
	if h := &d.target.hold; h.class != "" && !h.probing {
		s.unset(&h.wake)
	}
	s.refresh(d.target, now)
	s.stir(now)
}

// Withdraw takes d back. True: the sink has forgotten it and Final will not be called. False: it is final, or an attempt runs; that
// one may end, and if it is not final by it, Final is told Interrupted, with the reason of the attempt.
func (sc *Scope) Withdraw(d *Delivery) bool {
	s := sc.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	if !d.here() {
		return false
	}
	if d.inHand {
		d.withdrawn = true
		return false
	}
	now := s.now()
	s.release(d, now)
	s.stir(now)
	s.tell()
	return true
}
