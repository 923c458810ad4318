package track

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

var place = Place{TopicID: [16]byte{1, 2, 3}, Offset: 0, Epoch: 4}

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
			f, err := Decode(metadata, at)
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
				finished, known := tr.Known(off)
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
			at.Offset = committed
			metadata = tr.Finished(1<<20).Encode(at, max)
			if len(metadata) > max {
				t.Fatalf("%d characters, limit %d", len(metadata), max)
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
	good := tr.Finished(10).Encode(place, 4096)
	other := place
	other.TopicID[0]++
	moved := place
	moved.Offset++
	for name, c := range map[string]struct {
		metadata string
		place    Place
		found    bool
		damaged  bool
	}{
		"ours":                          {good, place, true, false},
		"none":                          {"", place, false, false},
		"of another client":             {"consumer-1-uuid", place, false, false},
		"of a later version":            {"streamer/2:AAAA", place, false, false},
		"of a topic made anew":          {good, other, false, false},
		"of another offset":             {good, moved, false, false},
		"cut off":                       {good[:len(good)-1], place, false, true},
		"no base64":                     {metadataPrefix + "!!", place, false, true},
		"too short for a topic id":      {metadataPrefix + "AAAA", place, false, true},
		"a run of no length":            {metadataPrefix + "AQIDAAAAAAAAAAAAAAAAAAAIAgA", place, false, true},
		"a bitmap longer than the rest": {metadataPrefix + "AQIDAAAAAAAAAAAAAAAAAAAIA/8", place, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Decode(c.metadata, c.place)
			if !f.Empty() != c.found || (err != nil) != c.damaged {
				t.Fatalf("found %v, error %v", !f.Empty(), err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	tr := New(0, 0)
	a := &Record{Offset: 3}
	tr.Track(a, 3)
	tr.Done(a, 1)
	tr.Skip(9, 0)
	f.Add(tr.Finished(10).Encode(place, 4096))
	f.Add("streamer/1:")
	f.Fuzz(func(t *testing.T, metadata string) {
		found, err := Decode(metadata, place)
		if err != nil && !found.Empty() {
			t.Fatal("damaged and not empty")
		}
		end := place.Offset
		for _, s := range found.spans {
			if s.from < end || s.to <= s.from {
				t.Fatalf("spans out of order: %v", found.spans)
			}
			end = s.to
		}
		again, err := Decode(found.Encode(place, 1<<20), place)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(found) {
			t.Fatalf("%v, then %v: %v", found, again, err)
		}
	})
}

func BenchmarkFinishedAndEncode(b *testing.B) {
	tr := New(0, 0)
	for i := range 20_000 { // every second one is finished
		r := &Record{Offset: int64(i)}
		tr.Track(r, 1)
		if i%2 == 1 {
			tr.Done(r, 0)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		tr.Finished(2048).Encode(place, 4096)
	}
}

// The record that had rows finished cannot be decoded by the next owner: as one row, it has none of them.
func TestNoRowOfARecordAsAWholeIsKnown(t *testing.T) {
	tr := New(0, 0)
	a := &Record{Offset: 0}
	tr.Track(a, 3)
	tr.Done(a, 1)
	next := New(0, 0)
	next.Restore(tr.Finished(10))
	finished, known := next.Known(0)
	if finished || known == nil || !known(1) || known(0) || known(-1) || known(99) {
		t.Fatalf("finished %v", finished)
	}
}
