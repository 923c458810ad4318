package consumer

import (
	"context"
	"testing"
	"time"

	"streamer/consumer/consumertest"
	"streamer/sink"
	"streamer/sink/sinktest"
)

// A goroutine has just freed a lane and holds its next row when the job is changed: another row stands for that one. Whatever it does with
// it then changes nothing: neither is it sent, nor given up, nor kept, nor final.
func TestARowInHandDuringAChangeIsNobodys(t *testing.T) {
	f := setup(t, consumertest.Fake(t), answerBy("/rows/", 503))
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0))
	cfg := f.job(topic, func(c *Config) { c.Sink.Retry = sink.Retry{Initial: time.Hour, Max: time.Hour} })
	j := f.run(cfg)
	f.attempts(1)
	p := j.runner.all()[0]
	p.mu.Lock()
	old := p.tracker.Oldest().Caller.(*record).rows
	p.mu.Unlock()
	f.api.SetAnswer(func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 503} })
	j.change(f.to(cfg, "/v2/"))
	f.attempts(2)
	used, pending := j.runner.account.used.Load(), p.status().Pending
	p.deliver(old)
	p.keep(old, sink.Outcome{Class: sink.Rejected})
	p.giveUp(old, sink.Outcome{Class: sink.Rejected})
	p.ack(old, outcomeDelivered)
	if p.delivers(old) {
		t.Error("it would be delivered")
	}
	if now := j.runner.account.used.Load(); now != used || p.status().Pending != pending {
		t.Errorf("%d bytes, %d pending; were %d and %d", now, p.status().Pending, used, pending)
	}
	p.mu.Lock()
	if len(p.kept) > 0 || p.letters > 0 {
		t.Errorf("%d kept, %d letters", len(p.kept), p.letters)
	}
	p.mu.Unlock()
	f.api.SetAnswer(nil)
	j.change(cfg)
	f.committed(cfg, topic)
	if got := paths(f.api.Attempts()); got != "/rows/a /v2/a /rows/a" {
		t.Errorf("sent %s", got)
	}
	if n := len(f.cluster.DeadLetters(t, cfg.DeadLetterTopic)); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// The letter of a row was acknowledged, and the follower has not come by. If the row were mapped anew now, and a redrive closed the letter
// before it has its turn, it would be sent a second time.
func TestAChangeWaitsUntilALetterIsReadBack(t *testing.T) {
	r := parker(setup(t, consumertest.Fake(t), nil))
	k, x := r.now().parking, parkedRow(r, 0)
	p := x.partition
	o, err := r.newOutlet(&r.now().Config)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	p.scope, p.wake, p.workerDone = o.sink.NewScope(), make(chan struct{}, 1), make(chan struct{})
	close(p.workerDone)
	l := &letter{row: x, outcome: sink.Outcome{Class: sink.Rejected}}
	k.begins(l)
	rec := l.record(k.topic, shape{})
	rec.Partition, rec.Offset = 0, 0
	p.letters = 1
	k.dead.written(k.dead.post(l), rec, nil)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	rested := make(chan struct{})
	go func() { // ends with the reading back
		defer close(rested)
		p.rest(t.Context())
	}()
	select {
	case <-rested:
		t.Fatal("the partition rests although a letter was not read back")
	case <-short.Done():
	}
	k.readBack(l, 0)
	if p.rests() {
		t.Fatal("the partition rests although its row was not told")
	}
	k.mu.Lock()
	k.settled = nil // as after settler has told it
	k.mu.Unlock()
	<-rested
	if !p.rests() || !p.past(x) {
		t.Error("the partition does not rest")
	}
}
