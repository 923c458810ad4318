package consumer

import (
	"testing"
	"time"
)

func TestWatchdogNamesTheCause(t *testing.T) {
	head := func(state FoundState) *Found {
		return &Found{Position: Position{Topic: "t", Offset: 7}, State: state, Attempts: 3}
	}
	for name, c := range map[string]struct {
		v    view
		want StallCause
	}{
		"the partition is held":            {view{hold: &Hold{Cause: HoldExpired}, paused: true}, StallHeld},
		"the job is held":                  {view{jobHolds: []Hold{{Cause: HoldGuard}}, head: head(FoundKept)}, StallHeld},
		"paused":                           {view{paused: true, head: head(FoundBackOff)}, StallPaused},
		"members come and go":              {view{rebalances: loopRebalances, fenced: true}, StallRebalance},
		"heartbeats are not answered":      {view{fenced: true, head: head(FoundBackOff)}, StallGroup},
		"a dead letter is not taken":       {view{head: head(FoundBurying)}, StallDeadLetters},
		"dead letters are off":             {view{head: head(FoundStuck)}, StallLane},
		"nobody knows who is to blame":     {view{head: head(FoundUnproven)}, StallLane},
		"the row backs off":                {view{head: head(FoundBackOff), memory: true}, StallLane},
		"the breaker is open":              {view{head: head(FoundBackOff), headWait: "breaker"}, StallBreaker},
		"the rate is used up":              {view{head: head(FoundBackOff), headWait: "rate"}, StallLimit},
		"the target refuses credentials":   {view{head: head(FoundBackOff), headWait: "hold"}, StallHeld},
		"the attempt takes long":           {view{head: head(FoundInFlight)}, StallSlow},
		"it cannot be fetched":             {view{fetch: "fetch: NOT_LEADER", memory: true}, StallBroker},
		"memory is full of others":         {view{memory: true, open: "x"}, StallMemory},
		"behind an open transaction":       {view{open: "a transaction of producer 5 is open"}, StallTransaction},
		"nothing is known: ask the broker": {view{}, StallBroker},
	} {
		t.Run(name, func(t *testing.T) {
			if got, reason := c.v.diagnose(); got != c.want {
				t.Errorf("%s (%s), want %s", got, reason, c.want)
			}
		})
	}
}

// A stall is told once, again when its cause changes, and its end is told; a partition that moves, or has no lag, is none.
func TestWatchdogTellsEachStallOnce(t *testing.T) {
	var w watchdog
	p := &partition{topic: "t", id: 3}
	began := time.Now()
	type step struct {
		after                time.Duration
		v                    view
		news, stalls, moving int
	}
	stuck := &Found{State: FoundBackOff}
	for i, s := range []step{
		{after: 0, v: view{lag: 5, offset: 10}},
		{after: stallAfter - time.Second, v: view{lag: 9, offset: 10, head: stuck}},
		{after: stallAfter, v: view{lag: 9, offset: 10, head: stuck}, news: 1, stalls: 1},
		{after: stallAfter + 5*time.Second, v: view{lag: 9, offset: 10, head: stuck}, stalls: 1},
		{after: stallAfter + 10*time.Second, v: view{lag: 9, offset: 10, paused: true}, news: 1, stalls: 1},
		{after: stallAfter + 15*time.Second, v: view{lag: 8, offset: 11, paused: true}, moving: 1},
		{after: 2*stallAfter + 10*time.Second, v: view{lag: 8, offset: 11}},
		{after: 2*stallAfter + 15*time.Second, v: view{lag: 0, offset: 11}},
		{after: 4 * stallAfter, v: view{lag: 0, offset: 11}},
	} {
		s.v.of = p
		news, moving := w.look(began.Add(s.after), []view{s.v})
		if len(news) != s.news || len(moving) != s.moving || len(w.read()) != s.stalls {
			t.Fatalf("step %d: news %v, moving %v, stalls %v", i, news, moving, w.read())
		}
	}
}

func TestWatchdogCountsRebalancesOfTheLastMinute(t *testing.T) {
	var w watchdog
	now := time.Now()
	for i := range 30 {
		w.rebalanced(now.Add(-time.Duration(30-i) * 10 * time.Second))
	}
	if got := w.lately(now); got != 5 {
		t.Errorf("%d rebalances within a minute, want 5", got)
	}
}
