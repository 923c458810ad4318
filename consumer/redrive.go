package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	Left int
	// Samples are the first letters of a dry run.
	Samples []RedriveSample
}

// RedriveSample is a dead letter with what would be sent for it.
type RedriveSample struct {
	Letter LetterAddress
	Source LetterSource
	// Rows are the letter's, without authentication. A letter of a record that could not be decoded has all of its rows.
	Rows []Rendered
	// Problem says why there are none.
	Problem string
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
	m, err := d.instance.store.Memory(ctx, d.cfg.Job)
	if err != nil {
		return r.report, fmt.Errorf("what is remembered of the job cannot be read: %w", err)
	}
	r.resets = m.Resets
	if o.DryRun {
		err = r.dryRun(ctx, spans)
		return r.report, err // apart: Go does not say which of two operands is read first
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
	runner  *Runner   // of the job, to look things up
	told    []*outbox // what tells of answers
	cluster string
	resets  int // of the job
	report  RedriveReport

	fold    *letterFold
	end     map[int32]int64 // where the fold has read to
	started map[LetterAddress]bool
	lanes   map[laneID]bool // of which letters were sent; true: one failed again or cannot be read, and what is parked behind it stays
}

func (r *redrive) dryRun(ctx context.Context, spans []span) error {
	chosen, err := r.look(ctx, spans)
	if err != nil {
		return err
	}
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
	chosen, err := r.look(ctx, spans)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		return nil
	}
	end, err := r.openTold(ctx)
	if err != nil {
		return err
	}
	defer end()
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

// openTold makes ready what tells of answers, as a session of the job does; but a topic that cannot be written ends the redrive before anything
// is sent. The outboxes run until end is called.
func (r *redrive) openTold(ctx context.Context) (end func(), err error) {
	d := r.d
	r.runner = &Runner{instance: d.instance, cfg: d.cfg, log: d.instance.log.With("job", d.cfg.Job)}
	r.runner.compilePatterns()
	r.told = newTold(r.runner, &d.cfg)
	for _, b := range r.told {
		if err := b.ensureTopic(ctx); err != nil {
			return nil, fmt.Errorf("nothing was sent, since nobody could be told of the answers: %w", err)
		}
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	for _, b := range r.told {
		all.Go(func() { b.run(running) })
	}
	return func() { stop(); all.Wait() }, nil
}

// look reads the spans and tells what would be sent.
func (r *redrive) look(ctx context.Context, spans []span) ([]redriveLane, error) {
	if err := r.read(ctx, spans); err != nil {
		return nil, err
	}
	chosen := r.choose()
	if err := r.count(ctx, chosen); err != nil {
		return nil, err
	}
	r.tell(r.report.RedriveProgress)
	return chosen, nil
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

// count fills in what is known before anything is sent.
func (r *redrive) count(ctx context.Context, chosen []redriveLane) error {
	by := map[LetterCount]int{}
	for _, lane := range chosen {
		for _, l := range lane.letters {
			r.report.Matching++
			by[LetterCount{Class: l.class, State: l.state}]++
		}
	}
	r.report.Classes = sortedCounts(by)
	return r.newer(ctx, chosen)
}

// sample renders the first letters.
func (r *redrive) sample(ctx context.Context, chosen []redriveLane) error {
	for _, lane := range chosen {
		for _, l := range lane.letters {
			if len(r.report.Samples) == redriveSamples {
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
			r.report.Samples = append(r.report.Samples, s)
		}
	}
	return nil
}

func (r *redrive) render(l *Letter) []Rendered {
	rec := Record{Topic: l.Source.Topic, Partition: l.Source.Partition, Offset: l.Source.Offset, Timestamp: l.Source.Timestamp, Key: l.Key, Value: l.Value,
		Headers: l.Headers}
	from := address{key: fmt.Sprintf("<cluster>/%s/%s/%s/%d/", r.d.cfg.Namespace, r.d.cfg.Group, l.Source.TopicID, l.Source.Partition),
		suffix: r.suffix(l)}
	var out []Rendered
	for _, row := range renderFrom(r.d.cfg, rec, from) {
		if l.Source.has(row.part()) {
			out = append(out, row)
		}
	}
	return out
}

// suffix ends the idempotency keys of a letter's rows: those of the first delivery are kept, or they are new.
func (r *redrive) suffix(l *Letter) string {
	if r.options.KeepKeys {
		return keySuffix(l.Resets, 0)
	}
	return keySuffix(r.resets, l.Redrives+1)
}

// sinkConfig is the job's, at the rate of the redrive.
func (r *redrive) sinkConfig() sink.Config {
	c := r.d.cfg.Sink
	if rate := r.options.Rate; rate > 0 && (c.Rate.Count == 0 || rate < c.Rate.Count/c.Rate.Per.Seconds()) {
		c.Rate = sink.Rate{Count: rate, Per: time.Second, Burst: 1}
	}
	return c
}
