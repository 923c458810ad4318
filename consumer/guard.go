package consumer

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"streamer/sink"
)

const (
	// guardWindow is how many outcomes the guard looks back, at most guardAge; below guardLeast it does not judge.
	guardWindow = 100
	guardLeast  = 20
	guardAge    = 10 * time.Minute
	// guardRing is a power of two above guardWindow.
	guardRing = 128
)

// guard is the dead-letter guard: when more than a share of the last outcomes would be rows given up, something other than those
// rows is wrong (an API that changed, a job that was changed badly), and the whole job is held instead of emptying the topic into
// the dead letters. Outcomes are rows delivered or given up, of one job on one instance.
type guard struct {
	share atomic.Uint64 // the bits of a float64; see allow

	// ring has the last outcomes by their number: the time in Unix nanoseconds, with the lowest bit set for a row given up. A row
	// delivered costs two atomic steps; who gives a row up reads it all.
	ring [guardRing]atomic.Int64
	n    atomic.Int64

	mu      sync.Mutex    // one judgement at a time
	tripped *Hold         // a hold that the log does not have yet
	saving  chan struct{} // capacity 1: tripped was set
}

func newGuard(share float64) *guard {
	g := &guard{saving: make(chan struct{}, 1)}
	g.allow(share)
	return g
}

// allow sets the share of rows given up that does not hold the job; what was noted before counts on.
func (g *guard) allow(share float64) { g.share.Store(math.Float64bits(share)) }

// delivered notes a delivered row.
func (g *guard) delivered(now time.Time) { g.note(now, 0) }

func (g *guard) note(now time.Time, givenUp int64) {
	g.ring[(g.n.Add(1)-1)%guardRing].Store(now.UnixNano()&^1 | givenUp)
}

// judge is asked before a row is given up. It notes the row and gives nil, or, when that would carry the share of rows given up
// above the limit, the hold to set instead.
func (g *guard) judge(now time.Time, why sink.Outcome) *Hold {
	g.mu.Lock()
	defer g.mu.Unlock()
	share := math.Float64frombits(g.share.Load())
	if share >= 1 {
		return nil
	}
	all, up := 1, 1
	for i, n := int64(1), g.n.Load(); i < guardWindow && i <= n; i++ {
		v := g.ring[(n-i)%guardRing].Load()
		if v == 0 || now.UnixNano()-v > int64(guardAge) {
			break
		}
		all++
		up += int(v & 1)
	}
	if all < guardLeast || float64(up) <= share*float64(all) {
		g.note(now, 1)
		return nil
	}
	h := &Hold{
		Cause: HoldGuard, Since: now,
		Reason: fmt.Sprintf("%d of the last %d rows would be given up, more than dead_letter.hold_share %.3g allows; the last one: %s: %s", up, all, share, why.Class, why.Reason),
		Next:   "rows are kept; look at the reason, mend the API or the job, then resume the job, or give the rows up by raising dead_letter.hold_share",
	}
	if g.tripped == nil {
		g.tripped = h
		nudge(g.saving)
	}
	return h
}

// unsaved says that the guard has held the job and the log does not know it yet.
func (g *guard) unsaved() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tripped != nil
}

// saved notes that the log knows the guard's hold.
func (g *guard) saved() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tripped = nil
}

// clear forgets all outcomes: the operator has looked at them.
func (g *guard) clear() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.ring {
		g.ring[i].Store(0)
	}
}

// saveHolds writes the guard's hold to the log, so that every instance holds the job and a restart does not forget it, until ctx ends.
func (r *Runner) saveHolds(ctx context.Context) {
	g := r.guard
	if g.unsaved() { // by the session before
		nudge(g.saving)
	}
	for {
		select {
		case <-g.saving:
		case <-ctx.Done():
			return
		}
		g.mu.Lock()
		h := *g.tripped
		g.mu.Unlock()
		for {
			m, err := r.instance.store.Remember(ctx, r.cfg.Job, Audit{By: BySelf, Action: "hold", Detail: map[string]any{"cause": h.Cause, "reason": h.Reason}},
				func(m *Memory) error {
					if m.Hold == nil {
						m.Hold = &h
					}
					return nil
				})
			if err == nil {
				r.saved(m)
				break
			}
			if said := "the dead-letter guard's hold cannot be remembered: " + err.Error(); r.said.first(said, time.Now()) {
				r.log.Error(said + "; this instance holds the job, others and a restart do not know it yet; trying again")
			}
			if !sleep(ctx, prepareRetry) {
				return
			}
		}
	}
}

// giveUp ends a row that cannot be delivered: with a dead letter; or, when the guard says that too many end so, by keeping it and
// holding the job; or, where dead letters are off, by keeping its lane waiting.
func (p *partition) giveUp(r *row, o sink.Outcome) {
	run := p.runner
	if run.gate.held(HoldGuard) {
		p.keep(r, o)
		return
	}
	if h := run.guard.judge(time.Now(), o); h != nil {
		if run.gate.hold(*h) {
			run.log.Error("job held: too many rows would be given up; nothing is sent until it is resumed", "reason", h.Reason, "next", h.Next)
		}
		p.keep(r, o)
		return
	}
	p.bury(r, o)
}

// keep holds on to a row until the guard's hold has ended: its lane waits, its record stays before the committed offset.
func (p *partition) keep(r *row, o sink.Outcome) {
	p.mu.Lock()
	given := r.endBy.Load() != nil // by somebody, and not for the guard to keep
	if p.life == open && !given && !p.past(r) {
		r.stage = kept
		p.kept = append(p.kept, r)
	}
	p.mu.Unlock()
	if given {
		p.decided(r, o)
		return
	}
	if !p.runner.gate.held(HoldGuard) { // it ended between the question and the list
		p.deliverKept()
	}
}

// deliverKept starts kept rows anew.
func (p *partition) deliverKept() {
	p.mu.Lock()
	if p.turn != nil { // they are about to be mapped anew
		p.mu.Unlock()
		return
	}
	rows := p.kept
	p.kept = nil
	for _, r := range rows {
		r.stage = delivering
	}
	p.mu.Unlock()
	for _, r := range rows {
		p.deliver(r)
	}
}
