package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// fateRead bounds the reading of a record, to tell what became of it.
const fateRead = 5 * time.Second

// fate is what a record itself and its dead letters tell of what became of its rows.
type fate struct {
	cfg     *Config
	rows    []Rendered // by the present definition
	at      time.Time  // the record's
	problem string     // why the record cannot be looked at
	looped  bool       // a row of it that is given up gets no dead letter
	letters map[part]*Letter
	cut     string // why not all dead letters were looked at; empty: they were
}

// fate looks at a record and at its dead letters. Letters of another topic of that name are passed over.
func (i *Instance) fate(ctx context.Context, cfg *Config, at Position, topicID string) *fate {
	f := &fate{cfg: cfg, letters: map[part]*Letter{}}
	read, cancel := context.WithTimeout(ctx, fateRead)
	defer cancel()
	rec, err := ReadRecord(read, i.kafka, at.Topic, at.Partition, at.Offset, i.log)
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		f.problem = "it is not in the log any more"
	case err != nil:
		f.problem = err.Error()
	default:
		f.rows, f.at = Render(*cfg, rec), rec.Timestamp
		f.looped = looped(rec.headers())
		if len(f.rows) == 1 && f.rows[0].waits() { // what it holds nobody knows
			f.rows, f.problem = nil, "it cannot be looked at: it "+awaitsSchema+": "+f.rows[0].Problem
		}
	}
	if cfg.DeadLetterTopic == "" {
		return f
	}
	letters, cut := i.DeadLetters(*cfg).choose(ctx, f.at, func(l *Letter) bool {
		s := &l.Source
		return s.Topic == at.Topic && s.TopicID == topicID && s.Partition == at.Partition && s.Offset == at.Offset
	})
	f.cut = cut
	for n := range letters {
		if l := &letters[n]; l.State != LetterVoid {
			f.letters[l.Source.part()] = l
		}
	}
	return f
}

// tell gives what is known of a record. It looks at it, and at its dead letters, if something of it is final.
func (s *whereabouts) tell(ctx context.Context, i *Instance, cfg *Config, topicID string, q Query) []Found {
	wanted := func(f Found) bool { return q.asks(f.part()) }
	final := s.final || s.earlier != nil
	for _, f := range s.pending {
		final = final || f.State == FoundFinished && wanted(f)
	}
	found := s.pending
	if !q.all() {
		found = slices.DeleteFunc(found, func(f Found) bool { return !wanted(f) })
	}
	switch {
	case len(s.pending) > 0 && len(found) > 0 && !final:
		return found
	case len(s.pending) == 0 && !final && !s.readable:
		return []Found{s.whole}
	}
	fate := i.fate(ctx, cfg, s.whole.Position, topicID)
	switch {
	case len(s.pending) == 0 && q.all():
		return fate.all(s)
	case len(found) == 0:
		return fate.row(s, q)
	}
	for n := range found {
		if l := fate.letters[found[n].part()]; l != nil && found[n].State == FoundFinished {
			found[n].tellLetter(l)
		}
	}
	return found
}

// all says that the whole record is asked for.
func (q *Query) all() bool { return q.Row == nil && q.Route == "" }

// asks says whether a part of the record is asked for. One without a route stands for the parts of all.
func (q *Query) asks(x part) bool {
	return x.row == wholeRecord || (q.Row == nil || x.row == *q.Row) && (q.Route == "" || x.route == q.Route || x.route == "")
}

// isFinal says whether a part of a record, by its index, is final of which none is pending here.
func (s *whereabouts) isFinal(index int32) bool {
	return s.final || s.earlier != nil && s.earlier(index)
}

// all tells of every row: one Found for the record, unless that is one row with a dead letter, and one for each row with a dead letter,
// or which is not final while others are.
func (f *fate) all(s *whereabouts) (found []Found) {
	for x, l := range f.letters {
		one := s.whole
		one.Position = one.of(x)
		one.tellLetter(l)
		if at := f.rendered(x); x.row != wholeRecord && (at < 0 && !s.final || at >= 0 && !s.isFinal(f.rows[at].index)) {
			one.Reason += "; its offset is not committed: it is read again"
		}
		found = append(found, one)
	}
	delivered, filtered, impossible, again := 0, 0, 0, 0
	for _, r := range f.rows {
		switch {
		case f.letters[r.part()] != nil:
		case r.unwanted():
			filtered++
		case !s.isFinal(r.index):
			if again++; s.earlier != nil {
				one := s.whole
				one.Position, one.Reason = one.of(r.part()), "other rows of its record are final; "+s.whole.Reason
				found = append(found, one)
			}
		case r.Verdict == payloadError:
			impossible++
		default:
			delivered++
		}
	}
	slices.SortFunc(found, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(f.rendered(a.part()), f.rendered(b.part())))
	})
	if f.letters[part{row: wholeRecord}] != nil || len(f.letters) == 1 && len(f.rows) == 1 {
		found[0].Reason += f.doubts(false)
		return found
	}
	whole := s.whole
	if s.final && len(f.letters) == 0 && filtered == len(f.rows) && f.problem == "" {
		whole.State = FoundFiltered
	}
	whole.Reason = strings.TrimPrefix(whole.Reason+"; "+f.count(delivered, filtered, impossible, again), "; ") + f.doubts(delivered > 0)
	return append([]Found{whole}, found...)
}

// count says how many rows became what.
func (f *fate) count(delivered, filtered, impossible, again int) string {
	switch {
	case f.problem != "":
		return f.problem
	case len(f.rows) == 0:
		return "it makes no request: a tombstone, or a record without rows"
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{delivered, f.delivered()}, {filtered, "filtered out, as the job is defined now"}, {impossible, f.impossible()},
		{len(f.letters), "with a dead letter"}, {again, "to send"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return fmt.Sprintf("rows: %s", strings.Join(parts, ", "))
}

// delivered is what became of a row that is final and has no dead letter.
func (f *fate) delivered() string {
	if f.cfg.DeadLetterTopic == "" {
		return "delivered, or given up by an operator (streamer audit), since dead letters are off"
	}
	if f.looped {
		return "delivered, or " + loopedWords + " (the log says which)"
	}
	return "delivered"
}

// impossible is what became of a row that is final, and makes no request and has no dead letter.
func (f *fate) impossible() string {
	if f.looped {
		return loopedWords
	}
	return "that can make no request, as the job is defined now"
}

// loopedWords is the outcome looped, in a sentence.
var loopedWords = fmt.Sprintf("looped: given up without a dead letter, since the record is one that came through %d jobs", MaxHops)

// doubts is what keeps an answer from being sure, to end its sentence with.
func (f *fate) doubts(delivered bool) (text string) {
	if f.cut != "" {
		text = "; not all dead letters were looked at: " + f.cut
	}
	if delivered && f.cfg.DeadLetterTopic != "" && time.Since(f.at) > f.cfg.DeadLetterRetention {
		text += fmt.Sprintf("; a dead letter of it would be gone by now (dead_letter.retention %s)", f.cfg.DeadLetterRetention)
	}
	if delivered && (f.cfg.Start.Latest || !f.cfg.Start.Time.IsZero()) {
		text += fmt.Sprintf("; or it stood there before the job began (start: %s)", f.cfg.Start)
	}
	return text
}

// rowCount is how many rows the record has.
func (f *fate) rowCount() int {
	if len(f.rows) == 0 {
		return 0
	}
	return f.rows[len(f.rows)-1].Row + 1
}

// rendered gives the place of a part among what the record becomes; -1: it does not become that.
func (f *fate) rendered(x part) int {
	return slices.IndexFunc(f.rows, func(r Rendered) bool { return r.part() == x })
}

// row tells of the parts that are asked for, of which none is pending.
func (f *fate) row(s *whereabouts, q Query) (found []Found) {
	for _, r := range f.rows {
		if q.asks(r.part()) && r.Row >= 0 {
			found = append(found, f.part(s, r.part()))
		}
	}
	if found == nil {
		x := part{row: wholeRecord, route: q.Route}
		if q.Row != nil {
			x.row = *q.Row
		}
		found = append(found, f.part(s, x))
	}
	return found
}

// part tells of one part of a record that is not pending.
func (f *fate) part(s *whereabouts, x part) Found {
	one, row, whole := s.whole, part{row: x.row}, part{row: wholeRecord}
	one.Position = one.of(x)
	at := f.rendered(x)
	switch {
	case f.letters[x] != nil:
		one.tellLetter(f.letters[x])
		one.Reason += f.doubts(false)
	case f.letters[row] != nil:
		one.tellLetter(f.letters[row])
		one.Reason += "; it is of the row as a whole" + f.doubts(false)
	case f.letters[whole] != nil:
		one.tellLetter(f.letters[whole])
		one.Reason += "; it is of the record as a whole" + f.doubts(false)
	case f.problem != "":
		one.Reason = strings.TrimPrefix(one.Reason+"; "+f.problem, "; ")
	case at < 0 && x.route != "":
		one.State, one.Reason = FoundNoRow, fmt.Sprintf("no route %q matches it, as the job is defined now", x.route)
	case at < 0:
		one.State, one.Reason = FoundNoRow, fmt.Sprintf("the record has %d rows, as the job is defined now", f.rowCount())
	case f.rows[at].Verdict != "send" && !s.final && s.earlier == nil && len(s.pending) == 0:
		one.Reason += "; " + f.rows[at].Verdict + ", as the job is defined now"
	case f.rows[at].unwanted():
		one.State, one.Reason = FoundFiltered, f.rows[at].Verdict+", as the job is defined now"
	case len(s.pending) > 0: // others are, and this one was final when the record was read
		one.State, one.Reason = FoundFinished, "it was final when its record was read: an earlier owner has delivered it"
	case s.isFinal(f.rows[at].index):
		one.State = finalState(one.Offset, one.Committed)
		one.Reason = f.delivered() + f.doubts(true)
	}
	return one
}

// tellLetter says that a row has a dead letter.
func (f *Found) tellLetter(l *Letter) {
	at := LetterAddress{l.Partition, l.Offset}
	f.State, f.Letter = FoundDeadLettered, &FoundLetter{LetterAddress: at, State: l.State, Outcome: l.Outcome, Class: l.Class, Reason: l.Reason, At: l.At}
	f.Reason = "dead letter " + at.String() + " is " + string(l.State)
	switch l.State {
	case LetterRedriven:
		f.Reason = "dead letter " + at.String() + " was redriven: " + cmp.Or(l.Outcome, "delivered")
	case LetterGivenUp:
		f.Reason = "dead letter " + at.String() + " was given up by " + l.OutcomeBy
	case LetterParked:
		f.State = FoundParked
		if behind, err := parseLetterAddress(l.behind); err == nil {
			f.BehindLetter = &behind
			f.Reason = "it is sent when what is before it is: dead letter " + at.String() + " is parked behind " + behind.String()
		}
	}
}
