package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink"
)

const (
	// redriveGuard is how often a row is redriven before it is refused: what failed so often fails again.
	redriveGuard = 5
	// redriveLetters bounds the open letters that one redrive keeps an eye on; the next one takes those beyond.
	redriveLetters = 100_000
	// redriveSamples is how many letters a dry run renders.
	redriveSamples = 3
)

// RedriveOptions say how dead letters are sent again. The zero value sends all of them at the job's own rate.
type RedriveOptions struct {
	// Limit is the most letters to send; 0: all.
	Limit int
	// Rate is the most attempts per second; 0, or more than the job's own limit: that limit.
	Rate float64
	// DryRun counts and renders the first requests, and sends nothing.
	DryRun bool
	// By is who asked for it.
	By string
	// KeepKeys sends the idempotency keys of the first delivery; else "/r" and the number of the redrive stand behind them, so that an
	// API which has seen the key does not take the request for a repeat.
	KeepKeys bool
	// PastGuard sends letters too that were redriven 5 times or more.
	PastGuard bool
}

// RedriveProgress says how far a redrive has come. Counts are of letters.
type RedriveProgress struct {
	// Matching are open letters that the filter chose, Classes the same by class and state. With key: park those count too that are
	// parked behind one that was chosen.
	Matching int           `json:"matching"`
	Classes  []LetterCount `json:"classes"`
	// Refused were redriven 5 times or more already. Behind stand in a parked lane behind a letter that was not chosen or is refused.
	// Beyond did not fit into this redrive, by number; the next one takes them.
	Refused int `json:"refused,omitempty"`
	Behind  int `json:"behind,omitempty"`
	Beyond  int `json:"beyond,omitempty"`
	// Newer says which of them have newer rows of their key.
	Newer NewerRows `json:"newer"`
	// Redriven, Filtered (also: not emitted, tombstones) and FailedAgain are final; Unreadable ones stay open, since their value is gone.
	Redriven    int `json:"redriven"`
	Filtered    int `json:"filtered"`
	FailedAgain int `json:"failed_again"`
	Unreadable  int `json:"unreadable,omitempty"`
	// InFlight are being sent, or wait for their next attempt; Problem says why, or what else keeps the redrive waiting.
	InFlight int    `json:"in_flight"`
	Problem  string `json:"problem,omitempty"`
}

// RedriveReport is what came of a redrive.
type RedriveReport struct {
	RedriveProgress
	// Left are those of Matching that are open still, because the redrive was stopped, limited, or could not send them.
	Left int `json:"left"`
	// Requests are those of the first letters of a dry run.
	Requests []RedriveSample `json:"requests,omitempty"`
}

// RedriveSample is a dead letter with what would be sent for it.
type RedriveSample struct {
	Letter LetterAddress `json:"letter"`
	Source LetterSource  `json:"source"`
	// Rows are the letter's, without authentication. A letter of a record that could not be decoded has all of its rows.
	Rows []Rendered `json:"rows"`
	// Problem says why there are none.
	Problem string `json:"problem,omitempty"`
}

// Redrive sends the open dead letters that f chooses again, through the job as it is defined now, whether the job runs or not. It counts
// first, tells progress, and then sends: letters of one lane in the order of their source, the next one when the one before is final;
// lanes side by side. What became of a letter is in the dead-letter topic before the next one of its lane starts.
//
// It may be stopped at any moment, by ctx or a kill, and called again: it goes on with what is open. Letters whose attempt was running
// when it was killed, or lost its group, are sent once more, with the same idempotency key. A target that is away is waited for. A row
// that is given up again becomes a new dead letter with one redrive more.
//
// progress (nil: nobody) is called from one goroutine, at the beginning, twice a second and at the end. Errors: ErrLettersOff,
// ErrRedriving, ctx's, or Kafka's; the report holds with them too.
func (d *DeadLetters) Redrive(ctx context.Context, f LetterFilter, o RedriveOptions, progress func(RedriveProgress)) (RedriveReport, error) {
	if progress == nil {
		progress = func(RedriveProgress) {}
	}
	r := &redrive{d: d, filter: f, options: o, tell: progress, started: map[LetterAddress]bool{}, lanes: map[laneID]bool{}}
	r.report.Classes = []LetterCount{}
	spans, err := d.spans(ctx, LetterAddress{})
	if err != nil || len(spans) == 0 {
		return r.report, err
	}
	if o.DryRun {
		return r.report, r.dryRun(ctx, spans)
	}
	l, held, err := d.newLease(ctx)
	if err != nil {
		return r.report, err
	}
	defer l.release()
	r.lease = l
	err = r.run(held)
	r.report.Left = max(0, r.report.Matching-r.report.Redriven-r.report.Filtered-r.report.FailedAgain)
	if cause := context.Cause(held); err != nil && cause != nil {
		err = cause
	}
	progress(r.report.RedriveProgress)
	return r.report, err
}

// redrive is one call of Redrive.
type redrive struct {
	d       *DeadLetters
	filter  LetterFilter
	options RedriveOptions
	tell    func(RedriveProgress)
	lease   *lease
	cluster string
	report  RedriveReport

	fold    *letterFold
	end     map[int32]int64 // where the fold has read to
	started map[LetterAddress]bool
	lanes   map[laneID]bool // of which letters were sent; true: one failed again or cannot be read, and what is parked behind it stays
}

// laneID names a lane of a source partition. Letters without a lane have none.
type laneID struct {
	topic, topicID string
	partition      int32
	value          string
	own            bool
}

func (l *foldedLetter) laneID() laneID {
	return laneID{l.source.topic, l.source.topicID, l.source.partition, l.lane.value, l.lane.own}
}

func (r *redrive) dryRun(ctx context.Context, spans []span) error {
	if err := r.read(ctx, spans); err != nil {
		return err
	}
	chosen := r.choose()
	if err := r.count(ctx, chosen); err != nil {
		return err
	}
	r.tell(r.report.RedriveProgress)
	r.report.Left = r.report.Matching
	return r.sample(ctx, chosen)
}

// run reads the topic behind its own claim, counts, and sends. With parked keys it goes on until none of what was parked meanwhile is
// left: rows of a parked key that arrive now stay behind.
func (r *redrive) run(ctx context.Context) error {
	meta, err := r.d.instance.admin.BrokerMetadata(ctx)
	if err != nil {
		return r.d.instance.reach(err)
	}
	r.cluster = meta.Cluster
	if err := r.lease.claim(ctx, r.d.cfg.DeadLetterTopic, r.options.By); err != nil {
		return err
	}
	spans, err := r.d.spans(ctx, LetterAddress{})
	if err != nil {
		return err
	}
	if err := r.read(ctx, spans); err != nil {
		return err
	}
	chosen := r.choose()
	if err := r.count(ctx, chosen); err != nil {
		return err
	}
	r.tell(r.report.RedriveProgress)
	s, err := newRedriveSender(r)
	if err != nil {
		return err
	}
	defer s.close()
	for len(chosen) > 0 {
		if err := s.send(ctx, chosen); err != nil {
			return err
		}
		if !r.d.cfg.DeadLetterPark {
			return nil
		}
		if err := r.catchUp(ctx); err != nil {
			return err
		}
		chosen = r.choose()
		r.report.Matching += len(chosen)
	}
	return nil
}

// read folds the records of the spans.
func (r *redrive) read(ctx context.Context, spans []span) error {
	if r.fold == nil {
		r.fold, r.end = newLetterFold(r.d.cfg.Job, redriveLetters), map[int32]int64{}
	}
	w := r.d.newMatcher(r.filter)
	class := r.filter.Class
	_, err := r.d.scan(ctx, spans, func(rec *kgo.Record) bool {
		r.end[rec.Partition] = rec.Offset + 1
		if o, ok := outcomeOf(rec); ok {
			r.fold.outcome(&o)
			return true
		}
		if l := letterOf(rec); l.State != LetterForeign && l.Job == r.d.cfg.Job {
			l.Source.Topic, l.Source.TopicID = w.intern(l.Source.Topic), w.intern(l.Source.TopicID)
			if w.filter.Class = class; l.Class == ClassParked {
				w.filter.Class = nil // what is parked is chosen with what it is parked behind, also when that is final already
			}
			r.fold.letter(&l, w.matches(&l, rec))
		}
		return true
	})
	r.report.Beyond = r.fold.dropped
	return err
}

// catchUp reads what was written since: outcomes of this redrive, and letters parked meanwhile.
func (r *redrive) catchUp(ctx context.Context) error {
	spans, err := r.d.spans(ctx, LetterAddress{})
	if err != nil {
		return err
	}
	var more []span
	for _, s := range spans {
		if s.from = max(s.from, r.end[s.partition]); s.from < s.to {
			more = append(more, s)
		}
	}
	return r.read(ctx, more)
}

// choose gives the letters to send, as lanes in the order of the source. A row with several letters is sent for the newest of them.
//
// Where keys are parked, a lane is sent from its front, and what is parked behind goes with it; it stops at the first letter that the
// filter leaves out, or that is refused. Elsewhere later rows of the lane went on long ago, and each letter stands for itself.
func (r *redrive) choose() []redriveLane {
	lanes := map[laneID]int{}
	var out []redriveLane
	newest := map[rowAddress]int{}
	for i := range r.fold.letters {
		l := &r.fold.letters[i]
		if !l.open() || r.started[l.at] {
			continue
		}
		if at, ok := newest[l.source]; !ok || l.redrives >= r.fold.letters[at].redrives {
			newest[l.source] = i
		}
	}
	for i := range r.fold.letters {
		l := &r.fold.letters[i]
		if at, ok := newest[l.source]; !ok || at != i {
			continue
		}
		if l.lane.none {
			out = append(out, redriveLane{letters: []*foldedLetter{l}})
			continue
		}
		id := l.laneID()
		at, ok := lanes[id]
		if !ok {
			at = len(out)
			lanes[id] = at
			out = append(out, redriveLane{id: id})
		}
		out[at].letters = append(out[at].letters, l)
	}
	r.report.Refused, r.report.Behind = 0, 0
	left := r.options.Limit - len(r.started)
	kept := out[:0]
	for _, lane := range out {
		slices.SortFunc(lane.letters, func(a, b *foldedLetter) int {
			return cmp.Or(cmp.Compare(a.source.offset, b.source.offset), cmp.Compare(a.source.row, b.source.row))
		})
		lane.letters = r.take(lane)
		if r.options.Limit > 0 {
			lane.letters = lane.letters[:max(0, min(len(lane.letters), left))]
			left -= len(lane.letters)
		}
		if len(lane.letters) > 0 {
			kept = append(kept, lane)
		}
	}
	return kept
}

// take gives the letters of a lane that may be sent.
func (r *redrive) take(lane redriveLane) []*foldedLetter {
	park := r.d.cfg.DeadLetterPark
	out := lane.letters[:0:0]
	bad, sent := r.lanes[lane.id]
	blocked := park && bad && !lane.id.free()
	for _, l := range lane.letters {
		wanted := l.matches || park && l.class == ClassParked && (sent || len(out) > 0)
		switch {
		case !wanted:
			blocked = blocked || park
			continue
		case blocked:
			r.report.Behind++
			continue
		case l.redrives >= redriveGuard && !r.options.PastGuard:
			r.report.Refused++
			blocked = park
			continue
		}
		out = append(out, l)
	}
	return out
}

// redriveLane are letters to be sent one after the other.
type redriveLane struct {
	id      laneID
	letters []*foldedLetter
}

// count fills in what is known before anything is sent.
func (r *redrive) count(ctx context.Context, chosen []redriveLane) error {
	by := map[LetterCount]int{}
	for _, lane := range chosen {
		for _, l := range lane.letters {
			r.report.Matching++
			by[LetterCount{Class: l.class, State: l.state}]++
		}
	}
	for c, n := range by {
		c.Count = n
		r.report.Classes = append(r.report.Classes, c)
	}
	slices.SortFunc(r.report.Classes, func(a, b LetterCount) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.State, b.State))
	})
	return r.newer(ctx, chosen)
}

// sample renders the first letters.
func (r *redrive) sample(ctx context.Context, chosen []redriveLane) error {
	for _, lane := range chosen {
		for _, l := range lane.letters {
			if len(r.report.Requests) == redriveSamples {
				return nil
			}
			full, err := r.d.Show(ctx, l.at.Partition, l.at.Offset)
			if errors.Is(err, ErrNoRecord) {
				continue // expired meanwhile
			}
			if err != nil {
				return err
			}
			s := RedriveSample{Letter: l.at, Source: full.Source, Problem: full.Problem}
			if s.Problem == "" {
				s.Rows = r.render(&full)
			}
			r.report.Requests = append(r.report.Requests, s)
		}
	}
	return nil
}

func (r *redrive) render(l *Letter) []Rendered {
	rec := Record{Topic: l.Source.Topic, Partition: l.Source.Partition, Offset: l.Source.Offset, Timestamp: l.Source.Timestamp, Key: l.Key, Value: l.Value,
		Headers: l.Headers}
	from := address{key: fmt.Sprintf("<cluster>/%s/%s/%s/%d/", r.d.cfg.Namespace, r.d.cfg.Group, l.Source.TopicID, l.Source.Partition),
		redrive: r.suffix(l.Redrives)}
	var out []Rendered
	for _, row := range renderFrom(r.d.cfg, rec, from) {
		if l.Source.Row == wholeRecord || int(l.Source.Row) == row.Row {
			out = append(out, row)
		}
	}
	return out
}

// suffix ends the idempotency keys of a row that was redriven so often before.
func (r *redrive) suffix(redrives int) string {
	if r.options.KeepKeys {
		return ""
	}
	return fmt.Sprintf("/r%d", redrives+1)
}

// sinkConfig is the job's, at the rate of the redrive.
func (r *redrive) sinkConfig() sink.Config {
	c := r.d.cfg.Sink
	if rate := r.options.Rate; rate > 0 && (c.Rate.Count == 0 || rate < c.Rate.Count/c.Rate.Per.Seconds()) {
		c.Rate = sink.Rate{Count: rate, Per: time.Second, Burst: 1}
	}
	return c
}

// free says that the rows of the lane wait for nobody.
func (id laneID) free() bool { return id == laneID{} }

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
