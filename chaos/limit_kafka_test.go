package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// A rate limit is one for all instances, whoever has the work. Three partitions have a backlog, six get a few records a second, three
// have nothing; one attempt in thirty fails and is made again. Three instances begin at one moment, a fourth one joins, one leaves.
// What the API sees is the limit, over the whole run and in every five seconds of it; less only while partitions of the one that left
// have no owner.
func TestKafkaRateLimitIsOneForAllInstances(t *testing.T) {
	const (
		limit  = 100
		burst  = 30 // what a busy machine stalls for must not be lost
		phase  = 7 * time.Second
		window = 5 * time.Second
		leaves = 2*phase + window       // when one leaves
		heirs  = leaves + 3*time.Second // when others have what was its own: a heartbeat, and a rebalance later
	)
	w := newWorld(t, consumertest.Kafka(t), 12)
	var n atomic.Int64
	w.api.SetAnswer(func(*sinktest.Attempt) sinktest.Answer {
		a := sinktest.Answer{Delay: 5 * time.Millisecond}
		if n.Add(1)%30 == 0 {
			a.Status = 503
		}
		return a
	})
	w.write("job.yaml", fmt.Sprintf(`
id: %s
owner: chaos
type: POST
topic: [%s]
datamap: {id: $.msg.id}
url: %s/rows/{id}
delivery:
  rate_limit: {rate: %d, burst: %d}
  retry: {initial: 20ms, max: 200ms}
`, w.job, w.topic, w.api.URL(), limit, burst))

	client, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	row := 0
	record := func(partition int32) *kgo.Record {
		row++
		key := fmt.Sprint("key ", row%500)
		return &kgo.Record{Topic: w.topic, Partition: partition, Key: []byte(key), Value: fmt.Appendf(nil, `{"id": "%d"}`, row)}
	}
	var backlog []*kgo.Record
	for range 5 * limit * int(phase/time.Second) {
		for p := range int32(3) {
			backlog = append(backlog, record(p))
		}
	}
	if err := client.ProduceSync(t.Context(), backlog...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	trickle, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { // ends with trickle
		for tick := time.NewTicker(50 * time.Millisecond); trickle.Err() == nil; <-tick.C {
			client.TryProduce(trickle, record(int32(3+row%6)), nil)
		}
	}()

	running := []*instance{w.start(), w.start(), w.start()}
	for _, i := range running {
		i.waitLog("assigned")
	}
	w.attempts(1)
	began := w.api.Attempts()[0].Start
	until := func(after time.Duration) { // the measure is time itself
		time.Sleep(time.Until(began.Add(after)))
	}
	until(phase + window)
	w.start().waitLog("assigned")
	until(leaves)
	running[0].terminate()
	until(3*phase + window)

	var starts []time.Duration
	for _, a := range w.api.Attempts() {
		starts = append(starts, a.Start.Sub(began))
	}
	slices.Sort(starts)
	first := 0
	worst, at := 0, time.Duration(0)
	for last := range starts {
		for starts[last]-starts[first] > window {
			first++
		}
		if n := last - first + 1; n > worst {
			worst, at = n, starts[first]
		}
	}
	counted, end := 0, starts[len(starts)-1]
	for _, at := range starts {
		if at >= window && at < leaves || at >= heirs {
			counted++
		}
	}
	rate := float64(counted) / (leaves - window + end - heirs).Seconds()
	t.Logf("%.1f attempts a second where %d are allowed; the worst five seconds, from %v on, had %.1f", rate, limit, at, float64(worst)/window.Seconds())
	for s := range int(end / time.Second) {
		n := 0
		for _, x := range starts {
			if x/time.Second == time.Duration(s) {
				n++
			}
		}
		t.Logf("second %d: %d", s, n)
	}
	if rate < 0.9*limit || rate > 1.1*limit {
		t.Errorf("%.1f attempts a second, want %d within a tenth", rate, limit)
	}
	if most := 1.1*limit*window.Seconds() + burst; float64(worst) > most {
		t.Errorf("%d attempts in five seconds, want at most %.0f", worst, most)
	}
	if len(starts) > len(backlog) {
		t.Error("the backlog was too small for the test")
	}
}
