package consumer

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink"
	"streamer/sink/sinktest"
)

// busyOf lists the partitions of a job on an instance, those with work with a star.
func busyOf(i *Instance, job string) string {
	var out []string
	for _, w := range i.Load(job).Partitions {
		out = append(out, fmt.Sprint(w.Partition)+map[bool]string{true: "*"}[w.Busy > 0])
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// A partition has work while rows of it are not final, and none when they only wait for their commit. The share that an instance is
// given holds for a sink that is there and for one that comes later.
func TestWorkAndShareOfAJob(t *testing.T) {
	c := consumertest.Fake(t)
	var stuck atomic.Bool
	stuck.Store(true)
	f := setup(t, c, func(*sinktest.Attempt) sinktest.Answer {
		if stuck.Load() {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	})
	topic := c.Topic(t, "limit", 3)
	cfg := f.job(topic, func(cfg *Config) {
		cfg.Commit = time.Hour
		cfg.Sink.Rate = sink.Rate{Count: 1000, Per: time.Second}
	})
	i := f.instance(Client{Brokers: c.Brokers}, 0)
	i.Divide(cfg.Job, 0.1, 1)
	for p := range int32(3) {
		f.produceN(topic, p, 10)
	}
	j := f.runOn(i, cfg)
	defer func() { _ = j.stop() }() // before the watch of its commits, which there are few of
	consumertest.WaitFor(t, within, "all partitions to have work", func() (any, bool) {
		w := busyOf(i, cfg.Job)
		return w, w == "0* 1* 2*"
	})
	stuck.Store(false)
	consumertest.WaitFor(t, within, "no partition to have work", func() (any, bool) {
		w := busyOf(i, cfg.Job)
		return w, w == "0 1 2"
	})
	n := f.api.Len()
	var more []*kgo.Record
	for p := range int32(3) {
		for n := range 10 {
			more = append(more, rec(topic, p, fmt.Sprint("key ", n), n))
		}
	}
	begun := time.Now() // the first attempt may come late, and then the others come closer behind it
	consumertest.Produce(t, f.producer, more...)
	starts := f.attempts(n + 30)[n:]
	if took := starts[len(starts)-1].Start.Sub(begun); took < 290*time.Millisecond {
		t.Errorf("30 attempts in %v, want a tenth of 1000 a second", took)
	}
}

// A redrive has a rate of its own, lower than the job's; the share of the job's limit that it may take is a larger part of that.
func TestPartOfALimit(t *testing.T) {
	for name, c := range map[string]struct {
		lower, job sink.Rate
		want       float64
	}{
		"half":            {sink.Rate{Count: 5, Per: time.Second}, sink.Rate{Count: 10}, 0.5},
		"by the minute":   {sink.Rate{Count: 60, Per: time.Minute}, sink.Rate{Count: 10, Per: time.Second}, 0.1},
		"the same":        {sink.Rate{Count: 10}, sink.Rate{Count: 10}, 1},
		"not lower":       {sink.Rate{Count: 20}, sink.Rate{Count: 10}, 1},
		"no limit at all": {sink.Rate{}, sink.Rate{}, 1},
		"only a lower":    {sink.Rate{Count: 5}, sink.Rate{}, 1},
	} {
		if got := partOf(c.lower, c.job); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
