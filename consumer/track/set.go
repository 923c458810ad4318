package track

import (
	"encoding/binary"
	"math/bits"
)

// A set of offsets, or of a record's rows, is written as entries in rising order. Each begins with a uvarint: the gap from the end of
// the entry before it (at first from the committed offset, or row 0), shifted left by two, plus its kind.
//
//	run    a uvarint: so many
//	bits   a uvarint: so many bytes, then these. Bit 0 of the first is the one behind the gap. Ends with the last bit that is set.
//	rows   a uvarint: so many bytes, then these: a set of the rows of one record that are final. Not within itself.
//
// A few long runs are shorter as runs, many short ones as bits. Which runs become which is decided for each, by what is shortest in
// all: the cheapest path through two states (Viterbi), with the cost of each step known, is found in one pass.
const (
	kindRun  = 0
	kindBits = 1
	kindRows = 2
)

// set is a set to be written.
type set struct {
	runs   []span
	begin  int64
	asRun  []cost   // of the runs up to this one, if it is written as a run
	asBits []cost   // … if it is written as bits
	rows   []byte   // sets of rows, one after the other
	rowsAt [][2]int // where that of a run is, for runs that have rows
	raw    []byte
	inBits []bool
	inner  *set
}

// cost is the number of bits up to a run, and whether the run before it is written as bits.
type cost struct {
	bits   int64
	before bool
}

const never = int64(1) << 60

// plan takes f's runs, which begin at offset.
func (s *set) plan(f *Finished, offset int64) {
	s.rows, s.rowsAt = s.rows[:0], s.rowsAt[:0]
	for _, r := range f.spans {
		at := len(s.rows)
		if r.rows != nil {
			if s.inner == nil {
				s.inner = new(set)
			}
			s.rows = append(s.rows, s.inner.rowSet(r.rows)...)
		}
		s.rowsAt = append(s.rowsAt, [2]int{at, len(s.rows)})
	}
	s.choose(f.spans, offset)
}

// rowSet gives the set of a record's final rows. It is valid until the next call.
func (s *set) rowSet(rows bitmap) []byte {
	runs := s.runs[:0]
	for row, n := int64(0), int64(min(len(rows)*8, maxRow)); row < n; row++ {
		if !rows.has(int32(row)) {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last].to == row {
			runs[last].to++
		} else {
			runs = append(runs, span{from: row, to: row + 1})
		}
	}
	s.choose(runs, 0)
	raw, _ := s.write(len(runs))
	return raw
}

// choose finds what each run is cheapest as.
func (s *set) choose(runs []span, begin int64) {
	s.runs, s.begin = runs, begin
	s.asRun, s.asBits = s.asRun[:0], s.asBits[:0]
	run, asBits, end := cost{}, cost{bits: never}, begin
	for i, r := range runs {
		gap, n := r.from-end, r.to-r.from
		before, low := false, run.bits
		if asBits.bits < low {
			before, low = true, asBits.bits
		}
		if r.rows != nil {
			size := s.rowsAt[i][1] - s.rowsAt[i][0]
			run = cost{low + 8*int64(length(gap<<2)+length(int64(size))+size), before}
			asBits = cost{bits: never}
		} else {
			next := cost{low + openBits(gap) + n, before}
			if before || asBits.bits+gap < low+openBits(gap) {
				next = cost{asBits.bits + min(gap, openBits(gap)) + n, true}
			}
			asBits = next
			run = cost{low + 8*int64(length(gap<<2)+length(n)), before}
		}
		s.asRun, s.asBits, end = append(s.asRun, run), append(s.asBits, asBits), r.to
	}
}

// length is the number of bytes of a uvarint.
func length(v int64) int { return (bits.Len64(uint64(v)|1) + 6) / 7 }

// write gives the set of the first n runs, and the number of what it tells. It is valid until the next call.
func (s *set) write(n int) (raw []byte, told int64) {
	if cap(s.inBits) < n {
		s.inBits = make([]bool, n)
	}
	s.inBits = s.inBits[:n]
	for i, in := n-1, n > 0 && s.asBits[n-1].bits < s.asRun[n-1].bits; i >= 0; i-- {
		s.inBits[i] = in
		if in {
			in = s.asBits[i].before
		} else {
			in = s.asRun[i].before
		}
	}
	raw = s.raw[:0]
	end := s.begin
	for i := 0; i < n; i++ {
		r := s.runs[i]
		gap := uint64(r.from-end) << 2
		switch {
		case r.rows != nil:
			at := s.rowsAt[i]
			raw = binary.AppendUvarint(raw, gap|kindRows)
			raw = binary.AppendUvarint(raw, uint64(at[1]-at[0]))
			raw = append(raw, s.rows[at[0]:at[1]]...)
			told += r.rows.count()
		case s.inBits[i]:
			last := i
			for last+1 < n && s.inBits[last+1] && s.goesOn(last+1) {
				last++
			}
			size := int(s.runs[last].to-r.from+7) / 8
			raw = binary.AppendUvarint(raw, gap|kindBits)
			raw = binary.AppendUvarint(raw, uint64(size))
			at := len(raw)
			raw = append(raw, make([]byte, size)...)
			for _, r := range s.runs[i : last+1] {
				for o := r.from - s.runs[i].from; o < r.to-s.runs[i].from; o++ {
					raw[at+int(o/8)] |= 1 << (o % 8)
				}
				told += r.to - r.from
			}
			i, r = last, s.runs[last]
		default:
			raw = binary.AppendUvarint(raw, gap|kindRun)
			raw = binary.AppendUvarint(raw, uint64(r.to-r.from))
			told += r.to - r.from
		}
		end = r.to
	}
	s.raw = raw
	return raw, told
}

// openBits is what it takes to begin with bits, counted in bits.
func openBits(gap int64) int64 { return 8*int64(length(gap<<2)+2) + 7 }

// goesOn says that run i, which is written as bits as the one before it is, is shorter in the same bits than in new ones.
func (s *set) goesOn(i int) bool {
	gap := s.runs[i].from - s.runs[i-1].to
	return gap < openBits(gap)
}

// reader takes numbers from raw; bad is set at the first that is none.
type reader struct {
	raw []byte
	bad bool
}

// maxOffset keeps sums of offsets and gaps far from overflow.
const maxOffset = 1 << 58

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.raw)
	if n <= 0 || v > maxOffset {
		r.bad = true
		return 0
	}
	r.raw = r.raw[n:]
	return v
}

func (r *reader) epoch() int32 {
	v, n := binary.Varint(r.raw)
	if n <= 0 || v < -1 || v > 1<<31-1 {
		r.bad = true
		return -1
	}
	r.raw = r.raw[n:]
	return int32(v)
}

// fixed takes four bytes.
func (r *reader) fixed() uint32 {
	if len(r.raw) < 4 {
		r.bad = true
		return 0
	}
	v := binary.BigEndian.Uint32(r.raw)
	r.raw = r.raw[4:]
	return v
}

// part takes so many bytes as the next number says, at least one.
func (r *reader) part() []byte {
	n := r.uvarint()
	if n == 0 || n > uint64(len(r.raw)) {
		r.bad = true
		return nil
	}
	p := r.raw[:n]
	r.raw = r.raw[n:]
	return p
}

// read appends a set of offsets from offset on, or of rows, and says whether it could be read whole.
func (f *Finished) read(raw []byte, offset int64, ofRows bool) bool {
	in, end, memory := reader{raw: raw}, offset, 0
	for len(in.raw) > 0 {
		head := in.uvarint()
		from := end + int64(head>>2)
		switch head & 3 {
		case kindRun:
			n := in.uvarint()
			if n == 0 {
				return false
			}
			f.join(span{from: from, to: from + int64(n)})
		case kindBits:
			f.readBits(in.part(), from)
		case kindRows:
			var rows Finished
			part := in.part()
			if in.bad || ofRows || !rows.read(part, 0, true) || rows.Empty() {
				return false
			}
			last := rows.spans[len(rows.spans)-1].to
			if memory += int(last/8) + 1; last > maxRow || memory > maxRowBytes {
				return false
			}
			s := span{from: from, to: from + 1, rows: make(bitmap, 0, last/8+1)}
			for _, r := range rows.spans {
				for row := r.from; row < r.to; row++ {
					s.rows = s.rows.with(int32(row))
				}
			}
			f.join(s)
		default:
			return false
		}
		if in.bad || f.Empty() || len(f.spans) > 2*maxSpans {
			return false
		}
		to := f.spans[len(f.spans)-1].to
		if to <= from || to > maxOffset {
			return false
		}
		end = to
	}
	return true
}

func (f *Finished) readBits(part []byte, from int64) {
	for i := int64(0); i < 8*int64(len(part)); i++ {
		if part[i/8]&(1<<(i%8)) != 0 {
			f.join(span{from: from + i, to: from + i + 1})
		}
	}
}
