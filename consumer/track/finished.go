package track

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
)

// Finished is what was finished above a committed offset: runs of whole records, and rows of records that have others pending.
// It travels in the metadata of the commit, so that a next owner does not send it again. The zero Finished is empty.
type Finished struct {
	spans []span // rising, apart from each other
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

// Empty says that nothing above the commit is finished.
func (f Finished) Empty() bool { return len(f.spans) == 0 }

// Finished gives what is finished above Committable, with at most so many spans, counted from the low end. O(most).
func (t *Tracker) Finished(most int) Finished {
	var f Finished
	end, _ := t.Committable()
	for r := t.head; r != nil && len(f.spans) < most; r = r.next {
		if r.Offset > end {
			f.spans = append(f.spans, span{from: end, to: r.Offset})
		}
		if len(r.final) > 0 {
			f.spans = append(f.spans, span{from: r.Offset, to: r.Offset + 1, rows: r.final})
		}
		end = r.Offset + 1
		if r == t.tail && t.next > end {
			f.spans = append(f.spans, span{from: end, to: t.next})
		}
	}
	for _, s := range t.restored.spans { // what was not read again yet
		if s.to > t.next && len(f.spans) < most {
			s.from = max(s.from, t.next)
			f.spans = append(f.spans, s)
		}
	}
	return f
}

// Restore tells a new tracker what an earlier owner had finished above the commit.
func (t *Tracker) Restore(f Finished) { t.restored = f }

// Known says whether the record at offset, which must rise from call to call, was finished by an earlier owner; if not, final
// has the rows that were, nil for none.
func (t *Tracker) Known(offset int64) (finished bool, final func(row int32) bool) {
	spans := t.restored.spans
	for len(spans) > 0 && spans[0].to <= offset {
		spans = spans[1:]
	}
	t.restored.spans = spans
	if len(spans) == 0 || offset < spans[0].from {
		return false, nil
	}
	if spans[0].rows == nil {
		return true, nil
	}
	return false, spans[0].rows.has
}

// Place is the log that a commit belongs to. Finished work of another log must never be taken for ours: offsets copied by a
// mirroring tool, a topic made anew, offsets set by hand.
type Place struct {
	TopicID [16]byte
	Offset  int64 // committed
	Epoch   int32 // leader epoch committed with it
}

// metadataPrefix marks the commit metadata as ours, in version 1.
const metadataPrefix = "streamer/1:"

// Encode gives the commit metadata: at most max characters, all ASCII; what does not fit is left out from the high end. Empty
// when there is nothing to tell.
//
// Layout behind the prefix, in unpadded base64: topic id (16 bytes), offset (uvarint), epoch (varint), then spans in rising order,
// each (gap from the end of the one before it, at first from offset) shifted left by one, plus 1 if it is one record with rows:
// a run is followed by its length, a record by the number of its bitmap's bytes and these bytes.
func (f Finished) Encode(p Place, max int) string {
	room := base64.RawStdEncoding.DecodedLen(max - len(metadataPrefix))
	if f.Empty() || room < 0 {
		return ""
	}
	raw := append(make([]byte, 0, min(room, 256)), p.TopicID[:]...)
	raw = binary.AppendUvarint(raw, uint64(p.Offset))
	raw = binary.AppendVarint(raw, int64(p.Epoch))
	fits, end := 0, p.Offset
	for _, s := range f.spans {
		gap := uint64(s.from-end) << 1
		if s.rows == nil {
			raw = binary.AppendUvarint(raw, gap)
			raw = binary.AppendUvarint(raw, uint64(s.to-s.from))
		} else {
			raw = binary.AppendUvarint(raw, gap|1)
			raw = binary.AppendUvarint(raw, uint64(len(s.rows)))
			raw = append(raw, s.rows...)
		}
		if len(raw) > room {
			break
		}
		fits, end = len(raw), s.to
	}
	if fits == 0 {
		return ""
	}
	return metadataPrefix + base64.RawStdEncoding.EncodeToString(raw[:fits])
}

var errMetadata = errors.New("commit metadata is damaged")

// Decode reads commit metadata. It gives an empty Finished for metadata that is not ours, of another version, or of another place
// than p; an error only for ours that is damaged, which is then to be treated as empty.
func Decode(metadata string, p Place) (Finished, error) {
	var f Finished
	text, ours := strings.CutPrefix(metadata, metadataPrefix)
	if !ours {
		return f, nil
	}
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(raw) < len(p.TopicID) {
		return f, errMetadata
	}
	id, raw := raw[:16], raw[16:]
	bad := false
	number := func() uint64 {
		v, n := binary.Uvarint(raw)
		if n <= 0 || v > 1<<62 {
			bad, n = true, 0
		}
		raw = raw[n:]
		return v
	}
	offset := number()
	if _, n := binary.Varint(raw); n > 0 {
		raw = raw[n:]
	} else {
		bad = true
	}
	if bad {
		return f, errMetadata
	}
	if [16]byte(id) != p.TopicID || int64(offset) != p.Offset {
		return f, nil
	}
	end := p.Offset
	for len(raw) > 0 {
		head := number()
		n := number()
		s := span{from: end + int64(head>>1)}
		if head&1 == 1 {
			if bad || n == 0 || n > uint64(len(raw)) {
				return Finished{}, errMetadata
			}
			s.to, s.rows, raw = s.from+1, bitmap(raw[:n]), raw[n:]
		} else {
			s.to = s.from + int64(n)
		}
		if bad || s.from < end || s.to <= s.from {
			return Finished{}, errMetadata
		}
		f.spans, end = append(f.spans, s), s.to
	}
	return f, nil
}
