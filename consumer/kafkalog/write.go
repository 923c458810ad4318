package kafkalog

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// transactionTimeout is how long a writer that died keeps others from seeing what was written since.
	transactionTimeout = 10 * time.Second
	// updateTimeout bounds an Update whose context has no sooner end.
	updateTimeout = 30 * time.Second
	// idHeader carries the id of a write.
	idHeader = "streamer-write"
)

// ErrReadOnly says that this Kafka, or this user's permissions, allow no write. Trying again is of use after somebody changed that.
var ErrReadOnly = errors.New("the log in Kafka cannot be written")

// pending is the write that runs; its record is found again by its id.
type pending struct {
	id string
	at int64 // offset of its record, once the follower has seen it; before: -1
}

func (p *pending) look(r *kgo.Record) {
	for _, h := range r.Headers {
		if h.Key == idHeader && p.id != "" && string(h.Value) == p.id {
			p.at = r.Offset
		}
	}
}

// Update changes the object of a key: change gets the newest (false: there is none) and gives its new value (nil: it is deleted)
// and a line for the audit (nil: none). It is called again when another writer was faster; its error ends the Update and is
// returned as it is, after it was given the newest object. An equal value without a line for the audit writes nothing. Update
// answers when the object can be read here; object and audit line are written together, or neither is.
//
// How it is linearizable, without a leader:
//
//  1. All writers of a namespace share one transactional id. A writer that is not sure that it wrote last calls InitProducerID,
//     which fences every other and ends what it left open.
//  2. It reads up to the last stable offset taken after that: nobody can have written what it does not see.
//  3. change decides; object and audit line go into one transaction. Had another writer done step 1 meanwhile, it is refused.
//  4. If the answer to EndTxn is lost, the writer does 1 and 2 again, and then knows: the record with its id is there, or never
//     will be.
//
// Errors: that of change; ErrReadOnly; one that says that Kafka did not answer in time. When ctx ends while the transaction is being
// committed, the error says that the outcome is not known.
func (l *Log) Update(ctx context.Context, key string, change func(Entry, bool) (value, audit []byte, err error)) (Entry, error) {
	if key == "" || len(key) > maxKeyBytes {
		return Entry{}, fmt.Errorf("a key of the log has 1 to %d bytes, not %d", maxKeyBytes, len(key))
	}
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	select {
	case l.writing <- struct{}{}:
		defer func() { <-l.writing }()
	case <-ctx.Done():
		return Entry{}, fmt.Errorf("write %s: another write takes its time: %w", key, ctx.Err())
	}
	w := &write{log: l, key: key, id: rand.Text(), change: change}
	l.expect(w.id)
	defer l.expect("")
	for try := 0; ; try++ {
		e, err := w.try(ctx)
		if err == nil {
			return e, nil
		}
		l.drop()
		switch {
		case errors.Is(err, ErrReadOnly):
			l.trouble(troubleWrite, err.Error())
			return Entry{}, err
		case !errors.Is(err, errPassing):
			return Entry{}, err
		}
		// Without jitter, three writers fence each other for ever.
		select {
		case <-time.After(mathrand.N(20 * time.Millisecond << min(try, 6))):
		case <-ctx.Done():
			if w.ending {
				return Entry{}, fmt.Errorf("write %s: whether it was written is not known: %w", key, err)
			}
			return Entry{}, fmt.Errorf("write %s: not written: %w", key, err)
		}
	}
}

func (l *Log) expect(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = pending{id: id, at: -1}
}

// found gives the offset of the pending write, if the follower has seen it.
func (l *Log) found() (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending.at, l.pending.at >= 0
}

// write is one Update.
type write struct {
	log    *Log
	key    string
	id     string
	change func(Entry, bool) (value, audit []byte, err error)

	value  []byte // what was written
	ending bool   // a commit was sent, and its answer has not come
}

// try is one attempt. An error that wraps errPassing asks for another one.
func (w *write) try(ctx context.Context) (Entry, error) {
	l := w.log
	sure := l.writer != nil
	if !sure {
		if err := l.takeOver(ctx); err != nil {
			return Entry{}, err
		}
	}
	if at, ok := l.found(); ok { // the answer was lost, the write was not
		return Entry{Key: w.key, Value: w.value, Revision: at, Log: l.id(), At: time.Now()}, nil
	}
	w.ending = false // whatever was sent before has ended without us
	now, exists := l.Get(w.key)
	value, audit, err := w.change(now, exists)
	same := err == nil && audit == nil && exists == (value != nil) && bytes.Equal(value, now.Value)
	if err != nil || same {
		if sure { // it was asked about what we wrote last; others may have written since
			return Entry{}, fmt.Errorf("%w: to be asked about the newest", errPassing)
		}
		return now, err
	}
	if len(value) > MaxValueBytes || len(audit) > MaxValueBytes {
		return Entry{}, fmt.Errorf("write %s: %d bytes, and %d of audit; at most %d each", w.key, len(value), len(audit), MaxValueBytes)
	}
	w.value = value
	return w.commit(ctx, audit)
}

// commit writes object and audit line in one transaction and waits until they can be read here.
func (w *write) commit(ctx context.Context, audit []byte) (Entry, error) {
	l, client := w.log, w.log.writer
	if err := client.BeginTransaction(); err != nil {
		return Entry{}, l.refused(err, "begin")
	}
	header := []kgo.RecordHeader{{Key: idHeader, Value: []byte(w.id)}}
	object := &kgo.Record{Topic: l.jobs, Key: []byte(w.key), Value: w.value, Headers: header}
	records := []*kgo.Record{object}
	if audit != nil {
		records = append(records, &kgo.Record{Topic: l.audit, Key: []byte(w.key), Value: audit, Headers: header})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return Entry{}, l.refused(err, "produce")
	}
	w.ending = true
	if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return Entry{}, l.refused(err, "commit")
	}
	l.trouble(troubleWrite, "")
	if err := l.reach(ctx, object.Offset+1); err != nil {
		return Entry{}, err
	}
	return Entry{Key: w.key, Value: w.value, Revision: object.Offset, Log: l.id(), At: object.Timestamp}, nil
}

// id is that of the log that this instance has read.
func (l *Log) id() [16]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view == nil {
		return [16]byte{}
	}
	return l.view.id
}

// takeOver makes this writer the only one, and lets it know everything that was written before.
func (l *Log) takeOver(ctx context.Context) error {
	l.drop()
	client, err := l.newClient(
		kgo.TransactionalID(l.transactionalID()),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(maxRecordBytes),
		kgo.RecordDeliveryTimeout(transactionTimeout),
		kgo.UnknownTopicRetries(2),
	)
	if err != nil {
		return err
	}
	l.writer = client
	id, _, err := client.ProducerID(ctx)
	if err != nil {
		return l.refused(err, "InitProducerID")
	}
	if id < 0 {
		return fmt.Errorf("%w: it has no transactions", ErrReadOnly)
	}
	ends, err := l.admin.ListCommittedOffsets(ctx, l.jobs)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return l.refused(err, "look up the end")
	}
	end, _ := ends.Lookup(l.jobs, 0)
	return l.reach(ctx, end.Offset)
}

// drop ends the writer. A transaction that is open ends with the next InitProducerID, or after its timeout. The caller holds writing.
func (l *Log) drop() {
	if l.writer != nil {
		l.writer.Close()
		l.writer = nil
	}
}

func (l *Log) transactionalID() string { return l.config.Namespace + ".log" }

// refused says what an error of Kafka means for a write: tried again, or not to be had.
func (l *Log) refused(err error, step string) error {
	switch {
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed), errors.Is(err, kerr.TopicAuthorizationFailed),
		errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("%w: %w; this user needs WRITE and DESCRIBE on transactional id %s, and WRITE on topics %s and %s", ErrReadOnly, err, l.transactionalID(), l.jobs, l.audit)
	case errors.Is(err, kerr.UnsupportedVersion), errors.Is(err, kerr.InvalidTransactionTimeout):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return fmt.Errorf("%s: larger than the topic takes: %w", step, err)
	}
	return fmt.Errorf("%w: %s: %w", errPassing, step, err)
}
