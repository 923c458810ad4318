package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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

// outbox writes records that something waits for, which is final only when the broker has them: dead letters, and what tells of answers.
// Until then a row keeps its lane, its record and its place before the committed offset, so a failing write loses nothing, and only the write
// is tried again.
//
// A record that the topic does not take as it is, and would take in another shape, is reshaped: nothing that stands in one record keeps its
// row for ever. What is left is about the topic (missing, not granted, too few replicas, too small for any record): it is waited for, and said.
type outbox struct {
	runner *Runner // of one that only looks something up, in a redrive
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
	of sender
	// record makes it, in a shape.
	record func(topic string, s shape) *kgo.Record
	// begins, if not nil, is asked before each try; false: it need not be written any more.
	begins func() bool
	// taken is called when the broker has it. The sender counts it as on its way until then, and until it is given up.
	taken func(at LetterAddress)
	shape shape
	apart bool          // it, or the batch that it was in, was refused: it is written alone
	alone chan struct{} // closed when the answer is there to a write that is alone; nil: it is not
}

// shape is what a record leaves out, since its topic does not take it as it is.
type shape struct {
	bare    bool // what makes it large
	unkeyed bool // its key
}

// sender is who waits for a record: a row, or a letter that is redriven.
type sender interface {
	// writesNoMore says that it is not tried again. Any goroutine may ask.
	writesNoMore() bool
	// wrote is called once: the record was taken, or is given up.
	wrote()
}

// write hands a record to the Kafka client; what comes of it reaches written.
func (b *outbox) write(w *post) {
	if w.begins != nil && !w.begins() {
		if w.alone != nil {
			close(w.alone)
		}
		w.of.wrote()
		return
	}
	// No deadline of the caller's: outboxTimeout bounds the write, and a write that was begun is better waited for.
	b.runner.instance.producer.TryProduce(context.Background(), w.record(b.topic, w.shape), func(rec *kgo.Record, err error) { b.written(w, rec, err) })
}

func (b *outbox) written(w *post, rec *kgo.Record, err error) {
	alone := w.alone
	if w.alone = nil; alone != nil {
		defer close(alone)
	}
	w.apart = false
	switch {
	case err == nil:
		b.runner.status.note(b.said, "")
		w.taken(LetterAddress{rec.Partition, rec.Offset})
		w.of.wrote()
		return
	case w.reshape(rec, err, alone != nil):
	case errors.Is(err, kgo.ErrMaxBuffered): // many at once: the next try has room
	default:
		cause := fmt.Sprintf("%s cannot be written to %s: %v; the rows are kept and tried again%s", b.what, b.topic, err, mendWrite(err))
		b.runner.status.note(b.said, cause)
		if b.runner.said.first(cause, time.Now()) {
			b.runner.log.Error(cause)
		}
	}
	if w.of.writesNoMore() {
		w.of.wrote()
		return
	}
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		w.of.wrote()
		return
	}
	b.failed = append(b.failed, w)
	b.anew = b.anew || errors.Is(err, kerr.UnknownTopicID)
	b.mu.Unlock()
	nudge(b.again)
}

// reshape says that a record refused with err is to be written at once again, alone, and in another shape if it was alone already, or it is
// known to be what was refused: the brokers judge a batch, and what is too large together may fit one by one.
func (w *post) reshape(rec *kgo.Record, err error, alone bool) bool {
	switch {
	case errors.Is(err, kerr.MessageTooLarge) && !alone:
	case errors.Is(err, kerr.MessageTooLarge) && !w.shape.bare:
		w.shape.bare = true
	case errors.Is(err, kerr.MessageTooLarge) && !w.shape.unkeyed:
		w.shape.unkeyed = true
	case errors.Is(err, kerr.InvalidRecord) && rec.Key == nil && !w.shape.unkeyed: // a compacted topic takes none without a key
		w.shape.unkeyed = true
	case errors.Is(err, kerr.InvalidRecord) && !alone: // what it was together with, perhaps
	default:
		return false
	}
	w.apart = true
	return true
}

// mendWrite says what an operator can do about an error of a write.
func mendWrite(err error) string {
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return "; allow this user to write to it"
	case errors.Is(err, kerr.MessageTooLarge):
		return "; raise its max.message.bytes"
	case errors.Is(err, kerr.InvalidRecord):
		return "; look at what it takes: its cleanup.policy, and whether the brokers validate records"
	case errors.Is(err, kerr.InvalidTimestamp):
		return "; set the clock of this machine: it is too far from that of the brokers (message.timestamp.after.max.ms, an hour)"
	}
	return ""
}

// run writes again what failed, until ctx ends.
func (b *outbox) run(ctx context.Context) {
	defer b.drop()
	for {
		select {
		case <-b.again:
		case <-ctx.Done():
			return
		}
		if !b.alone(ctx) {
			return
		}
		if !b.waiting() {
			continue
		}
		if !sleep(ctx, outboxRetry) {
			return
		}
		b.prepare(ctx)
		if b.isAnew() {
			b.runner.instance.producer.PurgeTopicsFromProducing(b.topic) // it would write to the old id for good
		}
		for _, w := range b.take(func(*post) bool { return true }) {
			b.write(w)
		}
	}
}

// alone writes those one after the other that are to be; false when ctx ends first.
func (b *outbox) alone(ctx context.Context) bool {
	for {
		apart := b.take(func(w *post) bool { return w.apart })
		if len(apart) == 0 {
			return true
		}
		for i, w := range apart {
			answered := make(chan struct{})
			w.alone = answered
			b.write(w)
			select {
			case <-answered:
			case <-ctx.Done():
				for _, rest := range apart[i+1:] {
					rest.of.wrote()
				}
				return false
			}
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
		case w.of.writesNoMore():
			w.of.wrote()
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

// forget drops what has failed of those that write no more.
func (b *outbox) forget() {
	b.take(func(*post) bool { return false })
}

// drop ends the wait of what was never written: the next owner of the partition does the same for the row again.
func (b *outbox) drop() {
	b.setEnded(true)
	for _, w := range b.take(func(*post) bool { return true }) {
		w.of.wrote()
	}
}

// setEnded is false before anything can fail: what fails and finds it true is given up.
func (b *outbox) setEnded(ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = ended
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

func (r *row) wrote() { r.partition.wrote() }

// writesNoMore says that a record of r is not tried again: who reads its own next, by another definition or elsewhere, does what is to be
// done anew.
func (r *row) writesNoMore() bool {
	p := r.partition
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life == closed || p.turn != nil || r.stage == replaced
}
