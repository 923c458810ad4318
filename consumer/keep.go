package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"streamer/consumer/kafkalog"
)

// What control asks of Kafka about a job that does not run here.

// OpenLog opens the log of a namespace, on the same way to Kafka as the jobs.
func (i *Instance) OpenLog(namespace string) (*kafkalog.Log, error) {
	opts, err := i.options(clientID + ".log")
	if err != nil {
		return nil, err
	}
	return kafkalog.Open(kafkalog.Config{Namespace: namespace, Options: opts, Log: i.log})
}

// Extents gives how many brokers the cluster has, and how many partitions the topics of each job that exist have together, by one
// question for all.
func (i *Instance) Extents(ctx context.Context, jobs []Config) (brokers int, partitions []int, err error) {
	named := map[string]bool{}
	all := false
	for _, cfg := range jobs {
		all = all || cfg.Pattern
		for _, t := range cfg.Topics {
			named[t] = true
		}
	}
	wanted := slices.Collect(maps.Keys(named))
	if all {
		wanted = nil
	}
	meta, err := i.admin.Metadata(ctx, wanted...)
	if err != nil {
		return 0, nil, i.reach(err)
	}
	count := func(topic string) int {
		if t, ok := meta.Topics[topic]; ok && t.Err == nil {
			return len(t.Partitions)
		}
		return 0
	}
	partitions = make([]int, len(jobs))
	for at, cfg := range jobs {
		if !cfg.Pattern {
			for _, t := range cfg.Topics {
				partitions[at] += count(t)
			}
			continue
		}
		r := &Runner{instance: i, cfg: cfg, log: i.log}
		r.compilePatterns()
		for t := range meta.Topics {
			if r.matches(t) {
				partitions[at] += count(t)
			}
		}
	}
	return len(meta.Brokers), partitions, nil
}

// Purge deletes the group of a job, with its committed offsets, and its dead-letter topic, each if it is asked to. What is not there is no
// error; a group that has members is one.
func (i *Instance) Purge(ctx context.Context, cfg Config, offsets, letters bool) error {
	if offsets {
		resp, err := i.admin.DeleteGroup(ctx, cfg.Group)
		if err == nil {
			err = resp.Err
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("delete group %s: %w", cfg.Group, needing(err, "DELETE on the group"))
		}
	}
	if letters && cfg.DeadLetterTopic != "" {
		resp, err := i.admin.DeleteTopic(ctx, cfg.DeadLetterTopic)
		if err == nil {
			err = resp.Err
		}
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("delete dead-letter topic %s: %w", cfg.DeadLetterTopic, needing(err, "DELETE on the topic"))
		}
	}
	return nil
}

// needing adds to an error by which Kafka refuses this user something what he has to be allowed; others stay as they are.
func needing(err error, permission string) error {
	for _, refused := range []error{kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed} {
		if errors.Is(err, refused) {
			return fmt.Errorf("%w; this user needs %s", err, permission)
		}
	}
	return err
}

// Forget drops what is counted of a job, and its rate limit, when it is no more. Its runner must have ended.
func (i *Instance) Forget(job string) {
	i.metrics.forget(job)
	i.rates.mu.Lock()
	defer i.rates.mu.Unlock()
	if j := i.rates.jobs[job]; j != nil && len(j.sinks) == 0 {
		delete(i.rates.jobs, job)
	}
}

// RemoveMember takes this instance's static member out of a job's group, after its runner has ended: a static member does not leave
// by itself, and the group would wait for it. Without a static membership it does nothing.
func (i *Instance) RemoveMember(ctx context.Context, cfg Config) error {
	if cfg.Instance == "" {
		return nil
	}
	if i.kafka.GroupProtocol == GroupConsumer {
		return i.removeConsumer(ctx, cfg)
	}
	resp, err := i.admin.LeaveGroup(ctx, kadm.LeaveGroup(cfg.Group).InstanceIDs(cfg.Instance).Reason("the job does not run on this instance any more"))
	if err == nil {
		err = resp.Error()
	}
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.GroupIDNotFound) {
		return nil // gone already
	}
	if err != nil {
		return fmt.Errorf("take member %s out of group %s: %w", cfg.Instance, cfg.Group, err)
	}
	return nil
}

// KeepOffsets commits the offsets of a job that does not run once more, as they are: position, leader epoch and metadata. Kafka
// forgets the offsets of a group that has had no members for offsets.retention.minutes (7 days unless told). It gives their number;
// 0 if the group has members, who keep them by being there, or no offsets.
//
// A member that joins, commits and leaves between our look and our commit would be set back, and what it did be sent again; Kafka
// refuses the commit as long as there is one. Jobs that do not run are not started and stopped within milliseconds.
func (i *Instance) KeepOffsets(ctx context.Context, cfg Config) (int, error) {
	groups, err := i.admin.DescribeGroups(ctx, cfg.Group)
	if err == nil {
		err = groups[cfg.Group].Err
	}
	switch {
	case errors.Is(err, kerr.GroupIDNotFound): // there is none, or one of the consumer protocol: its members are seen by the commit
	case err != nil:
		return 0, fmt.Errorf("describe group %s: %w", cfg.Group, err)
	case len(groups[cfg.Group].Members) > 0:
		return 0, nil
	}
	committed, err := i.committedOffsets(ctx, cfg.Group)
	if err != nil {
		return 0, err
	}
	var parts []kadm.Offsets // in requests no larger than those of a job that runs
	n, room := 0, int64(0)
	committed.Each(func(o kadm.OffsetResponse) {
		if o.At < 0 {
			return
		}
		bytes := commitBytes(cfg.Group, o.Topic, o.Metadata)
		if len(parts) == 0 || bytes > room {
			parts, room = append(parts, kadm.Offsets{}), maxRequest
		}
		parts[len(parts)-1].Add(o.Offset)
		room -= bytes
		n++
	})
	for _, part := range parts {
		resp, err := i.admin.CommitOffsets(ctx, cfg.Group, part)
		if err == nil {
			err = resp.Error()
		}
		if hasMembers(err) {
			return 0, nil // somebody has joined
		}
		if err != nil {
			return 0, fmt.Errorf("commit the offsets of group %s again: %w", cfg.Group, err)
		}
	}
	return n, nil
}
