package kafkalog

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

// The topics are deleted and made anew under a running log: it follows the new ones, and writes to them.
func TestRecreated(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	l := open(t, c, "ns")
	put(t, l, "a", "1")
	l.Report("old", []byte("1"))
	consumertest.WaitFor(t, within, "the report", func() (any, bool) { return l.Problem(), len(l.Reports("old")) == 1 })
	if _, err := c.Admin(t).DeleteTopics(t.Context(), "ns.jobs", "ns.status"); err != nil {
		t.Fatal(err)
	}
	see(t, l, "a", "")
	put(t, l, "b", "2")
	see(t, l, "b", "2")
	consumertest.WaitFor(t, within, "a report", func() (any, bool) {
		l.Report("r", []byte("1"))
		return l.Problem(), len(l.Reports("r")) == 1
	})
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
		v.reports = map[string]report{}
		broker := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // wrong by years, and nobody minds
		hear := func(key string, live bool) {
			v.hear(&kgo.Record{Key: []byte(key), Value: []byte("{}"), Timestamp: broker.Add(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))}, live)
		}
		age := func(key string) time.Duration { return v.clock.age(v.reports[key].at).Round(time.Second) }
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
