package consumer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"streamer/sink"
)

// Decision is what an operator wants of one row.
type Decision string

// Retry starts the next attempt now. GiveUp ends the row: with a dead letter, or where these are off, without a trace but the audit
// line.
const (
	Retry  Decision = "retry"
	GiveUp Decision = "give-up"
)

// Decide does what an operator decided about one pending row. The error says why it cannot be done: the row is final, or waits
// behind another one. It is ErrNotAssigned also when the partition is taken away meanwhile: nothing was done then, and its next owner
// may be asked. A row with an attempt running is given up when that has ended, unless it was delivered.
func (r *Runner) Decide(ctx context.Context, at Position, d Decision, by string) error {
	p := r.partition(at.Topic, at.Partition)
	if p == nil {
		return notAssigned(at.Topic, at.Partition)
	}
	row, err := p.decidable(at, d)
	if err != nil {
		return err
	}
	_, err = r.instance.store.Remember(ctx, r.cfg.Job, Audit{By: by, Action: string(d), Detail: map[string]any{"row": at}}, func(*Memory) error { return nil })
	if err != nil {
		return fmt.Errorf("nothing was done, since it cannot be written to the audit log: %w", err)
	}
	r.log.Info("an operator decided about a row", "decision", string(d), "by", by, "row", at.String())
	if d == Retry {
		return p.retry(row)
	}
	return p.endBy(row, by)
}

// decidable gives the row at a position if something can be decided about it.
func (p *partition) decidable(at Position, d Decision) (*row, error) {
	over := p.runner.now().parking.overRows() // first: its lock is taken alone
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.life != open:
		return nil, notAssigned(p.topic, p.id)
	case p.tracker == nil:
		return nil, fmt.Errorf("%s: the partition was just assigned; try again in a moment", at)
	}
	parts := slices.DeleteFunc(rowsAt(p.tracker, at.Offset), func(r *row) bool { return r.row != at.Row || at.Route != "" && r.route != at.Route })
	if open := slices.DeleteFunc(slices.Clone(parts), func(r *row) bool { return r.stage == done }); len(open) > 0 {
		parts = open
	}
	switch {
	case len(parts) > 1:
		return nil, fmt.Errorf("%s: routes %s of the row are not final; say which one is meant", at, strings.Join(routesOf(parts), ", "))
	case len(parts) == 1:
		return parts[0], p.undecidable(parts[0], at, d, over)
	case at.Offset < p.tracker.Next():
		return nil, fmt.Errorf("%s: the row is final", at)
	}
	return nil, fmt.Errorf("%s: the record was not read yet", at)
}

// undecidable says why nothing can be decided about a row; nil: it can. The partition's lock is held.
func (p *partition) undecidable(r *row, at Position, d Decision, over map[*row]bool) error {
	switch {
	case r.stage == done:
		return fmt.Errorf("%s: the row is final", at)
	case r.stage == telling:
		return fmt.Errorf("%s: the row is delivered; what tells of that is on its way", at)
	case r.stage == burying || r.endBy.Load() != nil:
		return fmt.Errorf("%s: the row is given up already; its dead letter is on its way", at)
	case r.stage == shelving:
		return fmt.Errorf("%s: the row is being parked behind a dead letter of its key; decide about that one (streamer deadletters)", at)
	case r.stage == replaced || p.turn != nil:
		return fmt.Errorf("%s: the job is being changed; try again in a moment", at)
	case r.stage == behind:
		return fmt.Errorf("%s: the row waits behind %s; decide about that one", at, r.lane.first.position())
	case r.stage == kept && d == Retry:
		return fmt.Errorf("%s: the dead-letter guard holds the job; resume the job, or give the row up", at)
	case over[r] && d == Retry:
		return fmt.Errorf("%s: its key is parked, and there is no room for more dead letters: redrive or give up what is open "+
			"(streamer deadletters), or give the row up", at)
	}
	return nil
}

func routesOf(parts []*row) (names []string) {
	for _, r := range parts {
		names = append(names, r.route)
	}
	return names
}

// retry starts the row's next attempt now.
func (p *partition) retry(r *row) error {
	p.mu.Lock()
	if p.life != open {
		p.mu.Unlock()
		return notAssigned(p.topic, p.id)
	}
	again := r.stage == stuck && p.turn == nil
	if again {
		p.stuck--
		r.stage = delivering
	}
	p.mu.Unlock()
	if again {
		p.deliver(r)
	} else {
		r.scope.Hurry(&r.Delivery)
	}
	return nil
}

// endBy gives a row up because somebody said so. Whoever has the row in hand looks at row.endBy before and after handing it on:
//
//  1. A row gets its turn: its stage is delivering, and the goroutine that freed its lane is about to hand it to the sink.
//  2. An operator gives it up. The sink does not know it, so there is nothing to take back.
//  3. The goroutine hands it over, and the row is tried for hours, although somebody was told that it is given up.
//
// Either the sink has the row when it is to be taken back here, or endBy is set before it is handed over, and who does that sees it.
// The same holds for the list of rows that find no room among the parked ones.
func (p *partition) endBy(r *row, by string) error {
	p.mu.Lock()
	at := r.stage
	switch {
	case p.life != open:
		p.mu.Unlock()
		return notAssigned(p.topic, p.id)
	case p.turn != nil:
		p.mu.Unlock()
		return fmt.Errorf("%s: the job is being changed; try again in a moment", r.position())
	case at == stuck:
		r.endBy.Store(&by) // a change of the job that comes now keeps it
		p.stuck--
		r.stage = delivering // of nobody but us
	case at == kept:
		r.endBy.Store(&by)
		for i, other := range p.kept {
			if other == r {
				p.kept = append(p.kept[:i], p.kept[i+1:]...)
				break
			}
		}
		r.stage = delivering
	case at != delivering || !r.endBy.CompareAndSwap(nil, &by):
		p.mu.Unlock()
		return fmt.Errorf("%s: the row went on meanwhile", r.position())
	}
	p.mu.Unlock()
	if at != delivering {
		p.end(r, sink.Outcome{Class: sink.Target, Reason: "given up by " + by})
		return nil
	}
	p.endInHand(r)
	return nil
}

// endInHand ends a row that somebody has given up, if it can be taken from where it waits. Else an attempt ends first and final does
// it, or who is about to hand the row on.
func (p *partition) endInHand(r *row) {
	last := r.scope.Look(&r.Delivery)
	if r.scope.Withdraw(&r.Delivery) || p.runner.now().parking.withdraw(r) {
		p.end(r, endedBy(last.Last, *r.endBy.Load()))
	}
}

// decided ends a row that was given up by somebody while its attempt ran, or before it was handed on, and says whether it was.
func (p *partition) decided(r *row, o sink.Outcome) bool {
	by := r.endBy.Load()
	if by != nil {
		p.end(r, endedBy(o, *by))
	}
	return by != nil
}

func endedBy(o sink.Outcome, by string) sink.Outcome {
	if o.Class == "" || o.Class == sink.Interrupted || o.Class == sink.Delivered { // a step was
		o.Class = sink.Target
	}
	why := "given up by " + by
	if o.Reason != "" {
		why += ": " + o.Reason
	}
	o.Reason = why
	return o
}

// end makes a row final that somebody has decided about: the guard is not asked.
func (p *partition) end(r *row, o sink.Outcome) {
	if p.runner.now().dead.topic == "" {
		p.endUnwritten(r, o)
		return
	}
	p.bury(r, o)
}

// endUnwritten makes a row final that gets no dead letter.
func (p *partition) endUnwritten(r *row, o sink.Outcome) {
	p.mu.Lock()
	if p.past(r) {
		p.mu.Unlock()
		return
	}
	r.stage = burying
	p.letters++
	p.mu.Unlock()
	p.captured(r, o, func() { p.ack(r, outcomeGivenUp); p.wrote() })
}
