package consumer

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A job can be kept from starting attempts as a whole: an operator paused it, the dead-letter guard stopped it, its offsets are
// lost. Rows stay where they are, attempts that run may end, reading goes on until the memory is full. The sink asks permit before
// every attempt, so nothing else needs to know.

// gateRetry is how long the sink waits before it asks a closed gate again.
const gateRetry = 250 * time.Millisecond

// gate says whether attempts may start at all, and why not.
type gate struct {
	shut atomic.Bool // any of the below

	mu     sync.Mutex
	paused bool
	since  time.Time          // paused
	holds  map[HoldCause]Hold // of the whole job
}

// pause notes what the operator wants and reports whether that is new.
func (g *gate) pause(on bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused == on {
		return false
	}
	g.paused, g.since = on, time.Now()
	g.shut.Store(g.paused || len(g.holds) > 0)
	return true
}

// hold adds a hold of the whole job, or replaces that of the same cause, whose since stays; it reports whether the cause is new.
func (g *gate) hold(h Hold) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	before, known := g.holds[h.Cause]
	if known {
		h.Since = before.Since
	}
	if g.holds == nil {
		g.holds = map[HoldCause]Hold{}
	}
	g.holds[h.Cause] = h
	g.shut.Store(true)
	return !known
}

// release ends a hold and reports whether there was one.
func (g *gate) release(cause HoldCause) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.holds[cause]; !known {
		return false
	}
	delete(g.holds, cause)
	g.shut.Store(g.paused || len(g.holds) > 0)
	return true
}

// held says whether the job is held for a cause.
func (g *gate) held(cause HoldCause) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, known := g.holds[cause]
	return known
}

// read gives whether the job is paused, since when, and its holds in the order of their causes.
func (g *gate) read() (paused bool, since time.Time, holds []Hold) {
	g.mu.Lock()
	defer g.mu.Unlock()
	holds = slices.SortedFunc(maps.Values(g.holds), func(a, b Hold) int { return strings.Compare(string(a.Cause), string(b.Cause)) })
	return g.paused, g.since, holds
}

// permit is asked by the sink before every attempt: 0 lets it start.
func (r *Runner) permit() time.Duration {
	if r.gate.shut.Load() {
		return gateRetry
	}
	return r.fence.permit()
}

// Recall tells the runner what is remembered of its job now: whether it is paused, and whether the dead-letter guard holds it. It may
// be called at any time and any number of times; what is older than what the runner knows changes nothing. The story:
//
//  1. The guard trips, and its hold is written at revision 7.
//  2. Somebody who has looked at the log at revision 6 comes late, and says that there is no hold.
//  3. Were he believed, the job would go on for a moment, with the guard's outcomes forgotten, and give up what it should keep.
func (r *Runner) Recall(m Memory) {
	if r.recall(m, false) {
		r.deliverKept()
	}
}

// saved is Recall of the Memory that the guard's hold was written with. An operator who was faster than the answer to that write has
// ended the hold already.
func (r *Runner) saved(m Memory) {
	if r.recall(m, true) {
		r.deliverKept()
	}
}

// recall says whether rows that were kept are to be delivered.
func (r *Runner) recall(m Memory, saved bool) (released bool) {
	r.recalling.Lock()
	defer r.recalling.Unlock()
	if saved {
		r.guard.saved()
	}
	if m.older(r.known) {
		m = r.known
	}
	if !maps.Equal(m.Begun, r.known.Begun) {
		r.lookAgain() // what is held here may have been accepted on another instance
	}
	r.known = m
	r.resets.Store(int64(m.Resets))
	if r.gate.pause(m.Desired == WantPaused) {
		r.log.Info(map[bool]string{true: "paused: no new attempts", false: "no longer paused"}[m.Desired == WantPaused])
	}
	switch {
	case m.Hold != nil:
		if r.gate.hold(*m.Hold) {
			r.log.Warn("job held", "cause", string(m.Hold.Cause), "reason", m.Hold.Reason, "next", m.Hold.Next)
		}
	case r.guard.unsaved():
	case r.gate.held(HoldGuard):
		r.guard.clear() // first: a row that is given up now would be judged by what the operator has looked at
		r.gate.release(HoldGuard)
		r.log.Info("job no longer held; rows that were kept are delivered again", "cause", string(HoldGuard))
		return true
	}
	return false
}

func (r *Runner) deliverKept() {
	for _, p := range r.all() {
		p.deliverKept()
	}
}

// recollect waits for what is remembered of the job, so that a paused or held one starts nothing.
func (r *Runner) recollect(ctx context.Context) error {
	for try := 1; ; try++ {
		m, err := r.instance.store.Memory(ctx, r.cfg.Job)
		if err == nil {
			r.Recall(m)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.status.set(Starting, "what is remembered of the job cannot be read: "+err.Error()) {
			r.log.Warn("not ready to start; trying again", "cause", err)
		}
		if !sleep(ctx, min(prepareRetry, 200*time.Millisecond<<min(try, 6))) {
			return ctx.Err()
		}
	}
}
