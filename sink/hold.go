package sink

import (
	"hash/maphash"
	"sort"
	"time"
)

// A target is on hold while its answers are about all rows alike, and an operator has to mend something: the credentials are refused,
// or our own guard refuses the address. It gets no attempts but probes, one at a time, with back-off, each by another row; every row
// that gets the same answer goes to the queue's end. Nothing is counted and nothing is given up. A probe with any other answer ends
// the hold, and so does a row that was delivered with the same credentials and had begun behind the one that began the hold.
//
// One record may be forbidden while all others pass (403). Its row holds the target for a moment: the next row probes at once, its
// success ends the hold, and proves that the credentials are good; the forbidden row is then rejected, if it is refused again. Only
// requests that began after the row's refusal was read prove it. What had begun before may have passed the door before the credentials
// were withdrawn, however late its answer comes, and though it began behind the refused row, since requests overtake one another on
// their way:
//
//  1. Rows B and A begin, in this order. A arrives first and passes the check. The credentials are withdrawn. B arrives and is refused.
//  2. A is delivered. If that proved the credentials good, B would be given up, and with it every row in flight at that moment.
type hold struct {
	class Class  // Credentials or Address; empty: no hold
	cause string // the last answer's
	since time.Time
	id    uint64 // which hold it is
	// credential and begun are those of the row that began it.
	credential, begun uint64

	refusals int  // answers of the first row and of probes
	probing  bool // the one probe is under way
	// wake is set until the next probe is due, which is not before after: a Retry-After.
	wake  alarm
	after time.Duration
	// sole is the only row that was refused so far; several: there were others. While only one was, any other row is asked at once.
	sole    *Delivery
	several bool
	// shown: the observer knows of it. One refused row is no news yet, only the second one is.
	shown bool
}

// maxCredentials is how many credentials a target remembers to be good. A job has one, unless its Authorization header comes from
// the row.
const maxCredentials = 64

// credentialOf tells values of Authorization apart. 0 is the job's own, and none.
func (s *Sink) credentialOf(authorization string) uint64 {
	return maphash.String(s.seed, authorization) | 1
}

// prove notes that a row was delivered with its credential. The caller holds mu.
func (t *target) prove(d *Delivery) {
	if d.credential == 0 {
		t.proved = max(t.proved, d.number)
		return
	}
	if t.provedBy == nil {
		t.provedBy = map[uint64]uint64{}
	}
	if _, known := t.provedBy[d.credential]; !known && len(t.provedBy) >= maxCredentials {
		clear(t.provedBy) // forgetting makes a hold where a rejection was due, never the other way round
	}
	t.provedBy[d.credential] = max(t.provedBy[d.credential], d.number)
}

// forbidden says that d alone is refused: a request with its credential succeeded that began after d had been refused before.
func (s *Sink) forbidden(d *Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := d.target
	if !d.refused {
		return false
	}
	if d.credential == 0 {
		return t.proved > d.refusal
	}
	return t.provedBy[d.credential] > d.refusal
}

// heed draws the result's conclusions for the hold of its target. The caller holds mu.
func (s *Sink) heed(d *Delivery, r result, now time.Duration) {
	h := &d.target.hold
	probe := d.asks != 0 && d.asks == h.id
	if d.asks = 0; probe {
		h.probing = false
	}
	switch {
	case d.health, r.again, r.unsent, r.class == Interrupted, r.login && r.class == Rejected: // says nothing
	case r.class == Credentials, r.class == Address:
		if probe && r.class != h.class {
			s.endHold(d.target)
			probe = false
		}
		s.refused(d, r, probe, now)
	case probe, h.class == Credentials && r.class == Delivered && d.credential == h.credential && d.number > h.begun:
		s.endHold(d.target)
	}
}

// refused begins a hold or prolongs it. The caller holds mu.
func (s *Sink) refused(d *Delivery, r result, probe bool, now time.Duration) {
	t := d.target
	h := &t.hold
	began := h.class == ""
	if began {
		s.holds++
		*h = hold{class: r.class, since: time.Now(), id: s.holds, credential: d.credential, begun: d.begun, wake: h.wake}
		// It was refused before, and others were not: it may not stop them again and again.
		d.aside = d.refused
	}
	if !r.login {
		d.refused, d.refusal = true, s.number
	}
	switch {
	case h.sole == nil && !h.several:
		h.sole = d
	case h.sole != d:
		h.several = true
	}
	if r.class == h.class {
		h.cause = r.reason
	}
	h.after = max(h.after, now+min(r.after, s.c.Retry.MaxAfter))
	switch {
	case began || probe:
		h.refusals++
		s.set(&h.wake, now+s.backoff(h.refusals, r.after))
	case h.wake.pos > 0 && h.wake.at < h.after:
		s.set(&h.wake, h.after)
	}
	if !began {
		s.show(t)
	}
}

// endHold lets all rows of t go on. The caller holds mu and refreshes t.
func (s *Sink) endHold(t *target) {
	s.unshow(t)
	s.unset(&t.hold.wake)
	t.hold = hold{wake: t.hold.wake}
}

// offers is how many of t's rows its hold lets be picked now: one when a probe is due. While only one row was refused, another one
// need not wait for the back-off. The caller holds mu.
func (s *Sink) offers(t *target, now time.Duration) int {
	h := &t.hold
	if h.probing || t.queue.n == 0 {
		return 0
	}
	if !h.several && h.wake.pos > 0 {
		if d := t.queue.head; d == h.sole && t.queue.n > 1 {
			t.queue.remove(d)
			t.queue.pushBack(d)
		}
		switch {
		case t.queue.head == h.sole:
		case h.after <= now:
			s.unset(&h.wake)
		case h.after < h.wake.at:
			s.set(&h.wake, h.after)
		}
	}
	if h.wake.pos > 0 && h.wake.at > now {
		return 0
	}
	return 1
}

// show and unshow tell the observer that t is on hold. The caller holds mu, and flushes without it.
func (s *Sink) show(t *target) {
	if !t.hold.shown {
		t.hold.shown = true
		s.events = append(s.events, event{target: t.name, hold: s.holdOf(t), on: true})
	}
}

func (s *Sink) unshow(t *target) {
	if t.hold.shown {
		t.hold.shown = false
		s.events = append(s.events, event{target: t.name, hold: s.holdOf(t)})
	}
}

// holdOf is what is told of a hold.
func (s *Sink) holdOf(t *target) Hold {
	next := time.Now()
	if t.hold.wake.pos > 0 {
		next = s.start.Add(t.hold.wake.at)
	}
	return Hold{Target: t.name, Class: t.hold.class, Cause: t.hold.cause, Since: t.hold.since, Next: next}
}

// holdsNow are the holds that show, by target. The caller holds mu.
func (s *Sink) holdsNow() (out []Hold) {
	for _, t := range s.targets {
		if t.hold.shown {
			out = append(out, s.holdOf(t))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Target < out[j].Target })
	return out
}
