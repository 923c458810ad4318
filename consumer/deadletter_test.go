package consumer

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/schemas/schemastest"
	"streamer/sink/sinktest"
)

// The dead-letter topic cannot be written for a while. The row is kept and its lane waits, the others go on, the status says why; when
// the topic is well again the letter is written, once.
func TestADeadLetterThatCannotBeWrittenKeepsItsRow(t *testing.T) {
	for name, c := range map[string]struct {
		refusal *kerr.Error
		fails   []kmsg.Key
		says    string
	}{
		"the disk is full":               {kerr.KafkaStorageError, []kmsg.Key{kmsg.Produce}, "cannot be written"},
		"too few replicas":               {kerr.NotEnoughReplicas, []kmsg.Key{kmsg.Produce}, "cannot be written"},
		"a clock that is hours ahead":    {kerr.InvalidTimestamp, []kmsg.Key{kmsg.Produce}, "set the clock of this machine"},
		"not allowed":                    {kerr.TopicAuthorizationFailed, []kmsg.Key{kmsg.Produce}, "cannot be written"},
		"a policy refuses the record":    {kerr.PolicyViolation, []kmsg.Key{kmsg.Produce}, "cannot be written"},
		"larger than taken, bare or not": {kerr.MessageTooLarge, []kmsg.Key{kmsg.Produce}, "cannot be written"},
		"cannot be created":              {kerr.TopicAuthorizationFailed, []kmsg.Key{kmsg.CreateTopics}, "cannot be"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := consumertest.Fake(t)
			f := setup(t, k, refuse("/rows/a"))
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "b", 1), rec(topic, 0, "a", 2))
			cfg := f.job(topic)
			var tries atomic.Int64
			var mended atomic.Bool
			fault := k.Fake.Fault(kfake.Fault{Keys: c.fails, Err: c.refusal, Count: -1, When: func(r kmsg.Request) bool {
				if !mended.Load() {
					tries.Add(1)
				}
				return !mended.Load()
			}})
			j := f.run(cfg)
			j.waitCause(c.says)
			before := tries.Load()
			consumertest.WaitFor(t, within, "another try", func() (any, bool) { return tries.Load(), tries.Load() > before })
			if n := tries.Load(); n > 500 {
				t.Errorf("%d tries in a few seconds", n)
			}
			if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 0 {
				t.Errorf("committed %d past a row without a dead letter", got)
			}
			if got := byKey(sent(f.api.Attempts())); got != "a0 b1" {
				t.Errorf("sent %s", got)
			}
			mended.Store(true)
			fault.Remove()
			f.committed(cfg, topic)
			if n := len(f.deadLetters(cfg)); n != 2 {
				t.Errorf("%d dead letters, want 2", n)
			}
			if s := j.runner.Status(); strings.Contains(s.Cause, "cannot") {
				t.Errorf("still says %q", s.Cause)
			}
		})
	}
}

// noise is text that does not compress well.
func noise(n int) string {
	b := make([]byte, n*3/4)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
}

// A topic that takes less than the source: the value is left out and read at its source, by show and by a redrive. When that record is
// gone, it is said, and the letter stays open.
func TestADeadLetterTooLargeForItsTopic(t *testing.T) { tooLargeForTopic(t, consumertest.Fake(t)) }

func tooLargeForTopic(t *testing.T, c *consumertest.Cluster) {
	f := setup(t, c, refuse("/rows/a"))
	topic := f.cluster.Topic(t, "t", 1)
	large := rec(topic, 0, "a", 0)
	large.Value = []byte(`{"id": "a", "n": 0, "text": "` + noise(100_000) + `"}`)
	consumertest.Produce(t, f.producer, large)
	cfg := f.job(topic, func(c *Config) { c.DeadLetterTopic = f.cluster.Topic(t, "dead", 1, "max.message.bytes=50000") })
	f.run(cfg)
	f.committed(cfg, topic)
	d := f.letters(cfg)
	page := f.list(d, LetterFilter{})
	if len(page.Letters) != 1 || !page.Letters[0].LeftOut {
		t.Fatalf("%+v", page)
	}
	if blind := f.list(d, LetterFilter{Where: path(t, "$.msg.id")}); blind.Undecodable != 1 || len(blind.Letters) > 0 {
		t.Errorf("%+v", blind)
	}
	l, err := d.Show(t.Context(), 0, 0)
	if err != nil || string(l.Value) != string(large.Value) || l.Problem != "" {
		t.Errorf("%v: %d bytes, %s", err, len(l.Value), l.Problem)
	}
	f.api.SetAnswer(nil)
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{DryRun: true}); len(rep.Samples) != 1 || len(rep.Samples[0].Rows) != 1 {
		t.Errorf("%+v", rep)
	}
	gone := kadm.Offsets{}
	gone.Add(kadm.Offset{Topic: topic, Partition: 0, At: 1, LeaderEpoch: -1})
	if c.Fake == nil { // the record expires: the letter stays open
		if _, err := f.cluster.Admin(t).DeleteRecords(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		if l, err := d.Show(t.Context(), 0, 0); err != nil || !strings.Contains(l.Problem, "cannot be read") {
			t.Errorf("%v: %s", err, l.Problem)
		}
		if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Unreadable != 1 || rep.Left != 1 {
			t.Errorf("%+v", rep)
		}
		return
	}
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Redriven != 1 {
		t.Errorf("%+v", rep)
	}
}

// A dead letter that cannot be written keeps its row, visibly, until it can.
func TestAFailedDeadLetterKeepsTheRecord(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 400} })
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "a", 2))
	cfg := f.job(topic)
	var refuse atomic.Bool
	refuse.Store(true)
	f.cluster.Fake.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.Fake.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		if !refuse.Load() || len(req.Topics) == 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.TopicAuthorizationFailed.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	j := f.run(cfg)
	j.waitCause("dead letters cannot be written to " + cfg.DeadLetterTopic)
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 0 {
		t.Fatalf("committed %d while the dead letter is not written", got)
	}
	if n := f.api.Len(); n != 1 {
		t.Fatalf("%d attempts: the row behind it was sent before the dead letter was written", n)
	}
	refuse.Store(false)
	f.committed(cfg, topic)
	if n := len(f.deadLetters(cfg)); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
	consumertest.WaitFor(t, within, "a status without cause", func() (any, bool) { c := j.runner.Status().Cause; return c, c == "" })
}

// deadLetters reads the job's dead letters; none if the topic is not there.
func (f *fixture) deadLetters(cfg Config) []*kgo.Record {
	f.Helper()
	topics, err := f.cluster.Admin(f).ListTopics(f.Context(), cfg.DeadLetterTopic)
	if err != nil || !topics.Has(cfg.DeadLetterTopic) {
		return nil
	}
	return f.cluster.ReadAll(f, cfg.DeadLetterTopic)
}

func headersOf(r *kgo.Record) map[string]string {
	out := map[string]string{}
	for _, h := range r.Headers {
		out[h.Key] = string(h.Value)
	}
	return out
}

// Poison rows are dead-lettered with the original and the cause; the good records around them arrive.
func TestPoisonIsDeadLettered(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/rows/refused" {
			return sinktest.Answer{Status: 422, Body: []byte("n is too large")}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	good := schemastest.Container(idSchema, "null", map[string]any{"id": "g", "n": int64(1)})
	original := rec(topic, 0, "refused", 7)
	original.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("abc")}}
	consumertest.Produce(t, f.producer,
		rec(topic, 0, "a", 1),
		original,
		&kgo.Record{Topic: topic, Key: []byte("cut"), Value: good[:len(good)-5]},
		&kgo.Record{Topic: topic, Key: []byte("broken"), Value: []byte(`{"id": `)},
		&kgo.Record{Topic: topic, Key: []byte("no id"), Value: []byte(`{"n": 3}`)},
		&kgo.Record{Topic: topic, Key: []byte("framed"), Value: []byte{0, 0, 0, 0, 7, 1, 2}},
		rec(topic, 0, "z", 2))
	cfg := f.job(topic)
	j := f.run(cfg)
	f.committed(cfg, topic)
	letters := f.deadLetters(cfg)
	if len(letters) != 5 {
		t.Fatalf("%d dead letters, want 5", len(letters))
	}
	classes := map[string]string{}
	for _, l := range letters {
		h := headersOf(l)
		classes[string(l.Key)] = h["streamer-class"]
		if h["streamer-job"] != cfg.Job || h["streamer-topic"] != topic || h["streamer-topic-id"] == "" || h["streamer-reason"] == "" || h["streamer-redrives"] != "0" {
			t.Errorf("headers %v", h)
		}
		if string(l.Key) == "refused" {
			if string(l.Value) != string(original.Value) || h["trace"] != "abc" || h["streamer-offset"] != "1" || h["streamer-row"] != "0" ||
				h["streamer-status"] != "422" || h["streamer-attempts"] != "1" || h["streamer-first-attempt"] == "" || h["streamer-partition"] != "0" {
				t.Errorf("value %s, headers %v", l.Value, h)
			}
		}
		if _, whole := h["streamer-row"]; whole != (string(l.Key) == "refused" || string(l.Key) == "no id") {
			t.Errorf("%s: a record that could not be decoded has no row: %v", l.Key, h)
		}
	}
	want := map[string]string{"refused": "rejected", "cut": "payload", "broken": "payload", "no id": "payload", "framed": "payload"}
	if fmt.Sprint(classes) != fmt.Sprint(want) {
		t.Errorf("classes %v, want %v", classes, want)
	}
	if s := j.runner.Status(); s.Cause != "" {
		t.Errorf("cause %q", s.Cause)
	}
	var paths []string
	for _, a := range f.api.Attempts() {
		paths = append(paths, a.Path)
	}
	slices.Sort(paths)
	if got := strings.Join(paths, " "); got != "/rows/a /rows/refused /rows/z" {
		t.Errorf("requests %s", got)
	}
}

// With dead letters off a row that cannot be delivered keeps its lane waiting, and the commit before it.
func TestDeadLettersOffKeepTheRow(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/rows/refused" {
			return sinktest.Answer{Status: 400}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "refused", 1), rec(topic, 0, "refused", 2), rec(topic, 0, "z", 1))
	cfg := f.job(topic, func(cfg *Config) { cfg.DeadLetterTopic = "" })
	j := f.run(cfg)
	f.attempts(3)
	f.committedTo(cfg, topic, map[int32]int64{0: 1})
	j.waitCause("dead letters are off")
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 1 {
		t.Fatalf("committed %d, past the row that was kept", got)
	}
	if n := f.api.Len(); n != 3 {
		t.Fatalf("%d attempts: the row behind the kept one was sent", n)
	}
}
