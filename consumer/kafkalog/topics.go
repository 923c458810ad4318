package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

const day = 24 * time.Hour

// settings are how the three topics are made in a cluster of so many brokers: what was acknowledged must survive the loss of one.
func (l *Log) settings(brokers int) map[string]map[string]string {
	all := map[string]map[string]string{
		l.jobs: {"cleanup.policy": "compact", "delete.retention.ms": millis(7 * day)},
		// The broker's clock stamps reports, so that their ages can be compared.
		l.status: {"cleanup.policy": "compact,delete", "segment.ms": millis(10 * time.Minute), "retention.ms": millis(time.Hour), "message.timestamp.type": "LogAppendTime"},
		l.audit:  {"cleanup.policy": "delete", "retention.ms": millis(90 * day)},
	}
	for _, config := range all {
		config["unclean.leader.election.enable"] = "false"
		config["max.message.bytes"] = strconv.Itoa(maxRecordBytes)
		if brokers >= 3 {
			config["min.insync.replicas"] = "2"
		}
	}
	return all
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// ensureTopics creates what is missing and names what exists otherwise than it would be created. The error says what is in the way.
func (l *Log) ensureTopics(ctx context.Context) error {
	topics := []string{l.jobs, l.status, l.audit}
	meta, err := l.admin.Metadata(ctx, topics...)
	if err != nil {
		return l.allowed(err, "topics")
	}
	replication := min(3, max(1, len(meta.Brokers)))
	wanted := l.settings(len(meta.Brokers))
	var existing []string
	for _, topic := range topics {
		switch err := meta.Topics[topic].Err; {
		case err == nil:
			existing = append(existing, topic)
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			config := map[string]*string{}
			for k, v := range wanted[topic] {
				config[k] = kadm.StringPtr(v)
			}
			switch _, err := l.admin.CreateTopic(ctx, 1, int16(replication), config, topic); {
			case err == nil:
				l.config.Log.Info("topic of the log created", "topic", topic, "replication", replication)
			case errors.Is(err, kerr.TopicAlreadyExists): // and is not known everywhere yet: how it was made is to be looked at
				return fmt.Errorf("topic %s was just made: %w", topic, kerr.UnknownTopicOrPartition)
			default:
				return l.allowed(err, "topic "+topic+", which is to be created,")
			}
		default:
			return l.allowed(err, "topic "+topic)
		}
	}
	l.trouble(troubleTopics, l.compare(ctx, existing, meta, replication, wanted))
	return nil
}

// compare names what is otherwise than this program would have made it.
func (l *Log) compare(ctx context.Context, existing []string, meta kadm.Metadata, replication int, wanted map[string]map[string]string) string {
	if len(existing) == 0 {
		return ""
	}
	var found []string
	for _, topic := range existing {
		parts := meta.Topics[topic].Partitions
		if len(parts) != 1 {
			found = append(found, fmt.Sprintf("topic %s has %d partitions; only the first is used", topic, len(parts)))
		}
		if n := len(parts[0].Replicas); n < replication {
			found = append(found, fmt.Sprintf("topic %s has %d replicas; %d are wanted", topic, n, replication))
		}
	}
	configs, err := l.admin.DescribeTopicConfigs(ctx, existing...)
	if err != nil {
		return strings.Join(append(found, fmt.Sprintf("settings of the log's topics cannot be looked at: %v", err)), "; ")
	}
	for _, c := range configs {
		if c.Err != nil {
			found = append(found, fmt.Sprintf("settings of topic %s cannot be looked at: %v", c.Name, c.Err))
			continue
		}
		for _, entry := range c.Configs {
			want, ruled := wanted[c.Name][entry.Key]
			if !ruled || entry.Value == nil || asGood(entry.Key, *entry.Value, want) {
				continue
			}
			found = append(found, fmt.Sprintf("topic %s has %s=%s; %s is wanted", c.Name, entry.Key, *entry.Value, want))
		}
	}
	slices.Sort(found)
	return strings.Join(found, "; ")
}

// asGood says that a setting is not less than what is wanted: times and sizes may be larger.
func asGood(key, value, want string) bool {
	if key == "cleanup.policy" { // in either order
		v, w := strings.Split(value, ","), strings.Split(want, ",")
		slices.Sort(v)
		slices.Sort(w)
		return slices.Equal(v, w)
	}
	v, err := strconv.ParseInt(value, 10, 64)
	w, err2 := strconv.ParseInt(want, 10, 64)
	if err != nil || err2 != nil || key == "segment.ms" {
		return value == want
	}
	return v >= w || v == -1 // -1: no end
}

// allowed says what to allow when Kafka refuses what the log needs.
func (l *Log) allowed(err error, what string) error {
	if !errors.Is(err, kerr.TopicAuthorizationFailed) && !errors.Is(err, kerr.ClusterAuthorizationFailed) {
		return err
	}
	return fmt.Errorf("kafka refuses %s to this user (%w); allow it CREATE, DESCRIBE, DESCRIBE_CONFIGS, READ and WRITE on topics %s, %s and %s, "+
		"and DESCRIBE and WRITE on transactional id %s", what, err, l.jobs, l.status, l.audit, l.transactionalID())
}
