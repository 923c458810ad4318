package kafkalog

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
)

// shown is a Log whose view the test writes.
func shown() (*Log, *view) {
	l, v := &Log{read: make(chan struct{})}, newView()
	l.publish(v, time.Now())
	return l, v
}

// follower is somebody who learns of changes by Since alone.
type follower struct {
	mark Mark
	has  map[string]string
}

func (f *follower) look(l *Log) (whole bool) {
	changed, whole, now := l.Since(f.mark)
	if whole {
		f.has = map[string]string{}
	}
	for _, e := range changed {
		if e.Value == nil {
			delete(f.has, e.Key)
		} else {
			f.has[e.Key] = string(e.Value)
		}
	}
	f.mark = now
	return whole
}

// Whoever asks Since now and then knows what List gives, whatever was written in between, and however seldom it asks.
func TestSince(t *testing.T) {
	t.Parallel()
	l, v := shown()
	r := rand.New(rand.NewPCG(5, 1))
	often, seldom, all := &follower{}, &follower{}, map[string]string{}
	wholes := map[*follower]int{}
	check := func(f *follower) {
		t.Helper()
		if f.look(l) {
			wholes[f]++
		}
		if !maps.Equal(f.has, all) {
			t.Fatalf("at %d: %d objects by Since, %d written", v.next, len(f.has), len(all))
		}
	}
	for i := range 40_000 {
		key := fmt.Sprintf("key/%d", r.IntN(5000))
		rec := &kgo.Record{Key: []byte(key), Offset: v.next + int64(r.IntN(3))}
		if r.IntN(3) > 0 {
			rec.Value = fmt.Append(nil, i)
			all[key] = string(rec.Value)
		} else {
			delete(all, key)
		}
		v.take(rec)
		v.next = rec.Offset + 1
		if r.IntN(10) == 0 {
			check(often)
		}
		if r.IntN(10_000) == 0 {
			check(seldom)
		}
	}
	check(often)
	check(seldom)
	if got := l.List(""); len(got) != len(all) || !slices.IsSortedFunc(got, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) }) {
		t.Errorf("%d objects in the list, %d written", len(got), len(all))
	}
	if n := len(v.changes); n > 2*(len(all)+maxGone) {
		t.Errorf("%d changes are kept for %d objects", n, len(all))
	}
	if wholes[often] != 1 || wholes[seldom] < 2 {
		t.Errorf("everything was given %d times to who asks often, %d times to who asks seldom", wholes[often], wholes[seldom])
	}
	l.publish(newView(), time.Now())
	clear(all)
	check(often)
}

// A follower of 10,000 objects looks at one change as quickly as one of 100: what it costs does not grow with the rest.
func TestSinceIsCheap(t *testing.T) {
	t.Parallel()
	cost := func(objects int) time.Duration {
		l, v := shown()
		write := func(i int) {
			v.take(&kgo.Record{Key: fmt.Appendf(nil, "job/%05d", i), Value: []byte("v"), Offset: v.next})
			v.next++
		}
		for i := range objects {
			write(i)
		}
		_, _, mark := l.Since(Mark{})
		best := time.Hour
		for range 5 {
			begun := time.Now()
			for i := range 2000 {
				write(i % objects)
				changed, _, now := l.Since(mark)
				one := l.List("job/00007")
				if mark = now; len(changed) != 1 || len(one) != 1 {
					t.Fatalf("changed %v, listed %v", changed, one)
				}
			}
			best = min(best, time.Since(begun))
		}
		return best / 2000
	}
	few, many := cost(100), cost(10_000)
	t.Logf("a change and a look cost %v with 100 objects, %v with 10,000", few, many)
	if many > 20*few {
		t.Errorf("a change and a look cost %v with 100 objects, %v with 10,000", few, many)
	}
}

// Whatever a stranger writes to the topic, objects have the keys and the bytes of their records, and nothing panics.
func FuzzTake(f *testing.F) {
	f.Add([]byte("key/value\nkey/\n/value\nother"), true)
	f.Add([]byte("\xff\x00/\xfe\n\n/"), false)
	f.Add([]byte(strings.Repeat("k", maxKeyBytes+1)+"/v"), true)
	f.Fuzz(func(t *testing.T, text []byte, tombstones bool) {
		l, v := shown()
		want := map[string]string{}
		for i, line := range bytes.Split(text, []byte("\n")) {
			key, value, ok := bytes.Cut(line, []byte("/"))
			if !ok && tombstones {
				value = nil
			}
			own := v.take(&kgo.Record{Key: key, Value: value, Offset: int64(i)})
			v.next = int64(i) + 1
			if own != (len(key) > 0 && len(key) <= maxKeyBytes) {
				t.Fatalf("key %q: taken %v", key, own)
			}
			switch {
			case !own:
			case value == nil:
				delete(want, string(key))
			default:
				want[string(key)] = string(value)
			}
			v.hear(&kgo.Record{Key: key, Value: value, Offset: int64(i)}, true)
		}
		got := &follower{}
		got.look(l)
		if !maps.Equal(got.has, want) {
			t.Errorf("%q became %v", text, got.has)
		}
		for _, e := range l.Reports("") {
			if e.Key == "" {
				t.Error("a report without a key")
			}
		}
	})
}

// Somebody else writes to the topics: what cannot be an object is passed over and named, what can be is one, and of huge ones those
// who write know the limit.
func TestForeignRecords(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	l := open(t, c, "ns")
	put(t, l, "a", "1")
	if p := l.Problem(); p != "" {
		t.Errorf("problem %q", p)
	}
	huge := bytes.Repeat([]byte{0xff}, MaxValueBytes+1000)
	consumertest.Produce(t, c.Producer(t, kgo.ProducerBatchMaxBytes(maxRecordBytes), kgo.ProducerBatchCompression(kgo.NoCompression())),
		&kgo.Record{Topic: "ns.jobs", Value: []byte("no key")},
		&kgo.Record{Topic: "ns.jobs", Key: []byte{}},
		&kgo.Record{Topic: "ns.jobs", Key: bytes.Repeat([]byte("k"), maxKeyBytes+1), Value: []byte("a long key")},
		&kgo.Record{Topic: "ns.jobs", Key: []byte("never there")},
		&kgo.Record{Topic: "ns.jobs", Key: []byte("\xff/garbage"), Value: []byte{0, 0xff}, Headers: []kgo.RecordHeader{{Key: idHeader}, {Key: idHeader, Value: []byte("?")}}},
		&kgo.Record{Topic: "ns.jobs", Key: []byte("huge"), Value: huge},
		&kgo.Record{Topic: "ns.status", Value: []byte("no key")},
		&kgo.Record{Topic: "ns.audit"},
	)
	again := open(t, c, "ns")
	for _, l := range []*Log{l, again} {
		see(t, l, "huge", string(huge))
		see(t, l, "\xff/garbage", "\x00\xff")
		if n := len(l.List("")); n != 3 || len(l.Reports("")) != 0 {
			t.Errorf("%d objects, reports %v", n, l.Reports(""))
		}
		consumertest.WaitFor(t, within, "the problem", func() (any, bool) {
			return l.Problem(), strings.Contains(l.Problem(), "topic ns.jobs has a record that no streamer wrote, at offset")
		})
		if p := l.Problem(); strings.Contains(p, "kkk") {
			t.Errorf("problem %q", p)
		}
	}
	if _, err := l.Update(t.Context(), "huge", func(e Entry, _ bool) ([]byte, []byte, error) { return e.Value, []byte("seen"), nil }); err == nil {
		t.Error("a value over the limit was written")
	}
	put(t, l, "huge", "small")
	put(t, again, "a", "2")
	see(t, l, "a", "2")
	if lines, _, err := l.Audit(t.Context(), 0, 10, nil); err != nil || len(lines) != 4 {
		t.Errorf("audit %v, %v", lines, err)
	}
}
