package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// keeper is the memory of jobs that outlives their instances, as the log in Kafka does. It can refuse to be written.
type keeper struct {
	processStore

	mu      sync.Mutex
	refused error
	audit   []Audit
	metrics *prometheus.Registry // of the instance that was started last
}

func (k *keeper) refuse(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused = err
}

// Remember implements Store.
func (k *keeper) Remember(ctx context.Context, job string, a Audit, change func(*Memory) error) (Memory, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refused != nil {
		return Memory{}, k.refused
	}
	m, err := k.processStore.Remember(ctx, job, a, change)
	if err == nil {
		k.audit = append(k.audit, a)
	}
	return m, err
}

// audited are the audit lines of an action.
func (k *keeper) audited(action string) (found []Audit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.audit {
		if a.Action == action {
			found = append(found, a)
		}
	}
	return found
}

// runWith starts the job on an instance of its own that keeps what it must not forget in k.
func (f *fixture) runWith(k *keeper, cfg Config) *running {
	f.Helper()
	k.metrics = prometheus.NewRegistry()
	i, err := NewInstance(Client{Brokers: f.cluster.Brokers, MetadataMinAge: 20 * time.Millisecond}, 0, k.metrics, logTo(f.T))
	if err != nil {
		f.Fatal(err)
	}
	i.Keep(k)
	return f.runOn(i, cfg)
}

// begun waits until the job is known to have begun so many partitions of a topic.
func (f *fixture) begun(k *keeper, cfg Config, topic string, partitions int32) {
	f.Helper()
	consumertest.WaitFor(f, within, fmt.Sprintf("%d partitions of %s to be marked", partitions, topic), func() (any, bool) {
		m, err := k.Memory(f.Context(), cfg.Job)
		return fmt.Sprintf("%+v %v", m, err), m.Group == cfg.Group && m.Begun[topic].Partitions == partitions
	})
}

// heldFor waits until a partition, or with topic "" the job, is held for a cause.
func (j *running) heldFor(topic string, partition int32, cause HoldCause) Hold {
	j.f.Helper()
	var found Hold
	consumertest.WaitFor(j.f, within, fmt.Sprintf("%s/%d to be held: %s", topic, partition, cause), func() (any, bool) {
		s := j.runner.Status()
		for _, h := range s.Holds {
			if topic == "" && h.Cause == cause && s.State == Held {
				found = h
				return s, true
			}
		}
		for _, p := range s.Partitions {
			if p.Topic == topic && p.Partition == partition && p.Hold != nil && p.Hold.Cause == cause {
				found = *p.Hold
				return s, true
			}
		}
		return fmt.Sprintf("%+v", s), false
	})
	if found.Reason == "" || found.Next == "" || found.Since.IsZero() {
		j.f.Errorf("a hold must say why, since when and what next: %+v", found)
	}
	return found
}

// accept accepts a gap and gives what was accepted.
func (j *running) accept(a Acceptance) []Accepted {
	j.f.Helper()
	ctx, cancel := context.WithTimeout(j.f.Context(), within)
	defer cancel()
	got, err := j.runner.Accept(ctx, a, "alice")
	if err != nil {
		j.f.Fatalf("accepting %+v: %v", a, err)
	}
	return got
}

// refused tries to accept what cannot be.
func (j *running) refused(a Acceptance, part string) {
	j.f.Helper()
	ctx, cancel := context.WithTimeout(j.f.Context(), within)
	defer cancel()
	got, err := j.runner.Accept(ctx, a, "alice")
	var refusal *AcceptError
	if !errors.As(err, &refusal) || !strings.Contains(err.Error(), part) {
		j.f.Errorf("accepting %+v gave %v, %v; want an error that says %q", a, got, err, part)
	}
}

// sent gives the offsets of a partition for which there was a request, by the number of requests.
func (f *fixture) sent(topic string, partition int32) map[int64]int {
	out := map[int64]int{}
	for _, a := range f.api.Attempts() {
		if a.Topic == topic && a.Partition == partition {
			out[a.Offset]++
		}
	}
	return out
}

// onlySent fails unless exactly the offsets [from, to) of the partition were sent, once each.
func (f *fixture) onlySent(topic string, partition int32, from, to int64) {
	f.Helper()
	got := f.sent(topic, partition)
	for o := from; o < to; o++ {
		if got[o] != 1 {
			f.Errorf("offset %d of %s/%d was sent %d times, want once", o, topic, partition, got[o])
		}
		delete(got, o)
	}
	if len(got) > 0 {
		f.Errorf("offsets of %s/%d that were to be left alone were sent: %v", topic, partition, got)
	}
}

// deleteRecords moves the start of a log, as retention does.
func (f *fixture) deleteRecords(topic string, partition int32, before int64) {
	f.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: before})
	resp, err := f.cluster.Admin(f).DeleteRecords(f.Context(), offsets)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		f.Fatal(err)
	}
}

// forget deletes the committed offset of partitions of a group without members, as Kafka does by itself after a while.
func (f *fixture) forget(group, topic string, partitions ...int32) {
	f.Helper()
	set := kadm.TopicsSet{}
	set.Add(topic, partitions...)
	consumertest.WaitFor(f, within, "the offsets to be forgotten", func() (any, bool) {
		resp, err := f.cluster.Admin(f).DeleteOffsets(f.Context(), group, set)
		if err == nil {
			err = resp.Error()
		}
		return err, err == nil
	})
}

// metric is a metric of the job on the instance that was started last, -1 if there is none.
func (f *fixture) metric(k *keeper, cfg Config, name string) float64 {
	f.Helper()
	families, err := k.metrics.Gather()
	if err != nil {
		f.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == cfg.Job {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// produceN writes n records of one key.
func (f *fixture) produceN(topic string, partition int32, n int) {
	f.Helper()
	for i := range n {
		consumertest.Produce(f, f.producer, rec(topic, partition, "k", i))
	}
}

func TestExpiredRecordsHoldThePartition(t *testing.T) { expiredRecords(t, consumertest.Fake(t)) }

// expiredRecords: a row is stuck while others behind it are finished, the job is stopped, and retention takes the stuck one. What was
// finished above the commit is not counted as lost, and not sent again after the loss was accepted.
func expiredRecords(t *testing.T, c *consumertest.Cluster) {
	stuck := true
	var mu sync.Mutex
	f, k := setup(t, c, func(a *sinktest.Attempt) sinktest.Answer {
		mu.Lock()
		defer mu.Unlock()
		if stuck && a.Path == "/rows/stuck" {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	}), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 2)                                        // 0, 1
	consumertest.Produce(t, f.producer, rec(topic, 0, "stuck", 1)) // 2
	f.produceN(topic, 0, 7)                                        // 3 to 9
	cfg := f.job(topic, func(c *Config) { c.Drain = 50 * time.Millisecond })
	j := f.runWith(k, cfg)
	f.committedTo(cfg, topic, map[int32]int64{0: 2})
	for o := int64(3); o < 10; o++ {
		j.waitFound(topic, o, FoundFinished) // to be sent is not enough: the drain is short
	}
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	f.deleteRecords(topic, 0, 6)
	f.produceN(topic, 0, 3) // 10 to 12
	j = f.runWith(k, cfg)
	if h := j.heldFor(topic, 0, HoldExpired); !strings.Contains(h.Reason, "would go on at offset 2, the log begins at 6; of the 4 offsets between, 1 were not finished") {
		t.Errorf("the hold says %q", h.Reason)
	}
	if got := f.cluster.Committed(t, cfg.Group)[topic][0]; got != 2 {
		t.Errorf("%d was committed while the partition is held", got)
	}
	if n := f.metric(k, cfg, "streamer_expired_records_total"); n != 0 {
		t.Errorf("%v expired records were counted before the loss was accepted", n)
	}
	f.deleteRecords(topic, 0, 7) // retention goes on
	j.runner.lookAgain()
	j.waitCause("the log begins at 7; of the 5 offsets between, 1 were not finished")
	mu.Lock()
	stuck = false
	mu.Unlock()
	before := f.sent(topic, 0)[2]
	j.refused(Acceptance{Topic: topic, Partition: 0, At: "x"}, "says not where")
	got := j.accept(Acceptance{Topic: topic, Partition: 0, At: AtEarliest})
	if want := (Accepted{Topic: topic, Cause: HoldExpired, Before: 2, After: 7, Skipped: 1, expired: 1}); len(got) != 1 || got[0] != want {
		t.Errorf("accepted %+v, want %+v", got, want)
	}
	f.committed(cfg, topic)
	for o := int64(3); o < 13; o++ {
		if n := f.sent(topic, 0)[o]; n != 1 {
			t.Errorf("offset %d was sent %d times", o, n)
		}
	}
	if n := f.sent(topic, 0)[2]; n != before {
		t.Errorf("the expired row was sent again: %d attempts, %d before", n, before)
	}
	if n := f.metric(k, cfg, "streamer_expired_records_total"); n != 1 {
		t.Errorf("%v expired records were counted in the end, want 1", n)
	}
}

// What is accepted must be in the log before anything goes on. While it cannot be written, the partition stays held.
func TestNothingIsAcceptedThatCannotBeWrittenDown(t *testing.T) {
	f, k := setup(t, consumertest.Fake(t), nil), &keeper{}
	topic := f.cluster.Topic(t, "t", 1)
	f.produceN(topic, 0, 5)
	f.deleteRecords(topic, 0, 3)
	cfg := f.job(topic)
	f.commit(cfg.Group, topic, 0, 1)
	j := f.runWith(k, cfg)
	f.begun(k, cfg, topic, 1)
	j.heldFor(topic, 0, HoldExpired)
	k.refuse(errors.New("no broker of the log answers"))
	if got, err := j.runner.Accept(t.Context(), Acceptance{Topic: topic, At: AtEarliest}, "alice"); err == nil || !strings.Contains(err.Error(), "cannot be written to the log, so nothing is") {
		t.Fatalf("accepted %+v, %v", got, err)
	}
	j.heldFor(topic, 0, HoldExpired)
	k.refuse(nil)
	j.accept(Acceptance{Topic: topic, At: AtEarliest})
	f.committed(cfg, topic)
	f.onlySent(topic, 0, 3, 5)
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := j.runner.Accept(t.Context(), Acceptance{Topic: topic, At: AtEarliest}, "alice"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the stop: %v", err)
	}
}
