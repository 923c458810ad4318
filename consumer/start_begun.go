package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Begun marks tell a partition that is new from one whose offset was lost: neither has a commit. They are written after the first
// commits, never before:
//
//  1. A job's first offsets are committed. A crash here leaves commits without marks: the next start finds the commits, writes the
//     marks, and goes on. That is also how a job that is older than its marks gets them.
//  2. The marks are written before the group is joined, so before anything is delivered.
//  3. The other order would be wrong: marks written, a crash, no commits. The next start would hold a job that never began.
//
// If the log cannot be written, the job goes on all the same: its partitions have commits. The status says so, and the marks are
// written when it can; only if the offsets were lost before that would the job take itself for a new one.
//
// What comes later (a new topic, new partitions) is begun by the member that it is assigned to, which commits its log start, and marked
// by any instance that sees it. A mark counts partitions from 0 on, only as far as each has a commit:
//
//  1. A topic grows from 2 partitions to 4. A is given partition 2, B is given 3.
//  2. B commits the log start of 3. Were 4 partitions marked now, and A crashed before it has committed 2,
//  3. the next owner of 2 would find it marked without a commit, and hold it as lost. So B marks 2 partitions, as before.
//  4. Once 2 has a commit too, whoever looks next marks 4.

// noteMarksWithin bounds the wait for the marks before the group is joined.
const noteMarksWithin = 5 * time.Second

// marks are those of the job's group, by topic. A job that was given another group has none.
func (r *Runner) marks(ctx context.Context) (map[string]Begun, error) {
	m, err := r.instance.store.Memory(ctx, r.cfg.Job)
	if err != nil {
		return nil, fmt.Errorf("what is remembered of the job cannot be read: %w", err)
	}
	marks := m.begunBy(r.cfg.Group)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = marks
	return marks, nil
}

// lastMarks are the marks, as they were when they could be read last.
func (r *Runner) lastMarks(ctx context.Context) map[string]Begun {
	ctx, cancel := context.WithTimeout(ctx, noteMarksWithin)
	defer cancel()
	if marks, err := r.marks(ctx); err == nil {
		return marks
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.begun
}

// begunBy are the marks of a group.
func (m Memory) begunBy(group string) map[string]Begun {
	if m.Group != group {
		return nil
	}
	return m.Begun
}

// other says that id is of another topic than the one that was begun.
func (b Begun) other(id [16]byte) bool {
	return b.known() && id != [16]byte{} && b.TopicID != encodeTopicID(id)
}

// known says that the id of the topic is known.
func (b Begun) known() bool { return b.TopicID != "" && b.TopicID != noTopicID }

// noTopicID is written where the brokers know no topic ids.
var noTopicID = encodeTopicID([16]byte{})

// takes says whether a topic is one of the job's.
func (r *Runner) takes(topic string) bool {
	return r.cfg.Pattern && r.matches(topic) || !r.cfg.Pattern && slices.Contains(r.cfg.Topics, topic)
}

// hasBegun says whether one of the job's topics was begun, even if it is gone.
func (r *Runner) hasBegun(marks map[string]Begun) bool {
	for topic := range marks {
		if r.takes(topic) {
			return true
		}
	}
	return false
}

// hasCommit says whether one partition of the topics has a committed offset.
func hasCommit(topics foundTopics, committed kadm.OffsetResponses) bool {
	for topic := range topics {
		if len(committed[topic]) > 0 {
			return true
		}
	}
	return false
}

// lostTopics are those that were begun and are still the same.
func lostTopics(topics foundTopics, marks map[string]Begun) foundTopics {
	lost := foundTopics{}
	for name, t := range topics {
		if b, ok := marks[name]; ok && b.Partitions > 0 && !b.other(t.id) {
			lost[name] = t
		}
	}
	return lost
}

// errMarked ends a Remember that has nothing to add.
var errMarked = errors.New("marked already")

// noteBegun marks what has begun, as far as it has commits. An error is shown in the status; the next look tries again.
func (r *Runner) noteBegun(ctx context.Context, topics foundTopics, committed kadm.OffsetResponses) {
	begun := map[string]Begun{}
	for name, t := range topics {
		if r.isAnother(name, t.id) {
			continue
		}
		b := Begun{TopicID: encodeTopicID(t.id)}
		for b.Partitions < t.partitions && hasOffset(committed, name, b.Partitions) {
			b.Partitions++
		}
		begun[name] = b
	}
	ctx, cancel := context.WithTimeout(ctx, noteMarksWithin)
	defer cancel()
	fresh := r.unmarked(begun)
	if len(fresh) == 0 {
		return
	}
	_, err := r.instance.store.Remember(ctx, r.cfg.Job, Audit{By: BySelf, Action: "begin", Detail: map[string]any{"group": r.cfg.Group, "topics": fresh}},
		func(m *Memory) error {
			if !m.mark(r.cfg.Group, fresh) {
				return errMarked
			}
			return nil
		})
	cause := ""
	if err != nil && !errors.Is(err, errMarked) {
		cause = fmt.Sprintf("what the job has begun to read cannot be remembered (%s): %v; rows are delivered meanwhile", strings.Join(slices.Sorted(maps.Keys(fresh)), ", "), err)
	}
	if r.status.note(&r.status.marks, cause) && cause != "" {
		r.log.Warn(cause)
	}
	if cause == "" {
		_ = r.lastMarks(ctx) // so that the next look need not ask
	}
}

func hasOffset(committed kadm.OffsetResponses, topic string, partition int32) bool {
	o, ok := committed.Lookup(topic, partition)
	return ok && o.At >= 0
}

// unmarked are those of begun that the last known marks do not have.
func (r *Runner) unmarked(begun map[string]Begun) map[string]Begun {
	r.mu.RLock()
	defer r.mu.RUnlock()
	known := Memory{Group: r.cfg.Group, Begun: maps.Clone(r.begun)}
	fresh := map[string]Begun{}
	for topic, b := range begun {
		if known.mark(r.cfg.Group, map[string]Begun{topic: b}) {
			fresh[topic] = b
		}
	}
	return fresh
}

// mark adds marks of a group and says whether that changed anything. A mark grows; that of another topic of the same name stays, since
// only an operator may accept the new one.
func (m *Memory) mark(group string, begun map[string]Begun) bool {
	changed := m.Group != group
	if changed {
		m.Group, m.Begun = group, nil
	}
	for topic, b := range begun {
		before, known := m.Begun[topic]
		if b.Partitions == 0 || known && (before.TopicID != b.TopicID || before.Partitions >= b.Partitions) {
			continue
		}
		if m.Begun == nil {
			m.Begun = map[string]Begun{}
		}
		m.Begun[topic], changed = b, true
	}
	return changed
}
