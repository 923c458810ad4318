package consumer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"streamer/consumer/track"
	"streamer/sink"
)

// Position is the address of a row: Row counts from 0 in its record; -1 is the record as a whole. Route is the part of it that a route
// makes, where the job has routes; empty: the row as a whole.
type Position struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Row       int32  `json:"row"`
	Route     string `json:"route,omitempty"`
}

// String gives topic/partition/offset/row/route, as far as they are given.
func (p Position) String() string {
	if p.Row == wholeRecord {
		return fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.Offset)
	}
	s := fmt.Sprintf("%s/%d/%d/%d", p.Topic, p.Partition, p.Offset, p.Row)
	if p.Route != "" {
		s += "/" + p.Route
	}
	return s
}

func (p Position) part() part { return part{p.Row, p.Route} }

func (p Position) of(x part) Position {
	p.Row, p.Route = x.row, x.route
	return p
}

// FoundState says where a record or row is on its way.
type FoundState string

// The states, from the last to the first. Committed and finished ones are final: below the committed offset, and above it. What is final
// without having been delivered says so instead: filtered, dead-lettered, parked.
const (
	FoundCommitted    FoundState = "committed"
	FoundFinished     FoundState = "finished"
	FoundFiltered     FoundState = "filtered"
	FoundDeadLettered FoundState = "dead-lettered"
	FoundParked       FoundState = "parked" // in the dead-letter topic, behind a dead letter of its key
	FoundParking      FoundState = "being parked"
	FoundNoRoom       FoundState = "waiting for room to be parked"
	FoundTelling      FoundState = "delivered, being told of"
	FoundBurying      FoundState = "dead letter on its way"
	FoundStuck        FoundState = "waiting for an operator"
	FoundKept         FoundState = "kept by the guard"
	FoundInFlight     FoundState = "in flight"
	FoundUnproven     FoundState = "unproven"
	FoundBackOff      FoundState = "waiting for its next attempt"
	FoundBehind       FoundState = "waiting behind another row"
	FoundQueued       FoundState = "read, waiting to be decoded"
	FoundNotRead      FoundState = "not read yet"
	FoundExpired      FoundState = "expired"
	FoundBeyond       FoundState = "not in the log"
	FoundNoRow        FoundState = "no such row"
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
	// Step is the one whose request it makes, or waits to make; empty: its own.
	Step string `json:"step,omitempty"`
	// Behind is the row that it waits for, BehindLetter the dead letter that its key is parked behind.
	Behind       *Position      `json:"behind,omitempty"`
	BehindLetter *LetterAddress `json:"behind_letter,omitempty"`
	// Letter is its dead letter, the newest that counts.
	Letter *FoundLetter `json:"letter,omitempty"`
	// Committed is the partition's committed offset, HighWatermark the end of what may be read; -1: unknown.
	Committed     int64 `json:"committed"`
	HighWatermark int64 `json:"high_watermark"`

	wait string // what its next attempt waits for, in the sink's word
}

// FoundLetter is the dead letter of a row.
type FoundLetter struct {
	LetterAddress
	State LetterState `json:"state"`
	// Outcome says more about a state that is final, such as delivered or filtered for a redriven one.
	Outcome string     `json:"outcome,omitempty"`
	Class   sink.Class `json:"class"`
	Reason  string     `json:"reason"`
	At      time.Time  `json:"at"`
}

// String gives the position and where it is.
func (f Found) String() string {
	return fmt.Sprintf("%s: %s (%s), %d attempts, %d counted, last %q", f.Position, f.State, f.Reason, f.Attempts, f.Counted, f.Last)
}

// Query asks for the rows of one record, or for what there is of a key.
type Query struct {
	Topic     string
	Partition int32
	Offset    int64
	// Row is the row of the record that is asked for; nil: all of them. Route is the part of it; empty: all of them.
	Row   *int32
	Route string
	// Key, when set, asks for pending rows in any assigned partition whose record has this key, or which wait in the lane of this
	// value; position is ignored.
	Key *string
	// Limit is the most rows given. Default DefaultPage.
	Limit int
}

// ErrNotAssigned says that the partition is not read by this instance.
var ErrNotAssigned = errors.New("the partition is not assigned to this instance")

func notAssigned(topic string, partition int32) error {
	return fmt.Errorf("%s/%d: %w", topic, partition, ErrNotAssigned)
}

// Find says where a record is on its way. A record in many rows gives one Found for each that is not final, one for each that has a dead
// letter, and one for the others. It looks at all pending rows of a partition: milliseconds, for an operator's question. Of what is final
// it reads the record and the dead letters: seconds. Of a partition that is not assigned to this instance it says ErrNotAssigned.
func (r *Runner) Find(ctx context.Context, q Query) ([]Found, error) {
	if q.Limit <= 0 {
		q.Limit = DefaultPage
	}
	if q.Key != nil {
		var found []Found
		for _, p := range r.all() {
			found = append(found, p.findKey([]byte(*q.Key), q.Limit-len(found))...)
		}
		return found, nil
	}
	p := r.partition(q.Topic, q.Partition)
	if p == nil {
		return nil, notAssigned(q.Topic, q.Partition)
	}
	s, ok := p.whereabouts(q.Offset)
	if !ok {
		return nil, notAssigned(q.Topic, q.Partition)
	}
	return s.tell(ctx, r.instance, &r.now().Config, encodeTopicID(p.topicID), q), nil
}

// whereabouts is what is known of a record without looking at it or at its dead letters.
type whereabouts struct {
	// whole is the record; State is set when it holds for all of it.
	whole Found
	// pending are the rows that are not final, and those that became it here while others are not.
	pending []Found
	// final says that the record is; else those parts are, by their index, for which it is not nil and true, by an earlier owner.
	final   bool
	earlier func(row int32) bool
	// readable says that the record can be looked at although nothing of it is final, to say what it will become.
	readable bool
}

// whereabouts gives what is known of the record at offset; false if the partition was taken away.
func (p *partition) whereabouts(offset int64) (s whereabouts, ok bool) {
	p.mu.Lock()
	if p.life == closed {
		p.mu.Unlock()
		return s, false
	}
	s.whole = Found{Position: Position{Topic: p.topic, Partition: p.id, Offset: offset, Row: wholeRecord}, Committed: p.committed, HighWatermark: p.highWater}
	if p.tracker == nil || offset >= p.tracker.Next() {
		p.ahead(&s)
		p.mu.Unlock()
		return s, true
	}
	rows := rowsAt(p.tracker, offset)
	s.final, s.whole.State = len(rows) == 0, finalState(offset, s.whole.Committed)
	if s.final && p.severed() { // what is at this offset now is another record
		s.final, s.whole.Reason = false, "it was final in the topic as it was; "+p.wait.cause
	}
	p.mu.Unlock()
	for _, row := range rows {
		s.pending = append(s.pending, p.describe(row))
	}
	return s, true
}

// finalState is that of a record that is final.
func finalState(offset, committed int64) FoundState {
	if offset < committed {
		return FoundCommitted
	}
	return FoundFinished
}

// ahead is about a record that was not taken yet. The caller holds mu.
func (p *partition) ahead(s *whereabouts) {
	offset, w := s.whole.Offset, &s.whole
	w.State = FoundNotRead
	if p.tracker != nil {
		if s.final, s.earlier = p.tracker.Earlier(offset); s.final {
			w.State = FoundFinished
			return
		}
	}
	switch {
	case p.wait.kind == HoldExpired && offset >= p.wait.gap.from && offset < p.wait.gap.to:
		w.State, w.Reason = FoundExpired, p.wait.cause+"; "+p.wait.next
	case p.wait.hold:
		w.Reason = p.wait.cause + "; " + p.wait.next
	case p.tracker == nil:
		w.Reason = "the partition was just assigned; its committed offset is not known yet"
	case offset < p.fetched:
		w.State, w.Reason = FoundQueued, p.queuedFor()
	case p.highWater >= 0 && offset >= p.highWater:
		w.State, w.Reason = FoundBeyond, fmt.Sprintf("the log ends at %d", p.highWater)
	default:
		w.Reason = fmt.Sprintf("the partition was read up to %d", p.fetched)
		switch {
		case p.wait.cause != "":
			w.Reason += "; " + p.wait.cause
		case p.transaction != nil && offset >= p.transaction.at:
			w.Reason += "; " + p.transaction.cause
		case p.paused:
			w.Reason += "; the memory for what is pending is full: it is read on when rows are final"
		}
	}
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
			slices.SortFunc(rows, func(a, b *row) int { return cmp.Compare(a.index, b.index) })
			return rows
		}
	}
	return nil
}

// queuedFor says what the records wait for that were read and not decoded yet; empty: for their turn. The caller holds mu.
func (p *partition) queuedFor() string {
	switch {
	case p.parkWait > 0:
		return "the dead letters are being read, to know which keys are parked"
	case p.unread.cause != "":
		return "its partition waits for a schema: " + p.unread.cause
	}
	return ""
}

func (p *partition) findKey(key []byte, limit int) (found []Found) {
	var rows []*row
	var queued []Found
	p.mu.Lock()
	if p.tracker != nil && p.life != closed {
		for rec := range p.tracker.All() {
			for row := rec.Caller.(*record).rows; row != nil; row = row.sibling {
				inLane := row.lane != nil && !row.lane.own && row.lane.value == string(key)
				if row.stage != done && len(rows) < limit && (inLane || row.record.key != nil && bytes.Equal(row.record.key, key)) {
					rows = append(rows, row)
				}
			}
		}
		for _, rec := range p.queue {
			if rec.Key != nil && bytes.Equal(rec.Key, key) && len(rows)+len(queued) < limit {
				queued = append(queued, Found{Position: Position{Topic: p.topic, Partition: p.id, Offset: rec.Offset, Row: wholeRecord},
					State: FoundQueued, Reason: p.queuedFor(), Committed: p.committed, HighWatermark: p.highWater})
			}
		}
	}
	p.mu.Unlock()
	for _, row := range rows {
		found = append(found, p.describe(row))
	}
	return append(found, queued...)
}

// describe says how far a row is. The sink and the parking are asked without the partition's lock, so the row may have gone on meanwhile.
func (p *partition) describe(r *row) Found {
	p.mu.Lock()
	polled := r.record.Polled
	f := Found{Position: r.position(), Polled: &polled, Step: r.step, Committed: p.committed, HighWatermark: p.highWater}
	at := r.stage
	switch at {
	case behind:
		f.State, f.Reason = FoundBehind, "rows of a lane are delivered one after the other; ask for the row it waits behind"
		if first := r.lane.first; first != r {
			before := first.position()
			f.Behind = &before
		} else {
			f.Reason = "the partition is being given back: its next owner delivers it"
		}
	case kept:
		f.State, f.Reason = FoundKept, "it would be given up, but the dead-letter guard holds the job; it is delivered again when the job is resumed"
	case burying:
		f.State, f.Reason = FoundBurying, "it is final when the broker has its dead letter"
	case telling:
		f.State, f.Reason = FoundTelling, "it is final when the broker has what tells of its answer"
	case shelving:
		f.State, f.Reason = FoundParking, "its key has a dead letter that is neither redriven nor given up; it is final when its own letter stands behind that"
	case stuck:
		f.State, f.Reason = FoundStuck, "it cannot be delivered, and dead letters are off: retry it or give it up"
	case replaced:
		f.State, f.Reason = FoundQueued, "the job was changed: the row is about to be mapped anew"
	case done:
		f.State, f.Reason = FoundFinished, "it is final; other rows of its record are not"
	}
	p.mu.Unlock()
	switch at {
	case delivering:
		if f.look(r.scope.Look(&r.Delivery)); f.wait == "permit" {
			f.Reason = p.runner.forbidden()
		}
		fallthrough
	case shelving:
		p.runner.now().parking.tell(r, &f)
	}
	if at == delivering && r.endBy.Load() != nil {
		f.Reason += "; it was given up: it ends when that has"
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
	case !l.Here:
		f.State, f.Reason = FoundBackOff, "between two steps; ask again"
	default:
		f.State, f.Reason = FoundBackOff, waits[l.Wait]
	}
}

// waits says in an operator's words what the sink lets a row wait for.
var waits = map[string]string{
	"back-off": "it backs off after its last attempt",
	"breaker":  "the target's breaker is open: it gets probes only",
	"hold":     "the target refuses the credentials, or its address is not allowed: it gets probes only",
	"rate":     "the job's rate limit",
	"slot":     "a free slot: all that delivery.concurrency allows are in use",
	"permit":   "no attempt may start",
}

// forbidden says why no attempt may start.
func (r *Runner) forbidden() string {
	switch paused, _, holds := r.gate.read(); {
	case len(holds) > 0:
		return "the job is held: " + string(holds[0].Cause)
	case paused:
		return "the job is paused"
	}
	return "the group has not answered lately, so no attempt may start"
}

// tell adds what parking knows of a row.
func (k *parking) tell(r *row, f *Found) {
	if k == nil || r.lane == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	over := slices.Contains(k.over, r)
	if over {
		f.State, f.Reason = FoundNoRoom, fmt.Sprintf("its key has a dead letter that is neither redriven nor given up, and %d dead letters are open, more than "+
			"an instance keeps an eye on: it waits until some are redriven or given up", len(k.fold.letters))
	}
	if at, parked := k.fold.parked(r.laneID()); parked && (over || f.State == FoundParking) {
		f.BehindLetter = &at
	}
}

func (r *row) position() Position {
	return Position{r.partition.topic, r.partition.id, r.record.Offset, r.row, r.route}
}
