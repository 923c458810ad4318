package track

import (
	"slices"
	"testing"
)

// What was finished of records that are not is counted in parts of rows. Of other parts it says nothing; whole records do.
func TestRowsOfOtherPartsAreNotBelieved(t *testing.T) {
	at := place
	at.Offset, at.Parts = 10, Parts([]string{"search", "mail"})
	tr := New(10, 0)
	a, b, c := &Record{Offset: 10}, &Record{Offset: 11}, &Record{Offset: 12}
	tr.Track(a, 4)
	tr.Track(b, 1)
	tr.Track(c, 1)
	tr.Done(a, 3)
	tr.Done(b, 0)
	metadata, _ := encoded(tr, at, 4096)
	for name, routes := range map[string][]string{"the same": {"search", "mail"}, "another order": {"mail", "search"}, "none": {""}, "another": {"search"}} {
		to := at
		to.Parts = Parts(routes)
		f, left, err := Decode(metadata, to)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		whole, _ := f.Has(11)
		_, rows := f.Has(10)
		if believed := rows != nil && rows(3); !whole || believed != (name == "the same") || left != map[bool]int64{true: 0, false: 1}[believed] {
			t.Errorf("%s: whole record %v, row %v, left %d", name, whole, believed, left)
		}
	}
	at.Parts = 0
	plain, _ := encoded(tr, at, 4096)
	if f, _, err := Decode(plain, at); err != nil || Parts([]string{""}) != 0 || len(plain) >= len(metadata) {
		t.Errorf("without routes: %v, %v", f, err)
	}
}

func TestRecountKeepsWhatIsFinished(t *testing.T) {
	at := place
	at.Offset = 0
	before := New(0, 0)
	first, second := &Record{Offset: 0}, &Record{Offset: 1}
	before.Track(first, 2)
	before.Track(second, 4)
	before.Done(first, 1)
	before.Done(second, 0)
	before.Done(second, 3)
	metadata, _ := encoded(before, at, 4096)
	f, _, err := Decode(metadata, at)
	if err != nil {
		t.Fatal(err)
	}
	tr := New(0, 0)
	tr.Restore(f)
	pending := &Record{Offset: 0}
	tr.Track(pending, 1)
	tr.Recount(func(r *Record, final func(int32) bool, last int32) (rows []int32) {
		if r == pending && final(3) {
			t.Error("the pending record has the rows of the other one")
		}
		for row := range last + 1 {
			if final(row) {
				rows = append(rows, 10*row)
			}
		}
		return rows
	})
	has := func(final func(int32) bool) (rows []int32) {
		for row := range int32(40) {
			if final != nil && final(row) {
				rows = append(rows, row)
			}
		}
		return rows
	}
	_, later := tr.Known(1, 0)
	if now, next := has(pending.Final), has(later); !slices.Equal(now, []int32{10}) || !slices.Equal(next, []int32{0, 30}) {
		t.Errorf("final are %v and %v", now, next)
	}
	if finished := tr.Done(pending, 0); !finished || tr.finalRows != 0 {
		t.Errorf("finished %v, %d final rows of pending records", finished, tr.finalRows)
	}
}
