package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// ensureTopic makes the topic when it is missing: as large a record as the sources take. The error says, in an operator's words, why it cannot
// be written; a topic that cannot be asked for now is none: writing will tell.
func (b *outbox) ensureTopic(ctx context.Context) error {
	if b.topic == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, prepareRetry)
	defer cancel()
	instance, topic := b.runner.instance, b.topic
	meta, err := instance.topics.do(ctx, false, topic)
	switch {
	case err != nil:
		return nil
	case errors.Is(meta.Topics[topic].Err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("%s topic %s: %w; allow this user to write to it", b.kind, topic, meta.Topics[topic].Err)
	case !errors.Is(meta.Topics[topic].Err, kerr.UnknownTopicOrPartition):
		return nil
	}
	config := topicConfig(len(meta.Brokers))
	if b.retention > 0 {
		config["retention.ms"] = kadm.StringPtr(strconv.FormatInt(b.retention.Milliseconds(), 10))
	}
	if size := b.runner.sourceRecordBytes(ctx); size > 0 {
		config["max.message.bytes"] = kadm.StringPtr(strconv.FormatInt(min(b.copies*size+b.room, outboxBatchBytes), 10))
	}
	replication := int16(min(3, max(1, len(meta.Brokers))))
	wrong, err := instance.make.do(ctx, false, newTopic{topic, replication, config})
	if err = cmp.Or(err, wrong[topic]); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("%s topic %s cannot be created: %w; create it, or allow this user to", b.kind, topic, err)
	}
	b.runner.log.Info(b.kind+" topic created", "topic", topic, "replication", replication)
	return nil
}

// prepare makes the topic before anything is written, and notes why it cannot be.
func (b *outbox) prepare(ctx context.Context) {
	err := b.ensureTopic(ctx)
	if err == nil {
		return
	}
	b.runner.status.note(b.said, err.Error())
	if b.runner.said.first(err.Error(), time.Now()) {
		b.runner.log.Warn(err.Error())
	}
}

// topicConfig is how streamer makes a topic of its own: what was acknowledged must survive the loss of a broker.
func topicConfig(brokers int) map[string]*string {
	config := map[string]*string{"cleanup.policy": kadm.StringPtr("delete"), "unclean.leader.election.enable": kadm.StringPtr("false")}
	if brokers >= 3 {
		config["min.insync.replicas"] = kadm.StringPtr("2")
	}
	return config
}

// sourceRecordBytes is the largest max.message.bytes of the job's topics, 0 if it cannot be read.
func (r *Runner) sourceRecordBytes(ctx context.Context) int64 {
	topics, err := r.existingTopics(ctx)
	if err != nil || len(topics) == 0 {
		return 0
	}
	configs, err := r.instance.admin.DescribeTopicConfigs(ctx, topics.names()...)
	if err != nil {
		return 0
	}
	var largest int64
	for _, c := range configs {
		for _, entry := range c.Configs {
			if entry.Key != "max.message.bytes" || entry.Value == nil {
				continue
			}
			if n, err := strconv.ParseInt(*entry.Value, 10, 64); err == nil {
				largest = max(largest, n)
			}
		}
	}
	return largest
}
