package consumer

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink"
)

// deadLetters writes the rows of one job that were given up.
type deadLetters struct {
	outbox
	parking *parking // of the same definition
}

// letter is a dead letter on its way.
type letter struct {
	row     *row
	outcome sink.Outcome
	behind  string // the letter it is parked behind
	begun   bool   // parking knows of it; guarded by its lock
}

func newDeadLetters(r *Runner, cfg Config) *deadLetters {
	return &deadLetters{outbox: outbox{runner: r, topic: cfg.DeadLetterTopic, kind: "dead-letter", what: "dead letters", said: &r.status.dead,
		retention: cfg.DeadLetterRetention, copies: 1, room: outboxHeadroom, again: make(chan struct{}, 1)}}
}

// bury gives a row up: with a dead letter, or, where they are off, by keeping its lane waiting.
func (p *partition) bury(r *row, o sink.Outcome) {
	o.Reason = atStep(r.step, o.Reason)
	what := "row given up"
	dead := p.runner.now().dead
	if dead.topic != "" && looped(r.record.headers) {
		p.endLoop(r, o)
		return
	}
	if dead.topic == "" {
		what = "row cannot be delivered, and dead letters are off: it is kept, and its lane waits"
	}
	p.runner.log.Error(what, "topic", p.topic, "partition", p.id, "offset", r.record.Offset, "row", r.row, "route", r.route,
		"class", string(o.Class), "status", o.Status, "attempts", o.Attempts, "reason", o.Reason, "dead_letter", dead.topic)
	p.mu.Lock()
	if p.past(r) {
		p.mu.Unlock()
		return
	}
	if dead.topic == "" {
		if r.endBy.Load() != nil { // it was decided about already
			p.mu.Unlock()
			p.endUnwritten(r, o)
			return
		}
		r.stage = stuck
		if p.stuck++; p.stuck == 1 {
			p.stuckSince = time.Now()
		}
		p.mu.Unlock()
		return
	}
	r.stage = burying
	p.letters++
	p.mu.Unlock()
	l := &letter{row: r, outcome: o}
	l.outcome.Response = nil // a letter does not say it, and it may be large
	p.captured(r, o, func() {
		p.mu.Lock()
		past := p.past(r)
		p.mu.Unlock()
		if past { // while it was told of: whoever has it now may deliver it
			p.wrote()
			return
		}
		dead.bury(l)
	})
}

// endLoop makes a row final whose record is a dead letter that came through as many jobs as it may: another letter of it would only go
// round. It stays where it was read, and its letter there is open for a redrive by the job that wrote it.
//
// Rows of a lane may end so one after the other without anything that is waited for in between, so they stand in a list, and whoever ends
// the first comes to the others: each in a call from the one before would need a stack as deep as the lane is long.
func (p *partition) endLoop(r *row, o sink.Outcome) {
	p.sayLooped(r, o)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == closed || p.past(r) {
		return
	}
	r.stage = burying
	if p.looped = append(p.looped, r); len(p.looped) > 1 {
		return
	}
	for ; len(p.looped) > 0; p.looped = p.looped[1:] {
		first := p.looped[0]
		p.mu.Unlock()
		p.ack(first, outcomeLooped)
		p.mu.Lock()
	}
	p.looped = nil
}

func (p *partition) sayLooped(r *row, o sink.Outcome) {
	p.runner.log.Error("row given up without a dead letter: "+errLettersLoop.Error(), "topic", p.topic, "partition", p.id, "offset", r.record.Offset,
		"row", r.row, "route", r.route, "class", string(o.Class), "status", o.Status, "attempts", o.Attempts, "reason", o.Reason)
}

// atStep names the step at which something went wrong.
func atStep(step, reason string) string {
	if step == "" {
		return reason
	}
	return "step " + step + ": " + reason
}

// bury writes a letter, and makes its row final when the broker has it; with parked keys, when it was read back.
func (d *deadLetters) bury(l *letter) { d.write(d.post(l)) }

func (d *deadLetters) post(l *letter) *post {
	w := &post{of: l.row, record: l.record}
	if k := d.parking; k != nil {
		w.begins = func() bool { return k.begins(l) }
	}
	w.taken = func(at LetterAddress) {
		d.runner.instance.metrics.deadLetters.WithLabelValues(d.runner.cfg.Job, string(l.outcome.Class)).Inc()
		if k := d.parking; k != nil {
			k.acked(l.row, at)
		} else {
			l.row.partition.ack(l.row, outcomeDeadLettered)
		}
	}
	return w
}

// record is the dead letter that is written. One that goes without its value goes without the rest of the record too, where that makes it
// too large: all of it is read at its source.
func (l *letter) record(topic string, s shape) *kgo.Record {
	row, rec := l.row, l.row.record
	r, o := row.partition.runner, original{}
	if !s.bare || !s.unkeyed {
		o = original{key: rec.key, value: rec.value, headers: rec.headers}
	}
	return envelope(topic, &Letter{
		Job: r.cfg.Job,
		Source: LetterSource{Topic: row.partition.topic, TopicID: row.partition.address.topicID, Partition: row.partition.id,
			Offset: rec.Offset, Row: row.row, Route: row.route, Timestamp: rec.timestamp},
		Class: l.outcome.Class, Status: l.outcome.Status, Attempts: l.outcome.Attempts, Reason: l.outcome.Reason, FirstAttempt: l.outcome.First,
		LeftOut: s.bare, Resets: int(r.resets.Load()),
		hops: letterHops(rec.headers), lane: row.laneValue(), behind: l.behind,
	}, o)
}
