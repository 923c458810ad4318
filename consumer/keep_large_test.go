package consumer

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

// A job was stopped with much finished above the commits of its many partitions: in one request that is more than the broker takes. It is
// renewed in several, or Kafka would forget all of it one day.
func TestKeepOffsetsInSeveralRequests(t *testing.T) {
	const partitions = 100
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	cfg := f.job(c.Topic(t, "t", partitions))
	for id := range int32(partitions) {
		one := kadm.Offsets{}
		one.Add(kadm.Offset{Topic: cfg.Topics[0], Partition: id, At: 7, LeaderEpoch: -1, Metadata: strings.Repeat("m", 4000)})
		if err := c.Admin(t).CommitAllOffsets(t.Context(), cfg.Group, one); err != nil {
			t.Fatal(err)
		}
	}
	refuseCommits(c, kerr.InvalidCommitOffsetSize, func(metadata []string) bool { return len(strings.Join(metadata, "")) > maxRequest })
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	t.Cleanup(i.Close)
	if n, err := i.KeepOffsets(t.Context(), cfg); n != partitions || err != nil {
		t.Errorf("%d offsets renewed, %v", n, err)
	}
}

// To the question for its members a group of the consumer protocol is none. Its offsets are renewed all the same.
func TestKeepOffsetsOfTheConsumerProtocol(t *testing.T) {
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	cfg := f.job(c.Topic(t, "t", 1))
	one := kadm.Offsets{}
	one.Add(kadm.Offset{Topic: cfg.Topics[0], At: 7, LeaderEpoch: -1})
	if err := c.Admin(t).CommitAllOffsets(t.Context(), cfg.Group, one); err != nil {
		t.Fatal(err)
	}
	c.Fake.ControlKey(int16(kmsg.DescribeGroups), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.DescribeGroupsResponse)
		group := kmsg.NewDescribeGroupsResponseGroup()
		group.Group, group.ErrorCode = cfg.Group, kerr.GroupIDNotFound.Code
		resp.Groups = append(resp.Groups, group)
		return resp, nil, true
	})
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	t.Cleanup(i.Close)
	if n, err := i.KeepOffsets(t.Context(), cfg); n != 1 || err != nil {
		t.Errorf("%d offsets renewed, %v", n, err)
	}
}
