package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// GroupBusyError says that a group has members, so that nothing is set.
type GroupBusyError struct {
	Group string
	Cause error
}

func (e *GroupBusyError) Error() string {
	return fmt.Sprintf("group %s has members: %v", e.Group, e.Cause)
}

func (e *GroupBusyError) Unwrap() error { return e.Cause }

// CommitReset commits a table for a group without members, without leader epochs and metadata, and reads it back. Twice is harmless.
// Errors: *GroupBusyError if somebody is, or came, in between; *ResetError if it cannot be as the table has it, or if it was
// overwritten; else Kafka's, and it is to be tried again.
func (i *Instance) CommitReset(ctx context.Context, cfg Config, table ResetTable) error {
	r := i.asker(cfg)
	topics, err := r.existingTopics(ctx)
	if err != nil {
		return err
	}
	if err := table.check(topics); err != nil {
		return err
	}
	var parts []kadm.Offsets // in requests no larger than those of a job that runs
	room := int64(0)
	for _, at := range table.all() {
		bytes := commitBytes(r.cfg.Group, at.Topic, "")
		if len(parts) == 0 || bytes > room {
			parts, room = append(parts, kadm.Offsets{}), maxRequest
		}
		parts[len(parts)-1].Add(kadm.Offset{Topic: at.Topic, Partition: at.Partition, At: table[at.Topic].Offsets[at.Partition][1], LeaderEpoch: -1})
		room -= bytes
	}
	for _, part := range parts {
		if err := i.commitPart(ctx, r.cfg.Group, part); err != nil {
			return err
		}
	}
	return i.readBack(ctx, r.cfg.Group, table)
}

// commitPart commits, and checks the answer for each partition.
func (i *Instance) commitPart(ctx context.Context, group string, part kadm.Offsets) error {
	resp, err := i.admin.CommitOffsets(ctx, group, part)
	if hasMembers(err) {
		return &GroupBusyError{group, err}
	}
	if err != nil {
		return fmt.Errorf("commit the new offsets of group %s: %w", group, err)
	}
	var refused []string
	var busy, cause error
	resp.Each(func(o kadm.OffsetResponse) {
		switch {
		case hasMembers(o.Err):
			busy = o.Err
		case errors.Is(o.Err, kerr.GroupAuthorizationFailed), errors.Is(o.Err, kerr.TopicAuthorizationFailed):
			cause = &ResetError{Cause: fmt.Sprintf("kafka refuses the commit of %s/%d for group %s to this user: %v", o.Topic, o.Partition, group, o.Err),
				Mend: "it needs READ on the group and on the topic"}
		case o.Err != nil:
			refused = append(refused, fmt.Sprintf("%s/%d: %v", o.Topic, o.Partition, o.Err))
		}
	})
	switch {
	case busy != nil:
		return &GroupBusyError{group, busy}
	case cause != nil:
		return cause
	case len(refused) > 0:
		slices.Sort(refused)
		return fmt.Errorf("commit the new offsets of group %s: %s", group, strings.Join(refused, ", "))
	}
	return nil
}

// readBack compares what the group has with the table.
func (i *Instance) readBack(ctx context.Context, group string, table ResetTable) error {
	committed, err := i.committedOffsets(ctx, group)
	if err != nil {
		return err
	}
	var other []string
	for _, at := range table.all() {
		want := table[at.Topic].Offsets[at.Partition][1]
		c, ok := committed.Lookup(at.Topic, at.Partition)
		switch {
		case !ok:
			other = append(other, fmt.Sprintf("%s has no offset, not %d", at, want))
		case c.At != want:
			other = append(other, fmt.Sprintf("%s has %d, not %d", at, c.At, want))
		case c.Metadata != "":
			other = append(other, fmt.Sprintf("%s has metadata that was not committed with it", at))
		}
	}
	if len(other) > 0 {
		return &ResetError{Cause: fmt.Sprintf("somebody else writes offsets of group %s: read back, %s", group, strings.Join(other, ", ")),
			Mend: "end what else writes them (Kafka's own tool, a replication of groups), and reset again"}
	}
	return nil
}

// check refuses a table of topics that are gone, or were made anew since.
func (t ResetTable) check(topics foundTopics) error {
	for topic, of := range t {
		if err := topics.still(topic, of.TopicID); err != nil {
			return err
		}
	}
	return nil
}

// still refuses a topic that is gone, or has another id.
func (f foundTopics) still(topic, id string) error {
	now, ok := f[topic]
	switch {
	case !ok:
		return &ResetError{Field: "topic", Cause: fmt.Sprintf("topic %s does not exist any more", topic)}
	case id != encodeTopicID(now.id):
		return &ResetError{Field: "topic", Cause: fmt.Sprintf("topic %s was made anew since: its id was %s, and is %s", topic, id, encodeTopicID(now.id)),
			Mend: "its offsets mean other records now; reset to where the new one is to be read from"}
	}
	return nil
}
