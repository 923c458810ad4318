package consumer

import (
	"testing"

	"streamer/consumer/consumertest"
)

// asker is an instance that runs nothing; it ends with the test.
func asker(f *fixture) *Instance {
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	f.Cleanup(i.Close)
	return i
}

// A group with members keeps its offsets itself, and its commits are not touched; one that does not exist has none.
func TestKeepOffsetsOnlyOfEmptyGroups(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	topic := c.Topic(t, "t", 1)
	cfg := f.job(topic)
	i := asker(f)
	if n, err := i.KeepOffsets(t.Context(), cfg); n != 0 || err != nil {
		t.Errorf("%d offsets of a group that does not exist, %v", n, err)
	}
	r := f.run(cfg)
	consumertest.WaitFor(t, within, "the member", func() (any, bool) { return r.runner.Status(), len(r.runner.Status().Partitions) == 1 })
	if n, err := i.KeepOffsets(t.Context(), cfg); n != 0 || err != nil {
		t.Errorf("%d offsets of a group with a member, %v", n, err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if n, err := i.KeepOffsets(t.Context(), cfg); n != 1 || err != nil {
		t.Errorf("%d offsets of an empty group, %v", n, err)
	}
	if brokers, partitions, err := i.Extents(t.Context(), []Config{cfg}); brokers != 1 || err != nil || partitions[0] != 1 {
		t.Errorf("%d brokers, %d partitions, %v", brokers, partitions, err)
	}
	cfg.Topics, cfg.Pattern = []string{"^t-.*$"}, true
	if _, partitions, err := i.Extents(t.Context(), []Config{cfg}); err != nil || partitions[0] != 1 {
		t.Errorf("%d partitions of the pattern, %v", partitions, err)
	}
}

// A static member does not leave by itself when a job goes away for good: it is taken out.
func TestRemoveStaticMember(t *testing.T) {
	t.Parallel()
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	cfg := f.job(c.Topic(t, "t", 1), func(c *Config) { c.Instance = "i-0" })
	r := f.run(cfg)
	consumertest.WaitFor(t, within, "the member", func() (any, bool) { return r.runner.Status(), len(r.runner.Status().Partitions) == 1 })
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	members := func() int {
		groups, err := c.Admin(t).DescribeGroups(t.Context(), cfg.Group)
		if err != nil {
			t.Fatal(err)
		}
		return len(groups[cfg.Group].Members)
	}
	if n := members(); n != 1 {
		t.Fatalf("%d members after the stop; a static one stays", n)
	}
	i := asker(f)
	for range 2 { // twice is harmless
		if err := i.RemoveMember(t.Context(), cfg); err != nil {
			t.Error(err)
		}
	}
	if n := members(); n != 0 {
		t.Errorf("%d members", n)
	}
}
