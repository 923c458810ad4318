// Package track says how far a partition may be committed: the end of the unbroken finished run.
//
// Method: the low-water mark over a doubly linked list that holds the pending records alone, in offset order. What is not in
// the list and below Next is finished, so gaps by compaction, aborted transactions and control records cost nothing, and a
// million finished records behind one that is stuck take no memory.
package track

import (
	"fmt"
	"iter"
	"slices"
	"time"
)

// Tracker follows one partition during one assignment. The zero Tracker is not usable; see New.
// It is not safe for concurrent use: the partition's lock guards it.
type Tracker struct {
	head, tail *Record
	next       int64 // the offset after the last one seen
	epoch      int32 // of the last record seen
	pending    int
	finalRows  int64    // of pending records
	restored   Finished // by an earlier owner, above next
	changes    uint64
}

// Record is a pending record. Callers embed it, so that tracking a record allocates nothing.
type Record struct {
	Offset int64
	// Epoch is the leader epoch under which the record was read, -1 if unknown. It is committed with the offset, so that a
	// truncated log is noticed and not read on from the wrong place.
	Epoch int32
	// Polled is when the client handed the record over.
	Polled time.Time
	// Caller is the caller's.
	Caller any

	rows       int32  // not final
	final      bitmap // the rows that are, while others are not
	prev, next *Record
}

// New begins at committed, the next offset the group will read, with the leader epoch it was committed with (-1: unknown).
func New(committed int64, epoch int32) *Tracker { return &Tracker{next: committed, epoch: epoch} }

// Track notes r, with rows ≥ 1, as pending. Offsets must arrive rising, and at or after the committed offset: Track panics
// otherwise, since a wrong order would commit unread data. O(1).
func (t *Tracker) Track(r *Record, rows int32) {
	if r.Offset < t.next || rows < 1 {
		panic(fmt.Sprintf("track: offset %d with %d rows after next offset %d", r.Offset, rows, t.next))
	}
	r.rows, r.prev, r.next = rows, t.tail, nil
	if s := t.restored.spans; len(s) > 0 && s[0].from == r.Offset && s[0].rows != nil {
		r.final = slices.Clone(s[0].rows)
		t.finalRows += r.final.count()
	}
	if t.tail == nil {
		t.head = r
	} else {
		t.tail.next = r
	}
	t.tail = r
	t.next, t.epoch = r.Offset+1, r.Epoch
	t.pending++
	t.changes++
}

// Skip notes that the record at offset is final as it was read: a control record, a tombstone, a record without rows to send.
// Offsets below Next are ignored. O(1).
func (t *Tracker) Skip(offset int64, epoch int32) {
	if offset >= t.next {
		t.next, t.epoch = offset+1, epoch
		t.changes++
	}
}

// Done notes that the row at this place of r (from 0; -1 if r is one row as a whole) is final, and reports whether r is finished
// with it. A record of n rows takes n calls; one more panics, since it would mean that a row was final twice. O(1).
func (t *Tracker) Done(r *Record, row int32) bool { return t.DoneAll(r, row, 1) }

// DoneAll is Done for a row that stands for so many places, from its own on. O(places).
func (t *Tracker) DoneAll(r *Record, row, places int32) bool {
	if r.rows < 1 {
		panic(fmt.Sprintf("track: offset %d is finished already", r.Offset))
	}
	t.changes++
	if r.rows--; r.rows > 0 {
		for last := row + places; row < last; row++ {
			if !r.final.has(row) {
				r.final = r.final.with(row)
				t.finalRows++
			}
		}
		return false
	}
	t.finalRows -= r.final.count()
	if r.prev == nil {
		t.head = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		t.tail = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.prev, r.next = nil, nil
	t.pending--
	return true
}

// Again begins a pending record anew with so many rows that are not final; those that are (Record.Final) stay so. Without any it is
// finished, and the result says so. O(1).
func (t *Tracker) Again(r *Record, rows int32) (finished bool) {
	if r.rows < 1 {
		panic(fmt.Sprintf("track: offset %d is finished already", r.Offset))
	}
	if r.rows = rows; rows < 1 {
		r.rows = 1
		return t.Done(r, -1)
	}
	return false
}

// Final says that a row of a pending record is final.
func (r *Record) Final(row int32) bool { return r.final.has(row) }

// Recount counts the rows of records anew, which are parts of other routes from now on: of each record that has final rows while others are
// not, to gives the new numbers of those that one was counted as. r is the record if it is pending, and nil for one that an earlier owner
// had begun and which was not read yet. The cost is that of a walk over both.
func (t *Tracker) Recount(to func(r *Record, final func(row int32) bool, last int32) (rows []int32)) {
	counted := func(r *Record, b bitmap) (out bitmap) {
		for _, row := range to(r, b.has, int32(len(b)*8-1)) {
			out = out.with(row)
		}
		return out
	}
	for r := t.head; r != nil; r = r.next {
		if len(r.final) > 0 {
			t.finalRows -= r.final.count()
			r.final = counted(r, r.final)
			t.finalRows += r.final.count()
		}
	}
	kept := make([]span, 0, len(t.restored.spans))
	for _, s := range t.restored.spans {
		if s.rows != nil {
			if s.rows = counted(nil, s.rows); s.rows == nil {
				continue
			}
		}
		kept = append(kept, s)
	}
	t.restored.spans = kept
	t.changes++
}

// Committable is the offset to commit, with its leader epoch: that of the first pending record, else the one after the last
// seen.
func (t *Tracker) Committable() (offset int64, epoch int32) {
	if t.head != nil {
		return t.head.Offset, t.head.Epoch
	}
	return t.next, t.epoch
}

// Next is the offset after the last one seen.
func (t *Tracker) Next() int64 { return t.next }

// Pending is the number of records that are not finished.
func (t *Tracker) Pending() int { return t.pending }

// All gives the pending records in the order of their offsets. The tracker must not be changed meanwhile.
func (t *Tracker) All() iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		for r := t.head; r != nil && yield(r); r = r.next {
		}
	}
}

// Changes rises whenever Committable or what is Finished may have changed.
func (t *Tracker) Changes() uint64 { return t.changes }

// Restore tells a new tracker what an earlier owner had finished above the commit.
func (t *Tracker) Restore(f Finished) { t.restored = f }

// Known says whether the record at offset, which must rise from call to call, was finished by an earlier owner; if not, final
// has the rows that were, nil for none. A record of a later leader epoch than that owner had read is not one that it knew: the log was
// cut and written anew (see Finished.Top), and nothing more of it is believed.
func (t *Tracker) Known(offset int64, epoch int32) (finished bool, final func(row int32) bool) {
	if epoch > t.restored.epoch && !t.restored.Empty() {
		t.restored = Finished{}
	}
	return t.restored.Take(offset)
}

// Earlier says what an earlier owner had finished of the record at offset, which must not be below Next: as Known does, but it may be
// asked in any order, and believes what an epoch may still refute.
func (t *Tracker) Earlier(offset int64) (finished bool, final func(row int32) bool) {
	return t.restored.Has(offset)
}

// Oldest is the first pending record, nil if there is none.
func (t *Tracker) Oldest() *Record { return t.head }
