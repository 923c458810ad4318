package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"streamer/consumer/track"
	"streamer/sink"
)

// Position is the address of a row: Row counts from 0 in its record; -1 is the record as a whole.
type Position struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Row       int32  `json:"row"`
}

// String gives topic/partition/offset/row.
func (p Position) String() string {
	if p.Row == wholeRecord {
		return fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.Offset)
	}
	return fmt.Sprintf("%s/%d/%d/%d", p.Topic, p.Partition, p.Offset, p.Row)
}

// FoundState says where a record or row is on its way.
type FoundState string

// The states, from the last to the first. Committed and finished ones are final: below the committed offset, and above it.
const (
	FoundCommitted FoundState = "committed"
	FoundFinished  FoundState = "finished"
	FoundBurying   FoundState = "dead letter on its way"
	FoundStuck     FoundState = "waiting for an operator"
	FoundKept      FoundState = "kept by the guard"
	FoundInFlight  FoundState = "in flight"
	FoundUnproven  FoundState = "unproven"
	FoundBackOff   FoundState = "waiting for its next attempt"
	FoundBehind    FoundState = "waiting behind another row"
	FoundQueued    FoundState = "read, waiting to be decoded"
	FoundNotRead   FoundState = "not read yet"
	FoundExpired   FoundState = "expired"
	FoundBeyond    FoundState = "not in the log"
)

// Found is what is known of a row, or of a record as a whole.
type Found struct {
	Position
	State FoundState `json:"state"`
	// Reason says what it waits for, or what became of it.
	Reason string `json:"reason,omitempty"`
	// Polled is when it was read; absent for what was not, and for what is final.
	Polled *time.Time `json:"polled,omitempty"`
	// Attempts were made so far, Counted of them with evidence against the row; Last is what the last one came to, Next when the next
	// one may start.
	Attempts int        `json:"attempts,omitempty"`
	Counted  int        `json:"counted,omitempty"`
	Last     string     `json:"last,omitempty"`
	Next     *time.Time `json:"next,omitempty"`
	// Behind is the row that it waits for.
	Behind *Position `json:"behind,omitempty"`
	// Committed is the partition's committed offset, HighWatermark the end of what may be read; -1: unknown.
	Committed     int64 `json:"committed"`
	HighWatermark int64 `json:"high_watermark"`

	wait string // what its next attempt waits for, in the sink's word
}

// String gives the position and where it is.
func (f Found) String() string {
	return fmt.Sprintf("%s: %s (%s), %d attempts, %d counted, last %q", f.Position, f.State, f.Reason, f.Attempts, f.Counted, f.Last)
}

// Query asks for the rows of one record, or for the pending rows of a key.
type Query struct {
	Topic     string
	Partition int32
	Offset    int64
	// Key, when set, asks for pending rows in any assigned partition whose record has this key, or which wait in the lane of this
	// value; position is ignored.
	Key *string
	// Limit is the most rows given. Default DefaultPage.
	Limit int
}

// ErrNotAssigned says that the partition is not read by this instance.
var ErrNotAssigned = errors.New("the partition is not assigned to this instance")

// Find says where a record is on its way. A record in many rows gives one Found for each that is not final. It looks at all pending
// rows of a partition: milliseconds, for an operator's question.
func (r *Runner) Find(ctx context.Context, q Query) ([]Found, error) {
	if q.Limit <= 0 {
		q.Limit = DefaultPage
	}
	if q.Key == nil {
		p := r.partition(q.Topic, q.Partition)
		if p == nil {
			return nil, fmt.Errorf("%s/%d: %w", q.Topic, q.Partition, ErrNotAssigned)
		}
		found, final := p.find(q.Offset)
		if final {
			found[0].Reason = r.became(ctx, q)
		}
		return found, nil
	}
	var found []Found
	for _, p := range r.all() {
		found = append(found, p.findKey([]byte(*q.Key), q.Limit-len(found))...)
	}
	return found, nil
}

// find gives what is known of the record at offset; final: that it is.
func (p *partition) find(offset int64) (found []Found, final bool) {
	p.mu.Lock()
	whole := Found{Position: Position{p.topic, p.id, offset, wholeRecord}, Committed: p.committed, HighWatermark: p.highWater}
	if p.tracker == nil {
		p.mu.Unlock()
		whole.State, whole.Reason = FoundNotRead, "the partition was just assigned; its committed offset is not known yet"
		return []Found{whole}, false
	}
	if offset >= p.tracker.Next() {
		whole.State, whole.Reason = FoundNotRead, p.wait.cause
		for _, rec := range p.queue {
			if rec.Offset == offset {
				whole.State = FoundQueued
			}
		}
		if p.highWater >= 0 && offset >= p.highWater {
			whole.State, whole.Reason = FoundBeyond, fmt.Sprintf("the log ends at %d", p.highWater)
		}
		p.mu.Unlock()
		return []Found{whole}, false
	}
	rows := rowsAt(p.tracker, offset)
	p.mu.Unlock()
	for _, row := range rows {
		found = append(found, p.describe(row))
	}
	if len(found) > 0 {
		return found, false
	}
	whole.State = FoundFinished
	if offset < whole.Committed {
		whole.State = FoundCommitted
	}
	return []Found{whole}, true
}

// rowsAt gives the rows of the pending record at offset in their order; none if it is not pending.
func rowsAt(t *track.Tracker, offset int64) (rows []*row) {
	for rec := range t.All() {
		if rec.Offset > offset {
			return nil
		}
		if rec.Offset == offset {
			for r := rec.Caller.(*record).rows; r != nil; r = r.sibling {
				rows = append(rows, r)
			}
			slices.Reverse(rows)
			return rows
		}
	}
	return nil
}

func (p *partition) findKey(key []byte, limit int) (found []Found) {
	var rows []*row
	p.mu.Lock()
	if p.tracker != nil {
		for rec := range p.tracker.All() {
			for row := rec.Caller.(*record).rows; row != nil; row = row.sibling {
				inLane := row.lane != nil && !row.lane.own && row.lane.value == string(key)
				if row.stage != done && len(rows) < limit && (inLane || row.record.key != nil && bytes.Equal(row.record.key, key)) {
					rows = append(rows, row)
				}
			}
		}
	}
	p.mu.Unlock()
	for _, row := range rows {
		found = append(found, p.describe(row))
	}
	return found
}

// describe says how far a row is. The sink is asked without the partition's lock, so the row may have gone on meanwhile.
func (p *partition) describe(r *row) Found {
	p.mu.Lock()
	polled := r.record.Polled
	f := Found{Position: r.position(), Polled: &polled, Committed: p.committed, HighWatermark: p.highWater}
	at := r.stage
	switch at {
	case behind:
		first := r.lane.first.position()
		f.State, f.Behind = FoundBehind, &first
		f.Reason = "rows of a lane are delivered one after the other; ask for the row it waits behind"
	case kept:
		f.State, f.Reason = FoundKept, "it would be given up, but the dead-letter guard holds the job; it is delivered again when the job is resumed"
	case burying:
		f.State, f.Reason = FoundBurying, "it is final when the broker has its dead letter"
	case stuck:
		f.State, f.Reason = FoundStuck, "it cannot be delivered, and dead letters are off: retry it or give it up"
	case done:
		f.State, f.Reason = FoundFinished, "it is final; other rows of its record are not"
	}
	p.mu.Unlock()
	if at == delivering {
		f.look(p.scope.Look(&r.Delivery))
	}
	return f
}

func (f *Found) look(l sink.Look) {
	f.Attempts, f.Counted, f.wait = l.Attempts, l.Counted, l.Wait
	if l.Last.Class != "" {
		f.Last = string(l.Last.Class) + ": " + l.Last.Reason
	}
	if !l.Next.IsZero() {
		f.Next = &l.Next
	}
	switch {
	case l.InFlight:
		f.State, f.Reason = FoundInFlight, fmt.Sprintf("attempt %d runs", l.Attempts+1)
	case l.Unproven:
		f.State = FoundUnproven
		f.Reason = "nothing shows whether the target or this row is to blame: it is tried on until another row is delivered, or somebody decides (retry, give-up)"
	default:
		f.State, f.Reason = FoundBackOff, l.Wait
	}
}

func (r *row) position() Position {
	return Position{r.partition.topic, r.partition.id, r.record.Offset, r.index}
}

// became says what became of a final record, as far as the log and the present definition tell.
func (r *Runner) became(ctx context.Context, q Query) string {
	rec, err := ReadRecord(ctx, r.instance.kafka, q.Topic, q.Partition, q.Offset, r.log)
	if err != nil {
		return err.Error()
	}
	rows := Render(r.cfg, rec)
	count := map[string]int{}
	for _, row := range rows {
		count[row.Verdict]++
	}
	switch {
	case len(rows) == 0:
		return "no request: a tombstone, or a record without rows"
	case count["send"] == len(rows):
		return fmt.Sprintf("%d rows, each delivered or given up", len(rows))
	}
	return fmt.Sprintf("%d rows; as the job is defined now: %d to send, %d filtered, %d not emitted, %d that can make no request",
		len(rows), count["send"], count["filtered"], count["not emitted"], count["payload error"])
}

// Decision is what an operator wants of one row.
type Decision string

// Retry starts the next attempt now. GiveUp ends the row: with a dead letter, or where these are off, without a trace but the audit
// line.
const (
	Retry  Decision = "retry"
	GiveUp Decision = "give-up"
)

// Decide does what an operator decided about one pending row. The error says why it cannot be done: the row is final, or waits
// behind another one. A row with an attempt running is given up when that has ended, unless it was delivered.
func (r *Runner) Decide(ctx context.Context, at Position, d Decision, by string) error {
	p := r.partition(at.Topic, at.Partition)
	if p == nil {
		return fmt.Errorf("%s/%d: %w", at.Topic, at.Partition, ErrNotAssigned)
	}
	p.mu.Lock()
	row, err := p.decidable(at, d)
	p.mu.Unlock()
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

// decidable gives the row at a position if something can be decided about it. The caller holds mu.
func (p *partition) decidable(at Position, d Decision) (*row, error) {
	if p.tracker == nil {
		return nil, fmt.Errorf("%s: the partition was just assigned; try again in a moment", at)
	}
	for _, r := range rowsAt(p.tracker, at.Offset) {
		if r.index != at.Row {
			continue
		}
		switch {
		case r.stage == done:
			return nil, fmt.Errorf("%s: the row is final", at)
		case r.stage == burying:
			return nil, fmt.Errorf("%s: the row is given up already; its dead letter is on its way", at)
		case r.stage == behind:
			return nil, fmt.Errorf("%s: the row waits behind %s; decide about that one", at, r.lane.first.position())
		case r.stage == kept && d == Retry:
			return nil, fmt.Errorf("%s: the dead-letter guard holds the job; resume the job, or give the row up", at)
		}
		return r, nil
	}
	if at.Offset < p.tracker.Next() {
		return nil, fmt.Errorf("%s: the row is final", at)
	}
	return nil, fmt.Errorf("%s: the record was not read yet", at)
}

// retry starts the row's next attempt now.
func (p *partition) retry(r *row) error {
	p.mu.Lock()
	again := r.stage == stuck
	if again {
		p.stuck--
		r.stage = delivering
	}
	p.mu.Unlock()
	if again {
		p.deliver(r)
	} else {
		p.scope.Hurry(&r.Delivery)
	}
	return nil
}

// endBy gives a row up because somebody said so.
func (p *partition) endBy(r *row, by string) error {
	p.mu.Lock()
	at := r.stage
	switch at {
	case stuck:
		p.stuck--
	case kept:
		for i, other := range p.kept {
			if other == r {
				p.kept = append(p.kept[:i], p.kept[i+1:]...)
				break
			}
		}
	case delivering:
		r.endBy = by
	default:
		p.mu.Unlock()
		return fmt.Errorf("%s: the row went on meanwhile", r.position())
	}
	p.mu.Unlock()
	if at != delivering {
		p.end(r, sink.Outcome{Class: sink.Target, Reason: "given up by " + by})
		return nil
	}
	last := p.scope.Look(&r.Delivery)
	if p.scope.Withdraw(&r.Delivery) { // else its attempt ends, and final does the rest
		p.end(r, endedBy(last.Last, by))
	}
	return nil
}

// decided ends a row that was given up by somebody while its attempt ran, and says whether it was.
func (p *partition) decided(r *row, o sink.Outcome) bool {
	p.mu.Lock()
	by := r.endBy
	p.mu.Unlock()
	if by != "" {
		p.end(r, endedBy(o, by))
	}
	return by != ""
}

func endedBy(o sink.Outcome, by string) sink.Outcome {
	if o.Class == "" || o.Class == sink.Interrupted {
		o.Class = sink.Target
	}
	o.Reason = "given up by " + by + ": " + o.Reason
	return o
}

// end makes a row final that somebody has decided about: the guard is not asked.
func (p *partition) end(r *row, o sink.Outcome) {
	if p.runner.cfg.DeadLetterTopic == "" {
		p.ack(r, outcomeGivenUp)
		return
	}
	p.bury(r, o)
}
