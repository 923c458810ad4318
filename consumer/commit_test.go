package consumer

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

// Commits are refused for a while: nothing is lost, the cause is shown, and goes when they are taken again.
func TestRefusedCommitsAreShownAndMended(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
	cfg := f.job(topic)
	f.commit(cfg.Group, topic, 0, 0)
	fault := f.cluster.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.GroupAuthorizationFailed, Count: 20})
	j := f.run(cfg)
	j.waitCause("the last commit was refused")
	if fault.Hits() == 0 {
		t.Fatal("no commit was refused")
	}
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "a status without cause", func() (any, bool) { c := j.runner.Status().Cause; return c, c == "" })
}

// refuseCommits makes the group coordinator refuse commits by the metadata of their partitions.
func refuseCommits(c *consumertest.Cluster, refusal *kerr.Error, refuses func(metadata []string) bool) *kfake.FaultHandle {
	return c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: refusal, Count: -1, When: func(req kmsg.Request) bool {
		var metadata []string
		for _, topic := range req.(*kmsg.OffsetCommitRequest).Topics {
			for _, p := range topic.Partitions {
				m := ""
				if p.Metadata != nil {
					m = *p.Metadata
				}
				metadata = append(metadata, m)
			}
		}
		return refuses(metadata)
	}})
}
