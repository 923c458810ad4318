package consumertest

import (
	"context"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink/sinktest/checker"
)

// DeadLetters reads a dead-letter topic to its end, for the checker. A topic that does not exist has none.
func (c *Cluster) DeadLetters(t testing.TB, topic string) []checker.DeadLetter {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), askWithin)
	defer cancel()
	topics, err := c.Admin(t).ListTopics(ctx, topic)
	if err != nil {
		t.Fatalf("looking for topic %s: %v", topic, err)
	}
	if !topics.Has(topic) {
		return nil
	}
	var out []checker.DeadLetter
	for _, r := range c.ReadAll(t, topic) {
		if slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == "streamer-outcome" }) {
			continue // says what has become of a dead letter
		}
		d, err := checker.ParseDeadLetter(func(name string) (string, bool) {
			for _, h := range slices.Backward(r.Headers) { // the record's own headers stand before the dead letter's
				if h.Key == name {
					return string(h.Value), true
				}
			}
			return "", false
		}, r.Timestamp)
		if err != nil {
			t.Fatalf("%s/%d/%d: %v", topic, r.Partition, r.Offset, err)
		}
		out = append(out, d)
	}
	return out
}
