package consumer

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// A key that is larger than the topic takes does not keep its lane for ever: the row's address stands for it, and a header says so. The
// dead letter of such a row goes without its record, and is redriven from its source.
func TestAKeyThatItsTopicDoesNotTake(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Offset == 2 {
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	large := noise(30_000)
	for n := range 3 {
		r := rec(topic, 0, "a", n)
		r.Key = []byte(large)
		consumertest.Produce(t, f.producer, r)
	}
	consumertest.Produce(t, f.producer, rec(topic, 0, "b", 3))
	cfg := f.job(topic, f.telling(Callback{f.cluster.Topic(t, "told", 1, "max.message.bytes=20000")}, Capture{}),
		func(c *Config) {
			c.DeadLetterTopic, c.DeadLetterShare = f.cluster.Topic(t, "dead", 1, "max.message.bytes=20000"), 1
		})
	j := f.run(cfg)
	f.committed(cfg, topic)
	var keys []string
	for _, r := range f.cluster.ReadAll(t, cfg.Callback.Topic) {
		keys = append(keys, string(r.Key)+" "+r.Headers[len(r.Headers)-1].Key)
	}
	if got, want := strings.Join(keys, ", "), fmt.Sprintf("%[1]s/0/0/0 streamer-key, %[1]s/0/1/0 streamer-key, b content-type", topic); !sameWords(got, want) {
		t.Errorf("told by the keys %s, want %s", got, want)
	}
	j.holdsNothing()
	d := f.letters(cfg)
	if l := f.list(d, LetterFilter{}).Letters; len(l) != 1 || !l[0].LeftOut || len(l[0].Key) > 0 || l[0].Source.Offset != 2 {
		t.Fatalf("%+v", l)
	}
	f.api.SetAnswer(nil)
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Redriven != 1 {
		t.Errorf("%+v", rep)
	}
	if all := f.cluster.ReadAll(t, cfg.Callback.Topic); len(all) != 4 || string(all[3].Key) != topic+"/0/2/0" {
		t.Errorf("%+v", all)
	}
}

// sameWords compares lists in any order.
func sameWords(a, b string) bool {
	count := map[string]int{}
	for _, s := range strings.Split(a, ", ") {
		count[s]++
	}
	for _, s := range strings.Split(b, ", ") {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// A compacted topic takes no record without a key: there too the row's address stands for it.
func TestACompactedTopicIsTold(t *testing.T) {
	k := consumertest.Fake(t)
	f := setup(t, k, nil)
	topic := f.cluster.Topic(t, "t", 1)
	r := rec(topic, 0, "a", 0)
	r.Key = nil
	consumertest.Produce(t, f.producer, r)
	cfg := f.job(topic, f.telling(Callback{f.cluster.Topic(t, "told", 1)}, Capture{}))
	refused := k.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: cfg.Callback.Topic, Err: kerr.InvalidRecord, Count: 1}) // as a broker does
	f.run(cfg)
	f.committed(cfg, topic)
	all := f.cluster.ReadAll(t, cfg.Callback.Topic)
	if len(all) != 1 || string(all[0].Key) != topic+"/0/0/0" || refused.Hits() != 1 || !strings.Contains(string(all[0].Value), `"data":{"id"`) {
		t.Errorf("%+v after %d refusals", all, refused.Hits())
	}
}

// Records that are too large only together are not cut down: they are written one by one.
func TestABatchTooLargeForItsTopic(t *testing.T) {
	k := consumertest.Fake(t)
	f := setup(t, k, nil)
	topic := f.cluster.Topic(t, "t", 1)
	const n = 12
	for i := range n {
		r := rec(topic, 0, fmt.Sprint("k", i), i)
		r.Value = fmt.Appendf(nil, `{"id": "k%d", "n": %d, "text": %q}`, i, i, noise(9000))
		consumertest.Produce(t, f.producer, r)
	}
	cfg := f.job(topic, f.telling(Callback{f.cluster.Topic(t, "told", 1, "max.message.bytes=40000")}, Capture{}))
	hold := make(chan struct{}) // the first write, until all others wait behind it
	var held atomic.Bool
	k.Fake.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if !held.Swap(true) {
			k.Fake.SleepControl(func() { <-hold })
		}
		return nil, nil, false
	})
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "rows that are being told of", func() (any, bool) {
		j.runner.mu.RLock()
		defer j.runner.mu.RUnlock()
		for _, p := range j.runner.partitions {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.letters, p.letters == n
		}
		return nil, false
	})
	close(hold)
	f.committed(cfg, topic)
	all := f.cluster.ReadAll(t, cfg.Callback.Topic)
	whole := 0
	for _, r := range all {
		if len(r.Value) > 9000 {
			whole++
		}
	}
	if len(all) != n || whole != n {
		t.Errorf("%d are told of, %d of them with all that they say", len(all), whole)
	}
}

// What cannot be written for a reason that an operator can mend is waited for, and said with the mend.
func TestATopicThatTakesNothingIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		err  *kerr.Error
		says string
	}{
		"not granted":             {kerr.TopicAuthorizationFailed, "allow this user to write to it"},
		"too small":               {kerr.MessageTooLarge, "raise its max.message.bytes"},
		"validated by the broker": {kerr.InvalidRecord, "look at what it takes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := consumertest.Fake(t)
			f := setup(t, k, nil)
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0))
			cfg := f.job(topic, f.telling(Callback{f.cluster.Topic(t, "told", 1)}, Capture{}))
			fault := k.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: cfg.Callback.Topic, Err: c.err, Count: -1})
			j := f.run(cfg)
			j.waitCause(c.says)
			fault.Remove()
			f.committed(cfg, topic)
			if all := f.cluster.ReadAll(t, cfg.Callback.Topic); len(all) != 1 {
				t.Errorf("%+v", all)
			}
			if s := j.runner.Status(); s.Cause != "" {
				t.Errorf("still says %q", s.Cause)
			}
		})
	}
}

// A dead letter fails in the first moment of a session, before what writes it again has begun, and the session before has ended that. It is
// written again nevertheless.
func TestAnOutboxOfTheSessionBefore(t *testing.T) {
	r := parker(setup(t, consumertest.Fake(t), nil))
	d := r.now()
	d.serve()() // a session
	if err := r.changes.sessionBegins(r); err != nil {
		t.Fatal(err)
	}
	defer r.now().outlet.close()
	x := parkedRow(r, 0)
	x.partition.definition, x.partition.letters = r.now(), 1
	l := &letter{row: x}
	d.parking.begins(l)
	d.dead.written(d.dead.post(l), &kgo.Record{Topic: d.dead.topic}, kerr.NotEnoughReplicas)
	end := d.serve()
	defer end()
	select {
	case <-x.partition.written():
	case <-t.Context().Done():
	}
	if at := d.parking.writing[x.rowAddress()]; at == nil || at.acked == nil {
		t.Error("the letter was dropped")
	}
}

// A record without a key is refused by a compacted topic together with those that were in its batch. They are written alone at once: nothing is
// wrong with them, and nothing is said.
func TestWhatWasRefusedTogetherIsWrittenAlone(t *testing.T) {
	d := parker(setup(t, consumertest.Fake(t), nil)).now().dead
	keyed, bare := &post{of: nobody{}}, &post{of: nobody{}}
	d.written(keyed, &kgo.Record{Key: []byte("a")}, kerr.InvalidRecord)
	d.written(bare, &kgo.Record{}, kerr.InvalidRecord)
	if said := *d.said; said != "" || !keyed.apart || keyed.shape.unkeyed || !bare.shape.unkeyed {
		t.Errorf("said %q, the one with a key %+v, the one without %+v", said, keyed, bare)
	}
	keyed.alone = make(chan struct{})
	if d.written(keyed, &kgo.Record{Key: []byte("a")}, kerr.InvalidRecord); *d.said == "" || keyed.apart {
		t.Errorf("said %q of what is refused alone, %+v", *d.said, keyed)
	}
}

// nobody waits for a record.
type nobody struct{}

func (nobody) writesNoMore() bool { return false }
func (nobody) wrote()             {}
