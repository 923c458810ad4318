package consumer

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// letterRec is a dead letter of some job that has come so far.
func letterRec(topic, key string, n, hops int) *kgo.Record {
	r := rec(topic, 0, key, n)
	r.Headers = []kgo.RecordHeader{{Key: jobHeader, Value: []byte("other")}, {Key: hopsHeader, Value: fmt.Append(nil, hops)}}
	return r
}

// hopsOf are those of the dead letters of a topic, in their order.
func (f *fixture) hopsOf(topic string) (out []int) {
	f.Helper()
	for _, r := range f.cluster.ReadAll(f, topic) {
		if isLetter(r.Headers) {
			out = append(out, hops(r.Headers))
		}
	}
	return out
}

// looped is how many rows ended so.
func (j *running) looped() (n int64) {
	for _, c := range j.runner.Status().Rows {
		if c.Outcome == outcomeLooped {
			n += c.Rows
		}
	}
	return n
}

// Two jobs that read each other's dead letters, which no definition has shown, give a row up by turns: at the eighth hop there is no letter
// any more, nothing waits, and the last letter is open where it was read. What then goes well is delivered, as far as it has come.
func TestDeadLettersThatGoRoundEnd(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 422} })
	topic, lostOfA, lostOfB := f.cluster.Topic(t, "t", 1), f.cluster.Topic(t, "a-lost", 1), f.cluster.Topic(t, "b-lost", 1)
	a := f.job(topic, func(c *Config) {
		c.Topics, c.DeadLetterTopic, c.DeadLetterShare = []string{topic, lostOfB}, lostOfA, 1
	})
	b := f.job(lostOfA, func(c *Config) { c.DeadLetterTopic, c.DeadLetterShare = lostOfB, 1 })
	consumertest.Produce(t, f.producer, rec(topic, 0, "x", 0))
	f.run(a)
	k := &keeper{}
	j := f.runWith(k, b)
	f.committedTo(b, lostOfA, map[int32]int64{0: 5})
	f.committedTo(a, lostOfB, map[int32]int64{0: 4})
	if got := fmt.Sprint(f.hopsOf(lostOfA), f.hopsOf(lostOfB), j.looped(), f.api.Len()); got != "[0 2 4 6 8] [1 3 5 7] 1 10" {
		t.Errorf("hops of a's letters, of b's, rows that looped, attempts: %s", got)
	}
	if got := f.list(f.letters(a), LetterFilter{State: []LetterState{LetterOpen}}).Letters; len(got) != 5 || got[4].Offset != 4 {
		t.Errorf("a's letters: %+v", got)
	}
	const fate = "0 dead-lettered (dead letter 0/3 is open)"
	const ended = "-1 committed (rows: 1 delivered, or looped: given up without a dead letter, since the record is one that came through 8 jobs (the log says which))"
	want := map[string]string{"3": fate, "4": ended}
	tells(t, func(q Query) ([]Found, error) { return j.runner.Find(t.Context(), q) }, lostOfA, want)
	if err := j.stop(); err != nil {
		t.Error(err)
	}
	ledger := f.ledger(k, b)
	tells(t, func(q Query) ([]Found, error) { return ledger.Find(t.Context(), q, "") }, lostOfA, want)

	// The job that wrote the last letter can send it again. What fails again has come no further by that, and what goes well is the end of it.
	d := f.letters(a)
	if rep := f.redrive(d, LetterFilter{At: &LetterAddress{0, 4}}, RedriveOptions{}); rep.FailedAgain != 1 {
		t.Errorf("%+v", rep)
	}
	if got := fmt.Sprint(f.hopsOf(lostOfA)); got != "[0 2 4 6 8 8]" {
		t.Errorf("hops %s", got)
	}
	f.api.SetAnswer(nil)
	f.runWith(k, b)
	f.committed(b, lostOfA)
	if got := fmt.Sprint(f.hopsOf(lostOfB)); got != "[1 3 5 7]" || f.api.Len() != 12 {
		t.Errorf("hops %s, %d attempts", got, f.api.Len())
	}
}

// What a record tells of hops is the most that any of its headers does, and nothing that is no number.
func TestHopsAreCounted(t *testing.T) {
	t.Parallel()
	header := func(pairs ...string) (out []kgo.RecordHeader) {
		for p := range slices.Chunk(pairs, 2) {
			out = append(out, kgo.RecordHeader{Key: p[0], Value: []byte(p[1])})
		}
		return out
	}
	for name, c := range map[string]struct {
		headers []kgo.RecordHeader
		letter  int // hops of its dead letter
		looped  bool
	}{
		"none":                            {header("a", "1"), 0, false},
		"of an answer":                    {header(hopsHeader, "3"), 3, false},
		"of an answer, as many as may be": {header(hopsHeader, "8"), 8, false},
		"a dead letter":                   {header(jobHeader, "a"), 1, false},
		"a dead letter of one":            {header(jobHeader, "a", jobHeader, "b", hopsHeader, "1"), 2, false},
		"a dead letter of an answer":      {header(hopsHeader, "3", jobHeader, "b"), 4, false},
		"the last but one":                {header(hopsHeader, "6", jobHeader, "a", hopsHeader, "7"), 8, false},
		"the last":                        {header(hopsHeader, "7", jobHeader, "a", hopsHeader, "8"), 9, true},
		"the most counts":                 {header(hopsHeader, "8", jobHeader, "a", hopsHeader, "2"), 9, true},
		"no number":                       {header(hopsHeader, "many", jobHeader, "a"), 1, false},
		"less than none":                  {header(hopsHeader, "-7", jobHeader, "a"), 1, false},
	} {
		if n, ends := letterHops(c.headers), looped(c.headers); n != c.letter || ends != c.looped {
			t.Errorf("%s: %d, looped %v", name, n, ends)
		}
	}
}

// A letter that leaves out its record still says how far that has come.
func TestALetterWithoutItsRecordTellsHops(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	r := letterRec(topic, "a", 0, 3)
	r.Value = []byte("{" + noise(100_000))
	consumertest.Produce(t, f.producer, r)
	cfg := f.job(topic, func(c *Config) { c.DeadLetterTopic = f.cluster.Topic(t, "small", 1, "max.message.bytes=50000") })
	f.run(cfg)
	f.committed(cfg, topic)
	all := f.cluster.ReadAll(t, cfg.DeadLetterTopic)
	if len(all) != 1 || all[0].Value != nil || hops(ownHeaders(all[0])) != 4 {
		t.Errorf("%+v", all)
	}
}

// Rows that end so hold nobody up: thousands of one lane, none of which can be sent, and whatever comes behind them.
func TestALaneOfLettersThatGoRoundEnds(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	var all []*kgo.Record
	for n := range 3000 {
		r := letterRec(topic, "a", n, 8)
		r.Value = []byte("{")
		all = append(all, r)
	}
	consumertest.Produce(t, f.producer, append(all, rec(topic, 0, "a", 1))...)
	cfg := f.job(topic, func(c *Config) { c.DeadLetterShare, c.Order.By = 1, OrderPartition })
	j := f.run(cfg)
	f.committed(cfg, topic)
	if got := sent(f.api.Attempts()); got != "a1" || j.looped() != 3000 || len(f.deadLetters(cfg)) != 0 {
		t.Errorf("sent %s, %d looped, %d letters", got, j.looped(), len(f.deadLetters(cfg)))
	}
}

// With parked keys too there is no letter: neither of a row that is given up, whose key goes on then, nor of one that would be parked, which
// is not sent before those that are.
func TestLettersThatGoRoundAreNotParked(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if strings.HasSuffix(a.Path, "/a") && string(a.Body) == `{"n":0}` || strings.HasSuffix(a.Path, "/b") {
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, letterRec(topic, "a", 0, 8), letterRec(topic, "a", 1, 8), letterRec(topic, "b", 0, 2), letterRec(topic, "b", 1, 8), letterRec(topic, "b", 2, 7))
	cfg := f.job(topic, parked)
	j := f.run(cfg)
	f.committed(cfg, topic)
	f.states(f.letters(cfg), "b rejected open, b parked parked")
	if got := byKey(sent(f.api.Attempts())); got != byKey("a0 a1 b0") || j.looped() != 2 || fmt.Sprint(f.hopsOf(cfg.DeadLetterTopic)) != "[3 8]" {
		t.Errorf("sent %s, %d looped, hops %v", got, j.looped(), f.hopsOf(cfg.DeadLetterTopic))
	}
}

// A job that writes no dead letters ends no loop: its row waits for an operator, as any does.
func TestHopsWithoutDeadLetters(t *testing.T) {
	var ok atomic.Bool
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer {
		return sinktest.Answer{Status: map[bool]int{true: 200, false: 422}[ok.Load()]}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, letterRec(topic, "a", 0, 8))
	cfg := f.job(topic, func(c *Config) { c.DeadLetterTopic = "" })
	j := f.run(cfg)
	j.waitFound(topic, 0, FoundStuck)
	ok.Store(true)
	if err := j.runner.Decide(t.Context(), Position{Topic: topic}, Retry, "ann"); err != nil {
		t.Error(err)
	}
	f.committed(cfg, topic)
	if f.api.Len() != 2 || j.looped() != 0 {
		t.Errorf("%d attempts, %d looped", f.api.Len(), j.looped())
	}
}

// What tells of the answer to a dead letter counts on from that.
func TestHopsOfAnAnswerToADeadLetter(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, letterRec(topic, "a", 0, 7))
	cfg := f.job(topic, f.telling(Callback{f.cluster.Topic(t, "told", 1)}, Capture{}))
	f.run(cfg)
	f.committed(cfg, topic)
	if all := f.cluster.ReadAll(t, cfg.Callback.Topic); len(all) != 1 || hops(all[0].Headers) != 8 {
		t.Errorf("%+v", all)
	}
}

// A row that ended so and was not committed, since its instance died, is tried by the next one, which ends it.
func TestALoopEndsOnTheNextOwner(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 422} })
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, letterRec(topic, "a", 0, 8))
	cfg := f.job(topic)
	first := f.run(cfg)
	f.committed(cfg, topic)
	if err := first.stop(); err != nil || first.looped() != 1 {
		t.Fatalf("%v, %d looped", err, first.looped())
	}
	f.commit(cfg.Group, topic, 0, 0)
	second := f.run(cfg)
	f.committed(cfg, topic)
	if second.looped() != 1 || f.api.Len() != 2 || len(f.deadLetters(cfg)) != 0 {
		t.Errorf("%d looped, %d attempts", second.looped(), f.api.Len())
	}
}
