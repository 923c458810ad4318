package consumer

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// At any moment every record that was polled is final or pending: nothing falls between, whatever it becomes. Records that are
// filtered out, skipped, cannot be decoded, are rejected or delivered, while an observer looks as often as it can.
func TestEveryPolledRecordIsFinalOrPending(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		switch {
		case a.Offset%10 == 3:
			return sinktest.Answer{Status: 422}
		case a.Offset%10 == 4 && a.Attempt < 3:
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 2)
	for n := range 400 {
		r := rec(topic, int32(n%2), string(rune('a'+n%7)), n)
		switch n % 10 {
		case 7:
			r.Value = nil // a tombstone
		case 8:
			r.Value = []byte("{") // cannot be decoded
		}
		consumertest.Produce(t, f.producer, r)
	}
	cfg := f.job(topic, func(c *Config) { c.DeadLetterShare = 1 })
	j := f.run(cfg)
	var looks, torn atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, p := range j.runner.Status().Partitions {
				looks.Add(1)
				if p.Polled != p.Final+int64(p.Pending) {
					torn.Add(1)
					t.Errorf("%s/%d: %d polled, %d final, %d pending", p.Topic, p.Partition, p.Polled, p.Final, p.Pending)
					return
				}
			}
			time.Sleep(50 * time.Microsecond) // leaves the two cores to the work
		}
	}()
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "the observer to have looked", func() (any, bool) { n := looks.Load() + torn.Load(); return n, n >= 20 || torn.Load() > 0 })
	close(stop)
	<-done
	var final int64
	for _, p := range j.runner.Status().Partitions {
		final += p.Final
	}
	if final != 400 || torn.Load() > 0 {
		t.Errorf("%d of 400 records final, after %d looks", final, looks.Load())
	}
}

// An API that never answers, and far more records than may be held: memory stays within its bound, reading pauses, and goes on when
// the API answers again.
func TestMemoryIsBoundedUnderAStuckAPI(t *testing.T) {
	release := make(chan struct{})
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { <-release; return sinktest.Answer{} })
	f.api.DropBodies = true
	topic := f.cluster.Topic(t, "t", 2)
	const records = 8000
	random := rand.New(rand.NewPCG(1, 2))
	var batch []*kgo.Record
	for i := range records {
		pad := make([]byte, 1500) // incompressible
		for j := range pad {
			pad[j] = byte(random.Uint32())
		}
		value := fmt.Appendf(nil, `{"id": "x", "n": 1, "pad": %q}`, base64.StdEncoding.EncodeToString(pad))
		batch = append(batch, &kgo.Record{Topic: topic, Partition: int32(i % 2), Key: fmt.Append(nil, i%500), Value: value})
	}
	consumertest.Produce(t, f.producer, batch...)
	const budget = 8 << 20
	cfg := f.job(topic)
	j := f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, budget), cfg)
	consumertest.WaitFor(t, within, "both partitions paused", func() (any, bool) {
		s := j.runner.Status()
		paused := 0
		for _, p := range s.Partitions {
			if p.Paused {
				paused++
			}
		}
		return s, paused == 2
	})
	if used := j.runner.account.used.Load(); used > budget*3/4 || used < budget/8 {
		t.Errorf("%d bytes are held, of a budget of %d of which one job may take half", used, budget)
	}
	close(release)
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "all memory given back", func() (any, bool) { n := j.runner.account.used.Load(); return n, n == 0 })
}
