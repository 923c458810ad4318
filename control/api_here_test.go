package control

import (
	"testing"

	"streamer/consumer"
)

func TestHereNamesThePartitionThatMakesNoProgress(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, untilSoft)
	s.job("a").set(&fakeRunner{status: consumer.Status{
		State:      consumer.Running,
		Partitions: []consumer.PartitionStatus{{Topic: "t", Partition: 0}, {Topic: "t", Partition: 1}, {Topic: "u", Partition: 1}},
		Stalls:     []consumer.Stall{{Topic: "t", Partition: 1, Cause: consumer.StallBreaker, Reason: "http://a.test:80: answered 503"}},
	}})
	parts := s.Here("", "")[0].Assigned
	if len(parts) != 3 || parts[0].Stall != nil || parts[2].Stall != nil || parts[1].Stall == nil || parts[1].Stall.Cause != consumer.StallBreaker {
		t.Errorf("partitions are %+v, want t/1 alone to be stalled", parts)
	}
}
