package track

import (
	"errors"
	"math/bits"
	"slices"
)

// Finished is what was finished above a committed offset: runs of whole records, and rows of records that have others pending.
// It travels in the metadata of the commit, so that a next owner does not send it again. The zero Finished is empty.
type Finished struct {
	spans []span // rising, apart from each other
	epoch int32  // leader epoch of the last record of it, or a later one that was read; see Top
	all   int64  // what was finished, spans and what did not go into them, counted as Encode says
	arena []byte // memory of the bitmaps, for Read
	// Parts is what the rows were counted in when they were written down: Place.Parts, from Decode.
	Parts uint32
}

// span is a run of finished records [from, to), or, with rows, the record at from of which those rows are final.
type span struct {
	from, to int64
	rows     bitmap
}

// bitmap has a bit for each row of a record, by its place in the record.
type bitmap []byte

// has says whether row is final. No row of a record that is one row as a whole (-1) is.
func (b bitmap) has(row int32) bool {
	return row >= 0 && int(row/8) < len(b) && b[row/8]&(1<<(row%8)) != 0
}

func (b bitmap) with(row int32) bitmap {
	for int(row/8) >= len(b) {
		b = append(b, 0)
	}
	b[row/8] |= 1 << (row % 8)
	return b
}

func (b bitmap) count() (n int64) {
	for _, v := range b {
		n += int64(bits.OnesCount8(v))
	}
	return n
}

// Whole forgets the rows of records that are not finished.
func (f *Finished) Whole() {
	whole := make([]span, 0, len(f.spans)) // apart: copies of f have the same spans
	for _, s := range f.spans {
		if s.rows == nil {
			whole = append(whole, s)
		}
	}
	f.spans = whole
}

// Empty says that nothing above the commit is finished.
func (f *Finished) Empty() bool { return len(f.spans) == 0 }

// Top is the end of the last run, and the leader epoch up to which the log was read when it was finished. Whoever is about to
// believe f asks the leader where that epoch ends:
//
//  1. A finishes 150 to 199, which it read in epoch 5, and commits 100 with this in its metadata.
//  2. The leader dies, and a replica that has the log up to 120 only is elected although it is not in sync. It appends other
//     records at 120 to 199, in epoch 6.
//  3. B takes over. Its offset 100 is within the log, so nothing looks wrong, and it would skip 150 to 199, which nobody has sent.
//
// The leader answers that epoch 5 ends at 120: what is finished above is not believed (Clip). If it does not know the epoch at all
// nothing is: there was more than one such election.
func (f *Finished) Top() (end int64, epoch int32) {
	if f.Empty() {
		return 0, -1
	}
	return f.spans[len(f.spans)-1].to, f.epoch
}

// Between counts the records of [from, to) that were finished: as a whole, and partly, with other rows pending.
func (f *Finished) Between(from, to int64) (whole, partly int64) {
	for _, s := range f.spans {
		switch lo, hi := max(s.from, from), min(s.to, to); {
		case lo >= hi:
		case s.rows != nil:
			partly++
		default:
			whole += hi - lo
		}
	}
	return whole, partly
}

// Clip forgets what is at or above end.
func (f *Finished) Clip(end int64) {
	for n := len(f.spans); n > 0; n-- {
		s := &f.spans[n-1]
		if s.from < end {
			s.to = min(s.to, end)
			f.spans = f.spans[:n]
			return
		}
	}
	f.spans = nil
}

// Take says whether the record at offset, which must rise from call to call, is finished; if not, final has the rows of it that are,
// nil for none. What is below offset is forgotten.
func (f *Finished) Take(offset int64) (finished bool, final func(row int32) bool) {
	spans := f.spans
	for len(spans) > 0 && spans[0].to <= offset {
		spans = spans[1:]
	}
	f.spans = spans
	if len(spans) == 0 || offset < spans[0].from {
		return false, nil
	}
	if spans[0].rows == nil {
		return true, nil
	}
	return false, spans[0].rows.has
}

// Has is Take for any offset, and forgets nothing.
func (f *Finished) Has(offset int64) (finished bool, final func(row int32) bool) {
	at := Finished{spans: f.spans}
	return at.Take(offset)
}

// The most that is looked at and written: more would not fit into any metadata. What is beyond is left out from the high end.
const (
	maxSpans   = 16 << 10
	maxPending = 64 << 10
)

// Read makes f what is finished above the tracker's Committable, and uses f's memory again. It looks at no more than so many pending
// records and runs, counted from the low end. The cost is that of a walk over the pending records.
func (f *Finished) Read(t *Tracker) {
	f.spans, f.arena = f.spans[:0], f.arena[:0]
	f.epoch = t.epoch
	offset, _ := t.Committable()
	f.all = t.next - offset - int64(t.pending) + t.finalRows
	end, r := offset, t.head
	for looked := 0; r != nil && looked < maxPending && len(f.spans) < maxSpans; r, looked = r.next, looked+1 {
		if r.Offset > end {
			f.spans = append(f.spans, span{from: end, to: r.Offset})
		}
		if len(r.final) > 0 {
			at := len(f.arena)
			f.arena = append(f.arena, r.final...)
			f.spans = append(f.spans, span{from: r.Offset, to: r.Offset + 1, rows: f.arena[at:len(f.arena):len(f.arena)]})
		}
		end = r.Offset + 1
	}
	if r == nil && t.next > end {
		f.spans = append(f.spans, span{from: end, to: t.next})
	}
	for _, s := range t.restored.spans { // what was not read again yet
		if s.to <= t.next {
			continue
		}
		s.from = max(s.from, t.next)
		f.all += s.count()
		f.epoch = max(f.epoch, t.restored.epoch)
		if r == nil && len(f.spans) < maxSpans {
			f.join(s)
		}
	}
}

// Keep gives a copy of f together with the run [from, to), which is below it, and with what earlier has above it: so many spans at most.
func (f *Finished) Keep(from, to int64, earlier Finished, most int) Finished {
	out := Finished{epoch: max(f.epoch, earlier.epoch)}
	if from < to {
		out.join(span{from: from, to: to})
	}
	add := func(s span) {
		if n := len(out.spans); n > 0 {
			s.from = max(s.from, out.spans[n-1].to)
		}
		if s.from < s.to && len(out.spans) < most {
			s.rows = slices.Clone(s.rows)
			out.join(s)
		}
	}
	for _, s := range f.spans {
		add(s)
	}
	for _, s := range earlier.spans {
		add(s)
	}
	return out
}

// join appends s, which is not below the end of the last span.
func (f *Finished) join(s span) {
	if n := len(f.spans); n > 0 && s.rows == nil && f.spans[n-1].rows == nil && f.spans[n-1].to == s.from {
		f.spans[n-1].to = s.to
		return
	}
	f.spans = append(f.spans, s)
}

func (s span) count() int64 {
	if s.rows != nil {
		return s.rows.count()
	}
	return s.to - s.from
}

// Place is the log and the group that a commit belongs to. Finished work of another one must never be taken for ours: offsets copied
// by a mirroring tool or into another group, a topic made anew, offsets set by hand.
type Place struct {
	TopicID [16]byte // the zero id is of no topic: nothing is written for it, or believed
	Owner   [8]byte  // of the group and its cluster; see Owner
	Offset  int64    // committed
	Epoch   int32    // leader epoch committed with it, -1 for none
	// Parts tells apart what is counted as the rows of a record; see Parts. Whole records are believed whatever they were made of.
	Parts uint32
}

// What Decode does not give can be left: it is sent again.
var (
	// ErrDamaged says that metadata is ours and cannot be read.
	ErrDamaged = errors.New("commit metadata is damaged")
	// ErrElsewhere says that metadata is ours and belongs to another log, group or commit.
	ErrElsewhere = errors.New("commit metadata belongs to another topic, group or offset")
)
