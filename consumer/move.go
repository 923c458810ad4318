package consumer

import (
	"context"
	"maps"

	"github.com/twmb/franz-go/pkg/kadm"
)

// MovePlan is what a change of a job's topics or group does to its records, by what is committed now. Counts are upper bounds, as those of
// a ResetPlan.
type MovePlan struct {
	// Partitions are those that would be read on somewhere else than now, by topic and number.
	Partitions []MovePartition `json:"partitions"`
	// Again, Skipped and New are the sums of theirs.
	Again   int64 `json:"again"`
	Skipped int64 `json:"skipped"`
	New     int64 `json:"new"`
}

// MovePartition is one partition of a MovePlan.
type MovePartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Before is the committed offset that counts now, -1 for none; After is where it would be read from, -1: it would not be read.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Again is how many records would be sent again, Skipped how many that are not finished would be passed over, or left behind, and New
	// how many there are to read of a partition that is not read now.
	Again   int64 `json:"again,omitempty"`
	Skipped int64 `json:"skipped,omitempty"`
	New     int64 `json:"new,omitempty"`
	// Note says why, where that is not plain.
	Note string `json:"note,omitempty"`
}

// PlanMove says what happens to records when a job becomes another one, whose topics or group differ. m is what is remembered of the job.
// Errors are Kafka's.
func (i *Instance) PlanMove(ctx context.Context, from, to Config, m Memory) (MovePlan, error) {
	plan := MovePlan{Partitions: []MovePartition{}}
	here, there := i.asker(from), i.asker(to)
	now, err := here.look(ctx)
	if err != nil {
		return plan, err
	}
	then, err := there.look(ctx)
	if err != nil {
		return plan, err
	}
	starts, err := there.beginnings(ctx, then, m.begunBy(there.cfg.Group))
	if err != nil {
		return plan, err
	}
	all := maps.Clone(now.topics)
	if all == nil {
		all = foundTopics{}
	}
	maps.Copy(all, then.topics)
	for _, topic := range all.names() {
		for id := range all[topic].partitions {
			p, err := now.move(then, starts, TopicPartition{topic, id})
			if err != nil {
				return plan, err
			}
			if here.cfg.Group == there.cfg.Group && p.Before >= 0 && p.Before == p.After {
				continue // what is finished above it is believed, as ever
			}
			plan.Again, plan.Skipped, plan.New = plan.Again+p.Again, plan.Skipped+p.Skipped, plan.New+p.New
			plan.Partitions = append(plan.Partitions, p)
		}
	}
	return plan, nil
}

// beginnings are where partitions begin that have no committed offset; those that are not in it would be held (resolveStart, onOffsets).
func (r *Runner) beginnings(ctx context.Context, o jobOffsets, marks map[string]Begun) (kadm.Offsets, error) {
	if len(o.topics) == 0 {
		return nil, nil
	}
	some := hasCommit(o.topics, o.committed)
	if !some && len(lostTopics(o.topics, marks)) > 0 {
		return nil, nil
	}
	if !some && !r.hasBegun(marks) {
		return r.startOffsets(ctx, o.topics.names())
	}
	out := kadm.Offsets{}
	for topic, t := range o.topics {
		for id := range t.partitions {
			begun, marked := marks[topic]
			start, _, err := o.bounds.of(topic, id)
			if err != nil {
				return nil, err
			}
			if !marked || id >= begun.Partitions && !begun.other(t.id) {
				out.AddOffset(topic, id, start, -1)
			}
		}
	}
	return out, nil
}

// move is that of one partition, of what is now to what would be then.
func (o jobOffsets) move(then jobOffsets, starts kadm.Offsets, at TopicPartition) (MovePartition, error) {
	p := MovePartition{Topic: at.Topic, Partition: at.Partition, Before: o.committedAt(at), After: -1}
	_, read := o.topics[at.Topic]
	_, reads := then.topics[at.Topic]
	if !read {
		p.Before = -1
	}
	bounds := o.bounds
	if reads {
		bounds = then.bounds
		p.After = then.committedAt(at)
		if start, known := starts.Lookup(at.Topic, at.Partition); p.After < 0 && known {
			p.After = start.At
		}
	}
	start, end, err := bounds.of(at.Topic, at.Partition)
	if err != nil {
		return p, err
	}
	end = max(end, start)
	switch {
	case !reads || p.After < 0:
		p.Note = "it is not read any more"
		if reads {
			p.Note = "it is held: its offset was lost"
		}
		if p.Before >= 0 {
			done := o.finished[at]
			passed, _ := done.Between(p.Before, end)
			p.Skipped = max(end-p.Before-passed, 0)
		}
		return p, nil
	case p.After < start:
		p.Note = "it is held: records expired"
	}
	if p.Before < 0 {
		p.Skipped, p.New = max(p.After-start, 0), max(end-max(p.After, start), 0)
		return p, nil
	}
	counted := ResetPartition{After: p.After}
	counted.count(p.Before, start, o.finished[at])
	p.Again, p.Skipped = counted.Again, counted.Skipped
	return p, nil
}
