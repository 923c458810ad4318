package consumer

import (
	"cmp"
	"fmt"

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
	sent    int            // delivered
	dropped string         // outcome word of rows that make no request
	failed  []Letter       // rows given up again
	told    []redriveWrite // tell of answers
	writes  []redriveWrite
	d       sink.Delivery
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
			s.failRow(l, x.part, sink.Outcome{Class: sink.Payload, Reason: x.err.Error()})
		case x.verdict != mapping.Send:
			l.dropped = x.verdict.String()
		default:
			if s.deliver(l, x) {
				return
			}
		}
	}
	s.conclude(l)
}

// deliver makes the request of a row, of one with steps the first that no kept answer stands for; false: it cannot.
func (s *redriveSender) deliver(l *sending, x *extracted) bool {
	l.d = sink.Delivery{Final: func(_ *sink.Delivery, o sink.Outcome) { s.finals <- redriveFinal{l, o} }}
	for w := x.way; w != nil; {
		a := w.recent.of(w.call.CacheKey)
		if a == nil {
			l.d.Accept, l.d.Keep = w.call.Accept, w.call.Step != ""
			break
		}
		if !s.step(l, x, a) {
			return false
		}
	}
	l.d.Request = x.request
	l.d.Keep = l.d.Keep || x.told != nil
	s.scope.Deliver(&l.d)
	return true
}

// step takes the answer to a step's request; false: it makes the row fail.
func (s *redriveSender) step(l *sending, x *extracted, a *mapping.Response) bool {
	at := x.way.call.Step
	request, err := x.way.next(a)
	if err != nil {
		s.failRow(l, x.part, sink.Outcome{Class: sink.Payload, Reason: atStep(at, err.Error())})
		return false
	}
	x.request = request
	return true
}

// final takes what became of a row. A letter whose record has more of them stays open when the redrive is being stopped.
func (s *redriveSender) final(f redriveFinal) {
	l := f.l
	x := &l.rows[l.next-1]
	step := ""
	if x.way != nil {
		step = x.way.call.Step
	}
	switch {
	case f.o.Class == sink.Delivered && step != "":
		if s.stopping {
			return // as for an interrupted one
		}
		if s.step(l, x, x.way.answered(f.o.Response)) && s.deliver(l, x) {
			return
		}
	case f.o.Class == sink.Delivered:
		l.sent++
		s.tellOf(l, x, "", f.o)
	case f.o.Class == sink.Interrupted: // our own stop: the letter stays open
		return
	default:
		f.o.Reason = atStep(step, f.o.Reason)
		s.failRow(l, x.part, f.o)
		s.tellOf(l, x, step, f.o)
	}
	if !s.stopping || l.next == len(l.rows) {
		s.nextRow(l)
	}
}

// tellOf notes what tells of an outcome: it is written before what became of the letter.
func (s *redriveSender) tellOf(l *sending, x *extracted, step string, o sink.Outcome) {
	if x.told == nil {
		return
	}
	cfg, from := &s.r.d.cfg, l.letter.Source
	t := teller{told: x.told, key: l.orig.key, hops: hops(sourceRecord(&l.letter, l.orig))}
	n := t.of(cfg, Position{from.Topic, from.Partition, from.Offset, x.row, x.route}, step, &x.request, o)
	for _, topic := range cfg.tellers(x.told, o.Class == sink.Delivered) {
		l.told = append(l.told, redriveWrite{n.record(topic, false), n.record(topic, true)})
	}
}

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

// conclude records what has become of a letter: newer letters for rows given up again, and an outcome unless one of those has its place.
func (s *redriveSender) conclude(l *sending) {
	topic := s.r.d.cfg.DeadLetterTopic
	replaced := false
	l.writes = l.told
	for i := range l.failed {
		rec := envelope(topic, &l.failed[i], l.orig)
		rec.Partition = l.folded.at.Partition
		l.writes = append(l.writes, redriveWrite{Record: rec})
		replaced = replaced || l.failed[i].Source.part() == l.letter.Source.part()
	}
	if !replaced {
		o := outcome{word: outcomeWordRedriven, job: s.r.d.cfg.Job, of: l.folded.at, source: l.folded.source, lane: l.folded.lane,
			claim: s.r.lease.id, by: s.r.options.By}
		if l.sent == 0 && len(l.failed) == 0 {
			o.word = cmp.Or(l.dropped, outcomeWordFiltered) // also a record that has no rows now
		}
		if len(l.rows) > 1 || l.letter.Source.Row == wholeRecord && len(l.rows) > 0 {
			o.reason = fmt.Sprintf("%d rows: %d delivered, %d given up again", len(l.rows), l.sent, len(l.failed))
		}
		l.writes = append(l.writes, redriveWrite{Record: o.record(topic)})
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
