package consumer

import (
	"fmt"
	"testing"

	"streamer/consumer/consumertest"
)

// What happens to records when topics or group change. Of topic t 50 and 60 are committed, and of its first partition two records above that
// are finished; u has 3 records that the job does not read.
func TestPlanMove(t *testing.T) {
	t.Parallel()
	f := newResetFixture(t)
	u := f.cluster.Topic(t, "u", 1)
	for n := range 3 {
		consumertest.Produce(t, f.producer, rec(u, 0, "k", n))
	}
	f.fixture.commit("some", f.topic, 0, 40)
	f.fixture.commit("beyond", f.topic, 0, 90)
	f.fixture.commit("beyond", f.topic, 1, 5)
	begun := Memory{Group: f.cfg.Group, Begun: map[string]Begun{f.topic: {Partitions: 2}}}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"nothing":               {func(c *Config) { c.Start.Latest = true }, "[] 0 0 0"},
		"a new group":           {func(c *Config) { c.Group = "new" }, "[t/0 50 0 52 0 0 t/1 60 10 50 0 0] 102 0 0"},
		"a new group, latest":   {func(c *Config) { c.Group, c.Start.Latest = "new", true }, "[t/0 50 100 0 48 0 t/1 60 100 0 40 0] 0 88 0"},
		"a group with a commit": {func(c *Config) { c.Group, c.Start.Latest = "some", true }, "[t/0 50 40 12 0 0 t/1 60 10 50 0 0] 62 0 0"},
		"a group that was elsewhere": {func(c *Config) { c.Group = "beyond" },
			"[t/0 50 90 0 38 0 t/1 60 5 55 0 0 it is held: records expired] 55 38 0"},
		"another topic": {func(c *Config) { c.Topics = []string{u} }, "[t/0 50 -1 0 48 0 it is not read any more t/1 60 -1 0 40 0 it is not read any more u/0 -1 0 0 0 3] 0 88 3"},
		"another topic, latest": {func(c *Config) { c.Topics, c.Start.Latest = []string{u}, true },
			"[t/0 50 -1 0 48 0 it is not read any more t/1 60 -1 0 40 0 it is not read any more u/0 -1 3 0 3 0] 0 91 0"},
		"one more topic, latest": {func(c *Config) { c.Topics, c.Start.Latest = []string{f.topic, u}, true }, "[u/0 -1 0 0 0 3] 0 0 3"},
		"a topic that is not there": {func(c *Config) { c.Topics = []string{"none"} },
			"[t/0 50 -1 0 48 0 it is not read any more t/1 60 -1 0 40 0 it is not read any more] 0 88 0"},
	} {
		to := f.cfg
		c.change(&to)
		plan, err := f.i.PlanMove(t.Context(), f.cfg, to, begun)
		if err != nil {
			t.Fatal(name, err)
		}
		parts := []string{}
		for _, p := range plan.Partitions {
			topic := map[string]string{f.topic: "t", u: "u"}[p.Topic]
			line := fmt.Sprintf("%s/%d %d %d %d %d %d", topic, p.Partition, p.Before, p.After, p.Again, p.Skipped, p.New)
			if p.Note != "" {
				line += " " + p.Note
			}
			parts = append(parts, line)
		}
		if got := fmt.Sprintf("%v %d %d %d", parts, plan.Again, plan.Skipped, plan.New); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	// A job whose offsets were lost begins nowhere by itself.
	lost := f.cfg
	lost.Group = "lost"
	plan, err := f.i.PlanMove(t.Context(), f.cfg, lost, Memory{Group: "lost", Begun: map[string]Begun{f.topic: {Partitions: 2}}})
	if err != nil || len(plan.Partitions) != 2 || plan.Partitions[0].After != -1 || plan.Partitions[0].Note != "it is held: its offset was lost" {
		t.Errorf("lost: %+v, %v", plan, err)
	}
}
