package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

// .status and .audit are deleted under a running log: it makes them anew, and goes on.
func TestRecreated(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	l := open(t, c, "ns")
	put(t, l, "a", "1")
	l.Report("old", []byte("1"))
	consumertest.WaitFor(t, within, "the report", func() (any, bool) { return l.Problem(), len(l.Reports("old")) == 1 })
	if _, err := c.Admin(t).DeleteTopics(t.Context(), "ns.status", "ns.audit"); err != nil {
		t.Fatal(err)
	}
	consumertest.WaitFor(t, within, "a new report, and no old one", func() (any, bool) {
		l.Report("r", []byte("1"))
		return l.Problem(), len(l.Reports("r")) == 1 && len(l.Reports("old")) == 0
	})
	see(t, l, "a", "1")
	put(t, l, "b", "2")
	if lines, _, err := l.Audit(t.Context(), 0, 10, nil); err != nil || len(lines) != 1 {
		t.Errorf("audit %v, %v", lines, err)
	}
}

// .jobs is deleted under a running log, and then made anew by somebody: what it knows stays, and nothing is written over the newcomer.
// An instance that begins then reads the new one; one that begins in between does not take the loss for a first start.
func TestLost(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	l := open(t, c, "ns")
	put(t, l, "a", "1")
	_, _, mark := l.Since(Mark{})
	if _, err := c.Admin(t).DeleteTopics(t.Context(), "ns.jobs"); err != nil {
		t.Fatal(err)
	}
	lost := func(l *Log, what ...string) {
		t.Helper()
		for _, part := range append(what, "Restore", "kafka-topics.sh --bootstrap-server HOST:PORT --create --topic ns.jobs") {
			consumertest.WaitFor(t, within, "the problem to name "+part, func() (any, bool) { return l.Problem(), strings.Contains(l.Problem(), part) })
		}
		_, err := l.Update(t.Context(), "a", func(Entry, bool) ([]byte, []byte, error) { return []byte("2"), nil, nil })
		if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), what[0]) {
			t.Errorf("error %v", err)
		}
	}
	lost(l, "topic ns.jobs was deleted; this instance goes on with the 1 objects")
	late := opened(t, c, "ns")
	lost(late, "topic ns.jobs is missing, but ns.audit says that it was written to")
	ended, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := late.Wait(ended); err == nil {
		t.Error("a lost log was read")
	}
	config := map[string]*string{} // as it is told to be made
	for _, c := range regexp.MustCompile(`--config ([a-z.]+)=([A-Za-z0-9]+)`).FindAllStringSubmatch(late.Problem(), -1) {
		config[c[1]] = kmsg.StringPtr(c[2])
	}
	brokers, err := c.Admin(t).ListBrokers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	copies := min(3, len(brokers))
	if !strings.Contains(late.Problem(), fmt.Sprintf("--replication-factor %d ", copies)) || (config["min.insync.replicas"] != nil) != (copies == 3) {
		t.Errorf("for %d brokers: %s", len(brokers), late.Problem())
	}
	if _, err := c.Admin(t).CreateTopic(t.Context(), 1, int16(copies), config, "ns.jobs"); err != nil {
		t.Fatal(err)
	}
	if err := late.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, late, "b", "1")
	if p := late.Problem(); strings.Contains(p, "ns.jobs") {
		t.Errorf("after it was made as it is told: %s", p)
	}
	lost(l, "topic ns.jobs was deleted and made anew")
	see(t, l, "a", "1")
	see(t, l, "b", "")
	see(t, late, "a", "")
	see(t, late, "b", "1")
	if changed, whole, _ := l.Since(mark); len(changed) > 0 || whole {
		t.Errorf("changed %v, whole %v", changed, whole)
	}
}

// Compaction has removed the end of the log, its last marker too: a reader must not wait for a record that is not there.
func TestGapAtTheEnd(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	a := open(t, c, "ns")
	put(t, a, "a", "1")
	end := c.EndOffsets(t, "ns.jobs")[0]
	// The broker answers every fetch of .jobs with nothing, and says that this was all.
	c.Fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake.KeepControl()
		r := req.(*kmsg.FetchRequest)
		resp := r.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.HighWatermark, rp.LastStableOffset = p.Partition, end, end
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	b := open(t, c, "ns")
	if _, ok := b.Get("a"); ok {
		t.Error("read what the broker did not give")
	}
}

// Reports age by the broker's clock, and a time in which nobody could report makes nobody older.
func TestClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var v view
		broker := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // wrong by years, and nobody minds
		hear := func(key string, live bool) {
			v.hear(&kgo.Record{Key: []byte(key), Value: []byte("{}"), Timestamp: broker.Add(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))}, live)
		}
		age := func(key string) time.Duration { return v.clock.age(v.reports.values[key].at).Round(time.Second) }
		hear("gone", false)
		time.Sleep(24 * time.Hour) // nobody ran
		hear("a", true)
		if got := age("gone"); got != 24*time.Hour {
			t.Errorf("one that ended a day ago is %v old", got)
		}
		hear("b", true)
		for range 5 {
			time.Sleep(3 * time.Second)
			hear("a", true)
		}
		if got := age("b"); got != 15*time.Second {
			t.Errorf("one that was silent for 15 s is %v old", got)
		}
		hear("b", true)
		time.Sleep(5 * time.Minute) // Kafka is away
		hear("a", true)
		if got := age("b"); got != longestSilence {
			t.Errorf("after a pause of everybody, one is %v old", got)
		}
	})
}
