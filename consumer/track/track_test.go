package track

import (
	"math/rand/v2"
	"testing"
)

func TestCommitsTheEndOfTheUnbrokenFinishedRun(t *testing.T) {
	type step struct {
		track, rows, skip, done int64 // offset + 1; 0: not this step
		want                    int64
	}
	for name, steps := range map[string][]step{
		"nothing read":                          {{want: 10}},
		"one pending":                           {{track: 11, rows: 1, want: 10}, {done: 11, want: 11}},
		"a later record finishes first":         {{track: 11, rows: 1, want: 10}, {track: 12, rows: 1, want: 10}, {done: 12, want: 10}, {done: 11, want: 12}},
		"a record is finished by its last row":  {{track: 11, rows: 3, want: 10}, {done: 11, want: 10}, {done: 11, want: 10}, {done: 11, want: 11}},
		"a gap by compaction":                   {{track: 11, rows: 1, want: 10}, {track: 1001, rows: 1, want: 10}, {done: 11, want: 1000}, {done: 1001, want: 1001}},
		"a gap before the first record":         {{track: 501, rows: 1, want: 500}, {done: 501, want: 501}},
		"a control record at the end":           {{track: 11, rows: 1, want: 10}, {skip: 12, want: 10}, {done: 11, want: 12}},
		"a control record alone":                {{skip: 11, want: 11}},
		"a skip below what was seen is no step": {{skip: 31, want: 31}, {skip: 21, want: 31}},
		"the middle one stays":                  {{track: 11, rows: 1, want: 10}, {track: 12, rows: 1, want: 10}, {track: 13, rows: 1, want: 10}, {done: 11, want: 11}, {done: 13, want: 11}, {done: 12, want: 13}},
	} {
		t.Run(name, func(t *testing.T) {
			tr, recs := New(10, -1), map[int64]*Record{}
			for i, s := range steps {
				switch {
				case s.track > 0:
					r := &Record{Offset: s.track - 1}
					recs[r.Offset] = r
					tr.Track(r, int32(s.rows))
				case s.skip > 0:
					tr.Skip(s.skip-1, 0)
				case s.done > 0:
					tr.Done(recs[s.done-1], 0)
				}
				if got, _ := tr.Committable(); got != s.want {
					t.Fatalf("step %d: committable %d, want %d", i, got, s.want)
				}
			}
		})
	}
}

// The promise against a plain model: whatever the order of ends, the committable offset is the lowest unfinished one.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tr := New(0, -1)
		left := map[int64]int32{}
		recs := map[int64]*Record{}
		next := int64(0)
		for range 400 {
			switch k := rng.IntN(5); {
			case k < 2:
				next += int64(rng.IntN(3))
				r := &Record{Offset: next}
				left[next], recs[next] = 1+rng.Int32N(3), r
				tr.Track(r, left[next])
				next++
			case k == 2:
				tr.Skip(next, 0)
				next++
			default:
				for off := range left { // any one
					left[off]--
					if finished := tr.Done(recs[off], left[off]); finished != (left[off] == 0) {
						t.Fatalf("seed %d: offset %d finished %v with %d rows left", seed, off, finished, left[off])
					}
					if left[off] == 0 {
						delete(left, off)
					}
					break
				}
			}
			want := next
			for off := range left {
				want = min(want, off)
			}
			if got, _ := tr.Committable(); got != want || tr.Pending() != len(left) {
				t.Fatalf("seed %d: committable %d pending %d, want %d and %d", seed, got, tr.Pending(), want, len(left))
			}
		}
	}
}

func TestWrongOrderPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"an offset that was seen":  func() { tr := New(5, -1); tr.Track(&Record{Offset: 7}, 1); tr.Track(&Record{Offset: 7}, 1) },
		"an offset below the mark": func() { New(5, -1).Track(&Record{Offset: 4}, 1) },
		"no rows":                  func() { New(5, -1).Track(&Record{Offset: 5}, 0) },
		"final twice":              func() { tr, r := New(0, -1), &Record{}; tr.Track(r, 1); tr.Done(r, 0); tr.Done(r, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			f()
		})
	}
}

func BenchmarkOneStuckRecord(b *testing.B) {
	tr := New(0, -1)
	tr.Track(&Record{Offset: 0}, 1)
	b.ReportAllocs()
	r := &Record{}
	for i := 1; b.Loop(); i++ {
		r.Offset = int64(i)
		tr.Track(r, 1)
		tr.Done(r, 0)
	}
}

func TestEpochBelongsToTheOffset(t *testing.T) {
	tr := New(5, 1)
	want := func(offset int64, epoch int32) {
		t.Helper()
		if o, e := tr.Committable(); o != offset || e != epoch {
			t.Fatalf("committable %d in epoch %d, want %d in %d", o, e, offset, epoch)
		}
	}
	want(5, 1)
	a, b := &Record{Offset: 5, Epoch: 2}, &Record{Offset: 6, Epoch: 3}
	tr.Track(a, 1)
	tr.Track(b, 1)
	want(5, 2)
	tr.Done(a, 0)
	want(6, 3)
	tr.Skip(7, 4)
	tr.Done(b, 0)
	want(8, 4)
}
