package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink/sinktest/checker"
)

// Topics are named as Aether names them: tenant and schema.
const (
	householdTopic   = "demo.Household"
	measurementTopic = "demo.Measurement"
)

// partitions of the topics. One topic has a single partition, as many small ones do; see row.lane for what several mean.
var partitions = map[string]int32{householdTopic: 1, measurementTopic: 4}

// broker is the embedded Kafka, with a client for the demo's own part: the producer, and looking from outside.
type broker struct {
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
}

func startBroker() (*broker, error) {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	}
	for topic, n := range partitions {
		opts = append(opts, kfake.SeedTopics(n, topic))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("embedded Kafka: %w", err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ClientID("demo"),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		cluster.Close()
		return nil, fmt.Errorf("embedded Kafka: %w", err)
	}
	return &broker{cluster: cluster, client: client, admin: kadm.NewClient(client)}, nil
}

func (b *broker) close() {
	b.client.Close()
	b.cluster.Close()
}

// askTimeout bounds a question to the broker, which is in this process.
const askTimeout = 5 * time.Second

// commits gives what the group of a job has committed for its topic, as seen now.
func (b *broker) commits(ctx context.Context, r role) ([]checker.Commit, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	offsets, err := b.admin.FetchOffsets(ctx, r.group())
	if err == nil {
		err = offsets.Error()
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil // nobody has joined or committed yet
	}
	if err != nil {
		return nil, fmt.Errorf("committed offsets of group %s: %w", r.group(), err)
	}
	now := time.Now()
	var out []checker.Commit
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.At >= 0 {
			out = append(out, checker.Commit{Topic: o.Topic, Partition: o.Partition, Offset: o.At, At: now})
		}
	})
	return out, nil
}

// ends gives the high watermarks of a topic; a topic that does not exist has none.
func (b *broker) ends(ctx context.Context, topic string) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	listed, err := b.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("end of topic %s: %w", topic, err)
	}
	out := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			out[o.Partition] = o.Offset
		}
	})
	return out, nil
}

// lag is the number of records of the job's topic that its group has not committed yet.
func (b *broker) lag(ctx context.Context, r role) (int64, error) {
	ends, err := b.ends(ctx, r.topic)
	if err != nil {
		return 0, err
	}
	committed, err := b.commits(ctx, r)
	if err != nil {
		return 0, err
	}
	var lag int64
	for _, end := range ends {
		lag += end
	}
	for _, c := range committed {
		if c.Topic == r.topic {
			lag -= c.Offset
		}
	}
	return lag, nil
}
