package consumer

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// GiveUpOptions say how dead letters are given up.
type GiveUpOptions struct {
	// By is who decided.
	By string
	// DryRun counts, and changes nothing.
	DryRun bool
}

// GiveUp makes the open and parked letters that f chooses final by an operator's decision, and gives their number: nothing is sent, and
// no redrive takes them. It records who decided. Unlike a redrive it takes a parked letter only if f chooses that, whatever it is parked
// behind. Where keys are parked, a key goes on when nothing of it is open any more. Errors are those of Redrive; what was recorded before
// one holds.
func (d *DeadLetters) GiveUp(ctx context.Context, f LetterFilter, o GiveUpOptions) (int, error) {
	spans, err := d.spans(ctx, LetterAddress{})
	if err != nil || len(spans) == 0 {
		return 0, err
	}
	if o.DryRun {
		chosen, err := d.undecided(ctx, f, spans)
		return len(chosen), err
	}
	l, held, err := d.newLease(ctx) // a letter that is being sent cannot be given up
	if err != nil {
		return 0, err
	}
	defer l.release()
	if err := l.claim(held, d.cfg.DeadLetterTopic, o.By); err != nil {
		return 0, err
	}
	if spans, err = d.spans(held, LetterAddress{}); err != nil {
		return 0, err
	}
	chosen, err := d.undecided(held, f, spans)
	if err != nil {
		return 0, err
	}
	var records []*kgo.Record
	for _, n := range chosen {
		given := outcome{word: outcomeWordGivenUp, job: d.cfg.Job, of: n.at, source: n.source, lane: n.lane, claim: l.id, by: o.By}
		records = append(records, given.record(d.cfg.DeadLetterTopic))
	}
	given := 0
	for part := range slices.Chunk(records, redriveWindow) {
		if held.Err() != nil {
			return given, context.Cause(held)
		}
		if err := l.client.ProduceSync(held, part...).FirstErr(); err != nil {
			return given, fmt.Errorf("dead-letter topic %s cannot be written to: %w", d.cfg.DeadLetterTopic, err)
		}
		given += len(part)
	}
	return given, nil
}

// undecided gives the open and parked letters of the spans that f chooses.
func (d *DeadLetters) undecided(ctx context.Context, f LetterFilter, spans []span) ([]*foldedLetter, error) {
	r := &redrive{d: d, filter: f}
	if err := r.read(ctx, spans); err != nil {
		return nil, err
	}
	var out []*foldedLetter
	for i := range r.fold.letters {
		n := &r.fold.letters[i]
		if n.open() && n.matches && (len(f.Class) == 0 || slices.Contains(f.Class, n.class)) {
			out = append(out, n)
		}
	}
	return out, nil
}
