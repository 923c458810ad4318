package consumer

import (
	"context"
	"sync"

	"streamer/consumer/track"
	"streamer/sink"
)

// definition is a job as its runner carries it out, until Change gives it another one. It is never changed: readers keep the one they
// have. What the group knows of a job is in Runner.cfg, and the same for all definitions of a runner.
type definition struct {
	Config
	outlet  *outlet
	dead    *deadLetters
	parking *parking  // nil: keys go on after a dead letter
	told    []*outbox // what tells of answers
	recent  *recentAnswers
	routes  []string
	counted uint32 // what the parts of a record are counted in; see track.Parts
}

// outlet is the sink of one or several definitions during a session, with what ends with it.
type outlet struct {
	sink    *sink.Sink
	limited *limited
	unlimit func()         // takes the sink out of the job's limit
	scopes  sync.WaitGroup // of partitions that are not closed; never added to after the last definition with it is replaced
	closed  sync.Once
}

// now is the present definition. A Runner that only looks something up has no other than its Config.
func (r *Runner) now() *definition {
	if d := r.definition.Load(); d != nil {
		return d
	}
	return newDefinition(r.cfg)
}

func newDefinition(cfg Config) *definition {
	routes := []string{""}
	if cfg.Program != nil { // a Runner that only looks something up may do without
		routes = cfg.Program.Routes()
	}
	return &definition{Config: cfg, recent: &recentAnswers{}, routes: routes, counted: track.Parts(routes)}
}

// define makes cfg the definition, without a sink of its own yet: what was keeps the dead letters, unless they go elsewhere now.
func (r *Runner) define(cfg Config) *definition {
	d, old := newDefinition(cfg), r.definition.Load()
	if old != nil {
		d.outlet = old.outlet
	}
	if old != nil && !old.otherLetters(cfg) {
		d.dead, d.parking, d.told = old.dead, old.parking, old.told
	} else {
		d.dead, d.parking, d.told = newDeadLetters(r, cfg), newParking(r, cfg), newTold(r, &cfg)
		d.dead.parking = d.parking
		if d.parking != nil {
			d.parking.dead = d.dead
		}
	}
	return d
}

// newOutlet makes the sink of d. It is not limited yet.
func (r *Runner) newOutlet(cfg *Config) (*outlet, error) {
	s, err := sink.New(cfg.Sink, r.permit, observer{r})
	if err != nil {
		return nil, &RefusedError{Cause: err}
	}
	return &outlet{sink: s, limited: &limited{sink: s, part: 1, work: r.work}}, nil
}

// close ends the sink; its rows are not final.
func (o *outlet) close() {
	o.closed.Do(func() {
		if o.unlimit != nil { // else it was never used
			o.unlimit()
		}
		o.sink.Close()
	})
}

// begin makes the outboxes take what fails, before anything can: they may have ended with the session before.
func (d *definition) begin() {
	d.dead.setEnded(false)
	for _, b := range d.told {
		b.setEnded(false)
	}
}

// serve runs what dead letters, and what tells of answers, need until end is called, which waits for it. It may be called once per session.
func (d *definition) serve() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { d.dead.run(ctx) })
	for _, b := range d.told {
		all.Go(func() { b.run(ctx) })
	}
	if d.parking != nil {
		all.Go(func() { d.parking.follow(ctx) })
		all.Go(func() { d.parking.settler(ctx) })
	}
	return func() {
		cancel()
		all.Wait()
	}
}
