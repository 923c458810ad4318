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
)

const (
	// outboxBatchBytes is the largest record the client will send; brokers refuse what its topic does not take.
	outboxBatchBytes = 64 << 20
	// outboxTimeout bounds one write; it is then tried again.
	outboxTimeout = 30 * time.Second
	// outboxHeadroom is what a record may be larger than the source that it carries.
	outboxHeadroom = 64 << 10
	// outboxRetry is the wait between two tries.
	outboxRetry = 2 * time.Second
)

// outbox writes records of rows that are final only when the broker has them: dead letters, and what tells of answers. Until then a row keeps
// its lane, its record and its place before the committed offset, so a failing write loses nothing, and only the write is tried again.
type outbox struct {
	runner *Runner
	topic  string
	// kind is what the topic is called, what what stands in it, said why it cannot be written, in the runner's status.
	kind, what string
	said       *string
	// Of the topic, where it is made: how long it keeps records (0: as the brokers say), and how large they are: so many times the source's, and
	// some bytes.
	retention    time.Duration
	copies, room int64

	mu     sync.Mutex
	ended  bool          // nothing is written again any more
	failed []*post       // to be written again
	anew   bool          // the topic was deleted: the client must forget the old one
	again  chan struct{} // capacity 1: failed has grown
}

// post is a record on its way into the log.
type post struct {
	row *row
	// record makes it; bare without what makes it large.
	record func(topic string, bare bool) *kgo.Record
	// begins, if not nil, is asked before each try; false: it need not be written any more.
	begins func() bool
	// taken is called when the broker has it. The row's partition counts it as on its way until then, and until it is given up.
	taken func(at LetterAddress)
	bare  bool // larger than the topic takes
	fresh bool // bare since the last try: nothing to wait for
}

// write hands a record to the Kafka client; what comes of it reaches written.
func (b *outbox) write(w *post) {
	if w.begins != nil && !w.begins() {
		w.row.partition.wrote()
		return
	}
	// No deadline of the caller's: outboxTimeout bounds the write, and a write that was begun is better waited for.
	b.runner.instance.producer.TryProduce(context.Background(), w.record(b.topic, w.bare), func(rec *kgo.Record, err error) { b.written(w, rec, err) })
}

func (b *outbox) written(w *post, rec *kgo.Record, err error) {
	p := w.row.partition
	switch {
	case err == nil:
		b.runner.status.note(b.said, "")
		w.taken(LetterAddress{rec.Partition, rec.Offset})
		p.wrote()
		return
	case errors.Is(err, kerr.MessageTooLarge) && !w.bare:
		w.bare, w.fresh = true, true
	case errors.Is(err, kgo.ErrMaxBuffered): // many at once: the next try has room
	default:
		cause := fmt.Sprintf("%s cannot be written to %s: %v; the rows are kept and tried again", b.what, b.topic, err)
		b.runner.status.note(b.said, cause)
		if b.runner.said.first(cause, time.Now()) {
			b.runner.log.Error(cause)
		}
	}
	if p.writesNoMore(w.row) {
		p.wrote()
		return
	}
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		p.wrote()
		return
	}
	b.failed = append(b.failed, w)
	b.anew = b.anew || errors.Is(err, kerr.UnknownTopicID)
	b.mu.Unlock()
	nudge(b.again)
}

// run writes again what failed, until ctx ends.
func (b *outbox) run(ctx context.Context) {
	b.setEnded(false)
	defer b.drop()
	for {
		select {
		case <-b.again:
		case <-ctx.Done():
			return
		}
		for _, w := range b.take(func(w *post) bool { return w.fresh }) {
			w.fresh = false
			b.write(w)
		}
		if !b.waiting() {
			continue
		}
		if !sleep(ctx, outboxRetry) {
			return
		}
		b.ensureTopic(ctx)
		if b.isAnew() {
			b.runner.instance.producer.PurgeTopicsFromProducing(b.topic) // it would write to the old id for good
		}
		for _, w := range b.take(func(*post) bool { return true }) {
			b.write(w)
		}
	}
}

// isAnew says once that the topic was deleted since the last time.
func (b *outbox) isAnew() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	anew := b.anew
	b.anew = false
	return anew
}

func (b *outbox) waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.failed) > 0
}

func (b *outbox) take(which func(*post) bool) (out []*post) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := b.failed[:0]
	for _, w := range b.failed {
		switch {
		case w.row.partition.writesNoMore(w.row):
			w.row.partition.wrote()
		case which(w):
			out = append(out, w)
		default:
			keep = append(keep, w)
		}
	}
	clear(b.failed[len(keep):])
	b.failed = keep
	return out
}

// forget drops what has failed of rows that are written for no more.
func (b *outbox) forget() {
	b.take(func(*post) bool { return false })
}

// drop ends the wait of what was never written: the next owner of the partition does the same for the row again.
func (b *outbox) drop() {
	b.setEnded(true)
	for _, w := range b.take(func(*post) bool { return true }) {
		w.row.partition.wrote()
	}
}

func (b *outbox) setEnded(ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = ended
}

// ensureTopic makes the topic when it is missing: as large a record as the sources take.
func (b *outbox) ensureTopic(ctx context.Context) {
	if b.topic == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, prepareRetry)
	defer cancel()
	instance, topic := b.runner.instance, b.topic
	meta, err := instance.topics.do(ctx, false, topic)
	if err != nil || meta.Topics[topic].Err == nil || !errors.Is(meta.Topics[topic].Err, kerr.UnknownTopicOrPartition) {
		return // there, or not to be asked now: writing will tell
	}
	config := topicConfig(len(meta.Brokers))
	if b.retention > 0 {
		config["retention.ms"] = kadm.StringPtr(strconv.FormatInt(b.retention.Milliseconds(), 10))
	}
	if size := b.runner.sourceRecordBytes(ctx); size > 0 {
		config["max.message.bytes"] = kadm.StringPtr(strconv.FormatInt(min(b.copies*size+b.room, outboxBatchBytes), 10))
	}
	replication := int16(min(3, max(1, len(meta.Brokers))))
	wrong, err := instance.make.do(ctx, false, newTopic{topic, replication, config})
	if err = cmp.Or(err, wrong[topic]); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		cause := fmt.Sprintf("%s topic %s cannot be created: %v; create it, or allow this user to", b.kind, topic, err)
		b.runner.status.note(b.said, cause)
		if b.runner.said.first(cause, time.Now()) {
			b.runner.log.Warn(cause)
		}
		return
	}
	b.runner.log.Info(b.kind+" topic created", "topic", topic, "replication", replication)
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
func (r *Runner) sourceRecordBytes(ctx context.Context) int64 {
	topics, err := r.existingTopics(ctx)
	if err != nil || len(topics) == 0 {
		return 0
	}
	configs, err := r.instance.admin.DescribeTopicConfigs(ctx, topics.names()...)
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

// wrote notes that a record of p is on its way no more.
func (p *partition) wrote() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.letters--; p.letters == 0 && p.noLetters != nil {
		close(p.noLetters)
		p.noLetters = nil
	}
}

// written gives a channel that is closed when no record of p is on its way. An operator may give a row up at any time, so there may be
// another one later.
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

// writesNoMore says that a record of r is not tried again: who reads its own next, by another definition or elsewhere, does what is to be
// done anew.
func (p *partition) writesNoMore(r *row) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life == closed || p.turn != nil || r.stage == replaced
}
