package consumer

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/schemas"
)

// unread says that the next record of a partition cannot be decoded yet, since its schema is not here. The record is where it was, so
// revoke, stop and a change of the job find nothing out of the ordinary; the partition takes nothing more until the schema may be there.
// No other one waits.
type unread struct {
	cause string
	since time.Time
	again <-chan struct{} // closed when it is to be tried again; nil: nothing is waited for
}

// over says that there is nothing to wait for any more. The partition's lock is held.
func (u *unread) over() bool {
	select {
	case <-u.again:
		u.again = nil
	default:
	}
	return u.again == nil
}

// canBeRead notes that the worker has decoded a record.
func (p *partition) canBeRead() {
	if p.unread.cause == "" { // only the worker writes it
		return
	}
	p.mu.Lock()
	p.unread = unread{}
	p.mu.Unlock()
}

// putBack makes a record in the worker's hands the next one again: of the queue, or, with rows that are pending, of those to be mapped anew.
func (p *partition) putBack(rec *kgo.Record, own *record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unread.cause == "" {
		p.unread.since = time.Now()
	}
	p.unread.cause, p.unread.again = p.missing.Cause, p.missing.Again
	p.taking = 0
	switch {
	case p.life == closed:
	case own != nil:
		p.pending--
		p.again = append([]*record{own}, p.again...)
	default:
		bytes := recordBytes(rec)
		p.queue = append([]*kgo.Record{rec}, p.queue...)
		p.queued += bytes
		p.runner.account.add(bytes)
	}
}

// extractNow is extract for whoever has no place to put a record back to: it waits a moment for a schema, and then says that it is missing.
func (x *extraction) extractNow(rec *kgo.Record) []extracted {
	const most = 3 * time.Second
	over := time.NewTimer(most)
	defer over.Stop()
	for {
		out := x.extract(rec)
		if x.missing == nil {
			return out
		}
		select {
		case <-x.missing.Again:
		case <-over.C:
			return append(out, extracted{part: part{row: wholeRecord}, index: wholeRecord, lane: x.recordLane(rec), err: x.missing})
		}
	}
}

// formats counts what the records of a job were found to be. A nil one counts nothing.
type formats [schemas.FoundKinds]atomic.Int64

func (f *formats) count(found schemas.Found) {
	if f != nil {
		f[found].Add(1)
	}
}

// FormatCount is how many records of a job were found to be of a format.
type FormatCount struct {
	Format  string `json:"format"`
	Records int64  `json:"records"`
}

// read gives what there is, in a fixed order.
func (f *formats) read() (out []FormatCount) {
	for i := range f {
		if n := f[i].Load(); n > 0 {
			out = append(out, FormatCount{schemas.Found(i).String(), n})
		}
	}
	return out
}
