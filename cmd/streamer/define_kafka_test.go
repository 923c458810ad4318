package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer"
	"streamer/consumer/consumertest"
	"streamer/control"
	"streamer/control/job"
	"streamer/control/service"
	"streamer/sink/sinktest"
)

// openDefinitions writes jobs as an instance does.
func openDefinitions(t *testing.T, brokers []string) *control.Definitions {
	t.Helper()
	i, err := consumer.NewInstance(consumer.Client{Brokers: brokers}, 0, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	log, err := i.OpenLog("streamer")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		log.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		log.Close()
		i.Close()
	})
	return control.NewDefinitions(log, job.Process{Namespace: "streamer"})
}

// Three instances without a job file. A job is created, changed and deleted while the rows of another one flow: each time all of them
// follow within two seconds, and no row is lost. (The very first job waits longer where the broker makes its topics of groups for it.)
func TestKafkaJobsChangeEverywhere(t *testing.T) {
	t.Parallel()
	c := consumertest.Broker(t)
	api, err := sinktest.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	var all []*spawned
	for _, id := range []string{"x", "y", "z"} {
		all = append(all, spawn(t, t.TempDir(), strings.Join(c.Brokers, ","), id))
	}
	defs := openDefinitions(t, c.Brokers)
	admin := service.Caller{Name: "test", Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}
	steady, topic := c.Topic(t, "steady", 3), c.Topic(t, "rows", 3)
	document := func(id, topic, path string) []byte {
		return fmt.Appendf(nil, `{"id": %q, "owner": "o", "type": "PUT", "topic": [%q], "url": "%s/%s/{id}", "datamap": {"id": "$.msg.id"}, "order": "key"}`, id, topic, api.URL(), path)
	}
	put := func(d control.Definition, err error) control.Definition {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	everywhere := func(what string, want ...string) time.Duration {
		t.Helper()
		begun := time.Now()
		consumertest.WaitFor(t, 2*time.Minute, what, func() (any, bool) {
			for _, p := range all {
				if ids := p.running(); !slices.Equal(ids, want) {
					return fmt.Sprint(p.listen, " runs ", ids), false
				}
			}
			return nil, true
		})
		return time.Since(begun)
	}
	producer := c.Producer(t)
	sent, stop, flowing := 0, make(chan struct{}), make(chan struct{})
	consumertest.WaitFor(t, 2*time.Minute, "the instances", func() (any, bool) {
		for _, p := range all {
			if !p.answers() {
				return p.listen, false
			}
		}
		return nil, true
	})
	put(defs.Create(t.Context(), admin, document("steady", steady, "steady")))
	everywhere("created", "steady")
	go func() { // ends with stop
		defer close(flowing)
		for ; ; sent++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				r := &kgo.Record{Topic: steady, Partition: int32(sent % 3), Value: []byte(`{"id": "a"}`)}
				if err := producer.ProduceSync(context.Background(), r).FirstErr(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	// probe sends a row, and gives the path at which it arrives.
	probe := func() (at string) {
		t.Helper()
		id := fmt.Sprint("probe-", time.Now().UnixNano())
		consumertest.Produce(t, producer, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, `{"id": %q}`, id)})
		consumertest.WaitFor(t, 2*time.Minute, id, func() (any, bool) {
			for _, a := range api.Attempts() {
				if strings.HasSuffix(a.Path, id) {
					at = a.Path
				}
			}
			return nil, at != ""
		})
		return at
	}
	consumertest.Claim(t, "a job is created, changed and deleted, each within two seconds", func() (any, bool) {
		made := put(defs.Create(t.Context(), admin, document("job", topic, "one")))
		created := everywhere("created beside it", "job", "steady")
		if at := probe(); !strings.HasPrefix(at, "/one/") {
			t.Errorf("a row of the new job went to %s", at)
		}
		put(defs.Replace(t.Context(), admin, "job", made.Revision, document("job", topic, "two")))
		begun := time.Now()
		consumertest.WaitFor(t, 2*time.Minute, "the change", func() (any, bool) { at := probe(); return at, strings.HasPrefix(at, "/two/") })
		changed := time.Since(begun)
		put(defs.Delete(t.Context(), admin, "job", "", control.Deletion{Offsets: true, Letters: true}))
		deleted := everywhere("deleted", "steady")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := defs.Removed(ctx, "job"); err != nil {
			t.Error(err)
		}
		return []time.Duration{created, changed, deleted}, max(created, changed, deleted) <= 2*time.Second
	})
	groups, err := c.Admin(t).ListGroups(t.Context())
	if err != nil || slices.Contains(groups.Groups(), "streamer.job") || !slices.Contains(groups.Groups(), "streamer.steady") {
		t.Errorf("groups %v, %v", groups.Groups(), err)
	}
	close(stop)
	<-flowing
	consumertest.WaitFor(t, 2*time.Minute, "every row", func() (any, bool) {
		seen := map[string]bool{}
		for _, a := range api.Attempts() {
			if a.Topic == steady {
				seen[fmt.Sprint(a.Partition, "/", a.Offset)] = true
			}
		}
		return fmt.Sprint(len(seen), " of ", sent), len(seen) == sent
	})
}
