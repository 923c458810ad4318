package track

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var place = Place{TopicID: [16]byte{1, 2, 3}, Owner: Owner("cluster", "group"), Offset: 0, Epoch: 0}

// encoded is what a commit would say of tr, at place.
func encoded(tr *Tracker, at Place, limit int) (string, int64) {
	var f Finished
	f.Read(tr)
	at.Offset, at.Epoch = tr.Committable()
	return f.Encode(at, limit)
}

// What one owner finished, in any order, with any part of it encoded, the next one neither sends again (unless it was dropped) nor
// takes for finished when it was not.
func TestFinishedWorkReachesTheNextOwner(t *testing.T) {
	type key struct {
		offset int64
		row    int32
	}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		rows := map[int64]int32{} // of each record; gaps have none
		var offsets []int64
		for off := int64(0); len(offsets) < 200; off += 1 + int64(rng.IntN(2)) {
			rows[off] = 1 + rng.Int32N(12)
			offsets = append(offsets, off)
		}
		final := map[key]bool{}
		committed := int64(0)
		var metadata string
		for owner := range 4 {
			max := 4096
			if owner == 2 {
				max = 120 // some is dropped
			}
			tr := New(committed, 0)
			at := place
			at.Offset = committed
			f, _, err := Decode(metadata, at)
			if err != nil {
				t.Fatal(err)
			}
			tr.Restore(f)
			type todo struct {
				r   *Record
				row int32
			}
			var pending []todo
			read := 20 + rng.IntN(100)
			for _, off := range offsets {
				if off < committed || read == 0 {
					continue
				}
				read--
				finished, known := tr.Known(off, 0)
				if finished {
					for row := range rows[off] {
						if !final[key{off, row}] {
							t.Fatalf("seed %d: row %d of offset %d is taken for final", seed, row, off)
						}
					}
					tr.Skip(off, 0)
					continue
				}
				r := &Record{Offset: off}
				var left []todo
				for row := range rows[off] {
					if known != nil && known(row) {
						if !final[key{off, row}] {
							t.Fatalf("seed %d: row %d of offset %d is taken for final", seed, row, off)
						}
						continue
					}
					if final[key{off, row}] && owner != 3 { // owner 3 follows the one whose metadata was cut
						t.Fatalf("seed %d: owner %d: row %d of offset %d would be sent again", seed, owner, row, off)
					}
					left = append(left, todo{r, row})
				}
				tr.Track(r, int32(len(left)))
				pending = append(pending, left...)
			}
			rng.Shuffle(len(pending), func(i, j int) { pending[i], pending[j] = pending[j], pending[i] })
			for _, p := range pending[:len(pending)*2/3] {
				tr.Done(p.r, p.row)
				final[key{p.r.Offset, p.row}] = true
			}
			committed, _ = tr.Committable()
			var left int64
			metadata, left = encoded(tr, place, max)
			if len(metadata) > max || left < 0 || left > 0 != (owner == 2) {
				t.Fatalf("seed %d: owner %d: %d characters, limit %d, %d left out", seed, owner, len(metadata), max, left)
			}
		}
	}
}

func TestDecodeRefusesWhatIsNotOurs(t *testing.T) {
	tr := New(0, 0)
	a, b := &Record{Offset: 0}, &Record{Offset: 1}
	tr.Track(a, 1)
	tr.Track(b, 1)
	tr.Done(b, 0)
	good, _ := encoded(tr, place, 4096)
	change := func(c func(*Place)) Place { p := place; c(&p); return p }
	raw := func(body string, flags byte) string {
		head, _ := base64.RawStdEncoding.DecodeString(good[len(metadataPrefix):])
		head[0] = flags
		return metadataPrefix + base64.RawStdEncoding.EncodeToString(append(head[:29], body...))
	}
	for name, c := range map[string]struct {
		metadata string
		place    Place
		want     error
		found    bool
	}{
		"ours":                             {metadata: good, place: place, found: true},
		"ours, put together here":          {metadata: raw("\x04\x01", 0), place: place, found: true},
		"none":                             {place: place},
		"of another client":                {metadata: "consumer-1-uuid", place: place},
		"of the version before":            {metadata: "streamer/1:AQIDAAAAAAAAAAAAAAAAAAAIAgA", place: place},
		"of a later version":               {metadata: "streamer/3:AAAA", place: place},
		"of a topic made anew":             {metadata: good, place: change(func(p *Place) { p.TopicID[0]++ }), want: ErrElsewhere},
		"of another group":                 {metadata: good, place: change(func(p *Place) { p.Owner = Owner("cluster", "copy") }), want: ErrElsewhere},
		"of another cluster":               {metadata: good, place: change(func(p *Place) { p.Owner = Owner("mirror", "group") }), want: ErrElsewhere},
		"of another offset":                {metadata: good, place: change(func(p *Place) { p.Offset++ }), want: ErrElsewhere},
		"of another leader epoch":          {metadata: good, place: change(func(p *Place) { p.Epoch++ }), want: ErrElsewhere},
		"of a commit without an epoch":     {metadata: good, place: change(func(p *Place) { p.Epoch = -1 }), want: ErrElsewhere},
		"cut off":                          {metadata: good[:len(good)-1], place: place, want: ErrDamaged},
		"no base64":                        {metadata: metadataPrefix + "!!", place: place, want: ErrDamaged},
		"too short for a topic id":         {metadata: metadataPrefix + "AAAA", place: place, want: ErrDamaged},
		"an unknown flag":                  {metadata: raw("\x04\x01", 2), place: place, want: ErrDamaged},
		"deflated and not":                 {metadata: raw("\x04\x01", 1), place: place, want: ErrDamaged},
		"an unknown kind":                  {metadata: raw("\x07\x01", 0), place: place, want: ErrDamaged},
		"a run of no length":               {metadata: raw("\x04\x00", 0), place: place, want: ErrDamaged},
		"a run without an end":             {metadata: raw("\x04\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 0), place: place, want: ErrDamaged},
		"bits longer than the rest":        {metadata: raw("\x05\x02\xff", 0), place: place, want: ErrDamaged},
		"bits without a bit":               {metadata: raw("\x05\x01\x00", 0), place: place, want: ErrDamaged},
		"rows within rows":                 {metadata: raw("\x02\x04\x02\x02\x00\x01", 0), place: place, want: ErrDamaged},
		"more rows than a record may have": {metadata: raw("\x02\x05\x00\x80\x80\x80\x01", 0), place: place, want: ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			f, _, err := Decode(c.metadata, c.place)
			if !f.Empty() != c.found || !errors.Is(err, c.want) {
				t.Fatalf("found %v, error %v, want %v", f.spans, err, c.want)
			}
		})
	}
	if _, _, err := Decode(good, Place{}); !errors.Is(err, ErrElsewhere) {
		t.Errorf("without a topic id: %v", err)
	}
}

// What cannot be bound to its log is not written.
func TestNothingIsSaidOfAnUnknownLog(t *testing.T) {
	tr := New(0, -1)
	tr.Track(&Record{Offset: 0, Epoch: -1}, 1)
	tr.Skip(1, -1)
	if m, left := encoded(tr, place, 4096); m != "" || left != 1 {
		t.Errorf("without an epoch: %q, %d", m, left)
	}
	tr.Skip(2, 1)
	if m, left := encoded(tr, Place{}, 4096); m != "" || left != 2 {
		t.Errorf("without a topic id: %q, %d", m, left)
	}
}

// The story of Top: the log was cut at 120 in epoch 5, and other records stand above.
func TestALogThatWasWrittenAnewIsNotTakenForFinished(t *testing.T) {
	old := New(100, 5)
	old.Track(&Record{Offset: 100, Epoch: 5}, 1)
	old.Skip(109, 5)
	old.Track(&Record{Offset: 110, Epoch: 5}, 1)
	old.Skip(199, 5)
	m, _ := encoded(old, place, 4096)
	at := place
	at.Offset, at.Epoch = 100, 5
	read := func() *Tracker {
		f, _, err := Decode(m, at)
		if end, epoch := f.Top(); err != nil || end != 200 || epoch != 5 {
			t.Fatalf("up to %d in epoch %d: %v", end, epoch, err)
		}
		tr := New(100, 5)
		tr.Restore(f)
		return tr
	}
	known := func(tr *Tracker, offset int64, epoch int32, want bool) {
		t.Helper()
		if got, _ := tr.Known(offset, epoch); got != want {
			t.Errorf("offset %d in epoch %d is known: %v", offset, epoch, got)
		}
	}
	t.Run("the leader says where the epoch ends", func(t *testing.T) {
		tr := read()
		tr.restored.Clip(120)
		known(tr, 105, 5, true)
		known(tr, 119, 5, true)
		known(tr, 120, 6, false)
	})
	t.Run("clipped between two runs, and below all", func(t *testing.T) {
		tr := read()
		tr.restored.Clip(110)
		if end, _ := tr.restored.Top(); end != 110 {
			t.Errorf("up to %d", end)
		}
		tr.restored.Clip(50)
		known(tr, 105, 5, false)
	})
	t.Run("it is cut while it is read", func(t *testing.T) {
		tr := read()
		known(tr, 105, 5, true)
		tr.Skip(105, 5)
		known(tr, 150, 6, false)
		known(tr, 151, 5, false)
		tr.Track(&Record{Offset: 150, Epoch: 6}, 1)
		if m, left := encoded(tr, place, 4096); left != 0 || strings.Count(m, "") > 80 {
			t.Errorf("%d left out of %s", left, m)
		}
	})
	t.Run("what is not read again yet keeps its epoch", func(t *testing.T) {
		tr := read()
		tr.Track(&Record{Offset: 100, Epoch: 5}, 1)
		m, _ := encoded(tr, place, 4096)
		f, _, err := Decode(m, at)
		if end, epoch := f.Top(); err != nil || end != 200 || epoch != 5 {
			t.Errorf("up to %d in epoch %d: %v", end, epoch, err)
		}
	})
}

// The record that had rows finished cannot be decoded by the next owner: as one row, it has none of them.
func TestNoRowOfARecordAsAWholeIsKnown(t *testing.T) {
	tr := New(0, 0)
	a := &Record{Offset: 0}
	tr.Track(a, 3)
	tr.Done(a, 1)
	next := New(0, 0)
	var f Finished
	f.Read(tr)
	next.Restore(f)
	finished, known := next.Known(0, 0)
	if finished || known == nil || !known(1) || known(0) || known(-1) || known(99) {
		t.Fatalf("finished %v", finished)
	}
}

// What is left out is counted, and what is told fits, whatever the limit.
func TestWhatDoesNotFitIsCounted(t *testing.T) {
	for name, tr := range patterns() {
		for _, limit := range []int{0, 10, 60, 100, 1024, 4096} {
			m, left := encoded(tr, place, limit)
			if len(m) > limit {
				t.Fatalf("%s: %d characters, limit %d", name, len(m), limit)
			}
			at := place
			at.Offset, at.Epoch = tr.Committable()
			f, told, err := Decode(m, at)
			var all, got int64
			for r, end := tr.head, tr.head.Offset; r != nil; r = r.next {
				if all += r.Offset - end + r.final.count(); r == tr.tail {
					all += tr.next - r.Offset - 1
				}
				end = r.Offset + 1
			}
			for _, s := range f.spans {
				got += s.count()
			}
			if err != nil || all != got+left || told != left && m != "" {
				t.Fatalf("%s, limit %d: %d finished, %d told, %d left out, which is said to be %d: %v", name, limit, all, got, left, told, err)
			}
			if short := Shorten(m, at, 200); len(short) > 200 || len(m) > 200 && len(short) < 100 {
				t.Errorf("%s: shortened to %d characters", name, len(short))
			}
		}
	}
}

// patterns are trackers as a crash may find them.
func patterns() map[string]*Tracker {
	const records = 20_000
	out := map[string]*Tracker{}
	make := func(name string, records int, rows int32, stuck func(i int, row int32) bool) {
		tr := New(0, 3)
		for i := range records {
			r := &Record{Offset: int64(i), Epoch: 3}
			tr.Track(r, rows)
			for row := range rows {
				if i > 0 && !stuck(i, row) {
					tr.Done(r, row)
				}
			}
		}
		out[name] = tr
	}
	rng := rand.New(rand.NewPCG(4, 4))
	make("one stuck key", records, 1, func(int, int32) bool { return false })
	make("200 stuck keys in stripes", records, 1, func(i int, _ int32) bool { return i%100 == 0 })
	make("every second one", records, 1, func(i int, _ int32) bool { return i%2 == 0 })
	make("random, 1 of 2 finished", records, 1, func(int, int32) bool { return rng.IntN(2) == 0 })
	make("random, 9 of 10 finished", records, 1, func(int, int32) bool { return rng.IntN(10) == 0 })
	make("random, 99 of 100 finished", records, 1, func(int, int32) bool { return rng.IntN(100) == 0 })
	make("containers with one stuck row each", 400, 250, func(i int, row int32) bool { return int(row) == i%250 })
	make("containers, random", 100, 250, func(int, int32) bool { return rng.IntN(2) == 0 })
	return out
}

func FuzzDecode(f *testing.F) {
	for _, tr := range patterns() {
		m, _ := encoded(tr, place, 4096)
		f.Add(m)
	}
	f.Add(metadataPrefix)
	f.Fuzz(func(t *testing.T, metadata string) {
		at := place
		at.Epoch = 3
		found, _, err := Decode(metadata, at)
		if err != nil && !found.Empty() {
			t.Fatal("an error and not empty")
		}
		end := at.Offset
		for _, s := range found.spans {
			if s.from < end || s.to <= s.from {
				t.Fatalf("spans out of order: %v", found.spans)
			}
			end = s.to
			found.all += s.count()
		}
		m, left := found.Encode(at, 1<<20)
		again, _, err := Decode(m, at)
		if err != nil || left == 0 && fmt.Sprint(again.spans) != fmt.Sprint(found.spans) {
			t.Fatalf("%v, then %v, %d left out: %v", found.spans, again.spans, left, err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for name, tr := range patterns() {
		b.Run(name, func(b *testing.B) {
			var f Finished
			var m string
			var left int64
			b.ReportAllocs()
			for b.Loop() {
				f.Read(tr)
				at := place
				at.Offset, at.Epoch = tr.Committable()
				m, left = f.Encode(at, 4096)
			}
			b.ReportMetric(float64(len(m)), "characters")
			b.ReportMetric(float64(len(m))/float64(f.all-left), "characters/row")
			b.ReportMetric(100*float64(left)/float64(f.all), "%dropped")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	tr := patterns()["random, 9 of 10 finished"]
	m, _ := encoded(tr, place, 4096)
	at := place
	at.Offset, at.Epoch = tr.Committable()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(m, at); err != nil {
			b.Fatal(err)
		}
	}
}
