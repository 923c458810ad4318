package track

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
)

// metadataPrefix marks commit metadata as ours, in version 2. Version 1 said less about the log it belongs to, and is not believed.
const metadataPrefix = "streamer/2:"

const (
	flagDeflated = 1 // the body is compressed
	flagParts    = 2 // Place.Parts is given; else it is 0
	knownFlags   = flagDeflated | flagParts

	maxBody     = 64 << 10 // bytes that a body may inflate to
	maxRow      = 1 << 20  // the last row of a record that is written down
	maxRowBytes = 1 << 20  // memory of all bitmaps of one body
	worthwhile  = 96       // a body that is shorter is not compressed unless it must be
)

// Owner gives what Place.Owner is for a group of a cluster.
func Owner(cluster, group string) (o [8]byte) {
	sum := sha256.Sum256([]byte(cluster + "\n" + group))
	copy(o[:], sum[:])
	return o
}

// Parts gives what Place.Parts is for a job with these routes: 0 for the only one of a job without, which has no name.
func Parts(routes []string) uint32 {
	if len(routes) == 1 && routes[0] == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(strings.Join(routes, "\n")))
	return max(binary.BigEndian.Uint32(sum[:]), 1)
}

// Encode gives the commit metadata: at most limit characters, all ASCII; what does not fit is left out from the high end. It is empty
// when there is nothing to tell, or the place or the leader epoch is not known. left counts what was left out: offsets of finished
// records (a gap in the log counts, a record of many rows counts once) and final rows of records with others pending.
//
// Layout behind the prefix, in unpadded base64: flags (1 byte), topic id (16), owner (8), offset (uvarint), epoch and Top's epoch
// (varints), left (uvarint), with flagParts the parts (4), then the body as set.go says, deflated where that makes it shorter. Who does not
// know a flag believes nothing.
func (f *Finished) Encode(p Place, limit int) (metadata string, left int64) {
	if f.Empty() || p.TopicID == ([16]byte{}) || f.epoch < 0 || f.epoch < p.Epoch {
		return "", f.all
	}
	w := writers.Get().(*writer)
	defer writers.Put(w)
	w.plan(f, p.Offset)
	head := 1 + len(p.TopicID) + len(p.Owner) + binary.MaxVarintLen64 + 2*binary.MaxVarintLen32 + binary.MaxVarintLen64
	if p.Parts != 0 {
		head += 4
	}
	body, flags, told := w.fit(base64.RawStdEncoding.DecodedLen(max(limit-len(metadataPrefix), 0)) - head)
	if told == 0 {
		return "", f.all
	}
	left = f.all - told
	if p.Parts != 0 {
		flags |= flagParts
	}
	out := append(append(append(w.out[:0], flags), p.TopicID[:]...), p.Owner[:]...)
	out = binary.AppendUvarint(out, uint64(p.Offset))
	out = binary.AppendVarint(out, int64(p.Epoch))
	out = binary.AppendVarint(out, int64(f.epoch))
	out = binary.AppendUvarint(out, uint64(max(left, 0)))
	if p.Parts != 0 {
		out = binary.BigEndian.AppendUint32(out, p.Parts)
	}
	w.out = append(out, body...)
	return metadataPrefix + base64.RawStdEncoding.EncodeToString(w.out), left
}

// Decode reads commit metadata. It gives an empty Finished for metadata that is not ours or of another version; with ErrElsewhere for
// that of another place, with ErrDamaged for ours that cannot be read. Rows of records that are not finished are left out where parts
// are counted otherwise. left is that and what Encode had left out: so much is sent again.
//
// What is read was written by whoever may commit to the group: every length in it is checked before memory is taken.
func Decode(metadata string, p Place) (f Finished, left int64, err error) {
	text, ours := strings.CutPrefix(metadata, metadataPrefix)
	if !ours {
		return f, 0, nil
	}
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(raw) < 1+len(p.TopicID)+len(p.Owner) {
		return f, 0, ErrDamaged
	}
	in := reader{raw: raw[25:]}
	at := Place{TopicID: [16]byte(raw[1:17]), Owner: [8]byte(raw[17:25]), Offset: int64(in.uvarint())}
	at.Epoch = in.epoch()
	f.epoch = in.epoch()
	left = int64(in.uvarint())
	if raw[0]&flagParts != 0 {
		at.Parts = in.fixed()
	}
	if in.bad || raw[0]&^knownFlags != 0 {
		return Finished{}, 0, ErrDamaged
	}
	same := at.Parts == p.Parts
	at.Parts = p.Parts
	if at != p || p.TopicID == ([16]byte{}) || f.epoch < 0 {
		return Finished{}, 0, ErrElsewhere
	}
	body := in.raw
	if raw[0]&flagDeflated != 0 {
		body, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(body)), maxBody+1))
		if err != nil || len(body) > maxBody {
			return Finished{}, 0, ErrDamaged
		}
	}
	if !f.read(body, p.Offset, false) {
		return Finished{}, 0, ErrDamaged
	}
	f.Parts = p.Parts
	if !same {
		for _, s := range f.spans {
			left += s.rows.count()
		}
		f.Whole()
	}
	return f, left, nil
}

// Shorten gives metadata of ours again with at most limit characters; empty if that is no room for any.
func Shorten(metadata string, p Place, limit int) string {
	f, left, err := Decode(metadata, p)
	if err != nil {
		return ""
	}
	f.all = left
	for _, s := range f.spans {
		f.all += s.count()
	}
	short, _ := f.Encode(p, limit)
	return short
}

// writer is the memory of one Encode. Its buffers are kept for the next one: commits are made five times a second.
type writer struct {
	set
	best, deflated, out []byte
}

var writers = sync.Pool{New: func() any { return new(writer) }}

// fit gives the body of as many runs, from the low end, as room bytes hold, with its flags and the number of what it tells. It
// narrows down how many runs that is from what tries have taken, since no formula says what they compress to.
func (w *writer) fit(room int) (body []byte, flags byte, told int64) {
	if room <= 0 {
		return nil, 0, 0
	}
	const tries = 6
	good, bad := 0, len(w.runs)+1 // this many fit, this many do not
	for n, i := len(w.runs), 0; i < tries && n > good && n < bad; i++ {
		raw, tell := w.write(n)
		if len(raw) > maxBody {
			bad = n
			n = min(n*maxBody/len(raw), bad-1)
			continue
		}
		size, flag := len(raw), byte(0)
		if size > worthwhile || size > room {
			if w.deflate(raw); len(w.deflated) < size {
				raw, size, flag = w.deflated, len(w.deflated), flagDeflated
			}
		}
		if size <= room {
			w.best, flags, told, good = append(w.best[:0], raw...), flag, tell, n
			if good+1 >= bad || size > room*31/32 {
				break
			}
		} else {
			bad = n
		}
		n = min(max(int(int64(n)*int64(room)*63/64/int64(size)), good+1), bad-1)
	}
	return w.best, flags, told
}

func (w *writer) deflate(raw []byte) {
	buf := bytes.NewBuffer(w.deflated[:0])
	if err := flate.StatelessDeflate(buf, raw, true, nil); err != nil { // a buffer takes everything
		buf.Write(raw)
	}
	w.deflated = buf.Bytes()
}
