package consumer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Acceptance says where a job goes on after a gap.
type Acceptance struct {
	// Topic is the topic of the held partitions; empty: all held ones of the job.
	Topic string `json:"topic,omitempty"`
	// Partition is one of them, -1 all that are held. A topic that was made anew is accepted as a whole.
	Partition int32 `json:"partition"`
	// At is earliest, latest (the end of what is committed by transactions), committed (where the job was, or where the log is, if
	// that is later or was cut), or an offset. Whatever is meant, it is bounded by the log.
	At string `json:"at"`
	// DryRun says where partitions would go on, and changes nothing.
	DryRun bool `json:"dry_run,omitempty"`
	// Done are partitions that another instance has answered for in the same call: it speaks for all of a topic that was made anew, and
	// of a job whose offsets were all lost. They are not meant: to set their offsets once more could pass over what was read since.
	Done []TopicPartition `json:"done,omitempty"`
}

// Accepted is where one partition goes on.
type Accepted struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Cause     HoldCause `json:"cause"`
	// Before is where the job would have gone on, -1 if that is unknown; After is where it goes on.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Skipped is how many records are passed over without having been finished: those that the log has no more, and those that it has.
	Skipped int64 `json:"skipped"`

	expired int64 // of Skipped, those that the log has no more, of a partition that is held for it
}

// The words of Acceptance.At.
const (
	AtEarliest  = "earliest"
	AtLatest    = "latest"
	AtCommitted = "committed"
)

// AcceptError says that nothing was accepted, since the request does not fit what is held.
type AcceptError struct {
	// Field is the field of the Acceptance that is wrong.
	Field string
	Cause string
}

func (e *AcceptError) Error() string { return e.Cause }

// offset gives At as a number, -1 for a word.
func (a Acceptance) offset() (int64, error) {
	switch a.At {
	case AtEarliest, AtLatest, AtCommitted:
		return -1, nil
	}
	if n, err := strconv.ParseInt(a.At, 10, 64); err == nil && n >= 0 {
		return n, nil
	}
	return 0, &AcceptError{"at", fmt.Sprintf("%q says not where to go on; say earliest, latest, committed, or an offset", a.At)}
}

// covers says whether a partition is meant.
func (a Acceptance) covers(topic string, partition int32) bool {
	return (a.Topic == "" || a.Topic == topic) && (a.Partition < 0 || a.Partition == partition) && !a.done(topic, partition)
}

func (a Acceptance) done(topic string, partition int32) bool {
	return slices.Contains(a.Done, TopicPartition{topic, partition})
}

func (a Acceptance) nothing() error {
	switch {
	case a.Topic == "":
		return &AcceptError{"topic", "no partition of the job is held on this instance"}
	case a.Partition < 0:
		return &AcceptError{"topic", fmt.Sprintf("no partition of topic %s is held on this instance", a.Topic)}
	}
	return &AcceptError{"partition", fmt.Sprintf("%s/%d is not held on this instance", a.Topic, a.Partition)}
}

func sortAccepted(plan []Accepted) {
	slices.SortFunc(plan, func(a, b Accepted) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// heldLog is a partition as far as it matters for where to go on.
type heldLog struct {
	topic      string
	id         int32
	cause      HoldCause
	gap        gap
	committed  int64
	unfinished func(from, to int64) int64
}

// bounds are where logs begin and end.
type bounds struct{ starts, ends kadm.ListedOffsets }

func (r *Runner) logBounds(ctx context.Context, topics []string) (b bounds, err error) {
	if b.starts, err = r.instance.admin.ListStartOffsets(ctx, topics...); err == nil {
		b.ends, err = r.instance.admin.ListCommittedOffsets(ctx, topics...) // before an open transaction, as a reader of committed records sees the end
	}
	if err != nil {
		err = fmt.Errorf("look up where the logs begin and end: %w", err)
	}
	return b, err
}

// of gives where one log begins and ends.
func (b bounds) of(topic string, partition int32) (start, end int64, err error) {
	s, known := b.starts.Lookup(topic, partition)
	e, ok := b.ends.Lookup(topic, partition)
	switch {
	case !known || !ok:
		err = fmt.Errorf("look up where the log of %s/%d begins and ends: no answer", topic, partition)
	case s.Err != nil:
		err = fmt.Errorf("look up where the log of %s/%d begins: %w", topic, partition, s.Err)
	case e.Err != nil:
		err = fmt.Errorf("look up where the log of %s/%d ends: %w", topic, partition, e.Err)
	}
	return s.Offset, e.Offset, err
}

// choose says where a held partition goes on, and what that passes over.
func (b bounds) choose(a Acceptance, h heldLog) (Accepted, error) {
	x := Accepted{Topic: h.topic, Partition: h.id, Cause: h.cause, Before: -1}
	start, end, err := b.of(h.topic, h.id)
	if err != nil {
		return x, err
	}
	want, err := a.offset()
	if err != nil {
		return x, err
	}
	switch a.At {
	case AtEarliest:
		want = start
	case AtLatest:
		want = end
	case AtCommitted:
		switch h.cause {
		case HoldExpired, HoldUnreadable:
			want = h.gap.from
		case HoldLogCut:
			want = min(h.committed, h.gap.to)
		default:
			return x, &AcceptError{"at", fmt.Sprintf("%s/%d has no committed offset; say earliest, latest or an offset", h.topic, h.id)}
		}
	}
	x.After = min(max(want, start), max(end, start))
	switch h.cause {
	case HoldExpired, HoldUnreadable:
		x.Before = h.gap.from
		if x.After < x.Before {
			return x, &AcceptError{"at", fmt.Sprintf("%s/%d was read up to offset %d already; say committed, or an offset from there on", h.topic, h.id, x.Before)}
		}
		x.Skipped = h.unfinished(x.Before, x.After)
		if h.cause == HoldExpired {
			x.expired = h.unfinished(x.Before, min(x.After, start))
		}
	case HoldLogCut:
		x.Before = h.committed
		x.Skipped = max(x.After-max(min(h.committed, h.gap.to), start), 0)
	default:
		x.Skipped = x.After - start
	}
	return x, nil
}
