package consumer

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// GiveUp makes the open and parked letters that f chooses final by an operator's decision, and gives their number: nothing is sent, and
// no redrive takes them. It records who decided. Where keys are parked, a key goes on when nothing of it is open any more. Errors are
// those of Redrive; what was recorded before one holds.
func (d *DeadLetters) GiveUp(ctx context.Context, f LetterFilter, by string) (int, error) {
	r := &redrive{d: d, filter: f}
	spans, err := d.spans(ctx, LetterAddress{})
	if err != nil || len(spans) == 0 {
		return 0, err
	}
	l, held, err := d.newLease(ctx) // a letter that is being sent cannot be given up
	if err != nil {
		return 0, err
	}
	defer l.release()
	if err := l.claim(held, d.cfg.DeadLetterTopic, by); err != nil {
		return 0, err
	}
	if spans, err = d.spans(held, LetterAddress{}); err != nil {
		return 0, err
	}
	if err := r.read(held, spans); err != nil {
		return 0, err
	}
	var records []*kgo.Record
	for i := range r.fold.letters {
		n := &r.fold.letters[i]
		if !n.open() || !n.matches || len(f.Class) > 0 && !slices.Contains(f.Class, n.class) {
			continue
		}
		o := outcome{word: outcomeWordGivenUp, job: d.cfg.Job, of: n.at, source: n.source, lane: n.lane, claim: l.id, by: by}
		records = append(records, o.record(d.cfg.DeadLetterTopic))
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
