package kafkalog

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// maxGone is how many deletions a view remembers for Since.
const maxGone = 1000

// view is what the follower has read. It is changed by the follower only, under Log.mu once it is published.
type view struct {
	id      [16]byte // of .jobs
	number  int      // views are counted as they are published, from 1
	objects index[Entry]
	next    int64 // offset of .jobs up to which everything was read
	reports index[report]
	clock   clock
	pruned  time.Time

	// What Since asks: the last change of every key, by offset. Changes that a later one has overtaken are thrown out now and then.
	changes []change
	gone    map[string]int64 // offsets of the tombstones that are still in changes
	forgot  int64            // tombstones below this offset may have been thrown out
}

// change says that the record at an offset changed a key.
type change struct {
	offset int64
	key    string
}

func newView() *view { return &view{gone: map[string]int64{}, pruned: time.Now()} }

// take brings one record of .jobs into the view; false: no object can have its key, so it is none of ours.
func (v *view) take(r *kgo.Record) bool {
	if len(r.Key) == 0 || len(r.Key) > maxKeyBytes {
		return false
	}
	key := string(r.Key)
	switch {
	case r.Value != nil:
		// A copy: the record's bytes are part of all that was fetched with it.
		v.objects.set(key, Entry{Key: key, Value: bytes.Clone(r.Value), Revision: r.Offset, Log: v.id, At: r.Timestamp})
		delete(v.gone, key)
	case v.objects.remove(key):
		v.gone[key] = r.Offset
	default:
		return true // it was not there before either
	}
	v.changes = append(v.changes, change{r.Offset, key})
	if len(v.changes) > 2*(len(v.objects.keys)+maxGone) {
		v.trim()
	}
	return true
}

// trim throws out what was overtaken, and all but the newest deletions. It halves the changes at least, so it is cheap per change.
func (v *view) trim() {
	v.changes = slices.DeleteFunc(v.changes, func(c change) bool { _, last := v.last(c); return !last })
	forget := len(v.gone) - maxGone
	v.changes = slices.DeleteFunc(v.changes, func(c change) bool {
		if _, gone := v.gone[c.key]; !gone || forget <= 0 {
			return false
		}
		forget--
		delete(v.gone, c.key)
		v.forgot = c.offset + 1
		return true
	})
}

// last gives the object as a change has left it, without a value if it was deleted; false: a later change has overtaken this one.
func (v *view) last(c change) (Entry, bool) {
	if e, ok := v.objects.values[c.key]; ok {
		return e, e.Revision == c.offset
	}
	at, ok := v.gone[c.key]
	return Entry{Key: c.key, Revision: c.offset, Log: v.id}, ok && at == c.offset
}

// list gives the objects whose keys begin with prefix.
func (v *view) list(prefix string) []Entry {
	keys := v.objects.under(prefix)
	out := make([]Entry, 0, len(keys))
	for _, key := range keys {
		out = append(out, v.objects.values[key])
	}
	return out
}

// since gives the objects that changed at or after an offset.
func (v *view) since(offset int64) (changed []Entry) {
	from, _ := slices.BinarySearchFunc(v.changes, offset, func(c change, at int64) int { return cmp.Compare(c.offset, at) })
	for _, c := range v.changes[from:] {
		if e, last := v.last(c); last {
			changed = append(changed, e)
		}
	}
	return changed
}

// index is a map that gives what is under a prefix, in the order of keys, without looking at the rest. The zero index is empty.
type index[V any] struct {
	values map[string]V
	keys   []string // sorted
}

func (x *index[V]) set(key string, value V) {
	if x.values == nil {
		x.values = map[string]V{}
	}
	if _, known := x.values[key]; !known {
		at, _ := slices.BinarySearch(x.keys, key)
		x.keys = slices.Insert(x.keys, at, key)
	}
	x.values[key] = value
}

// remove says whether there was something to remove.
func (x *index[V]) remove(key string) bool {
	if _, known := x.values[key]; !known {
		return false
	}
	at, _ := slices.BinarySearch(x.keys, key)
	x.keys = slices.Delete(x.keys, at, at+1)
	delete(x.values, key)
	return true
}

// under gives the keys that begin with prefix; they are good until the next change.
func (x *index[V]) under(prefix string) []string {
	from, _ := slices.BinarySearch(x.keys, prefix)
	n, _ := slices.BinarySearchFunc(x.keys[from:], prefix, func(key, prefix string) int {
		if strings.HasPrefix(key, prefix) {
			return -1
		}
		return 1
	})
	return x.keys[from : from+n]
}
