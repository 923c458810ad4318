package kafkalog

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Limits of a Transact.
const (
	// MaxWrites is how many objects it may change.
	MaxWrites = 20_000
	// MaxTransactBytes is how large keys, values and audit lines may be together.
	MaxTransactBytes = 32 << 20
	// writeTimeout bounds it, if its context has no sooner end.
	writeTimeout = 30 * time.Second
	// unreachable is how long Kafka may take for the questions before a write; when brokers die, others take their place after some 10 s.
	unreachable = 15 * time.Second
	// transactionTimeout is when Kafka ends a transaction by itself. It has no sooner end than a Transact. Nobody waits for it: whoever
	// writes next ends what a dead writer has left open.
	transactionTimeout = writeTimeout
	// idHeader carries the id of a write.
	idHeader = "streamer-write"
	// writerHeader says who wrote a line of the audit.
	writerHeader = "streamer-instance"
)

// Why nothing, or nobody knows what, was written. All other errors of Transact and Update are those of change, or say which limit a
// write is over: nothing was written then either.
var (
	// ErrReadOnly says that this Kafka, this user's permissions, or the state of the log allow no write. Trying again is of use after
	// somebody changed that; the error and Problem say what.
	ErrReadOnly = errors.New("the log in Kafka cannot be written")
	// ErrUnavailable says that Kafka did not answer in time, and that nothing was written, or ever will be. Trying again is of use.
	ErrUnavailable = errors.New("the log in Kafka cannot be reached; nothing was written")
	// ErrUnknown says that Kafka did not answer when the transaction was committed: it may have been written. Whoever looks again, by a
	// Transact without a write, sees which it is, since that ends what is open.
	ErrUnknown = errors.New("the log in Kafka did not answer; whether it was written is not known")
)

// ErrTooLarge says that a write is over a limit, of ours or of the topics. Nothing was written.
var ErrTooLarge = errors.New("too large for the log in Kafka")

// Write is what becomes of an object.
type Write struct {
	Key string
	// Value is its new value; nil: it is deleted.
	Value []byte
	// Audit is a line for the audit; nil: none.
	Audit []byte
}

func (w Write) size() int { return len(w.Key) + len(w.Value) + len(w.Audit) }

// pending is the write that runs; its records are found again by its id.
type pending struct {
	id string
	at map[string]int64 // offsets of its records that the follower has seen, by key
}

func (p *pending) look(r *kgo.Record) {
	for _, h := range r.Headers {
		if h.Key == idHeader && p.id != "" && string(h.Value) == p.id {
			p.at[string(r.Key)] = r.Offset
		}
	}
}

// Update is a Transact of one object: change gets the newest (false: there is none) and gives its new value (nil: it is deleted) and
// a line for the audit (nil: none).
func (l *Log) Update(ctx context.Context, key string, change func(Entry, bool) (value, audit []byte, err error)) (Entry, error) {
	if err := checkKey(key); err != nil {
		return Entry{}, err
	}
	entries, err := l.Transact(ctx, func(read func(string) (Entry, bool)) ([]Write, error) {
		now, exists := read(key)
		value, audit, err := change(now, exists)
		if err != nil {
			return nil, err
		}
		return []Write{{key, value, audit}}, nil
	})
	if err != nil {
		return Entry{}, err
	}
	return entries[0], nil
}

// Transact changes objects together: change reads the newest ones by their keys (false: there is none; a prefix is not to be had, but
// see List) and gives what is to be written, each key once, at most MaxWrites and MaxTransactBytes. It is called again when another
// writer was faster, and may then have read two keys at different moments: what comes of that is never written. Its error ends the
// Transact and is returned as it is, after change has read the newest. All objects and audit lines are written together, or none is.
// A Write of an equal value without a line for the audit is left out.
//
// Transact answers when the objects can be read here; of every Write, in their order, it gives what the object is then. If ctx ends
// between the commit and that, it answers all the same. Without a Write it is a linearizable read. One runs at a time.
//
// How it is linearizable, without a leader:
//
//  1. All writers of a namespace share one transactional id. A writer that is not sure that it wrote last calls InitProducerID,
//     which fences every other and ends what it left open.
//  2. It reads up to the last stable offset taken after that: nobody can have written what it does not see.
//  3. change decides; objects and audit lines go into one transaction. Had another writer done step 1 meanwhile, it is refused.
//  4. If the answer to EndTxn is lost, the writer does 1 and 2 again, and then knows: the records with its id are there, or never
//     will be.
//
// Errors are that of change, ErrReadOnly, ErrUnavailable after 15 s in which Kafka answered no write (30 s at most, if answers come but
// the write does not get through), and ErrUnknown when ctx ends, or the 30 s are over, while the transaction is being committed. A
// caller whose own caller may go away gives a context that stays, or it makes outcomes unknown.
func (l *Log) Transact(ctx context.Context, change func(read func(key string) (Entry, bool)) ([]Write, error)) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := l.allowsWrites(); err != nil {
		return nil, err
	}
	begun := time.Now()
	select {
	case l.writing <- struct{}{}:
		defer func() { <-l.writing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: another write takes its time: %w", ErrUnavailable, ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// Behind a write that Kafka does not answer this one has waited for Kafka already.
	w := &write{log: l, id: rand.Text(), change: change, answered: later(begun, l.answered)}
	l.expect(w.id)
	defer l.expect("")
	for try := 0; ; try++ {
		entries, err := w.try(ctx)
		if err == nil {
			return entries, nil
		}
		l.drop()
		switch {
		case errors.As(err, new(*barredError)):
			return nil, err // the follower shows it
		case errors.Is(err, ErrReadOnly):
			l.trouble(troubleWrite, err.Error())
			return nil, err
		case !errors.Is(err, errPassing):
			return nil, err
		}
		// Without jitter, three writers fence each other for ever.
		select {
		case <-time.After(mathrand.N(20 * time.Millisecond << min(try, 6))):
		case <-ctx.Done():
		}
		switch {
		case ctx.Err() != nil && w.committed:
			return w.entries, nil
		case ctx.Err() != nil && w.ending:
			return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
		case ctx.Err() != nil, !w.ending && time.Since(w.answered) > unreachable:
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

func (l *Log) expect(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = pending{id: id, at: map[string]int64{}}
}

// found gives the offset of a record of the pending write, if the follower has seen it.
func (l *Log) found(key string) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.pending.at[key]
	return at, ok
}

// write is one Transact.
type write struct {
	log      *Log
	id       string
	change   func(read func(string) (Entry, bool)) ([]Write, error)
	answered time.Time // when Kafka answered a write last; not before this one was asked for

	entries   []Entry // what Transact gives
	written   []int   // which of them are written
	ending    bool    // a commit was sent, and its answer has not come
	committed bool    // the answer has come
}

// try is one attempt. An error that wraps errPassing asks for another one.
func (w *write) try(ctx context.Context) ([]Entry, error) {
	l := w.log
	sure := l.writer != nil
	if !sure {
		if err := w.takeOver(ctx); err != nil {
			return nil, err
		}
	}
	if w.found() {
		return w.entries, nil
	}
	w.ending = false // whatever was sent before has ended without us
	writes, err := w.change(l.Get)
	if err == nil {
		err = checkWrites(writes)
	}
	if err == nil {
		w.prepare(writes)
	}
	if err != nil || len(w.written) == 0 {
		if sure { // it was asked about what we wrote last; others may have written since
			return nil, fmt.Errorf("%w: to be asked about the newest", errPassing)
		}
		return w.entries, err
	}
	return w.commit(ctx, writes)
}

// takeOver does that within the time that Kafka has to answer. Who waits to learn what became of a commit has more patience.
func (w *write) takeOver(ctx context.Context) error {
	if !w.ending {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, w.answered.Add(unreachable))
		defer cancel()
	}
	err := w.log.takeOver(ctx)
	if err == nil {
		w.heard()
	}
	return err
}

// heard notes that Kafka has answered.
func (w *write) heard() {
	w.answered = time.Now()
	w.log.answered = w.answered
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// found tells whether the write is in the log although its answer was lost, and completes its entries then. One record is enough, as
// they are there together; those that it misses were compacted away, under what others wrote since.
func (w *write) found() bool { return w.seen() || w.committed }

// seen is found of what the follower has read alone.
func (w *write) seen() (any bool) {
	for _, i := range w.written {
		if at, ok := w.log.found(w.entries[i].Key); ok {
			w.entries[i].Revision, any = at, true
		}
	}
	return any
}

// prepare sorts out what is to be written.
func (w *write) prepare(writes []Write) {
	w.entries, w.written = make([]Entry, len(writes)), nil
	for i, write := range writes {
		now, exists := w.log.Get(write.Key)
		now.Key = write.Key
		if same := write.Audit == nil && exists == (write.Value != nil) && bytes.Equal(write.Value, now.Value); !same {
			now = Entry{Key: write.Key, Value: write.Value, Revision: -1, Log: now.Log, At: time.Now()}
			w.written = append(w.written, i)
		}
		w.entries[i] = now
	}
}

// commit writes objects and audit lines in one transaction and waits until they can be read here.
func (w *write) commit(ctx context.Context, writes []Write) ([]Entry, error) {
	l, client := w.log, w.log.writer
	if err := client.BeginTransaction(); err != nil {
		return nil, l.refused(err, "begin")
	}
	header := []kgo.RecordHeader{{Key: idHeader, Value: []byte(w.id)}}
	l.mu.Lock()
	signed := []kgo.RecordHeader{header[0], {Key: writerHeader, Value: []byte(l.name)}}
	l.mu.Unlock()
	var objects, lines []*kgo.Record
	for _, i := range w.written {
		key := []byte(writes[i].Key)
		objects = append(objects, &kgo.Record{Topic: l.jobs, Key: key, Value: writes[i].Value, Headers: header})
		if writes[i].Audit != nil {
			lines = append(lines, &kgo.Record{Topic: l.audit, Key: key, Value: writes[i].Audit, Headers: signed})
		}
	}
	if err := produce(ctx, client, append(lines, objects...)); err != nil {
		return nil, l.refused(err, "produce")
	}
	if err := learned(ctx, client, lines, objects); err != nil {
		return nil, l.refused(err, "produce")
	}
	w.ending = true
	if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return nil, l.refused(err, "commit")
	}
	w.committed = true
	w.heard()
	l.trouble(troubleWrite, "")
	end := int64(0)
	for n, i := range w.written {
		w.entries[i].Revision, w.entries[i].At = objects[n].Offset, objects[n].Timestamp
		end = max(end, objects[n].Offset+1)
	}
	if err := l.reach(ctx, end); err != nil {
		return w.entries, err
	}
	// What the log holds counts, and not what was said of it.
	if !w.seen() {
		w.committed, w.ending = false, false
		return nil, fmt.Errorf("%w: Kafka said that the transaction is committed, and the log is without it", errPassing)
	}
	return w.entries, nil
}

// produce gives records to Kafka and waits for all of them, or for ctx: a client that waits for its broker does not look at it.
func produce(ctx context.Context, client *kgo.Client, records []*kgo.Record) error {
	answers := make(chan error, len(records))
	for _, r := range records {
		client.Produce(ctx, r, func(_ *kgo.Record, err error) { answers <- err })
	}
	for range records {
		select {
		case err := <-answers:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// learned waits until the client knows the partitions that it has produced to. It notes them only after it has handed them the first
// records; a transaction that is ended in between has no partition as far as the client knows, so that it aborts, or ends nothing, and
// says that it has committed.
func learned(ctx context.Context, client *kgo.Client, produced ...[]*kgo.Record) error {
	for _, records := range produced {
		for len(records) > 0 {
			leader, _, err := client.PartitionLeader(records[0].Topic, records[0].Partition)
			if err != nil {
				return err
			}
			if leader >= 0 {
				break
			}
			select {
			case <-time.After(100 * time.Microsecond): // it is about to, and tells nobody
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func checkKey(key string) error {
	if key == "" || len(key) > maxKeyBytes {
		return fmt.Errorf("a key of the log has 1 to %d bytes, not %d", maxKeyBytes, len(key))
	}
	return nil
}

// checkWrites holds writes against the limits.
func checkWrites(writes []Write) error {
	if len(writes) > MaxWrites {
		return fmt.Errorf("%w: %d objects at once; at most %d", ErrTooLarge, len(writes), MaxWrites)
	}
	keys, size := make(map[string]bool, len(writes)), 0
	for _, w := range writes {
		if err := checkKey(w.Key); err != nil {
			return err
		}
		if len(w.Value) > MaxValueBytes || len(w.Audit) > MaxValueBytes {
			return fmt.Errorf("%w: %s has %d bytes, and %d of audit; at most %d each", ErrTooLarge, w.Key, len(w.Value), len(w.Audit), MaxValueBytes)
		}
		if keys[w.Key] {
			return fmt.Errorf("write %s: twice at once", w.Key)
		}
		keys[w.Key] = true
		size += w.size()
	}
	if size > MaxTransactBytes {
		return fmt.Errorf("%w: %d bytes at once; at most %d", ErrTooLarge, size, MaxTransactBytes)
	}
	return nil
}
