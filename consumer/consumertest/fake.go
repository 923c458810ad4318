package consumertest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"streamer/sink/sinktest/checker"
)

// FakeWithLogin is Fake for a broker that lets nobody in but this user, by SCRAM-SHA-256.
func FakeWithLogin(t testing.TB, user, password string, opts ...kfake.Opt) *Cluster {
	t.Helper()
	c := Fake(t, append([]kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", user, password)}, opts...)...)
	c.login = []kgo.Opt{kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism())}
	return c
}

// Fake gives an embedded broker of the test's own, in milliseconds and without a real Kafka: for everything quick, and for faults
// (its Fake field: Fault, ControlKey). It creates no topics by itself, has one node and two-digit milliseconds between rebalances.
// opts come last and win. It ends with the test. Kafka's own tools, Kill and Start do not work with it.
func Fake(t testing.TB, opts ...kfake.Opt) *Cluster {
	t.Helper()
	k, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DefaultNumPartitions(1),
		kfake.BrokerConfigs(map[string]string{
			"group.initial.rebalance.delay.ms": "0",
			"group.min.session.timeout.ms":     "100",
		}),
	}, opts...)...)
	if err != nil {
		t.Fatalf("fake Kafka: %v", err)
	}
	c := &Cluster{Brokers: k.ListenAddrs(), Mode: ModeFake, Fake: k, nodes: len(k.ListenAddrs()), backend: nothing{ModeFake}}
	t.Cleanup(func() {
		_ = c.close() // a fake has nothing to stop that could fail
		k.Close()
	})
	return c
}

// TakenBeside sees the group's commits in the order in which the fake broker takes them, each with where a topic ended then, until the broker
// ends. The function gives those seen so far.
func (c *Cluster) TakenBeside(t testing.TB, group, topic string) func() []checker.Commit {
	t.Helper()
	var mu sync.Mutex
	var taken []checker.Commit
	k := c.Fake
	k.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.OffsetCommitRequest)
		if req.Group != group {
			return nil, nil, false
		}
		ends := map[int32]int64{}
		for _, p := range k.PartitionInfos(topic) {
			ends[p.Partition] = p.HighWatermark
		}
		mu.Lock()
		defer mu.Unlock()
		for _, of := range req.Topics {
			name := of.Topic
			if info := k.TopicIDInfo(of.TopicID); info != nil {
				name = info.Topic
			}
			for _, p := range of.Partitions {
				taken = append(taken, checker.Commit{Topic: name, Partition: p.Partition, Offset: p.Offset, At: time.Now(), Told: ends})
			}
		}
		return nil, nil, false
	})
	return func() []checker.Commit {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(taken)
	}
}
