package consumer

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/schemas/schemastest"
	"streamer/sink"
	"streamer/sink/sinktest"
)

// inShort is what was found, in short: row state (reason), one after the other.
func inShort(found []Found) string {
	var out []string
	for _, f := range found {
		out = append(out, fmt.Sprintf("%d %s (%s)", f.Row, f.State, f.Reason))
	}
	return strings.Join(out, " | ")
}

// ledger answers for a job on an instance of its own, which remembers what k does.
func (f *fixture) ledger(k *keeper, cfg Config) *Ledger {
	f.Helper()
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	f.Cleanup(i.Close)
	if k != nil {
		i.Keep(k)
	}
	return i.Ledger(cfg)
}

// tells checks what is found at the offsets of partition 0, or, with a row, of that.
func tells(t *testing.T, find func(Query) ([]Found, error), topic string, want map[string]string) {
	t.Helper()
	for at, says := range want {
		q, row := Query{Topic: topic}, int32(0)
		if n, err := fmt.Sscanf(at, "%d/%d", &q.Offset, &row); n == 2 {
			q.Row = &row
		} else if n == 0 {
			t.Fatal(err)
		}
		found, err := find(q)
		if got := inShort(found); err != nil || got != says {
			t.Errorf("at %s: %s, %v; want %s", at, got, err, says)
		}
	}
}

// A job makes of records what there is to be made of them, and ends: an operator who asks is told of each, by the instance that has the
// partition, and as well from Kafka alone when the job is stopped.
func TestFindTellsWhatBecameOfARecord(t *testing.T) { whatBecame(t, consumertest.Fake(t)) }

func TestKafkaFindTellsOfAStoppedJob(t *testing.T) { whatBecame(t, consumertest.Kafka(t)) }

func whatBecame(t *testing.T, c *consumertest.Cluster) {
	var mended atomic.Bool
	f := setup(t, c, func(a *sinktest.Attempt) sinktest.Answer {
		switch {
		case a.Path == "/rows/stuck":
			return sinktest.Answer{Status: 503}
		case strings.HasPrefix(a.Path, "/rows/bad"), a.Path == "/rows/later" && !mended.Load():
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	row := func(id string, n int) any { return map[string]any{"id": id, "n": int64(n)} }
	box := func(rows ...any) *kgo.Record {
		return &kgo.Record{Topic: topic, Key: []byte("box"), Value: schemastest.Container(idSchema, "null", rows...)}
	}
	consumertest.Produce(t, f.producer,
		rec(topic, 0, "fine", 1), // 0
		rec(topic, 0, "dull", 0), // 1: filtered
		rec(topic, 0, "bad", 1),  // 2: dead-lettered
		&kgo.Record{Topic: topic, Key: []byte("cut"), Value: []byte(`{`)}, // 3
		&kgo.Record{Topic: topic, Key: []byte("gone")},                    // 4: a tombstone
		box(row("r0", 1), row("bad1", 1), row("r2", 0), row("later", 1)),  // 5
		rec(topic, 0, "stuck", 1),                                         // 6
		rec(topic, 0, "behind", 1),                                        // 7: finished
		box(row("r0", 1), row("r1", 0), row("stuck", 1)))                  // 8
	k := &keeper{}
	cfg := f.job(topic, patient, func(c *Config) {
		c.Program = f.program(`{"id": "$.msg.id", "n": "$.msg.n"}`, f.api.URL()+"/rows/{id}", `["n"]`, `"$[?(@.n > 0)]"`)
		c.DeadLetterShare = 1
	})
	j := f.runWith(k, cfg)
	f.committedTo(cfg, topic, map[int32]int64{0: 6})
	j.waitFound(topic, 7, FoundFinished)
	consumertest.WaitFor(t, within, "the rows of the last record", func() (any, bool) {
		found, err := j.runner.Find(t.Context(), Query{Topic: topic, Offset: 8})
		return inShort(found), err == nil && len(found) == 2 && found[0].State == FoundFinished && found[1].State == FoundBackOff
	})
	d := f.letters(cfg)
	letters := map[string]string{} // address by row
	for _, l := range f.list(d, LetterFilter{}).Letters {
		letters[fmt.Sprintf("%d/%d", l.Source.Offset, l.Source.Row)] = LetterAddress{l.Partition, l.Offset}.String()
	}
	mended.Store(true)
	if rep := f.redrive(d, LetterFilter{Where: path(t, "$[?(@.id == \"later\")].id")}, RedriveOptions{}); rep.Redriven != 1 {
		t.Fatalf("%+v", rep)
	}
	live := func(q Query) ([]Found, error) { return j.runner.Find(t.Context(), q) }
	open := func(at string) string { return "dead letter " + letters[at] + " is open" }
	redriven := "3 dead-lettered (dead letter " + letters["5/3"] + " was redriven: delivered)"
	final := map[string]string{
		"0":   "-1 committed (rows: 1 delivered)",
		"0/0": "0 committed (delivered)",
		"0/1": "1 no such row (the record has 1 rows, as the job is defined now)",
		"1":   "-1 filtered (rows: 1 filtered out, as the job is defined now)",
		"1/0": "0 filtered (filtered, as the job is defined now)",
		"2":   "0 dead-lettered (" + open("2/0") + ")",
		"3":   "-1 dead-lettered (" + open("3/-1") + ")",
		"3/0": "0 dead-lettered (" + open("3/-1") + "; it is of the record as a whole)",
		"4":   "-1 filtered (it makes no request: a tombstone, or a record without rows)",
		"5": "-1 committed (rows: 1 delivered, 1 filtered out, as the job is defined now, 2 with a dead letter) | 1 dead-lettered (" + open("5/1") + ") | " +
			redriven,
		"5/0": "0 committed (delivered)",
		"5/1": "1 dead-lettered (" + open("5/1") + ")",
		"5/2": "2 filtered (filtered, as the job is defined now)",
		"5/3": redriven,
		"7":   "-1 finished (rows: 1 delivered)",
	}
	tells(t, live, topic, final)
	tells(t, live, topic, map[string]string{
		"8/0": "0 finished (it is final; other rows of its record are not)",
		"8/1": "1 filtered (filtered, as the job is defined now)",
		"9":   "-1 not in the log (the log ends at 9)",
	})
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	l := f.ledger(k, cfg)
	stopped := func(q Query) ([]Found, error) { return l.Find(t.Context(), q, "the job is stopped") }
	tells(t, stopped, topic, final)
	tells(t, stopped, topic, map[string]string{
		"6":   "-1 not read yet (the job would go on at offset 6; the job is stopped; rows: 1 to send)",
		"6/0": "0 not read yet (the job would go on at offset 6; the job is stopped)",
		"8": "-1 not read yet (the job would go on at offset 6; the job is stopped; rows: 1 delivered, 1 filtered out, as the job is defined now, 1 to send) | " +
			"2 not read yet (other rows of its record are final; the job would go on at offset 6; the job is stopped)",
		"8/0": "0 finished (delivered)",
		"8/1": "1 filtered (filtered, as the job is defined now)",
		"8/2": "2 not read yet (the job would go on at offset 6; the job is stopped)",
		"9":   "-1 not in the log (the log ends at 9)",
	})
	for _, c := range []struct{ topic, partition, says string }{
		{topic, "4", "topic " + topic + " has 1 partitions, counted from 0"}, {"other", "0", "job " + cfg.Job + " does not read topic other"},
	} {
		var none *NoPartitionError
		if _, err := l.Find(t.Context(), Query{Topic: c.topic, Partition: int32(c.partition[0] - '0')}, ""); !errors.As(err, &none) || none.Error() != c.says {
			t.Errorf("%s/%s: %v", c.topic, c.partition, err)
		}
	}
	// What has no commit is sent again, so it is not told to be final.
	f.forget(cfg.Group, topic, 0)
	tells(t, stopped, topic, map[string]string{
		"0": "-1 not read yet (the offset was lost: the job has begun to read the partition, and group " + cfg.Group + " has no committed offset of it any more; " +
			"when the job runs, it is held until streamer offsets accept says where to go on; the job is stopped; rows: 1 to send)",
		"2": "0 dead-lettered (" + open("2/0") + "; its offset is not committed: it is read again)",
	})
}

// Before a job has begun, and after its topic was made anew, an operator is told so.
func TestTheLedgerOfAJobThatHasNotBegun(t *testing.T) {
	f, k := setup(t, consumertest.Fake(t), nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 3)
	cfg := f.job(topic, func(c *Config) { c.Start.Latest = true })
	l := f.ledger(k, cfg)
	find := func(q Query) ([]Found, error) { return l.Find(t.Context(), q, "the job is stopped") }
	tells(t, find, topic, map[string]string{"1": "-1 not read yet (the job has not begun: it begins at start: latest; the job is stopped; rows: 1 to send)"})
	j := f.runWith(k, cfg)
	f.begun(k, cfg, topic, 1)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	tells(t, find, topic, map[string]string{"1": "-1 committed (rows: 1 delivered; or it stood there before the job began (start: latest))"})
	m, err := k.Memory(t.Context(), cfg.Job)
	if err != nil {
		t.Fatal(err)
	}
	f.makeAnew(topic, 1)
	f.produceN(topic, 0, 1)
	consumertest.WaitFor(t, within, "the new topic to be known", func() (any, bool) {
		found, err := find(Query{Topic: topic})
		return fmt.Sprint(inShort(found), err), err == nil && len(found) == 1 && found[0].State == FoundNotRead && found[0].Committed == -1 &&
			strings.Contains(found[0].Reason, "made anew: the job has begun it with id "+m.Begun[topic].TopicID)
	})
}

// A row is stuck until it expires: that is told while the job is stopped, and while it holds the partition. What was finished behind it is
// told to be.
func TestFindTellsThatARecordExpired(t *testing.T) {
	f, k := setup(t, consumertest.Fake(t), failing), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 6 {
		consumertest.Produce(t, f.producer, rec(topic, 0, fmt.Sprint("k", n), n))
	}
	cfg := f.job(topic, patient)
	j := f.runWith(k, cfg)
	j.waitFound(topic, 5, FoundFinished)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	f.deleteRecords(topic, 0, 3)
	l := f.ledger(k, cfg)
	find := func(q Query) ([]Found, error) { return l.Find(t.Context(), q, "the job is stopped") }
	tells(t, find, topic, map[string]string{
		"0": "-1 expired (it was not finished, and is not in the log any more, which begins at 3)",
		"1": "-1 finished (it is not in the log any more)",
		"4": "-1 finished (rows: 1 delivered)",
	})
	j = f.runWith(k, cfg)
	j.heldFor(topic, 0, HoldExpired)
	if got := j.found(topic, 0); got.State != FoundExpired || !strings.Contains(got.Reason, "the log begins at 3") {
		t.Errorf("the record that expired: %+v", got)
	}
	if got := j.found(topic, 1); got.State != FoundFinished {
		t.Errorf("a record that was finished before it expired: %+v", got)
	}
	if got := j.found(topic, 4); got.State != FoundFinished {
		t.Errorf("a record that was finished above the commit: %+v", got)
	}
}

// Where is my key? Its rows that wait, its dead letter, and what is parked behind that; not what was delivered.
func TestFindAParkedKey(t *testing.T) {
	f := setup(t, consumertest.Fake(t), refuse("/rows/a"))
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 3 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "a", n), rec(topic, 0, "b", n))
	}
	cfg := f.job(topic, parked)
	j := f.run(cfg)
	f.committed(cfg, topic)
	letter := j.waitFound(topic, 0, FoundDeadLettered).Letter
	if letter == nil || letter.State != LetterOpen || letter.Class != sink.Rejected || letter.At.IsZero() || !strings.Contains(letter.Reason, "422") {
		t.Errorf("the letter: %+v", letter)
	}
	for _, offset := range []int64{2, 4} {
		got := j.waitFound(topic, offset, FoundParked)
		if got.BehindLetter == nil || *got.BehindLetter != letter.LetterAddress || got.Letter.State != LetterParked {
			t.Errorf("a parked row: %+v", got)
		}
	}
	l := f.ledger(nil, cfg)
	found, cut := l.FindKey(t.Context(), "a", 10)
	if len(found) != 3 || cut != "" || found[0].State != FoundDeadLettered || found[1].State != FoundParked || found[2].Offset != 4 {
		t.Errorf("the key: %s %s", inShort(found), cut)
	}
	if found, _ := l.FindKey(t.Context(), "a", 2); len(found) != 2 {
		t.Errorf("two of the key: %s", inShort(found))
	}
	if found, _ := l.FindKey(t.Context(), "b", 10); len(found) != 0 {
		t.Errorf("a key without dead letters: %s", inShort(found))
	}
}

// A large dead-letter topic is looked through from the time of the record on, but for what clocks may differ; a small one as a whole.
func TestLettersAreLookedForFromTheirRecordOn(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	cfg := f.job("t", func(c *Config) { c.DeadLetterTopic = f.cluster.Topic(t, "dead", 2) })
	d, now := f.letters(cfg), time.Now()
	write := func(n int, at time.Time) {
		var all []*kgo.Record
		for i := range n {
			l := Letter{Job: cfg.Job, Class: sink.Rejected, Source: LetterSource{Topic: "t", TopicID: "id", Offset: int64(i)}}
			r := envelope(cfg.DeadLetterTopic, &l, original{key: []byte("a"), value: []byte("{}")})
			r.Timestamp = at
			all = append(all, r)
		}
		consumertest.Produce(t, f.producer, all...)
	}
	count := func(since time.Time) int {
		found, cut := d.choose(t.Context(), since, func(*Letter) bool { return true })
		if cut != "" {
			t.Error(cut)
		}
		return len(found)
	}
	write(3, now.Add(-10*time.Hour))
	if n := count(now); n != 3 {
		t.Errorf("%d letters of a small topic, want all 3", n)
	}
	write(chooseWhole, now.Add(-5*time.Hour))
	write(2, now)
	for name, c := range map[string]struct {
		since time.Time
		want  int
	}{
		"a record of now":                          {now, 2},
		"a record with a time to come":             {now.Add(48 * time.Hour), chooseWhole + 5},
		"a record before":                          {now.Add(-5 * time.Hour), chooseWhole + 2},
		"a record that nobody knows the time of":   {time.Time{}, chooseWhole + 5},
		"a record before all of them, long before": {now.Add(-100 * time.Hour), chooseWhole + 5},
	} {
		if n := count(c.since); n != c.want {
			t.Errorf("%s: %d letters, want %d", name, n, c.want)
		}
	}
}
