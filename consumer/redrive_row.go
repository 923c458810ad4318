package consumer

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/mapping"
	"streamer/sink"
)

// sending is a letter of a redrive: read, and not final.
type sending struct {
	folded *foldedLetter
	lane   *sendingLane
	letter Letter
	orig   original
	size   int64  // of its place in the window
	gone   string // why there is no value

	rows    []extracted // to be sent, one after the other
	next    int
	asked   bool     // a request was made for the row in hand, its own or a step's
	sent    int      // delivered
	dropped string   // outcome word of rows that make no request
	failed  []Letter // rows given up again
	d       sink.Delivery

	notice *notice     // of the row in hand
	boxes  []*outbox   // that are to have it
	buried int         // of failed, those whose lines were made
	closed bool        // its outcome's was
	line   *kgo.Record // the one that is on its way
}

// start makes the letter's requests, by the very steps of live delivery, and sends the first one.
func (s *redriveSender) start(l *sending) {
	s.inHand++
	r := s.r
	r.started[l.folded.at] = true
	if _, known := r.lanes[l.lane.id]; !known {
		r.lanes[l.lane.id] = false
	}
	switch {
	case l.gone != "":
		s.leaveOpen(l, l.gone)
		return
	case l.orig.value == nil && r.d.cfg.Tombstone == TombstoneSkip:
		l.dropped = outcomeWordTombstone
		s.conclude(l)
		return
	}
	from := s.extraction(&l.letter)
	rows := from.extractNow(sourceRecord(&l.letter, l.orig))
	if from.missing != nil {
		s.leaveOpen(l, from.missing.Cause)
		return
	}
	for _, x := range rows {
		if l.letter.Source.has(x.part) {
			l.rows = append(l.rows, x)
		}
	}
	if of := l.letter.Source.part(); len(l.rows) == 0 && of.row != wholeRecord {
		l.rows = append(l.rows, extracted{part: of, err: errNoRow})
	}
	s.nextRow(l)
}

// extraction is that of the letter's source, with the idempotency keys of this redrive.
func (s *redriveSender) extraction(l *Letter) *extraction {
	r := s.r
	id := sourcePartition{l.Source.Topic, l.Source.TopicID, l.Source.Partition}
	x := s.sources[id]
	if x == nil {
		partition := fmt.Sprint(l.Source.Partition)
		made := newExtraction(&r.d.cfg, r.d.instance.schemas, address{topic: id.topic, topicID: id.topicID, partition: partition,
			key: fmt.Sprintf("%s/%s/%s/%s/%s/", r.cluster, r.d.cfg.Namespace, r.d.cfg.Group, id.topicID, partition)})
		made.recent = s.recent
		x, s.sources[id] = &made, &made
	}
	x.address.suffix = r.suffix(l)
	return x
}

// nextRow sends the letter's next row, or concludes the letter after its last one.
func (s *redriveSender) nextRow(l *sending) {
	for l.next < len(l.rows) {
		x := &l.rows[l.next]
		l.next++
		switch {
		case x.err != nil:
			s.failRow(l, x.part, *unmapped(x.err))
		case x.verdict != mapping.Send:
			l.dropped = x.verdict.String()
		default:
			l.asked = false
			failed := s.deliver(l, x)
			if failed == nil {
				return
			}
			s.failRow(l, x.part, *failed)
		}
	}
	s.conclude(l)
}

// deliver makes the request of a row, of one with steps the first that no kept answer stands for. An outcome: it cannot.
func (s *redriveSender) deliver(l *sending, x *extracted) *sink.Outcome {
	l.d = sink.Delivery{Final: func(_ *sink.Delivery, o sink.Outcome) { s.finals <- redriveFinal{l, o} }}
	for w := x.way; w != nil; {
		a := w.recent.of(w.call.CacheKey)
		if a == nil {
			l.d.Accept, l.d.Keep = w.call.Accept, w.call.Step != ""
			break
		}
		if failed := step(x, a, sink.Outcome{}); failed != nil {
			return failed
		}
	}
	l.d.Request = x.request
	l.d.Keep = l.d.Keep || x.told != nil
	s.scope.Deliver(&l.d)
	return nil
}

// step takes the answer to a step's request, which came with o. An outcome: the row cannot go on by it.
func step(x *extracted, a *mapping.Response, o sink.Outcome) *sink.Outcome {
	at := x.way.call.Step
	request, err := x.way.next(a)
	if err != nil {
		failed := unanswered(o, err)
		failed.Reason = atStep(at, failed.Reason)
		return failed
	}
	x.request = request
	return nil
}

// final takes what became of a row. A letter whose record has more of them stays open when the redrive is being stopped.
func (s *redriveSender) final(f redriveFinal) {
	l, o := f.l, f.o
	x := &l.rows[l.next-1]
	l.asked = l.asked || o.Attempts > 0
	at := ""
	if x.way != nil {
		at = x.way.call.Step
	}
	switch {
	case o.Class == sink.Interrupted: // our own stop: the letter stays open
		return
	case o.Class == sink.Delivered && at == "":
		l.sent++
	case o.Class == sink.Delivered:
		if s.stopping.Load() {
			return // as for an interrupted one
		}
		failed := step(x, x.way.answered(o.Response), o)
		if failed == nil {
			failed = s.deliver(l, x)
		}
		if failed == nil {
			return
		}
		o, at = *failed, x.way.call.Step
		s.failRow(l, x.part, o)
	default:
		o.Reason = atStep(at, o.Reason)
		s.failRow(l, x.part, o)
	}
	s.tellOf(l, x, at, o)
}

// tellOf tells of an outcome those who are to be told, as live delivery does, and goes on with the letter when they have it.
func (s *redriveSender) tellOf(l *sending, x *extracted, step string, o sink.Outcome) {
	cfg, from := &s.r.d.cfg, l.letter.Source
	if l.boxes = boxesOf(s.r.told, cfg, x.told, o.Class == sink.Delivered); l.asked && len(l.boxes) > 0 {
		t := teller{told: x.told, key: l.orig.key, hops: hops(l.orig.headers)}
		l.notice = t.of(cfg, Position{from.Topic, from.Partition, from.Offset, x.row, x.route}, step, &x.request, o)
	} else {
		l.boxes = nil
	}
	s.tellNext(l)
}

// tellNext writes the notice of the row in hand into the next box, or goes on when all have it.
func (s *redriveSender) tellNext(l *sending) {
	switch {
	case len(l.boxes) > 0:
		b := l.boxes[0]
		l.boxes = l.boxes[1:]
		s.writing++
		w := &redriveTold{s: s, l: l}
		b.write(&post{of: w, record: l.notice.record, taken: func(LetterAddress) { w.taken = true }})
	case !s.stopping.Load() || l.next == len(l.rows):
		l.notice = nil
		s.nextRow(l)
	}
}

// redriveTold is a notice on its way.
type redriveTold struct {
	s     *redriveSender
	l     *sending
	taken bool
}

func (w *redriveTold) writesNoMore() bool { return w.s.stopping.Load() }

func (w *redriveTold) wrote() { w.s.written <- redriveWritten{l: w.l, told: true, open: !w.taken} }

// failRow notes a row given up again.
func (s *redriveSender) failRow(l *sending, of part, o sink.Outcome) {
	again := l.letter
	if again.Source.Row == wholeRecord || again.Source.Route == "" {
		again.Source.Row, again.Source.Route = of.row, of.route
	}
	again.Class, again.Status, again.Attempts, again.Reason, again.FirstAttempt = o.Class, o.Status, o.Attempts, o.Reason, o.First
	again.Redrives++
	again.LeftOut = l.letter.LeftOut
	again.behind, again.of, again.claim = "", l.folded.at.String(), s.r.lease.id
	l.failed = append(l.failed, again)
}

// conclude records what has become of a letter, line by line: newer letters for rows given up again, and an outcome unless one of those has
// its place.
func (s *redriveSender) conclude(l *sending) {
	topic := s.r.d.cfg.DeadLetterTopic
	replaces := func(again Letter) bool { return again.Source.part() == l.letter.Source.part() }
	switch {
	case l.buried < len(l.failed):
		l.line = envelope(topic, &l.failed[l.buried], l.orig)
		l.line.Partition = l.folded.at.Partition
		l.buried++
	case l.closed || slices.ContainsFunc(l.failed, replaces):
		s.count(l)
		s.leave(l)
		return
	default:
		o := outcome{word: outcomeWordRedriven, job: s.r.d.cfg.Job, of: l.folded.at, source: l.folded.source, lane: l.folded.lane,
			claim: s.r.lease.id, by: s.r.options.By}
		if l.sent == 0 && len(l.failed) == 0 {
			o.word = cmp.Or(l.dropped, outcomeWordFiltered) // also a record that has no rows now
		}
		if len(l.rows) > 1 || l.letter.Source.Row == wholeRecord && len(l.rows) > 0 {
			o.reason = fmt.Sprintf("%d rows: %d delivered, %d given up again", len(l.rows), l.sent, len(l.failed))
		}
		l.line, l.closed = o.record(topic), true
	}
	s.write(l)
}

// count notes a letter that is final.
func (s *redriveSender) count(l *sending) {
	rep := &s.r.report
	switch {
	case len(l.failed) > 0:
		rep.FailedAgain++
		s.r.lanes[l.lane.id] = true
		for i := range l.failed {
			s.r.d.instance.metrics.deadLetters.WithLabelValues(s.r.d.cfg.Job, string(l.failed[i].Class)).Inc()
		}
	case l.sent > 0:
		rep.Redriven++
	default:
		rep.Filtered++
	}
}
