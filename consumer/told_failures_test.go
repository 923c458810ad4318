package consumer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/mapping"
	"streamer/schemas"
	"streamer/schemas/schemastest"
	"streamer/sink/sinktest"
)

// steppedAndTold is stepped, with answers that are told of.
func (f *fixture) steppedAndTold() *mapping.Program {
	f.Helper()
	url := f.api.URL()
	p, faults := mapping.Compile(mapping.Config{Type: f.value(`"PUT"`), URL: f.value(fmt.Sprintf("%q", url+"/rows/{id}")), Told: true,
		DataMap: f.value(`{"id": "$.msg.id"}`), Payload: f.value(`{"owner": "$.steps.owner.body.name"}`),
		Steps: f.value(fmt.Sprintf(`[{"name": "owner", "url": "%s/owners/{$.msg.id}"}]`, url))})
	if err := faults.Err(); err != nil {
		f.Fatal(err)
	}
	return p
}

// notices are the values that a topic was told, in the order of their source.
func (f *fixture) notices(topic string) (out []toldValue) {
	f.Helper()
	for _, r := range f.cluster.ReadAll(f, topic) {
		var v toldValue
		if err := json.Unmarshal(r.Value, &v); err != nil {
			f.Fatal(err)
		}
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b toldValue) int { return int(a.Source.Offset - b.Source.Offset) })
	return out
}

// A failure is told of when somebody was asked: with the answer that ended the row, be it a step's. What was never asked about has no answer,
// and its dead letter alone. A redrive tells the same.
func TestWhichFailuresAreTold(t *testing.T) {
	f := setup(t, consumertest.Fake(t), owners(func(a *sinktest.Attempt) *sinktest.Answer {
		switch a.Path {
		case "/owners/page":
			return &sinktest.Answer{Body: []byte("<html>")}
		case "/owners/gone":
			return &sinktest.Answer{Status: 404}
		case "/rows/refused":
			return &sinktest.Answer{Status: 422, Body: []byte(`{"no": true}`)}
		}
		return nil
	}))
	topic := f.cluster.Topic(t, "t", 1)
	records := []*kgo.Record{{Topic: topic, Value: []byte("no json")}, {Topic: topic, Value: []byte(`{"no": "id"}`)}}
	for n, id := range []string{"page", "gone", "refused", "fine"} {
		records = append(records, rec(topic, 0, id, n))
	}
	consumertest.Produce(t, f.producer, records...)
	cfg := f.job(topic, func(c *Config) {
		c.Program, c.DeadLetterShare, c.Schemas = f.steppedAndTold(), 1, schemas.Config{Format: schemas.FormatJSON}
		c.Response = Capture{Topic: f.cluster.Topic(t, "failed", 1), On: CaptureFailures}
	})
	f.run(cfg)
	f.committed(cfg, topic)
	first := f.notices(cfg.Response.Topic)
	var got []string
	for _, v := range first {
		if v.Response == nil {
			t.Fatalf("no answer: %+v", v)
		}
		got = append(got, fmt.Sprintf("#%d %d %s %q %d: %s", v.Source.Offset, v.Response.Status, v.Class, v.Step, v.Attempts, v.Reason))
	}
	want := `#2 200 payload "owner" 1: step owner: steps[0]: answered a text, and what comes after looks into a JSON body
#3 404 rejected "owner" 1: step owner: answered 404 Not Found
#4 422 rejected "" 1: answered 422 Unprocessable Entity`
	if s := strings.Join(got, "\n"); s != want || first[0].Response.Body != "<html>" || !strings.HasSuffix(first[0].RequestURL, "/owners/page") {
		t.Errorf("told\n%s\nwant\n%s", s, want)
	}
	d := f.letters(cfg)
	l := f.list(d, LetterFilter{}).Letters
	if i := slices.IndexFunc(l, func(l Letter) bool { return l.Source.Offset == 2 }); len(l) != 5 || l[i].Status != 200 || l[i].Attempts != 1 || l[i].Class != "payload" {
		t.Errorf("%+v", l)
	}
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{KeepKeys: true}); rep.FailedAgain != 5 {
		t.Fatalf("%+v", rep)
	}
	all := f.notices(cfg.Response.Topic)
	for i, v := range first {
		a, _ := json.Marshal(v) // of what was read
		b, _ := json.Marshal(all[min(2*i+1, len(all)-1)])
		if x, y := undated(a), undated(b); len(all) != 2*len(first) || x != y {
			t.Errorf("told first\n%s\nby the redrive\n%s", x, y)
		}
	}
}

// undated is a notice without the time of the answer.
func undated(value []byte) string {
	var v map[string]any
	_ = json.Unmarshal(value, &v) // its emptiness is seen
	if r, ok := v["response"].(map[string]any); ok {
		delete(r["headers"].(map[string]any), "date")
	}
	out, _ := json.Marshal(v) // of JSON
	return string(out)
}

// Rows that are parked are told of when they are sent, and then as any other.
func TestParkedRowsAreToldWhenTheyAreSent(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset == 0 {
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "a", 1))
	cfg := f.job(topic, f.telling(Callback{f.cluster.Topic(t, "told", 1)}, Capture{f.cluster.Topic(t, "all", 1), CaptureAll}),
		func(c *Config) { c.DeadLetterPark, c.DeadLetterShare = true, 1 })
	f.run(cfg)
	f.committed(cfg, topic)
	if got := strings.Join(f.toldOf(cfg.Response.Topic), ", "); got != "a#0 422 rejected" {
		t.Errorf("told %s", got)
	}
	f.api.SetAnswer(nil)
	if rep := f.redrive(f.letters(cfg), LetterFilter{}, RedriveOptions{}); rep.Redriven != 2 {
		t.Fatalf("%+v", rep)
	}
	if got := strings.Join(f.toldOf(cfg.Response.Topic), ", "); got != "a#0 422 rejected, a#0 200, a#1 200" {
		t.Errorf("told %s", got)
	}
	if got := strings.Join(f.toldOf(cfg.Callback.Topic), ", "); got != "a#0 200, a#1 200" {
		t.Errorf("told %s", got)
	}
}

// A redrive tells row by row: what tells of a row stands in its topic before the next row of the letter is sent, and all of them before the
// letter is closed.
func TestARedriveTellsRowByRow(t *testing.T) {
	k := consumertest.Fake(t)
	f := setup(t, k, nil)
	topic := f.cluster.Topic(t, "t", 1)
	var rows []any
	for n := range 4 {
		rows = append(rows, map[string]any{"id": fmt.Sprint("k", n), "n": int64(n)})
	}
	consumertest.Produce(t, f.producer, &kgo.Record{Topic: topic, Value: schemastest.Container(idSchema, "null", rows...)})
	told := f.cluster.Topic(t, "told", 1)
	cfg := f.job(topic, f.telling(Callback{told}, Capture{}))
	small := cfg
	small.Schemas.Limits.Rows = 1 // so that the record as a whole is a letter
	f.run(small)
	f.committed(cfg, topic)
	d := f.letters(cfg)
	if l := f.list(d, LetterFilter{}).Letters; len(l) != 1 || l[0].Source.Row != wholeRecord {
		t.Fatalf("%+v", l)
	}
	f.api.SetAnswer(func(a *sinktest.Attempt) sinktest.Answer {
		if n := len(f.cluster.ReadAll(t, told)); n != a.Row {
			t.Errorf("row %d is sent while %d are told of", a.Row, n)
		}
		return sinktest.Answer{}
	})
	k.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: told, Err: kerr.NotEnoughReplicas, Count: 1})
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Redriven != 1 {
		t.Fatalf("%+v", rep)
	}
	if got := strings.Join(f.rowsTold(told), " "); got != "0 1 2 3" {
		t.Errorf("told of rows %s", got)
	}
}

func (f *fixture) rowsTold(topic string) (out []string) {
	f.Helper()
	for _, r := range f.cluster.ReadAll(f, topic) {
		var v toldValue
		if err := json.Unmarshal(r.Value, &v); err != nil {
			f.Fatal(err)
		}
		out = append(out, fmt.Sprint(v.Source.Row))
	}
	return out
}

// A redrive makes the topic that is told, and while it may not it sends nothing and says what to do. When the topic goes in the middle it is
// made anew, as the job does.
func TestARedriveMakesTheTopicThatIsTold(t *testing.T) {
	k := consumertest.Fake(t)
	f := setup(t, k, refuse("/rows/a"))
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "b", 1))
	quiet := f.job(topic)
	f.run(quiet)
	f.committed(quiet, topic)
	cfg := quiet
	f.telling(Callback{consumertest.Name("test.out.late")}, Capture{})(&cfg)
	f.api.SetAnswer(nil)
	d, before := f.letters(cfg), f.api.Len()
	fault := k.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	_, err := d.Redrive(t.Context(), LetterFilter{}, RedriveOptions{}, nil)
	if err == nil || !strings.Contains(err.Error(), "nothing was sent") || !strings.Contains(err.Error(), "callback topic "+cfg.Callback.Topic+" cannot be created") ||
		!strings.Contains(err.Error(), "create it, or allow this user to") || f.api.Len() != before {
		t.Errorf("%v, %d attempts", err, f.api.Len()-before)
	}
	fault.Remove()
	gone := false
	f.api.SetAnswer(func(*sinktest.Attempt) sinktest.Answer { // the topic is there by now, and known to the producer
		if !gone {
			gone = true
			if _, err := k.Admin(t).DeleteTopics(t.Context(), cfg.Callback.Topic); err != nil {
				t.Error(err)
			}
		}
		return sinktest.Answer{}
	})
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Redriven != 1 {
		t.Fatalf("%+v", rep)
	}
	if got := strings.Join(f.toldOf(cfg.Callback.Topic), " "); got != "a#0 200" {
		t.Errorf("told %s", got)
	}
}

// A row that is given up is told of first, and then gets its dead letter. The story of one that is nobody's by then:
//
//  1. The row is rejected. What tells of that is on its way, and Kafka takes its time.
//  2. The instance gives the partition up. The next owner reads the row again, and delivers it.
//  3. The answer comes: the dead letter of a row that was delivered would be written, and sent again by a redrive.
func TestNoLetterOfARowThatIsNobodysAnyMore(t *testing.T) {
	t.Parallel()
	k := consumertest.Fake(t)
	f := setup(t, k, answerBy("/", 422))
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0))
	cfg := f.job(topic, f.telling(Callback{}, Capture{Topic: f.cluster.Topic(t, "failed", 1), On: CaptureFailures}), func(c *Config) { c.DeadLetterShare = 1 })
	writing, answer, once := make(chan struct{}), make(chan struct{}), sync.Once{}
	k.Fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		k.Fake.SleepControl(func() { once.Do(func() { close(writing) }); <-answer })
		return nil, nil, false
	})
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	soft, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	r := i.NewRunner(cfg)
	go func() { ended <- r.Run(soft, soft) }()
	<-writing
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	close(answer)
	if err := i.producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.Close()
	if told, letters := len(f.cluster.ReadAll(t, cfg.Response.Topic)), len(f.deadLetters(cfg)); told != 1 || letters != 0 {
		t.Errorf("told %d times, %d dead letters", told, letters)
	}
}

// Answers that cannot be told of are kept with their rows, and count as memory as these do: else a topic that cannot be written would let an
// instance take as much as all the rows of its lanes were answered. When it can be, nothing is left of that.
func TestAnswersThatWaitToBeToldCount(t *testing.T) {
	t.Parallel()
	const n, size = 20, 60_000
	k := consumertest.Fake(t)
	f := setup(t, k, func(*sinktest.Attempt) sinktest.Answer {
		return sinktest.Answer{Status: 422, Body: bytes.Repeat([]byte("a"), size)}
	})
	topic := f.cluster.Topic(t, "t", 1)
	for i := range n {
		consumertest.Produce(t, f.producer, rec(topic, 0, fmt.Sprint("k", i), i))
	}
	cfg := f.job(topic, f.telling(Callback{}, Capture{Topic: f.cluster.Topic(t, "failed", 1), On: CaptureFailures}), func(c *Config) { c.DeadLetterShare = 1 })
	fault := k.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: cfg.Response.Topic, Err: kerr.TopicAuthorizationFailed, Count: -1})
	j := f.run(cfg)
	f.attempts(n)
	consumertest.WaitFor(t, within, "the memory of all answers", func() (any, bool) {
		used := j.runner.account.used.Load()
		return used, used > n*size
	})
	fault.Remove()
	f.committed(cfg, topic)
	if told, letters := len(f.cluster.ReadAll(t, cfg.Response.Topic)), len(f.deadLetters(cfg)); told != n || letters != n {
		t.Errorf("told %d times, %d dead letters", told, letters)
	}
	j.holdsNothing()
}
