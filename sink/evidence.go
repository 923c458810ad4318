package sink

// Who is to blame when a target fails, the target or the row? An outage must never give rows up, and a row that the target always
// fails on must not be tried for ever. Both look the same from one row; what tells them apart is what other rows meet:
//
//   - An attempt counts when it failed in a way the row may be to blame for (result.blames) although this instance delivered
//     another row to the target since the row's attempt before ended; for its first attempt: while it ran. An outage that begins
//     between two attempts makes one attempt count at most, since nothing is delivered any more.
//   - While the breaker is open nothing counts, and no probe does.
//   - After Config.Retry.Attempts counted ones the row is given up.
//   - As many failures without evidence (one lane, little traffic) leave the row disputed. The health URL decides, if there is one:
//     while it answers, the row is to blame. Else the row is unproven and goes on, until evidence comes or an operator decides,
//     or is given up if the job says so.

// blame is what a failed attempt says of its row.
type blame uint8

const (
	undecided blame = iota // the row goes on
	disputed               // the health URL has to be asked
	byCount                // given up: it failed while other rows were delivered
	byHealth               // given up: it failed although the target is healthy
	byWish                 // given up without evidence, as the job wants it
)

// words ends the reason of a row that is given up; empty: it is not.
func (b blame) words() string {
	switch b {
	case byCount:
		return "given up, since other rows were delivered between its attempts"
	case byHealth:
		return "given up, since the health URL answers; no other row was delivered between its attempts"
	case byWish:
		return "given up, as on_unproven says, although no other row was delivered between its attempts"
	}
	return ""
}

// judge weighs the result of an attempt, before settle. The caller holds mu.
func (s *Sink) judge(d *Delivery, r result) blame {
	t := d.target
	if !r.blames || d.health || d.probe || t.open {
		return undecided
	}
	if t.delivered != d.seen {
		s.setUnproven(d, false)
		if d.counted++; d.counted >= s.c.Retry.Attempts {
			return byCount
		}
		return undecided
	}
	if d.unheard++; d.unheard < s.c.Retry.Attempts {
		return undecided
	}
	switch {
	case s.health.host != nil && t.access == s.own:
		return disputed
	case s.c.Retry.GiveUpUnproven:
		s.setUnproven(d, true)
		return byWish
	}
	s.setUnproven(d, true)
	return undecided
}

// healthy asks the health URL, in the worker that has just made the row's attempt, so that Cancel breaks it off. The caller does not
// hold mu.
func (s *Sink) healthy(w *worker, t *target) bool {
	ask := &Delivery{state: state{target: t, health: true}}
	r := s.attempt(w, ask)
	if r.stale {
		ask.fresh = true
		r = s.attempt(w, ask)
	}
	return r.class == Delivered
}

func (s *Sink) setUnproven(d *Delivery, unproven bool) {
	if d.unproven == unproven {
		return
	}
	if d.unproven = unproven; unproven {
		s.unproven++
	} else {
		s.unproven--
	}
}
