package consumer

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
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
