package consumertest

import (
	"context"
	"testing"
	"time"
)

// nodeWithin bounds one step with a node; a clean stop of a broker takes a few seconds.
const nodeWithin = 90 * time.Second

// Kill ends a node (from 1) as a power cut would: SIGKILL, nothing flushed, no session closed.
func (c *Cluster) Kill(t testing.TB, node int) {
	t.Helper()
	c.step(t, "killing", node, c.backend.kill)
}

// Stop ends a node (from 1) cleanly.
func (c *Cluster) Stop(t testing.TB, node int) {
	t.Helper()
	c.step(t, "stopping", node, c.backend.stop)
}

// Start starts a node (from 1) again on its data and address, and returns when it serves.
func (c *Cluster) Start(t testing.TB, node int) {
	t.Helper()
	c.step(t, "starting", node, c.backend.start)
}

// Restart stops every node cleanly, one after the other, and starts each again before the next one stops.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	for node := 1; node <= c.nodes; node++ {
		c.Stop(t, node)
		c.Start(t, node)
	}
}

func (c *Cluster) step(t testing.TB, verb string, node int, do func(context.Context, int) error) {
	t.Helper()
	if node < 1 || node > c.nodes {
		t.Fatalf("%s node %d: the cluster has nodes 1 to %d", verb, node, c.nodes)
	}
	if shares(c) {
		t.Fatalf("%s a node of a shared cluster: a test that does so asks for Broker or ThreeBrokers", verb)
	}
	ctx, cancel := context.WithTimeout(t.Context(), nodeWithin)
	defer cancel()
	if err := do(ctx, node); err != nil {
		t.Fatalf("%s node %d: %v", verb, node, err)
	}
}

func shares(c *Cluster) bool {
	shared.Lock()
	defer shared.Unlock()
	for _, s := range shared.all {
		if s == c {
			return true
		}
	}
	return false
}

// Classes of Kafka's own tools, for Tool.
const (
	ToolGroups = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	ToolTopics = "org.apache.kafka.tools.TopicCommand"
)

// Tool runs one of Kafka's own command-line tools by its class, with --bootstrap-server set, and gives what it printed. It starts a
// Java machine: about a second.
func (c *Cluster) Tool(t testing.TB, class string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nodeWithin)
	defer cancel()
	out, err := c.backend.tool(ctx, class, args)
	if err != nil {
		t.Fatalf("%s %v: %v", class, args, err)
	}
	return out
}
