package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink"
)

const (
	// deadLetterBatchBytes is the largest dead letter the client will send; brokers refuse what their topic does not take.
	deadLetterBatchBytes = 64 << 20
	// deadLetterTimeout bounds one write; it is then tried again.
	deadLetterTimeout = 30 * time.Second
	// deadLetterHeadroom is what a dead letter may be larger than its source.
	deadLetterHeadroom = 64 << 10
	// deadLetterRetry is the wait between two tries.
	deadLetterRetry = 2 * time.Second
)

// deadLetters writes the rows of one job that were given up. A row is final when the broker has acknowledged its dead letter;
// until then it keeps its lane, its record and its place before the committed offset, so a failing write loses nothing.
type deadLetters struct {
	runner  *Runner
	topic   string   // empty: off
	parking *parking // of the same definition

	mu     sync.Mutex
	ended  bool          // nothing is written again any more
	failed []*letter     // to be written again
	anew   bool          // the topic was deleted: the client must forget the old one
	again  chan struct{} // capacity 1: failed has grown
}

type letter struct {
	row     *row
	outcome sink.Outcome
	bare    bool   // without the value, which is larger than the topic takes
	fresh   bool   // bare since the last try: nothing to wait for
	behind  string // the letter it is parked behind
	begun   bool   // parking knows of it; guarded by its lock
}

func newDeadLetters(r *Runner, cfg Config) *deadLetters {
	return &deadLetters{runner: r, topic: cfg.DeadLetterTopic, again: make(chan struct{}, 1)}
}

// bury gives a row up: with a dead letter, or, where they are off, by keeping its lane waiting.
func (p *partition) bury(r *row, o sink.Outcome) {
	o.Reason = atStep(r.step, o.Reason)
	what := "row given up"
	dead := p.runner.now().dead
	if dead.topic == "" {
		what = "row cannot be delivered, and dead letters are off: it is kept, and its lane waits"
	}
	p.runner.log.Error(what, "topic", p.topic, "partition", p.id, "offset", r.record.Offset, "row", r.row, "route", r.route,
		"class", string(o.Class), "status", o.Status, "attempts", o.Attempts, "reason", o.Reason, "dead_letter", dead.topic)
	p.mu.Lock()
	if p.life == closed || p.past(r) {
		p.mu.Unlock()
		return
	}
	if dead.topic == "" {
		if r.endBy.Load() != nil { // it was decided about already
			p.mu.Unlock()
			p.ack(r, outcomeGivenUp)
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
	dead.write(&letter{row: r, outcome: o})
}

// atStep names the step at which something went wrong.
func atStep(step, reason string) string {
	if step == "" {
		return reason
	}
	return "step " + step + ": " + reason
}

// write hands a letter to the Kafka client; what comes of it reaches written.
func (d *deadLetters) write(l *letter) {
	if k := d.parking; k != nil && !k.begins(l) {
		l.row.partition.wrote()
		return
	}
	rec := l.record(d.topic)
	// No deadline of the caller's: deadLetterTimeout bounds the write, and a write that was begun is better waited for.
	d.runner.instance.producer.TryProduce(context.Background(), rec, func(rec *kgo.Record, err error) { d.written(l, rec, err) })
}

func (d *deadLetters) written(l *letter, rec *kgo.Record, err error) {
	p := l.row.partition
	switch {
	case err == nil:
		d.runner.status.note(&d.runner.status.dead, "")
		d.runner.instance.metrics.deadLetters.WithLabelValues(d.runner.cfg.Job, string(l.outcome.Class)).Inc()
		if k := d.parking; k != nil {
			k.acked(l.row, LetterAddress{rec.Partition, rec.Offset})
		} else {
			p.ack(l.row, outcomeDeadLettered)
		}
		p.wrote()
		return
	case errors.Is(err, kerr.MessageTooLarge) && !l.bare:
		l.bare, l.fresh = true, true
	case errors.Is(err, kgo.ErrMaxBuffered): // many at once: the next try has room
	default:
		cause := fmt.Sprintf("dead letters cannot be written to %s: %v; the rows are kept and tried again", d.topic, err)
		d.runner.status.note(&d.runner.status.dead, cause)
		if d.runner.said.first(cause, time.Now()) {
			d.runner.log.Error(cause)
		}
	}
	if p.writesNoMore(l.row) {
		p.wrote()
		return
	}
	d.mu.Lock()
	if d.ended {
		d.mu.Unlock()
		p.wrote()
		return
	}
	d.failed = append(d.failed, l)
	d.anew = d.anew || errors.Is(err, kerr.UnknownTopicID)
	d.mu.Unlock()
	nudge(d.again)
}

// run writes failed letters again, until ctx ends.
func (d *deadLetters) run(ctx context.Context) {
	d.setEnded(false)
	defer d.drop()
	for {
		select {
		case <-d.again:
		case <-ctx.Done():
			return
		}
		for _, l := range d.take(func(l *letter) bool { return l.fresh }) {
			l.fresh = false
			d.write(l)
		}
		if !d.waiting() {
			continue
		}
		if !sleep(ctx, deadLetterRetry) {
			return
		}
		d.ensureTopic(ctx)
		if d.isAnew() {
			d.runner.instance.producer.PurgeTopicsFromProducing(d.topic) // it would write to the old id for good
		}
		for _, l := range d.take(func(*letter) bool { return true }) {
			d.write(l)
		}
	}
}

// isAnew says once that the topic was deleted since the last time.
func (d *deadLetters) isAnew() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	anew := d.anew
	d.anew = false
	return anew
}

func (d *deadLetters) waiting() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.failed) > 0
}

func (d *deadLetters) take(which func(*letter) bool) (out []*letter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keep := d.failed[:0]
	for _, l := range d.failed {
		switch {
		case l.row.partition.writesNoMore(l.row):
			l.row.partition.wrote()
		case which(l):
			out = append(out, l)
		default:
			keep = append(keep, l)
		}
	}
	clear(d.failed[len(keep):])
	d.failed = keep
	return out
}

// drop ends the wait of what was never written: the next owner of the partition gives the row up again.
func (d *deadLetters) drop() {
	d.setEnded(true)
	for _, l := range d.take(func(*letter) bool { return true }) {
		l.row.partition.wrote()
	}
}

func (d *deadLetters) setEnded(ended bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = ended
}

// record is the dead letter that is written.
func (l *letter) record(topic string) *kgo.Record {
	row, rec := l.row, l.row.record
	r, o := row.partition.runner, original{key: rec.key, value: rec.value, headers: make([]kgo.RecordHeader, len(rec.headers))}
	for i, h := range rec.headers {
		o.headers[i] = kgo.RecordHeader{Key: h.key, Value: h.value}
	}
	return envelope(topic, &Letter{
		Job: r.cfg.Job,
		Source: LetterSource{Topic: row.partition.topic, TopicID: row.partition.address.topicID, Partition: row.partition.id,
			Offset: rec.Offset, Row: row.row, Route: row.route, Timestamp: rec.timestamp},
		Class: l.outcome.Class, Status: l.outcome.Status, Attempts: l.outcome.Attempts, Reason: l.outcome.Reason, FirstAttempt: l.outcome.First,
		LeftOut: l.bare, Resets: int(r.resets.Load()),
		lane: row.laneValue(), behind: l.behind,
	}, o)
}

// ensureTopic makes the dead-letter topic when it is missing: as large a record as the sources take, and a retention of its own.
func (d *deadLetters) ensureTopic(ctx context.Context) {
	if d.topic == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, prepareRetry)
	defer cancel()
	instance, topic := d.runner.instance, d.topic
	meta, err := instance.topics.do(ctx, false, topic)
	if err != nil || meta.Topics[topic].Err == nil || !errors.Is(meta.Topics[topic].Err, kerr.UnknownTopicOrPartition) {
		return // there, or not to be asked now: writing will tell
	}
	config := topicConfig(len(meta.Brokers))
	config["retention.ms"] = kadm.StringPtr(strconv.FormatInt(d.runner.now().DeadLetterRetention.Milliseconds(), 10))
	if size := d.sourceRecordBytes(ctx); size > 0 {
		config["max.message.bytes"] = kadm.StringPtr(strconv.FormatInt(size+deadLetterHeadroom, 10))
	}
	replication := int16(min(3, max(1, len(meta.Brokers))))
	wrong, err := instance.make.do(ctx, false, newTopic{topic, replication, config})
	if err = cmp.Or(err, wrong[topic]); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		cause := fmt.Sprintf("dead-letter topic %s cannot be created: %v; create it, or allow this user to", topic, err)
		d.runner.status.note(&d.runner.status.dead, cause)
		if d.runner.said.first(cause, time.Now()) {
			d.runner.log.Warn(cause)
		}
		return
	}
	d.runner.log.Info("dead-letter topic created", "topic", topic, "replication", replication)
}

// topicConfig is how streamer makes a topic of its own: what was acknowledged must survive the loss of a broker.
func topicConfig(brokers int) map[string]*string {
	config := map[string]*string{"cleanup.policy": kadm.StringPtr("delete"), "unclean.leader.election.enable": kadm.StringPtr("false")}
	if brokers >= 3 {
		config["min.insync.replicas"] = kadm.StringPtr("2")
	}
	return config
}

// sourceRecordBytes is the largest max.message.bytes of the job's topics, 0 if it cannot be read.
func (d *deadLetters) sourceRecordBytes(ctx context.Context) int64 {
	topics, err := d.runner.existingTopics(ctx)
	if err != nil || len(topics) == 0 {
		return 0
	}
	configs, err := d.runner.instance.admin.DescribeTopicConfigs(ctx, topics.names()...)
	if err != nil {
		return 0
	}
	var largest int64
	for _, c := range configs {
		for _, entry := range c.Configs {
			if entry.Key != "max.message.bytes" || entry.Value == nil {
				continue
			}
			if n, err := strconv.ParseInt(*entry.Value, 10, 64); err == nil {
				largest = max(largest, n)
			}
		}
	}
	return largest
}

// wrote notes that a dead letter of p is on its way no more.
func (p *partition) wrote() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.letters--; p.letters == 0 && p.noLetters != nil {
		close(p.noLetters)
		p.noLetters = nil
	}
}

// written gives a channel that is closed when no dead letter of p is on its way. An operator may give a row up at any time, so there may
// be another one later.
func (p *partition) written() <-chan struct{} {
	over := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.letters == 0 {
		close(over)
	} else {
		p.noLetters = over
	}
	return over
}

// writesNoMore says that a letter of r is not tried again: who reads its record next, by another definition or elsewhere, gives it up anew.
func (p *partition) writesNoMore(r *row) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life == closed || p.turn != nil || r.stage == replaced
}
