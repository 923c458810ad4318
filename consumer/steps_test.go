package consumer

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/mapping"
	"streamer/sink"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

// stepped is a program that reads the owner of a row, GET /owners/<id>, notes it, POST /notes/<n>, and then makes PUT /rows/<id> with what
// both answered. owner is what else the first step says.
func (f *fixture) stepped(owner string) *mapping.Program {
	f.Helper()
	url := f.api.URL()
	p, faults := mapping.Compile(mapping.Config{Type: f.value(`"PUT"`), URL: f.value(fmt.Sprintf("%q", url+"/rows/{id}")),
		DataMap: f.value(`{"id": "$.msg.id", "n": "$.msg.n"}`), Payload: f.value(`{"n": "$.msg.n", "owner": "$.steps.owner.body.name", "note": "$.steps.note.status"}`),
		Steps: f.value(fmt.Sprintf(`[{"name": "owner", "url": "%s/owners/{$.msg.id}"%s}, {"name": "note", "type": "POST", "url": "%s/notes/{$.msg.n}"}]`, url, owner, url))})
	if err := faults.Err(); err != nil {
		f.Fatal(err)
	}
	return p
}

// owners answers as the API of stepped, and anything else with what more says of it, if that is not nil.
func owners(more func(*sinktest.Attempt) *sinktest.Answer) func(*sinktest.Attempt) sinktest.Answer {
	return func(a *sinktest.Attempt) sinktest.Answer {
		if more != nil {
			if answer := more(a); answer != nil {
				return *answer
			}
		}
		if id, ok := strings.CutPrefix(a.Path, "/owners/"); ok {
			return sinktest.Answer{Body: []byte(`{"name": "owner of ` + id + `"}`)}
		}
		return sinktest.Answer{Status: 202}
	}
}

// inWords is what was sent: step, path and number of each attempt.
func inWords(all []sinktest.Attempt) string {
	var out []string
	for _, a := range all {
		out = append(out, fmt.Sprintf("%s%s#%d", a.Step, a.Path, a.Attempt))
	}
	return strings.Join(out, " ")
}

// The steps of a row are made one after the other, each with attempts of its own, and the row behind it waits for all.
func TestStepsOfARow(t *testing.T) {
	var refused atomic.Bool
	f := setup(t, consumertest.Fake(t), owners(func(a *sinktest.Attempt) *sinktest.Answer {
		if a.Step == "note" && !refused.Swap(true) {
			return &sinktest.Answer{Status: 503}
		}
		return nil
	}))
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "a", 2))
	cfg := f.job(topic, func(c *Config) { c.Program = f.stepped("") })
	j := f.run(cfg)
	f.committed(cfg, topic)
	all := f.api.Attempts()
	want := "owner/owners/a#1 note/notes/1#1 note/notes/1#2 /rows/a#1 owner/owners/a#1 note/notes/2#1 /rows/a#1"
	if got := inWords(all); got != want {
		t.Fatalf("sent %s\nwant %s", got, want)
	}
	if got := string(all[3].Body); got != `{"n":1,"owner":"owner of a","note":202}` {
		t.Errorf("the row's own body is %s", got)
	}
	for i, end := range []string{"/0/0/0/owner", "/0/0/0/note", "/0/0/0/note", "/0/0/0"} {
		if !strings.HasSuffix(all[i].Key, end) {
			t.Errorf("key %s does not end with %s", all[i].Key, end)
		}
	}
	j.holdsNothing()
	f.verdict(cfg, topic, nil)
}

// What goes wrong with a step gives the row up, with a dead letter that names the step; a redrive makes all of them.
func TestAStepThatFailsIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		program func(*fixture) *mapping.Program
		class   string
		answer  sinktest.Answer
	}{
		"rejected":                     {func(f *fixture) *mapping.Program { return f.stepped("") }, "rejected", sinktest.Answer{Status: 404}},
		"an answer that is not wanted": {func(f *fixture) *mapping.Program { return f.stepped("") }, "payload", sinktest.Answer{Body: []byte("<html>")}},
		"what comes next needs more":   {func(f *fixture) *mapping.Program { return f.needy() }, "payload", sinktest.Answer{Status: 404}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Fake(t), owners(func(a *sinktest.Attempt) *sinktest.Answer {
				if a.Step == "owner" {
					return &c.answer
				}
				return nil
			}))
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
			cfg := f.job(topic, func(cfg *Config) {
				cfg.Program, cfg.DeadLetterShare = c.program(f), 1
			})
			f.run(cfg)
			f.committed(cfg, topic)
			d := f.letters(cfg)
			l := f.list(d, LetterFilter{}).Letters
			if len(l) != 1 || string(l[0].Class) != c.class || !strings.HasPrefix(l[0].Reason, "step owner: ") {
				t.Fatalf("%+v", l)
			}
			f.api.SetAnswer(owners(nil))
			before := f.api.Len()
			if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Redriven != 1 {
				t.Fatalf("%+v", rep)
			}
			again := f.api.Attempts()[before:]
			if got := inWords(again); !strings.HasPrefix(got, "owner/owners/a#1 note/notes/") || !strings.HasSuffix(got, " /rows/a#1") || !strings.HasSuffix(again[0].Key, "/owner/r1") {
				t.Errorf("redriven: %s, %s", got, again[0].Key)
			}
		})
	}
}

// needy is stepped with a note that needs the owner's name in its URL, and no need of an owner.
func (f *fixture) needy() *mapping.Program {
	f.Helper()
	url := f.api.URL()
	p, faults := mapping.Compile(mapping.Config{Type: f.value(`"PUT"`), URL: f.value(fmt.Sprintf("%q", url+"/rows/{id}")), DataMap: f.value(`{"id": "$.msg.id"}`),
		Steps: f.value(fmt.Sprintf(`[{"name": "owner", "url": "%s/owners/{$.msg.id}", "accept": [404]}, {"name": "note", "type": "POST", "url": "%s/notes/{$.steps.owner.body.name}"}]`, url, url))})
	if err := faults.Err(); err != nil {
		f.Fatal(err)
	}
	return p
}

// In the middle of its way a row is found, given up, and mapped anew by a change of the job, which makes its steps once more.
func TestARowInTheMiddleOfItsWay(t *testing.T) {
	setup := func(t *testing.T) (*fixture, Config, *running, Found) {
		f := setup(t, consumertest.Fake(t), owners(func(a *sinktest.Attempt) *sinktest.Answer {
			if a.Step == "note" {
				return &sinktest.Answer{Status: 503}
			}
			return nil
		}))
		topic := f.cluster.Topic(t, "t", 1)
		consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "a", 2))
		cfg := f.job(topic, func(c *Config) {
			c.Program = f.stepped("")
			c.Sink.Retry = sink.Retry{Initial: time.Hour, Max: time.Hour}
		})
		j := f.run(cfg)
		var at Found
		consumertest.WaitFor(t, within, "the row at its second step", func() (any, bool) {
			at = j.found(topic, 0)
			return at, at.Step == "note" && at.Attempts == 1 && at.Next != nil
		})
		return f, cfg, j, at
	}
	t.Run("given up", func(t *testing.T) {
		t.Parallel()
		f, cfg, j, at := setup(t)
		f.api.SetAnswer(owners(nil))
		if err := j.runner.Decide(t.Context(), at.Position, GiveUp, "ann"); err != nil {
			t.Fatal(err)
		}
		f.committed(cfg, cfg.Topics[0])
		l := f.list(f.letters(cfg), LetterFilter{}).Letters
		if len(l) != 1 || !strings.HasPrefix(l[0].Reason, "step note: given up by ann") || l[0].Attempts != 1 {
			t.Errorf("%+v", l)
		}
		j.holdsNothing()
	})
	t.Run("tried again", func(t *testing.T) {
		t.Parallel()
		f, cfg, j, at := setup(t)
		f.api.SetAnswer(owners(nil))
		if err := j.runner.Decide(t.Context(), at.Position, Retry, "ann"); err != nil {
			t.Fatal(err)
		}
		f.committed(cfg, cfg.Topics[0])
		if got := inWords(f.api.Attempts()[:4]); got != "owner/owners/a#1 note/notes/1#1 note/notes/1#2 /rows/a#1" {
			t.Errorf("sent %s", got)
		}
	})
	t.Run("the job is changed", func(t *testing.T) {
		t.Parallel()
		f, cfg, j, _ := setup(t)
		f.api.SetAnswer(owners(nil))
		next := cfg
		next.PositionHeaders, next.IdempotencyHeader = true, "X-Key"
		j.change(next)
		f.committed(cfg, cfg.Topics[0])
		if got := inWords(f.api.Attempts()[2:5]); got != "owner/owners/a#1 note/notes/1#1 /rows/a#1" {
			t.Errorf("sent %s", got)
		}
		j.holdsNothing()
	})
	t.Run("the job is stopped", func(t *testing.T) {
		t.Parallel()
		f, cfg, j, _ := setup(t)
		f.api.SetAnswer(owners(nil))
		if err := j.stop(); err != nil {
			t.Fatal(err)
		}
		f.run(cfg)
		f.committed(cfg, cfg.Topics[0])
		if got := inWords(f.api.Attempts()[2:5]); got != "owner/owners/a#1 note/notes/1#1 /rows/a#1" {
			t.Errorf("sent %s", got)
		}
		f.verdict(cfg, cfg.Topics[0], func(*kgo.Record) checker.Want { return checker.Delivered })
	})
}

// Answers that are kept stand for a step's call, of the job and of a redrive; one that is none is not kept.
func TestAnswersOfStepsAreKept(t *testing.T) {
	var found atomic.Bool
	f := setup(t, consumertest.Fake(t), owners(func(a *sinktest.Attempt) *sinktest.Answer {
		if a.Step == "owner" && !found.Swap(true) {
			return &sinktest.Answer{Status: 404, Body: []byte(`{}`)}
		}
		return nil
	}))
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 4 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "a", n))
	}
	cfg := f.job(topic, func(c *Config) {
		c.Program = f.stepped(`, "accept": [404], "cache": {"key": "$.msg.id", "ttl": "1h"}`)
	})
	j := f.run(cfg)
	f.committed(cfg, topic)
	want := "owner/owners/a#1 note/notes/0#1 /rows/a#1 owner/owners/a#1 note/notes/1#1 /rows/a#1 note/notes/2#1 /rows/a#1 note/notes/3#1 /rows/a#1"
	if got := inWords(f.api.Attempts()); got != want {
		t.Errorf("sent %s\nwant %s", got, want)
	}
	if got := string(f.api.Attempts()[9].Body); got != `{"n":3,"owner":"owner of a","note":202}` {
		t.Errorf("the last body is %s", got)
	}
	j.holdsNothing()
}

func TestRecentAnswersAreBounded(t *testing.T) {
	t.Parallel()
	var k recentAnswers
	answer := func(n int) *mapping.Response { return &mapping.Response{Status: 200, Body: make([]byte, n)} }
	for i := range 3 * recentMost {
		k.keep(fmt.Sprint(i), time.Hour, answer(1))
	}
	if len(k.by) > recentMost || k.of(fmt.Sprint(3*recentMost-1)) == nil {
		t.Errorf("%d are kept", len(k.by))
	}
	for i := range 100 {
		k.keep(fmt.Sprint("large", i), time.Hour, answer(recentBytes/10))
	}
	sum := 0
	for _, r := range k.by {
		sum += r.bytes
	}
	if k.bytes > recentBytes || sum != k.bytes || k.of("large99") == nil {
		t.Errorf("%d bytes are kept, %d are counted", sum, k.bytes)
	}
	k.keep("too large", time.Hour, answer(recentBytes))
	k.keep("over", -time.Second, answer(1))
	k.keep("forgotten", time.Hour, answer(1))
	k.forget("forgotten")
	for _, key := range []string{"too large", "over", "forgotten", ""} {
		if k.of(key) != nil {
			t.Errorf("%q is kept", key)
		}
	}
}
