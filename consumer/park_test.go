package consumer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink"
	"streamer/sink/sinktest"
)

func parked(c *Config) { c.DeadLetterPark, c.DeadLetterShare = true, 1 }

// states waits until the list is as wanted, in short: key class state.
func (f *fixture) states(d *DeadLetters, want string) {
	f.Helper()
	consumertest.WaitFor(f, within, "dead letters "+want, func() (any, bool) {
		got := brief(f.list(d, LetterFilter{}))
		return got, got == want
	})
}

// A key with a dead letter parks its later rows; other keys go on. The redrive sends all of it in order, and the key is free again.
func TestAKeyIsParkedUntilItIsRedriven(t *testing.T) { parkRound(t, consumertest.Fake(t)) }

func parkRound(t *testing.T, c *consumertest.Cluster) {
	var ok atomic.Bool
	f := setup(t, c, func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/rows/a" && !ok.Load() {
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 3 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "a", n), rec(topic, 0, "b", n))
	}
	cfg := f.job(topic, parked)
	f.run(cfg)
	f.committed(cfg, topic)
	d := f.letters(cfg)
	f.states(d, "a rejected open, a parked parked, a parked parked")
	if n := f.api.Len(); n != 4 {
		t.Fatalf("%d attempts: parked rows are not sent", n)
	}
	ok.Store(true)
	// Whoever chooses the dead letter chooses what is parked behind it.
	if rep := f.redrive(d, LetterFilter{Class: []sink.Class{sink.Rejected}}, RedriveOptions{}); rep.Redriven != 3 {
		t.Errorf("%+v", rep)
	}
	f.states(d, "a rejected redriven, a parked redriven, a parked redriven")
	if got := sent(f.api.Attempts()[4:]); got != "a0 a1 a2" {
		t.Errorf("sent %s", got)
	}
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 3))
	f.committed(cfg, topic)
	if got := sent(f.api.Attempts()[4:]); got != "a0 a1 a2 a3" {
		t.Errorf("sent %s", got)
	}
	f.states(d, "a rejected redriven, a parked redriven, a parked redriven")
}

// What fails again keeps the key parked, and what is parked behind it. An operator gives it up: the rest can be sent.
func TestAParkedKeyThatFailsAgainStaysParked(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if string(a.Body) == `{"n":0}` {
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 3 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "a", n))
	}
	cfg := f.job(topic, parked)
	f.run(cfg)
	f.committed(cfg, topic)
	d := f.letters(cfg)
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.FailedAgain != 1 || rep.Redriven != 0 {
		t.Errorf("%+v", rep)
	}
	f.states(d, "a rejected failed again, a parked parked, a parked parked, a rejected open")
	// The parked ones alone cannot be sent: they are behind.
	if rep := f.redrive(d, LetterFilter{Class: []sink.Class{ClassParked}}, RedriveOptions{DryRun: true}); rep.Matching != 0 {
		t.Errorf("%+v", rep)
	}
	// Given up are those that are chosen, and no others: what they are parked behind does not matter, nor what is parked behind them.
	if n, err := d.GiveUp(t.Context(), LetterFilter{Class: []sink.Class{ClassParked}}, GiveUpOptions{By: "ann", DryRun: true}); n != 2 || err != nil {
		t.Error(n, err)
	}
	for _, dry := range []bool{true, false} {
		if n, err := d.GiveUp(t.Context(), LetterFilter{Class: []sink.Class{sink.Rejected}}, GiveUpOptions{By: "ann", DryRun: dry}); n != 1 || err != nil {
			t.Error(n, err)
		}
	}
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Redriven != 2 {
		t.Errorf("%+v", rep)
	}
	if got := sent(f.api.Attempts()); got != "a0 a0 a1 a2" {
		t.Errorf("sent %s", got)
	}
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 3))
	f.attempts(5)
}

// byKey sorts what was sent by key alone.
func byKey(s string) string {
	words := strings.Fields(s)
	slices.SortStableFunc(words, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
	return strings.Join(words, " ")
}

// A restart, and another owner, know which keys are parked before they send the first row.
func TestParkedKeysSurviveTheirOwner(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if string(a.Body) == `{"n":0}` {
			return sinktest.Answer{Status: 422}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0), rec(topic, 0, "b", 1))
	cfg := f.job(topic, parked)
	j := f.run(cfg)
	f.committed(cfg, topic)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "b", 2))
	j = f.run(cfg)
	f.committed(cfg, topic)
	if got := byKey(sent(f.api.Attempts())); got != "a0 b1 b2" {
		t.Errorf("sent %s", got)
	}
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	// The commit is lost: everything is read again. What has its letter is not sent and not written a second time.
	if _, err := f.cluster.Admin(t).DeleteOffsets(t.Context(), cfg.Group, map[string]map[int32]struct{}{topic: {0: {}}}); err != nil {
		t.Fatal(err)
	}
	f.run(f.job(topic, parked, func(c *Config) { c.Job, c.Group, c.DeadLetterTopic = cfg.Job, cfg.Group+".2", cfg.DeadLetterTopic }))
	consumertest.WaitFor(t, within, "all to be read again", func() (any, bool) {
		at := f.cluster.Committed(t, cfg.Group+".2")[topic][0]
		return at, at == 4
	})
	if got := byKey(sent(f.api.Attempts())); got != "a0 b1 b2 b1 b2" {
		t.Errorf("sent %s", got)
	}
	f.states(f.letters(cfg), "a rejected open, a parked parked")
}

// Rows of a parked key keep coming while redrives run elsewhere, and keys fail and are mended: each row is delivered once, in the order of
// its key, and in the end nothing is parked. The race of park.go happens all the time here.
func TestParkedKeysRaceWithRedrives(t *testing.T) {
	const keys, each = 4, 60
	var mu sync.Mutex
	last, refused := map[string]int{}, map[string]bool{}
	var order []string
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		if _, err := fmt.Sscanf(string(a.Body), `{"n":%d}`, &n); err != nil {
			order = append(order, err.Error())
		}
		if id := fmt.Sprint(a.Path, n); n%20 == 3 && !refused[id] { // once each
			refused[id] = true
			return sinktest.Answer{Status: 422}
		}
		if before, known := last[a.Path]; known && n != before+1 || !known && n != 0 {
			order = append(order, fmt.Sprintf("%s: %d after %d", a.Path, n, before))
		}
		last[a.Path] = n
		return sinktest.Answer{}
	}
	f := setup(t, consumertest.Fake(t), answer)
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic, parked)
	f.run(cfg)
	d := f.letters(cfg)
	ctx, stop := context.WithCancel(t.Context())
	var redriving sync.WaitGroup
	redriving.Go(func() {
		for ctx.Err() == nil {
			if _, err := d.Redrive(ctx, LetterFilter{}, RedriveOptions{}, nil); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	for n := range each {
		var batch []*kgo.Record
		for k := range keys {
			batch = append(batch, rec(topic, int32(k%2), fmt.Sprint("k", k), n))
		}
		consumertest.Produce(t, f.producer, batch...)
		time.Sleep(2 * time.Millisecond) // a pace, so that rows meet redrives
	}
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "every row", func() (any, bool) {
		mu.Lock()
		defer mu.Unlock()
		for k := range keys {
			if last[fmt.Sprint("/rows/k", k)] != each-1 {
				return fmt.Sprint(last), false
			}
		}
		return nil, true
	})
	stop()
	redriving.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(order) > 0 {
		t.Errorf("%d out of order: %s", len(order), strings.Join(order[:min(5, len(order))], "; "))
	}
	open := f.list(d, LetterFilter{State: []LetterState{LetterOpen, LetterParked}})
	if len(open.Letters) > 0 {
		t.Errorf("left: %s", brief(open))
	}
	t.Log(f.list(d, LetterFilter{}).Counts)
}

// The owner writes a parked letter behind one that was redriven a moment before: its letter is void, and the row is delivered.
func TestAParkedLetterThatCameTooLateIsVoid(t *testing.T) {
	f := setup(t, consumertest.Fake(t), refuse())
	cfg := f.job("t", parked, func(c *Config) { c.DeadLetterTopic = f.cluster.Topic(t, "dead", 1) })
	d := f.letters(cfg)
	letter := func(offset int64, behind string) Letter {
		l := Letter{Job: cfg.Job, Class: "rejected", Source: LetterSource{Topic: "t", TopicID: "id", Offset: offset}, lane: laneValue{value: "a"}, behind: behind}
		if behind != "" {
			l.Class = ClassParked
		}
		return l
	}
	write := func(l Letter) {
		consumertest.Produce(t, f.producer, envelope(cfg.DeadLetterTopic, &l, original{key: []byte("a"), value: []byte("{}")}))
	}
	write(letter(0, ""))
	first := letter(0, "")
	o := outcome{word: outcomeWordRedriven, job: cfg.Job, source: first.Source.address(), lane: first.lane}
	consumertest.Produce(t, f.producer, o.record(cfg.DeadLetterTopic))
	write(letter(1, "0/0"))
	f.states(d, "a rejected redriven, a parked void")
	write(letter(2, "")) // parks the key anew
	write(letter(3, "0/0"))
	write(letter(4, "0/3"))
	f.states(d, "a rejected redriven, a parked void, a rejected open, a parked void, a parked parked")
}

// Beyond the bound nothing more is parked: rows of parked keys wait, and say so, until there is room.
func TestParkingIsBounded(t *testing.T) {
	f := setup(t, consumertest.Fake(t), refuse("/rows/a"))
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 6 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "a", n))
	}
	cfg := f.job(topic, parked)
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	j := f.runOn(i, cfg, func(r *Runner) { r.now().parking.fold.most = 3 })
	j.waitCause("more than an instance keeps an eye on")
	f.committedTo(cfg, topic, map[int32]int64{0: 3})
	f.api.SetAnswer(nil)
	d := f.letters(cfg)
	consumertest.WaitFor(t, within, "the rows that wait", func() (any, bool) {
		rep := f.redrive(d, LetterFilter{}, RedriveOptions{})
		got := f.cluster.Committed(t, cfg.Group)[topic][0]
		return rep, got == 6
	})
	f.redrive(d, LetterFilter{}, RedriveOptions{})
	var accepted []string
	for _, a := range f.api.Attempts()[1:] {
		accepted = append(accepted, string(a.Body))
	}
	if !slices.IsSorted(accepted) || len(accepted) != 6 {
		t.Errorf("sent %v", accepted)
	}
}

// A follower that could not ask which topic there is when it began, as on a busy machine, sees all the same that the topic was made anew.
func TestAFollowerThatBeganBlindlySeesANewTopic(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	f := setup(t, c, func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 422} })
	topic := c.Topic(t, "t", 1)
	cfg := f.job(topic, parked)
	adm := c.Admin(t)
	letters := func() {
		t.Helper()
		if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, cfg.DeadLetterTopic); err != nil {
			t.Fatal(err)
		}
	}
	letters()
	c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: cfg.DeadLetterTopic, Err: kerr.UnknownTopicOrPartition, Count: 2})
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0))
	f.run(cfg)
	f.committed(cfg, topic)
	if _, err := adm.DeleteTopic(t.Context(), cfg.DeadLetterTopic); err != nil {
		t.Fatal(err)
	}
	letters()
	consumertest.Produce(t, f.producer, rec(topic, 0, "b", 1))
	f.committed(cfg, topic)
	if n := len(f.deadLetters(cfg)); n == 0 {
		t.Error("the row is final without a letter in the new topic")
	}
}

// A client may have the topic before this one, from a broker that was late to learn of it: brokers know nothing of what it asks for, while
// the topic is the one that it was at the beginning. It is given up for a new one.
func TestAFollowerWithATopicThatNoBrokerKnowsBeginsAnew(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	f := setup(t, c, func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 422} })
	topic := c.Topic(t, "t", 1)
	cfg := f.job(topic, parked)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0))
	anew := make(chan struct{}, 1)
	f.runOn(f.instance(Client{Brokers: c.Brokers}, 0), cfg, func(r *Runner) {
		r.log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			if bytes.Contains(b, []byte(errTopicAnew.Error())) {
				nudge(anew)
			}
			return len(b), nil
		}), nil))
	})
	f.committed(cfg, topic)
	unknown := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: cfg.DeadLetterTopic, Err: kerr.UnknownTopicID, Count: -1})
	select {
	case <-anew:
	case <-time.After(within):
		t.Fatal("the client is kept")
	}
	unknown.Remove()
	consumertest.Produce(t, f.producer, rec(topic, 0, "b", 1))
	f.committed(cfg, topic)
}
