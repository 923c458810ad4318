package consumer

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrRejoin says that a definition is of other topics, another group or another instance: who wants it stops this runner and runs another.
var ErrRejoin = errors.New("the change is of the job's topics or group: it takes another runner, which joins anew")

// Change gives the job another definition while it runs, without leaving its group: member, generation and assignment stay. It may be
// called from any goroutine, at any time of a run, and returns nil when cfg is in effect here: every attempt that starts later is by it, or
// by that of a later call. Of several calls at a time the last one wins, and all of them return when that is in effect.
//
// The error is ErrRejoin if that takes another runner, a *RefusedError if cfg's sink cannot be made; nothing has changed then. It is
// ErrNotRunning if the run has ended first: nothing was sent by cfg, and the next runner is to be made with it. When ctx ends first, its
// error comes back and cfg still takes effect, a moment later, unless the run ends or another call replaces it.
//
// What takes effect how (Config.Effect says it of two definitions):
//
//	Job, Namespace, Group, Instance, Topics, Pattern                  ErrRejoin
//	Program, Schemas, Order, Tombstone                                re-map: unfinished records become rows and requests anew
//	IdempotencyHeader, PositionHeaders                                re-map
//	Sink: all of it                                                   next attempt: a new sink, with new breakers, holds and back-off
//	DeadLetterTopic, DeadLetterPark                                   next attempt: of letters from now on; those that stand stay where they are
//	DeadLetterShare                                                   at once; the outcomes that were noted count on, and a hold stays
//	DeadLetterRetention                                               when the topic is made
//	Drain                                                             the next revoke or stop; in this session at most 15 s longer than it joined with
//	Commit                                                            at once
//	Start, Instances                                                  a new group's beginning; placement: nothing here
//
// For what touches attempts or rows, all partitions come to rest first: no attempt starts, those in flight end, at most for the Drain of
// the old definition, and are broken off and made again then. Rows that wait, for whatever, do not delay that. Then their unfinished
// records, which are in memory, go the way from decoding on again, in their order, before anything that was read later. Nothing is read
// again, so a held partition, or one whose log has lost the records since, goes on as well; rows that are final stay so.
func (r *Runner) Change(ctx context.Context, cfg Config) error {
	cfg = cfg.Defaults()
	if r.cfg.Effect(cfg) == EffectRejoin {
		return ErrRejoin
	}
	o, err := r.newOutlet(&cfg)
	if err != nil {
		return err
	}
	number, err := r.changes.ask(r, &wanted{cfg, o})
	if err != nil {
		return err
	}
	for {
		done, over, told := r.changes.read()
		switch {
		case done >= number:
			return nil
		case over:
			return ErrNotRunning
		}
		select {
		case <-told:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changes are the definitions that a runner is asked for. Make it with newChanges.
type changes struct {
	wake chan struct{} // capacity 1: the changer of the session looks
	pace chan struct{} // capacity 1: so does the commit loop

	mu    sync.Mutex
	next  *wanted       // nil: what was asked for last is in effect
	asked uint64        // calls
	done  uint64        // calls up to this one are in effect
	live  bool          // there is a session; else changes take effect at once
	over  bool          // the run has ended
	told  chan struct{} // closed when something of it has changed, and made anew
}

// wanted is a definition with the sink that was made for it.
type wanted struct {
	Config
	outlet *outlet
}

func newChanges() changes {
	return changes{wake: make(chan struct{}, 1), pace: make(chan struct{}, 1), told: make(chan struct{})}
}

// ask notes what is wanted, and gives the number of the call.
func (c *changes) ask(r *Runner, w *wanted) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		w.outlet.close()
		return 0, ErrNotRunning
	}
	if c.next != nil {
		c.next.outlet.close() // it was never used
	}
	c.next = w
	c.asked++
	if c.live {
		nudge(c.wake)
	} else {
		c.settle(r)
	}
	return c.asked, nil
}

// settle makes what is wanted the definition, of no session. The caller holds mu.
func (c *changes) settle(r *Runner) {
	if c.next != nil {
		r.log.Info("job changed", "effect", r.now().Effect(c.next.Config).String(), "session", false)
		r.definition.Store(r.define(c.next.Config))
		r.guard.allow(c.next.DeadLetterShare)
		c.next.outlet.close()
		c.next = nil
	}
	c.done = c.asked
	c.tell()
}

func (c *changes) tell() {
	close(c.told)
	c.told = make(chan struct{})
}

func (c *changes) read() (done uint64, over bool, told <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done, c.over, c.told
}

// wants gives what is wanted now; nil: nothing.
func (c *changes) wants() *wanted {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// claim takes what is wanted, if it still is w, and gives the number of the call that asked for it.
func (c *changes) claim(w *wanted) (number uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != w {
		return 0, false
	}
	c.next = nil
	return c.asked, true
}

// finish says that the calls up to number are in effect.
func (c *changes) finish(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = number
	c.tell()
	nudge(c.pace)
}

// sessionBegins gives the definition a sink. From now on changes are the changer's.
func (c *changes) sessionBegins(r *Runner) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, err := r.newOutlet(&r.now().Config)
	if err != nil {
		return err
	}
	o.unlimit = r.instance.limit(r.cfg.Job, o.limited)
	d := *r.now()
	d.outlet = o
	d.begin()
	r.definition.Store(&d)
	c.live = true
	return nil
}

// sessionEnded makes what the changer did not come to the definition of the next session.
func (c *changes) sessionEnded(r *Runner) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = false
	if c.next != nil {
		c.settle(r)
	}
}

// end says that the run is over.
func (c *changes) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.next != nil {
		c.next.outlet.close()
		c.next = nil
	}
	c.tell()
}

// changer carries changes out, and runs what the dead letters of the present definition need, until work ends. With member's end the
// partitions are given up, and what is wanted then is for the next session.
func (r *Runner) changer(work, member context.Context) {
	end := r.now().serve()
	defer func() { end() }()
	var closing sync.WaitGroup // of sinks that were replaced
	defer closing.Wait()
	defer func() { <-work.Done() }()
	for {
		select {
		case <-r.changes.wake:
		case <-member.Done():
			return
		}
		began := time.Now()
		old, d := r.turn(work, member)
		if d == nil {
			continue
		}
		if d.dead != old.dead {
			begin := d.serve()
			end()
			end = begin
			r.status.note(&r.status.dead, "")
			r.status.note(&r.status.callbacks, "")
			r.status.note(&r.status.responses, "")
			r.status.note(&r.status.parked, "")
		}
		if d.outlet != old.outlet {
			closing.Go(func() { // at once, but for a partition that is being given up by the old definition
				old.outlet.scopes.Wait()
				old.outlet.close()
			})
		}
		r.log.Info("job changed", "effect", old.Effect(d.Config).String(), "session", true, "took", time.Since(began))
	}
}

// turn carries out what is wanted, if anything, and gives the definition before and after; nil after if the session ends first.
//
//  1. All partitions come to rest. One that is assigned meanwhile has begun by the old definition, so it is looked again.
//  2. Under regulating none is assigned or given up: what is wanted by then becomes the definition, and each partition goes on by it. The
//     old sink has nothing in hand any more, so the two together never start more than one of them may.
func (r *Runner) turn(work, member context.Context) (old, d *definition) {
	old = r.now()
	defer r.status.note(&r.status.change, "")
	ctx, cancel := context.WithTimeout(work, r.drainTime())
	defer cancel()
	for resting := false; member.Err() == nil; resting = true {
		if w := r.changes.wants(); w == nil {
			return old, nil
		} else if resting || old.Effect(w.Config) > EffectNone {
			r.status.note(&r.status.change, "the job is being changed: attempts in flight end first")
			resting = true
			r.rest(ctx)
			if member.Err() != nil {
				break
			}
		}
		if d := r.carryOn(old, resting); d != nil {
			return old, d
		}
	}
	return old, nil
}

// rest brings all partitions to rest. When ctx ends they are made to.
func (r *Runner) rest(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range r.all() {
		all.Go(func() { p.rest(ctx) })
	}
	all.Wait()
}

// carryOn makes what is wanted the definition; nil if that takes more rest than there is, or has just been replaced.
func (r *Runner) carryOn(old *definition, resting bool) *definition {
	r.regulating.Lock()
	defer r.regulating.Unlock()
	parts := r.all()
	w := r.changes.wants()
	if !resting && old.Effect(w.Config) > EffectNone {
		return nil
	}
	for _, p := range parts {
		if resting && !p.rests() {
			return nil
		}
	}
	number, ok := r.changes.claim(w)
	if !ok {
		return nil
	}
	d := r.define(w.Config)
	if !resting {
		w.outlet.close()
	} else {
		d.outlet = w.outlet
		d.outlet.unlimit = r.instance.limitInstead(r.cfg.Job, old.outlet.limited, d.outlet.limited)
	}
	r.guard.allow(d.DeadLetterShare)
	r.definition.Store(d)
	if resting {
		for _, p := range parts {
			p.carryOn(d)
		}
		r.status.note(&r.status.delivery, "")
	}
	r.changes.finish(number)
	return d
}

// drainTime is how long a drain may take now. The group waits for it no longer than the session has joined with.
func (r *Runner) drainTime() time.Duration { return min(r.now().Drain, r.sessionMost) }
