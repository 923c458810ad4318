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

// jobsSegmentBytes is how much of .jobs may be kept uncompacted: Kafka never compacts the newest segment.
const jobsSegmentBytes = 32 << 20

// settings are how the three topics are made in a cluster of so many brokers: what was acknowledged must survive the loss of one.
func (l *Log) settings(brokers int) map[string]map[string]string {
	all := map[string]map[string]string{
		l.jobs:   {"cleanup.policy": "compact", "delete.retention.ms": millis(7 * day)},
		l.status: {"cleanup.policy": "compact,delete", "segment.ms": millis(10 * time.Minute), "retention.ms": millis(time.Hour)},
		l.audit:  {"cleanup.policy": "delete", "retention.ms": millis(90 * day)},
	}
	for _, config := range all {
		// Clocks of instances differ: the ages of reports and the times of the audit are told by one, and Kafka refuses times that lie ahead
		// of the broker's by more than message.timestamp.after.max.ms, an hour, so that an instance whose clock does could write nothing.
		config["message.timestamp.type"] = "LogAppendTime"
		config["unclean.leader.election.enable"] = "false"
		config["max.message.bytes"] = strconv.Itoa(maxRecordBytes)
		if brokers >= 3 {
			config["min.insync.replicas"] = "2"
		}
	}
	return all
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func (l *Log) topics() []string { return []string{l.jobs, l.status, l.audit} }

func missing(err error) bool { return errors.Is(err, kerr.UnknownTopicOrPartition) }

// inspect looks at the topics: which are missing, how topics are to be made in this cluster, and what is otherwise, which Problem says.
func (l *Log) inspect(ctx context.Context) (missed []string, meta kadm.Metadata, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	meta, err = l.admin.Metadata(ctx, l.topics()...)
	if err != nil {
		return nil, meta, l.allowed(err, "topics")
	}
	l.brokers.Store(int32(len(meta.Brokers)))
	var existing []string
	for _, topic := range l.topics() {
		switch err := meta.Topics[topic].Err; {
		case err == nil:
			existing = append(existing, topic)
		case missing(err):
			missed = append(missed, topic)
		default:
			return nil, meta, l.allowed(err, "topic "+topic)
		}
	}
	found, err := l.compare(ctx, existing, meta)
	l.trouble(troubleTopics, found)
	return missed, meta, err
}

func replication(brokers int) int { return min(3, max(1, brokers)) }

// ensureTopics creates what is missing and names what exists otherwise than it would be created. The error says what is in the way.
func (l *Log) ensureTopics(ctx context.Context) error {
	missed, meta, err := l.inspect(ctx)
	if err != nil {
		return err
	}
	for _, topic := range missed {
		if topic == l.jobs {
			if err := l.lost(ctx, missed); err != nil {
				return err
			}
		}
		config := map[string]*string{}
		for k, v := range l.settings(len(meta.Brokers))[topic] {
			config[k] = kadm.StringPtr(v)
		}
		if topic == l.jobs { // so that compaction gets at what is old, and a start does not read it all; as good otherwise
			config["segment.bytes"] = kadm.StringPtr(strconv.Itoa(jobsSegmentBytes))
		}
		switch _, err := l.admin.CreateTopic(ctx, 1, int16(replication(len(meta.Brokers))), config, topic); {
		case err == nil:
			l.config.Log.Info("topic of the log created", "topic", topic, "replication", replication(len(meta.Brokers)))
		case errors.Is(err, kerr.TopicAlreadyExists): // and is not known everywhere yet: how it was made is to be looked at
			return fmt.Errorf("topic %s was just made: %w", topic, kerr.UnknownTopicOrPartition)
		default:
			return l.allowed(err, "topic "+topic+", which is to be created,")
		}
	}
	return nil
}

// compare names what is otherwise than this program would have made it. The error says that the log must not be used so.
func (l *Log) compare(ctx context.Context, existing []string, meta kadm.Metadata) (string, error) {
	if len(existing) == 0 {
		return "", nil
	}
	var found []string
	replication, wanted := replication(len(meta.Brokers)), l.settings(len(meta.Brokers))
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
		return strings.Join(append(found, fmt.Sprintf("settings of the log's topics cannot be looked at: %v", err)), "; "), nil
	}
	var mends []string
	for _, c := range configs {
		var lacks []string
		if c.Err != nil {
			found = append(found, fmt.Sprintf("settings of topic %s cannot be looked at: %v", c.Name, c.Err))
			continue
		}
		for _, entry := range c.Configs {
			if c.Name == l.jobs && entry.Key == "cleanup.policy" && entry.Value != nil && deletes(*entry.Value) {
				return strings.Join(found, "; "), l.deleting(*entry.Value)
			}
			want, ruled := wanted[c.Name][entry.Key]
			if !ruled || entry.Value == nil || asGood(entry.Key, *entry.Value, want) {
				continue
			}
			found = append(found, fmt.Sprintf("topic %s has %s=%s; %s is wanted", c.Name, entry.Key, *entry.Value, want))
			if entry.Key == "min.insync.replicas" && len(meta.Topics[c.Name].Partitions[0].Replicas) < replication {
				continue // with fewer copies than that nothing could be written: they come first
			}
			lacks = append(lacks, entry.Key+"="+want)
		}
		if lacks != nil {
			mends = append(mends, "mend it with: "+alter(c.Name, lacks...))
		}
	}
	slices.Sort(found)
	slices.Sort(mends)
	return strings.Join(append(found, mends...), "; "), nil
}

// alter is the command that gives a topic settings, each key=value.
func alter(topic string, settings ...string) string {
	slices.Sort(settings)
	for i, s := range settings {
		if key, value, _ := strings.Cut(s, "="); strings.Contains(value, ",") {
			settings[i] = "'" + key + "=[" + value + "]'" // as the tool reads a list
		}
	}
	return "kafka-configs.sh --bootstrap-server HOST:PORT --alter --entity-type topics --entity-name " + topic + " --add-config " + strings.Join(settings, ",")
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
