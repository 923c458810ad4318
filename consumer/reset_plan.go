package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"streamer/consumer/track"
)

// ResetPlan is what a reset would do, or will.
type ResetPlan struct {
	Group      string           `json:"group"`
	Partitions []ResetPartition `json:"partitions"`
	// Again and Skipped are the sums of the partitions.
	Again   int64 `json:"again"`
	Skipped int64 `json:"skipped"`
	// Members are those of the group now: the reset waits until they have left.
	Members []GroupMember `json:"members,omitempty"`
	// Notes say what else there is to know.
	Notes []string `json:"notes,omitempty"`
	// Table is what is to be remembered, and committed.
	Table ResetTable `json:"-"`
}

// ResetPartition is one partition of a ResetPlan. Counts of records are upper bounds: offsets without a record (markers of transactions,
// what was compacted away) count too.
type ResetPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// To is what was asked for.
	To string `json:"to"`
	// Before is the committed offset, -1 for none; After is what it becomes.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Again is how many records are sent again at most. Finished of them lie above the committed offset: they were faster than another
	// one of their partition, and what is known of that is dropped.
	Again    int64 `json:"again"`
	Finished int64 `json:"finished,omitempty"`
	// Skipped is how many records that are not finished are passed over at most; Expired of them are not in the log any more.
	Skipped int64 `json:"skipped"`
	Expired int64 `json:"expired,omitempty"`
	// BeforeTime and AfterTime are the times of the first records from these offsets on; absent where there is none, or it was not asked for.
	BeforeTime *time.Time `json:"before_time,omitempty"`
	AfterTime  *time.Time `json:"after_time,omitempty"`
	// Note says that After is not quite what was asked for, and why.
	Note string `json:"note,omitempty"`
}

// jobOffsets are what Kafka tells of all partitions of a job.
type jobOffsets struct {
	topics    foundTopics
	committed kadm.OffsetResponses
	bounds    bounds // ends are those of readers of committed records
	finished  map[TopicPartition]track.Finished
}

// asker answers questions about a job that need not run here.
func (i *Instance) asker(cfg Config) *Runner {
	r := &Runner{instance: i, cfg: cfg.Defaults(), log: i.log.With("job", cfg.Job)}
	r.compilePatterns()
	return r
}

// look asks Kafka about the job.
func (r *Runner) look(ctx context.Context) (o jobOffsets, err error) {
	meta, err := r.instance.admin.BrokerMetadata(ctx)
	if err != nil {
		return o, r.instance.reach(err)
	}
	owner := track.Owner(meta.Cluster, r.cfg.Group)
	if o.topics, err = r.existingTopics(ctx); err != nil || len(o.topics) == 0 {
		return o, err
	}
	if o.committed, err = r.instance.committedOffsets(ctx, r.cfg.Group); err != nil {
		return o, err
	}
	if o.bounds, err = r.logBounds(ctx, o.topics.names()); err != nil {
		return o, err
	}
	all := commits{}
	for topic, t := range o.topics {
		for id := range t.partitions {
			if c, ok := o.committed.Lookup(topic, id); ok && c.At >= 0 {
				all[TopicPartition{topic, id}] = commit{track.Place{TopicID: t.id, Owner: owner, Offset: c.At, Epoch: c.LeaderEpoch}, c.Metadata}
			}
		}
	}
	o.finished, err = r.instance.believe(ctx, r.log, all)
	return o, err
}

// committedAt is the committed offset of a partition, -1 for none.
func (o jobOffsets) committedAt(at TopicPartition) int64 {
	if c, ok := o.committed.Lookup(at.Topic, at.Partition); ok {
		return c.At
	}
	return -1
}

// PreviewReset says what a reset would do now: PlanReset with the times of records. m is what is remembered of the job.
func (i *Instance) PreviewReset(ctx context.Context, cfg Config, spec ResetSpec, m Memory) (ResetPlan, error) {
	plan, err := i.PlanReset(ctx, cfg, spec, m)
	if err != nil {
		return plan, err
	}
	var ask []topicOffset
	for _, p := range plan.Partitions {
		ask = append(ask, topicOffset{TopicPartition{p.Topic, p.Partition}, p.Before}, topicOffset{TopicPartition{p.Topic, p.Partition}, p.After})
	}
	times := i.timesAt(ctx, ask)
	for n := range plan.Partitions {
		p := &plan.Partitions[n]
		at := TopicPartition{p.Topic, p.Partition}
		p.BeforeTime, p.AfterTime = times[topicOffset{at, p.Before}], times[topicOffset{at, p.After}]
	}
	return plan, nil
}

// PlanReset makes an offset for each partition of what was asked for, by what the group has committed now and where the logs begin and
// end. The error is a *ResetError if that cannot be; else Kafka's, and it may be tried again.
func (i *Instance) PlanReset(ctx context.Context, cfg Config, spec ResetSpec, m Memory) (ResetPlan, error) {
	r := i.asker(cfg)
	plan := ResetPlan{Group: r.cfg.Group, Partitions: []ResetPartition{}, Table: ResetTable{}}
	spec, err := spec.Fixed(time.Now())
	if err != nil {
		return plan, err
	}
	said, err := spec.words()
	if err != nil {
		return plan, err
	}
	o, err := r.look(ctx)
	switch {
	case err != nil:
		return plan, err
	case len(o.topics) == 0:
		return plan, &ResetError{Field: "topic", Cause: "no topic of the job exists: " + strings.Join(r.cfg.Topics, ", "), Mend: "make it, or wait until it is there"}
	}
	if err := said.check(o.topics); err != nil {
		return plan, err
	}
	for topic, id := range spec.TopicIDs {
		if err := o.topics.still(topic, id); err != nil {
			return plan, err
		}
	}
	times, err := r.offsetsAt(ctx, said, o.topics)
	if err != nil {
		return plan, err
	}
	marks := m.begunBy(r.cfg.Group)
	for _, topic := range o.topics.names() {
		t := o.topics[topic]
		anew, named := marks[topic].other(t.id), 0
		for id := range t.partitions {
			at := TopicPartition{topic, id}
			seek, ok := said.of(at)
			if !ok {
				continue
			}
			named++
			p, err := o.plan(at, seek, times, anew)
			if err != nil {
				return plan, err
			}
			plan.add(p, encodeTopicID(t.id))
		}
		if anew && named > 0 && named < int(t.partitions) {
			return plan, &ResetError{Field: "topic", Cause: fmt.Sprintf("topic %s was deleted and made anew: the job has begun the one of id %s", topic, marks[topic].TopicID),
				Mend: "set all of its partitions, not some"}
		}
	}
	if len(plan.Partitions) == 0 {
		return plan, &ResetError{Field: "to", Cause: "no partition is named", Mend: seekWords}
	}
	if err := r.addStart(ctx, &plan, o, marks); err != nil {
		return plan, err
	}
	view, err := i.GroupMembers(ctx, cfg)
	plan.Members = view.Members
	return plan, err
}

func (p *ResetPlan) add(one ResetPartition, topicID string) {
	p.Partitions = append(p.Partitions, one)
	p.Again, p.Skipped = p.Again+one.Again, p.Skipped+one.Skipped
	p.Table.add(TopicPartition{one.Topic, one.Partition}, topicID, one.Before, one.After)
}

// addStart adds the partitions that nothing was said of, if the job has not begun: with the commits of the others it would not look for
// its start any more.
func (r *Runner) addStart(ctx context.Context, plan *ResetPlan, o jobOffsets, marks map[string]Begun) error {
	if hasCommit(o.topics, o.committed) || r.hasBegun(marks) {
		return nil
	}
	starts, err := r.startOffsets(ctx, o.topics.names())
	if err != nil {
		return fmt.Errorf("look up where to start: %w", err)
	}
	for _, topic := range o.topics.names() {
		for id := range o.topics[topic].partitions {
			if _, named := plan.Table[topic].Offsets[id]; named {
				continue
			}
			s, ok := starts.Lookup(topic, id)
			if !ok {
				return fmt.Errorf("look up where to start %s/%d: no answer", topic, id)
			}
			plan.add(ResetPartition{Topic: topic, Partition: id, To: "start: " + r.cfg.Start.String(), Before: -1, After: s.At,
				Note: "the job has not begun: it begins as it says"}, encodeTopicID(o.topics[topic].id))
		}
	}
	return nil
}

// plan is that of one partition. What was committed of a topic that was made anew is not of this log.
func (o jobOffsets) plan(at TopicPartition, seek Seek, times map[int64]kadm.ListedOffsets, anew bool) (ResetPartition, error) {
	p := ResetPartition{Topic: at.Topic, Partition: at.Partition, To: seek.String(), Before: o.committedAt(at)}
	start, end, err := o.bounds.of(at.Topic, at.Partition)
	if err != nil {
		return p, err
	}
	end = max(end, start)
	if anew {
		p.Before = -1
	}
	base, want := p.Before, start
	switch seek.kind {
	case seekLatest:
		want = end
	case seekOffset:
		want = seek.n
	case seekShift:
		if base < 0 {
			return p, &ResetError{Field: "to", Cause: fmt.Sprintf("%s has no committed offset to count %s from", at, seek), Mend: "say earliest, latest, an offset or a time for it"}
		}
		want = base + seek.n
		if (want > base) != (seek.n > 0) && seek.n != 0 { // beyond what a number holds
			want = end
		}
	case seekTime:
		listed, ok := times[seek.milli()].Lookup(at.Topic, at.Partition)
		if !ok || listed.Err != nil {
			return p, fmt.Errorf("look up the offset of %s at %s: %w", at, seek, errOr(listed.Err, "no answer"))
		}
		want = listed.Offset
		if want < 0 || listed.Timestamp < 0 {
			want, p.Note = end, "no record is so new: the end"
		}
	}
	p.After = min(max(want, start), end)
	switch {
	case want < start:
		p.Note = fmt.Sprintf("%d is not in the log any more, which begins at %d", want, start)
	case want > end && seek.kind != seekTime:
		p.Note = fmt.Sprintf("%d is not in the log yet, which ends at %d", want, end)
	}
	if anew && p.Note == "" {
		p.Note = "the topic was made anew: what was committed is of the old one"
	}
	p.count(base, start, o.finished[at])
	return p, nil
}

// count says what is sent again and what is passed over when the committed offset goes from base (-1: none) to After.
func (p *ResetPartition) count(base, start int64, f track.Finished) {
	if base < 0 {
		p.Skipped = p.After - start
		return
	}
	const beyond = int64(1) << 62
	whole, partly := f.Between(max(base, p.After), beyond)
	p.Finished = whole + partly
	passed, _ := f.Between(base, max(base, p.After))
	p.Again = max(base-p.After, 0) + p.Finished
	p.Skipped = max(p.After-base-passed, 0)
	p.Expired = max(min(p.After, start)-base, 0)
	if p.Expired > 0 {
		known, _ := f.Between(base, min(p.After, start))
		p.Expired -= known
	}
}

// offsetsAt looks up the offsets at the times that were named, by milliseconds.
func (r *Runner) offsetsAt(ctx context.Context, said words, topics foundTopics) (map[int64]kadm.ListedOffsets, error) {
	var all []Seek
	if said.all != nil {
		all = append(all, *said.all)
	}
	for _, s := range said.topics {
		all = append(all, s.Seek)
	}
	for _, s := range said.partitions {
		all = append(all, s.Seek)
	}
	out := map[int64]kadm.ListedOffsets{}
	for _, s := range all {
		if _, known := out[s.milli()]; known || s.kind != seekTime {
			continue
		}
		listed, err := r.instance.admin.ListOffsetsAfterMilli(ctx, s.milli(), topics.names()...)
		if err != nil {
			return nil, fmt.Errorf("look up the offsets at %s: %w", s, err)
		}
		out[s.milli()] = listed
	}
	return out, nil
}

func errOr(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}
