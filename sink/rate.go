package sink

import (
	"time"

	"golang.org/x/time/rate"
)

// SetShare gives this instance another share of Config.Rate, 0 < share ≤ 1; it begins with all of it. No burst comes of it: what was
// saved up by the old rate is cut to the new burst, and a higher rate begins with what was saved. The burst is rounded down, but is
// at least one attempt. Without a rate limit it does nothing.
func (s *Sink) SetShare(share float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limiter == nil || s.closed {
		return
	}
	now := s.now()
	at := s.start.Add(now)
	limit, burst := s.c.Rate.of(min(max(share, minShare), 1))
	s.limiter.SetLimitAt(at, limit)
	s.limiter.SetBurstAt(at, burst)
	s.refill = refillOf(limit, burst)
	if s.token && s.turnAt > now {
		// The place that was reserved ahead is a debt in the bucket: paid by the new rate it falls due at another time.
		debt := max(0, -s.limiter.TokensAt(at))
		s.turnAt = now + time.Duration(debt/float64(limit)*float64(time.Second))
		if s.pace.pos > 0 {
			s.set(&s.pace, s.turnAt)
		}
	}
	s.stir(now)
}

// minShare keeps times within reach: a thousandth of a per cent.
const minShare = 1e-5

// of is the limit and the burst of a share of r.
func (r Rate) of(share float64) (rate.Limit, int) {
	perSecond := r.Count / r.Per.Seconds() * share
	// Timers are no finer than about a millisecond: what falls due within two of them may go at once.
	return rate.Limit(perSecond), max(1, int(float64(r.Burst)*share), int(perSecond/500))
}

// refillOf is how long a burst takes to come back.
func refillOf(limit rate.Limit, burst int) time.Duration {
	return time.Duration(min(float64(burst)/float64(limit), 3600) * float64(time.Second))
}

// mayStart says that neither permit nor rate forbid the next attempt. For the rate it reserves one place ahead, for whoever
// comes first when it is due, so that nothing is to be given back when a row is dropped. The caller holds mu.
func (s *Sink) mayStart(now time.Duration) bool {
	if s.shut || s.closed {
		return false
	}
	if s.limiter == nil {
		return true
	}
	if s.token && now-s.turnAt > s.refill {
		s.token = false // reserved long ago for a row that was dropped: the rate has filled up since
	}
	if !s.token {
		at := s.start.Add(now)
		s.turnAt = now + s.limiter.ReserveN(at, 1).DelayFrom(at)
		s.token = true
	}
	if s.turnAt <= now {
		return true
	}
	if s.pace.pos == 0 {
		s.set(&s.pace, s.turnAt)
	}
	return false
}
