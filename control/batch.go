package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"streamer/consumer/kafkalog"
)

const (
	// mostTogether is how many objects are written in one transaction at most.
	mostTogether = 64
	// gather is how long what nobody waits for gathers before it is written.
	gather = 250 * time.Millisecond
)

// batch writes to the log together what comes while a transaction is under way, or within a moment if it is no person who waits. Each
// transaction takes some tens of milliseconds, and the writers of a namespace take turns and fence each other, so without that the first
// start of a thousand jobs would take minutes.
type batch struct {
	log   Objects
	hurry chan struct{} // capacity 1: what waits is to be written now

	mu      sync.Mutex
	waiting []*update
	running bool // write runs
}

// update is an object to be changed.
type update struct {
	key     string
	change  func(kafkalog.Entry, bool) (value, audit []byte, err error)
	patient bool
	begun   bool          // under batch.mu
	done    chan struct{} // closed when entry and err are there
	entry   kafkalog.Entry
	err     error
	// Of the last try: its change refused, or it did not fit.
	refused, later bool
}

func newBatch(log Objects) batch { return batch{log: log, hurry: make(chan struct{}, 1)} }

// update is Update of the log; what is patient gathers with others for a moment. Those that are written together fail together, when it is not
// for their own change.
func (b *batch) update(ctx context.Context, key string, patient bool, change func(kafkalog.Entry, bool) (value, audit []byte, err error)) (kafkalog.Entry, error) {
	u := &update{key: key, change: change, patient: patient, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, u)
	if !b.gathers() {
		select {
		case b.hurry <- struct{}{}:
		default:
		}
	}
	if !b.running {
		b.running = true
		go b.write(context.WithoutCancel(ctx)) // ends when nothing waits; each transaction is bounded
	}
	b.mu.Unlock()
	select {
	case <-u.done:
		return u.entry, u.err
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.begun {
		return kafkalog.Entry{}, fmt.Errorf("%w: %w", kafkalog.ErrUnknown, ctx.Err())
	}
	for i, other := range b.waiting {
		if other == u {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			break
		}
	}
	return kafkalog.Entry{}, fmt.Errorf("%w: %w", kafkalog.ErrUnavailable, ctx.Err())
}

// write writes until nothing waits.
func (b *batch) write(ctx context.Context) {
	for b.waits() {
		if b.mayGather() {
			select {
			case <-b.hurry:
			case <-time.After(gather):
			}
		}
		together := b.take()
		if len(together) == 0 {
			continue
		}
		err := b.transact(ctx, together)
		if err != nil && len(together) > 1 && !errors.Is(err, kafkalog.ErrUnknown) && !errors.Is(err, kafkalog.ErrUnavailable) && !errors.Is(err, kafkalog.ErrReadOnly) {
			for i := range together { // one of them cannot be written, such as one that is too large
				_ = b.transact(ctx, together[i:i+1]) // who waits is told
			}
		}
		var again []*update
		for _, u := range together {
			if u.later {
				again = append(again, u)
				continue
			}
			close(u.done)
		}
		if len(again) > 0 {
			b.mu.Lock()
			b.waiting = append(again, b.waiting...)
			b.mu.Unlock()
		}
	}
}

// transact writes together what fits, and notes what became of each.
func (b *batch) transact(ctx context.Context, together []*update) error {
	entries, err := b.log.Transact(ctx, func(read func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error) {
		return changeAll(together, read)
	})
	refusal := slices.ContainsFunc(together, func(u *update) bool { return u.refused && errors.Is(err, u.err) }) // of the newest objects
	var other error                                                                                              // than a refused change
	for _, u := range together {
		switch {
		case u.later:
		case err != nil && !refusal: // what was refused may have been refused for older objects
			u.err, u.refused, other = err, false, err
		case u.refused:
		default:
			u.entry, entries = entries[0], entries[1:]
		}
	}
	return other
}

// waits tells whether there is something to write; if not, write ends.
func (b *batch) waits() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = len(b.waiting) > 0
	return b.running
}

// mayGather is gathers for who does not hold mu. A hurry of before is over then.
func (b *batch) mayGather() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.hurry:
	default:
	}
	return b.gathers()
}

// gathers says that there is time for more to come: no person waits, and there are few. The caller holds mu.
func (b *batch) gathers() bool {
	return len(b.waiting) < mostTogether && !slices.ContainsFunc(b.waiting, func(u *update) bool { return !u.patient })
}

// take gives what is to be written next, each key once; nothing, if who waited has gone.
func (b *batch) take() (together []*update) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var rest []*update
	keys := map[string]bool{}
	for _, u := range b.waiting {
		if keys[u.key] || len(together) == mostTogether {
			rest = append(rest, u)
			continue
		}
		keys[u.key], u.begun = true, true
		together = append(together, u)
	}
	b.waiting = rest
	return together
}

// changeAll makes the changes. Their errors are noted; if none is left to be written, the first one is given, so that it is asked again of
// the newest objects. Written together with others, a refusal is of the newest ones too: else the transaction would not have been committed.
func changeAll(together []*update, read func(string) (kafkalog.Entry, bool)) (writes []kafkalog.Write, err error) {
	size := 0
	for _, u := range together {
		u.err, u.refused, u.later = nil, false, false
		e, exists := read(u.key)
		value, audit, refused := u.change(e, exists)
		if refused != nil {
			if u.err, u.refused = refused, true; err == nil {
				err = refused
			}
			continue
		}
		size += len(u.key) + len(value) + len(audit)
		if u.later = size > kafkalog.MaxTransactBytes && len(writes) > 0; !u.later {
			writes = append(writes, kafkalog.Write{Key: u.key, Value: value, Audit: audit})
		}
	}
	if len(writes) > 0 {
		err = nil
	}
	return writes, err
}
