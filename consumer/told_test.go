package consumer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/mapping"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

// telling lets a job tell of its answers.
func (f *fixture) telling(callback Callback, response Capture) func(*Config) {
	return func(c *Config) {
		c.Callback, c.Response = callback, response
		p, faults := mapping.Compile(mapping.Config{Type: f.value(`"PUT"`), URL: f.value(fmt.Sprintf("%q", f.api.URL()+"/rows/{id}")),
			DataMap: f.value(`{"id": "$.msg.id", "n": "$.msg.n"}`), JSONBody: f.value(`["n"]`), Told: true})
		if err := faults.Err(); err != nil {
			f.Fatal(err)
		}
		c.Program = p
	}
}

// toldOf reads what a topic was told, the values as short texts.
func (f *fixture) toldOf(topic string) (out []string) {
	f.Helper()
	for _, r := range f.cluster.ReadAll(f, topic) {
		var v toldValue
		if err := json.Unmarshal(r.Value, &v); err != nil || string(r.Key) != keyOf(v.Data) || string(r.Headers[0].Value) != "1" || r.Headers[0].Key != hopsHeader {
			f.Fatalf("%s: %s, %v", r.Key, r.Value, err)
		}
		status := 0
		if v.Response != nil {
			status = v.Response.Status
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s#%d %d %s", r.Key, v.Source.Offset, status, v.Class)))
	}
	return out
}

func keyOf(row json.RawMessage) string {
	var v struct{ ID string }
	_ = json.Unmarshal(row, &v) // its emptiness is seen
	return v.ID
}

// toldHistory is what the checker hears of a callback topic.
func (f *fixture) toldHistory(topic string) (out []checker.Told) {
	f.Helper()
	for _, r := range f.cluster.ReadAll(f, topic) {
		var v toldValue
		if err := json.Unmarshal(r.Value, &v); err != nil {
			f.Fatal(err)
		}
		s := v.Source
		out = append(out, checker.Told{Position: checker.Position{Topic: s.Topic, Partition: s.Partition, Offset: s.Offset, Row: int(s.Row), Route: s.Route}, At: r.Timestamp,
			Where: checker.Place{Partition: r.Partition, Offset: r.Offset}})
	}
	return out
}

// Every answer is told of, keyed as the record, before its row is final; a login in it is not. Responses are all, or only failures.
func TestAnswersAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		callback, response bool
		on                 CaptureOn
		told, captured     string
	}{
		"a callback":        {callback: true, told: "b#1 201"},
		"all responses":     {response: true, captured: "a#0 422 rejected b#1 201"},
		"failures":          {response: true, on: CaptureFailures, captured: "a#0 422 rejected"},
		"both":              {callback: true, response: true, told: "b#1 201", captured: "a#0 422 rejected b#1 201"},
		"both, one of them": {callback: true, response: true, on: CaptureFailures, told: "b#1 201", captured: "a#0 422 rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
				if a.Path == "/rows/a" {
					return sinktest.Answer{Status: 422}
				}
				return sinktest.Answer{Status: 201, Body: []byte(`{"made": true}`), Header: []sinktest.Header{{Name: "Set-Cookie", Value: "hunter2"}, {Name: "Location", Value: "/x"}}}
			})
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "b", 1))
			callbacks, responses := consumertest.Name("test.out.callbacks"), consumertest.Name("test.out.responses")
			var callback Callback
			var response Capture
			if c.callback {
				callback.Topic = callbacks
			}
			if c.response {
				response = Capture{responses, c.on}
			}
			cfg := f.job(topic, f.telling(callback, response))
			j := f.run(cfg)
			f.committed(cfg, topic)
			for topic, want := range map[string]string{callbacks: c.told, responses: c.captured} {
				if want == "" {
					continue
				}
				got := f.toldOf(topic)
				slices.Sort(got)
				if s := strings.Join(got, " "); s != want {
					t.Errorf("%s: %s, want %s", topic, s, want)
				}
				for _, r := range f.cluster.ReadAll(t, topic) {
					if s := string(r.Value); strings.Contains(s, "hunter2") || strings.HasPrefix(string(r.Key), "b") && (!strings.Contains(s, `"location":"/x"`) ||
						!strings.Contains(s, `"response_json":{"made":true}`) || !strings.Contains(s, `"payload_object":{"n":1}`) ||
						!strings.Contains(s, `"source":{"topic":"`+cfg.Topics[0]+`","partition":0,"offset":1,"row":0},"attempts":1}`)) {
						t.Errorf("%s", s)
					}
				}
			}
			j.holdsNothing()
		})
	}
}

// While a callback cannot be written its row is kept and its lane waits; only the write is tried again, also by another definition of the
// job, and the request is not.
func TestACallbackThatCannotBeWrittenKeepsItsRow(t *testing.T) {
	for name, mend := range map[string]func(f *fixture, j *running, cfg Config, fault *kfake.FaultHandle) Config{
		"it can be again": func(_ *fixture, _ *running, cfg Config, fault *kfake.FaultHandle) Config {
			fault.Remove()
			return cfg
		},
		"the job names another topic": func(f *fixture, j *running, cfg Config, _ *kfake.FaultHandle) Config {
			next := cfg
			next.Callback.Topic = consumertest.Name("test.out.other")
			j.change(next)
			return next
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := consumertest.Fake(t)
			f := setup(t, k, nil)
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "b", 1), rec(topic, 0, "a", 2))
			cfg := f.job(topic, f.telling(Callback{consumertest.Name("test.out.callbacks")}, Capture{}))
			var bad atomic.Value
			bad.Store(cfg.Callback.Topic)
			fault := k.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1, When: func(r kmsg.Request) bool {
				return r.(*kmsg.CreateTopicsRequest).Topics[0].Topic == bad.Load()
			}})
			j := f.run(cfg)
			j.waitCause("callbacks cannot be written")
			consumertest.WaitFor(t, within, "the rows that wait", func() (any, bool) {
				a, b := j.found(topic, 0), j.found(topic, 2)
				return a, a.State == FoundTelling && b.State == FoundBehind
			})
			if err := j.runner.Decide(t.Context(), Position{Topic: topic}, GiveUp, "ann"); err == nil || !strings.Contains(err.Error(), "is delivered") {
				t.Errorf("given up: %v", err)
			}
			if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 0 || f.api.Len() != 2 {
				t.Errorf("committed %d, %d attempts", got, f.api.Len())
			}
			cfg = mend(f, j, cfg, fault)
			f.committed(cfg, topic)
			got := f.toldOf(cfg.Callback.Topic)
			slices.Sort(got)
			if s := strings.Join(got, " "); s != "a#0 200 a#2 200 b#1 200" || f.api.Len() != 3 {
				t.Errorf("told %s, %d attempts", s, f.api.Len())
			}
			if s := j.runner.Status(); strings.Contains(s.Cause, "cannot") {
				t.Errorf("still says %q", s.Cause)
			}
			j.holdsNothing()
		})
	}
}

// A callback that is larger than its topic takes goes without what makes it large, whatever that is.
func TestACallbackTooLargeForItsTopic(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	large := rec(topic, 0, "a", 0)
	large.Value = []byte(`{"id": "a", "n": 0, "text": "` + noise(100_000) + `"}`)
	named := rec(topic, 0, "a", 1)
	named.Value = []byte(`{"id": "a", "n": 1, "service_type": "s", "record": {"id": "` + noise(100_000) + `"}}`)
	consumertest.Produce(t, f.producer, large, named)
	cfg := f.job(topic, f.telling(Callback{f.cluster.Topic(t, "told", 1, "max.message.bytes=50000")}, Capture{}))
	f.run(cfg)
	f.committed(cfg, topic)
	all := f.cluster.ReadAll(t, cfg.Callback.Topic)
	if len(all) != 2 || !strings.Contains(string(all[1].Value), `"service_type":"s","service_method":null`) || !strings.Contains(string(all[1].Value), `"record_id":null`) || !strings.Contains(string(all[0].Value), `"data":null`) || !strings.Contains(string(all[0].Value), `"offset":0`) || all[0].Headers[2].Key != "streamer-value" {
		t.Errorf("%+v", all)
	}
}

// Jobs that tell each other of answers end at the eighth hop, with a dead letter that says so and no request.
func TestALoopOfCallbacksEnds(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	r := rec(topic, 0, "a", 0)
	r.Headers = []kgo.RecordHeader{{Key: hopsHeader, Value: []byte("7")}}
	over := rec(topic, 0, "a", 1)
	over.Headers = []kgo.RecordHeader{{Key: hopsHeader, Value: []byte("8")}}
	consumertest.Produce(t, f.producer, r, over)
	cfg := f.job(topic, f.telling(Callback{f.cluster.Topic(t, "told", 1)}, Capture{}))
	f.run(cfg)
	f.committed(cfg, topic)
	all := f.cluster.ReadAll(t, cfg.Callback.Topic)
	if len(all) != 1 || string(all[0].Headers[0].Value) != "8" || f.api.Len() != 1 {
		t.Errorf("%+v, %d attempts", all, f.api.Len())
	}
	if l := f.list(f.letters(cfg), LetterFilter{}).Letters; len(l) != 1 || l[0].Class != "payload" || !strings.Contains(l[0].Reason, "loop") {
		t.Errorf("%+v", l)
	}
}

// Nor does a job that is told of what it gave up itself go on for ever: at the eighth hop nobody is told.
func TestALoopOfFailuresEnds(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 422} })
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0))
	cfg := f.job(topic, f.telling(Callback{}, Capture{topic, CaptureFailures}), func(c *Config) { c.DeadLetterShare = 1 })
	p, faults := mapping.Compile(mapping.Config{Type: f.value(`"PUT"`), URL: f.value(fmt.Sprintf("%q", f.api.URL()+"/rows")), DataMap: f.value(`{}`), Told: true})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	cfg.Program = p
	f.run(cfg)
	f.committedTo(cfg, topic, map[int32]int64{0: MaxHops + 1})
	all := f.cluster.ReadAll(t, topic)
	if l := f.list(f.letters(cfg), LetterFilter{}).Letters; len(all) != MaxHops+1 || len(l) != MaxHops+1 {
		t.Errorf("%d records, %+v", len(all), l)
	}
}

// A redrive tells of its answers before the letter is closed.
func TestARedriveTells(t *testing.T) {
	f := setup(t, consumertest.Fake(t), refuse("/rows/a"))
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0))
	cfg := f.job(topic, f.telling(Callback{f.cluster.Topic(t, "told", 1)}, Capture{f.cluster.Topic(t, "failed", 1), CaptureFailures}))
	f.run(cfg)
	f.committed(cfg, topic)
	d := f.letters(cfg)
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.FailedAgain != 1 {
		t.Fatalf("%+v", rep)
	}
	f.api.SetAnswer(nil)
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Redriven != 1 {
		t.Fatalf("%+v", rep)
	}
	if got := strings.Join(f.toldOf(cfg.Callback.Topic), " "); got != "a#0 200" {
		t.Errorf("told %s", got)
	}
	if got := strings.Join(f.toldOf(cfg.Response.Topic), ", "); got != "a#0 422 rejected, a#0 422 rejected" {
		t.Errorf("captured %s", got)
	}
}

// Members come and go, brokers refuse to write, and targets fail while rows of two routes are told of, through steps: nothing is lost, no
// part overtakes another, each is told of before its offset is committed.
func TestPartsStepsAndCallbacksUnderFaults(t *testing.T) {
	k := consumertest.Fake(t)
	f := setup(t, k, owners(func(a *sinktest.Attempt) *sinktest.Answer {
		switch {
		case a.Offset%7 == 2 && a.Attempt < 2:
			return &sinktest.Answer{Status: 503}
		case a.Offset%13 == 5 && a.Route == "mail":
			return &sinktest.Answer{Status: 422}
		}
		return nil
	}))
	topic := f.cluster.Topic(t, "t", 4)
	url := f.api.URL()
	p, faults := mapping.Compile(mapping.Config{Type: f.value(`"PUT"`), DataMap: f.value(`{"id": "$.msg.id", "n": "$.msg.n"}`), Told: true,
		Steps:  f.value(fmt.Sprintf(`[{"name": "owner", "url": "%s/owners/{$.msg.id}"}]`, url)),
		Routes: f.value(fmt.Sprintf(`[{"name": "search", "url": "%[1]s/search/{id}"}, {"name": "mail", "url": "%[1]s/mail/{id}", "payload": {"to": "$.steps.owner.body.name"}}]`, url))})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	cfg := f.job(topic, func(c *Config) {
		c.Program, c.DeadLetterShare, c.Callback.Topic = p, 1, f.cluster.Topic(t, "told", 3)
	})
	var writes atomic.Int64
	refused := k.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: cfg.Callback.Topic, Err: kerr.NotEnoughReplicas, Count: -1,
		When: func(kmsg.Request) bool { return writes.Add(1)%5 == 0 }})
	taken := k.TakenBeside(t, cfg.Group, cfg.Callback.Topic)
	produceKeys(f, topic, 4, 8, 6)
	first := f.run(cfg)
	f.attempts(40)
	second := f.run(cfg)
	produceKeys(f, topic, 4, 8, 6)
	f.attempts(80)
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	produceKeys(f, topic, 4, 8, 6)
	f.committed(cfg, topic)
	h := checker.History{Attempts: f.api.Attempts(), Commits: f.watches[cfg.Group].Stop(f), Timeout: cfg.Sink.Timeout,
		DeadLetters: f.cluster.DeadLetters(f, cfg.DeadLetterTopic), Told: f.toldHistory(cfg.Callback.Topic), Taken: taken(),
		Events: []checker.Event{{Cause: checker.Undone, At: time.Time{}, Until: time.Now()}}}
	for _, r := range f.cluster.ReadAll(f, topic) {
		for part, route := range []string{"search", "mail"} {
			row := checker.Row{Position: checker.Position{Topic: topic, Partition: r.Partition, Offset: r.Offset, Route: route}, Lane: string(r.Key), Part: part, Told: true}
			if row.Want = checker.Delivered; r.Offset%13 == 5 && route == "mail" {
				row.Want = checker.GivenUp
			}
			h.Rows = append(h.Rows, row)
		}
	}
	checker.Check(h).Check(f)
	if refused.Hits() == 0 || len(h.Taken) == 0 {
		t.Errorf("%d writes were refused, %d commits taken: this proves nothing", refused.Hits(), len(h.Taken))
	}
	second.holdsNothing()
}
