package consumertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Committed gives the committed offsets of a group, by topic and partition: the next offset it will read. A partition without a
// commit, and a group that does not exist, is left out.
func (c *Cluster) Committed(t testing.TB, group string) map[string]map[int32]int64 {
	t.Helper()
	var found kadm.OffsetResponses
	c.ask(t, "committed offsets of group "+group, func(ctx context.Context, adm *kadm.Client) (err error) {
		if found, err = adm.FetchOffsets(ctx, group); err == nil {
			err = found.Error()
		}
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil
		}
		return err
	})
	out := make(map[string]map[int32]int64)
	found.Each(func(o kadm.OffsetResponse) {
		if o.At < 0 {
			return
		}
		if out[o.Topic] == nil {
			out[o.Topic] = make(map[int32]int64)
		}
		out[o.Topic][o.Partition] = o.At
	})
	return out
}

// EndOffsets gives the high watermark of each partition of a topic.
func (c *Cluster) EndOffsets(t testing.TB, topic string) map[int32]int64 {
	t.Helper()
	return c.listed(t, topic, (*kadm.Client).ListEndOffsets)
}

// StartOffsets gives the log start of each partition of a topic.
func (c *Cluster) StartOffsets(t testing.TB, topic string) map[int32]int64 {
	t.Helper()
	return c.listed(t, topic, (*kadm.Client).ListStartOffsets)
}

func (c *Cluster) listed(t testing.TB, topic string, list func(*kadm.Client, context.Context, ...string) (kadm.ListedOffsets, error)) map[int32]int64 {
	t.Helper()
	var found kadm.ListedOffsets
	c.ask(t, "offsets of topic "+topic, func(ctx context.Context, adm *kadm.Client) (err error) {
		if found, err = list(adm, ctx, topic); err == nil {
			err = found.Error()
		}
		return err
	})
	out := make(map[int32]int64)
	found.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out
}

// Lag gives, over all partitions of a topic, how many records lie between the committed offset and the high watermark; where there
// is no commit, from the log's start.
func (c *Cluster) Lag(t testing.TB, group, topic string) int64 {
	t.Helper()
	done, starts := c.Committed(t, group)[topic], c.StartOffsets(t, topic)
	var lag int64
	for p, end := range c.EndOffsets(t, topic) {
		from, ok := done[p]
		if !ok {
			from = starts[p]
		}
		lag += end - from
	}
	return lag
}

// WaitForLag waits until the group's lag on the topic is 0.
func (c *Cluster) WaitForLag(t testing.TB, within time.Duration, group, topic string) {
	t.Helper()
	WaitFor(t, within, "lag 0 of group "+group+" on "+topic, func() (any, bool) {
		lag := c.Lag(t, group, topic)
		return lag, lag == 0
	})
}

// ask runs one question; coordinators move and brokers restart under tests, so it is asked again until askWithin.
func (c *Cluster) ask(t testing.TB, what string, question func(context.Context, *kadm.Client) error) {
	t.Helper()
	adm := c.Admin(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), askWithin)
	defer cancel()
	WaitFor(t, askWithin, what, func() (any, bool) {
		err := question(ctx, adm)
		return err, err == nil
	})
}
