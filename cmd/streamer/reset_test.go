package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer"
	"streamer/consumer/consumertest"
	"streamer/control"
	"streamer/control/service"
	"streamer/sink/sinktest"
)

// A job whose offsets were lost, or whose topic was made anew, is held; a reset says where it goes on, and ends the hold. A reset of the
// topic as it was is not undone in the new one.
func TestResetEndsHolds(t *testing.T) {
	t.Parallel()
	cluster := consumertest.Fake(t)
	api, err := sinktest.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	topic, job := cluster.Topic(t, "people", 1), "people"
	producer := cluster.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	produce := func() {
		for range 10 {
			consumertest.Produce(t, producer, &kgo.Record{Topic: topic, Key: []byte("a"), Value: []byte(`{"id": "a"}`)})
		}
	}
	produce()
	p := start(t, consumer.Client{Brokers: cluster.Brokers}, strings.NewReplacer("JOB", job, "TOPIC", topic, "API", api.URL()).Replace(operatedJob))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resets, group := p.supervisor.Resets(), "streamer."+job
	at := func(want int64) {
		t.Helper()
		consumertest.WaitFor(t, 2*time.Minute, "the commit", func() (any, bool) {
			got := cluster.Committed(t, group)[topic]
			return got, got[0] == want
		})
	}
	state := func(want control.State, cause string) {
		t.Helper()
		consumertest.WaitFor(t, 2*time.Minute, string(want), func() (any, bool) {
			j := p.supervisor.Readiness().Jobs[0]
			for _, w := range j.Waits {
				j.Cause += w.Cause
			}
			return j, j.State == want && strings.Contains(j.Cause, cause)
		})
	}
	reset := func(to string) {
		t.Helper()
		answer, err := resets.Reset(ctx, job, consumer.ResetSpec{To: to}, person("ann"))
		if err != nil {
			t.Fatal(err)
		}
		if o, err := resets.Wait(ctx, job, answer.ID); err != nil || o.Refused != "" {
			t.Fatalf("outcome %+v, %v", o, err)
		}
	}
	at(10)
	adm := cluster.Admin(t)
	if err := p.supervisor.Stop(ctx, job, person("ann")); err != nil {
		t.Fatal(err)
	}
	state(control.Stopped, "")
	consumertest.WaitFor(t, 2*time.Minute, "the group to be deleted", func() (any, bool) {
		resp, err := adm.DeleteGroup(ctx, group)
		return err, err == nil && resp.Err == nil
	})
	if err := p.supervisor.Start(ctx, job, person("ann")); err != nil {
		t.Fatal(err)
	}
	state(control.Held, "all offsets were lost")
	reset("4")
	at(10)
	reset("-3")
	at(10)
	state(control.Running, "")

	if _, err := adm.DeleteTopic(ctx, topic); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	producer.PurgeTopicsFromProducing(topic) // it would go on writing to the old one
	produce()
	produce()
	state(control.Running, "was deleted and made anew")
	if _, err := resets.Undo(ctx, job, person("ann"), false); err == nil || !strings.Contains(err.Error(), "was made anew since") {
		t.Errorf("undo in another topic: %v", err)
	}
	before := api.Len()
	reset("5")
	at(20)
	if n := api.Len() - before; n != 15 {
		t.Errorf("%d rows of the new topic were sent, want those from offset 5 on", n)
	}
	commands(t, operator{t, "http://" + p.Addr()}, job, topic)
	at(20)
	if n := api.Len() - before; n != 15+3+5+1 {
		t.Errorf("%d rows of the new topic were sent, want 3, 5 and 1 more", n)
	}
}

// commands resets by commands: a shift, a partition, and a table.
func commands(t *testing.T, o operator, job, topic string) {
	t.Helper()
	has := func(said string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(said, part) {
				t.Errorf("%q is not in\n%s", part, said)
			}
		}
	}
	has(o.types(0, "offsets show "+job), "group streamer.people is stable, lag 0", "the last reset, by ann, was done", topic)
	has(o.types(0, "offsets reset --to -3 --dry-run "+job), "AGAIN AT MOST", topic+"  0          20")
	has(o.types(2, "offsets reset --to -3 "+job), "say --yes, or look with --dry-run", "AFTER")
	has(o.types(0, "offsets reset --to -3 --yes "+job), "done; streamer offsets undo people takes it back")
	o.sees("offsets show "+job, "lag 0", "local:operator, was done")
	has(o.types(0, "offsets reset --set "+topic+"/0=-5 --yes -o json "+job), `"id"`)
	o.sees("offsets show "+job, "lag 0")
	shown := o.types(0, "offsets reset --yes --to -0s "+job)
	_, at, _ := strings.Cut(shown, "-0s is ")
	at, _, said := strings.Cut(at, " by the clock of instance ")
	if !said {
		t.Errorf("by whose clock is not said:\n%s", shown)
	}
	has(o.types(0, "audit --limit 20 --job "+job), "to "+at+"\n") // what was shown is what was done
	file := filepath.Join(t.TempDir(), "table.json")
	if err := os.WriteFile(file, []byte(`{"`+topic+`": {"0": 19}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	has(o.types(0, "offsets reset --keep-keys --yes --table "+file+" "+job), "done")
	has(o.types(0, "audit --job "+job), "reset-begin", "reset-table", "local:operator")
	has(o.types(2, "offsets reset --to yesterday --dry-run "+job), `"yesterday" is nothing of what is understood`, "say earliest, latest")
	has(o.types(2, "offsets reset --set "+topic+"/7=1 --dry-run "+job), "has no partition 7")
	has(o.types(2, "offsets reset --dry-run "+job), "needs --to, --set or --table")
	has(o.types(2, "offsets reset --to 1 --partition 0 --dry-run "+job), "--partition needs --topic")
}

// person is somebody who may do everything.
func person(name string) service.Caller {
	return service.Caller{Name: name, Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}
}

// nightResets are the offsets of the jobs of the scripts, with a reset that was done an hour ago.
type nightResets struct{}

func (nightResets) Show(context.Context, string) (control.OffsetsView, error) {
	at := night.Add(-4 * time.Hour)
	return control.OffsetsView{OffsetsView: consumer.OffsetsView{
		GroupView: consumer.GroupView{Group: "streamer.visits", State: "Stable", Protocol: consumer.GroupClassic,
			Members: []consumer.GroupMember{{ID: "m-1", Client: "streamer.streamer.visits", Host: "/10.0.0.7"}}},
		Partitions: []consumer.PartitionOffsets{{Topic: "visit", Committed: 1000, At: &at, HighWatermark: 2200, Lag: 1200, Finished: 3}}, Lag: 1200},
		LastReset: &consumer.ResetOutcome{ID: "R", By: "ann", At: night.Add(-time.Hour)}}, nil
}

func (nightResets) Preview(_ context.Context, _ string, spec consumer.ResetSpec) (control.ResetAnswer, error) {
	return control.ResetAnswer{ResetPlan: consumer.ResetPlan{Group: "streamer.visits", Partitions: []consumer.ResetPartition{
		{Topic: "visit", To: spec.String(), Before: 1000, After: 900, Again: 103, Finished: 3}}, Again: 103}}, nil
}

func (n nightResets) Reset(ctx context.Context, job string, spec consumer.ResetSpec, _ service.Caller) (control.ResetAnswer, error) {
	answer, err := n.Preview(ctx, job, spec)
	answer.ID = "R"
	return answer, err
}

func (n nightResets) Undo(ctx context.Context, job string, by service.Caller, dryRun bool) (control.ResetAnswer, error) {
	if dryRun {
		return n.Preview(ctx, job, consumer.ResetSpec{To: "900"})
	}
	return n.Reset(ctx, job, consumer.ResetSpec{To: "900"}, by)
}

func (nightResets) Wait(context.Context, string, string) (consumer.ResetOutcome, error) {
	return consumer.ResetOutcome{ID: "R", By: "ann", At: night.Add(-time.Hour)}, nil
}
