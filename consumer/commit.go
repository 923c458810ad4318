package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/track"
)

// commits is what to commit, by partition.
type commits map[TopicPartition]commit

// positions is what to commit of all assigned partitions with something new. With bare, only offsets are: metadata that was taken
// for the same offset stays.
func (r *Runner) positions(bare bool) commits {
	all := commits{}
	for _, p := range r.all() {
		c, changed := p.finished()
		if bare && changed {
			c.metadata, changed = "", p.movedTo(c.Offset)
		}
		if changed {
			all[TopicPartition{p.topic, p.id}] = c
		}
	}
	return all
}

// hand gives commits to the client, in as many requests as their metadata needs, and a channel with the broker's answer to each. The
// client sends them one after the other, and before what it is given later. A commit that fails changes nothing: the next one holds
// at least as much.
func (r *Runner) hand(ctx context.Context, all commits) answers { return r.handBy(ctx, all, r.handOne) }

func (r *Runner) handBy(ctx context.Context, all commits, one hander) answers {
	parts := r.split(all)
	answers := make(answers, 0, len(parts))
	for _, part := range parts {
		answers = append(answers, one(ctx, part))
	}
	return answers
}

// hander gives one request to a broker, and a channel with its answer.
type hander func(context.Context, commits) <-chan error

// answers are those to the requests of one commit.
type answers []<-chan error

// wait gives the first error; nil if all were taken. After ctx it waits no longer.
func (a answers) wait(ctx context.Context) error {
	var first error
	for _, one := range a {
		select {
		case err := <-one:
			first = worse(first, err)
		case <-ctx.Done():
			return cmp.Or(first, ctx.Err())
		}
	}
	return first
}

// worse gives the error that asks more of the caller: to begin anew, then to make the commit again, then any.
func worse(a, b error) error {
	var out *expelledError
	switch {
	case a == nil || errors.As(b, &out):
		return b
	case b == nil || errors.As(a, &out):
		return a
	}
	var first, second *sizeError
	if !errors.As(b, &second) {
		return a
	}
	if errors.As(a, &first) {
		return &sizeError{append(first.at, second.at...), first.cause}
	}
	return b
}

func (r *Runner) handOne(ctx context.Context, part commits) <-chan error {
	answer := make(chan error, 1)
	start := time.Now()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for at, c := range part {
		if offsets[at.Topic] == nil {
			offsets[at.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[at.Topic][at.Partition] = kgo.EpochOffset{Epoch: c.Epoch, Offset: c.Offset}
	}
	holder := r.member.holder()
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if holder == "" || req.MemberID != holder { // the client has joined anew since the positions were read, or nobody was told yet
			return &expelledError{kerr.UnknownMemberID}
		}
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				p.Metadata = kmsg.StringPtr(part[TopicPartition{req.Topics[i].Topic, p.Partition}].metadata)
			}
		}
		return nil
	})
	r.client.CommitOffsets(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		r.instance.metrics.commitSeconds.Observe(time.Since(start).Seconds())
		if err == nil {
			err = r.acknowledge(part, resp)
		}
		answer <- err
	})
	return answer
}

// commitNow commits and waits for the answers, at most until ctx ends. What is refused for its size is committed at once without
// metadata, which cannot fail for that, and then with as much as the broker takes.
func (r *Runner) commitNow(ctx context.Context, all commits) error {
	return r.commitBy(ctx, all, r.handOne)
}

func (r *Runner) commitBy(ctx context.Context, all commits, one hander) error {
	err := r.handBy(ctx, all, one).wait(ctx)
	var size *sizeError
	if !errors.As(err, &size) {
		return err
	}
	whole, bare := size.of(all), commits{}
	for at, c := range whole {
		c.metadata = ""
		bare[at] = c
	}
	if err := r.handBy(ctx, bare, one).wait(ctx); err != nil {
		return err
	}
	for limit := r.limits.perPartition(); limit > 0; limit = r.limits.perPartition() {
		short := commits{}
		for at, c := range whole {
			if c.metadata = track.Shorten(c.metadata, c.Place, limit); c.metadata != "" {
				short[at] = c
			}
		}
		if err := r.handBy(ctx, short, one).wait(ctx); !errors.As(err, &size) {
			return err
		}
		whole = size.of(whole)
	}
	return nil
}

// noteCommit shows a refused commit in the status until one is taken.
func (r *Runner) noteCommit(err error) {
	var out *expelledError
	if errors.As(err, &out) {
		r.expelled("a commit was refused: " + err.Error())
	}
	cause := ""
	if err != nil && out == nil && !errors.Is(err, context.Canceled) {
		cause = fmt.Sprintf("the last commit was refused: %v", err)
	}
	if r.status.note(&r.status.commits, cause) && cause != "" {
		r.log.Warn("commit refused; rows finished since the last acknowledged commit would be sent again after a crash", "cause", err)
	}
}

// acknowledge notes the commits that the broker answered for and gives the errors of the others. Of refusals for size it learns what
// the broker takes.
func (r *Runner) acknowledge(part commits, resp *kmsg.OffsetCommitResponse) error {
	var refused []string
	var cause error
	size := &sizeError{}
	for _, t := range resp.Topics {
		topic := t.Topic
		if topic == "" {
			topic = r.topicName(t.TopicID)
		}
		for _, rp := range t.Partitions {
			at := TopicPartition{topic, rp.Partition}
			err := kerr.ErrorForCode(rp.ErrorCode)
			switch {
			case err == nil:
				if p := r.partition(topic, rp.Partition); p != nil {
					p.acknowledged(part[at])
				}
			case notMember(err):
				return &expelledError{err}
			case tooLarge(err) && part.carry():
				size.at, size.cause = append(size.at, at), err
			default:
				refused, cause = append(refused, fmt.Sprintf("%s/%d", topic, rp.Partition)), err
			}
		}
	}
	if len(size.at) > 0 {
		r.learnLimit(part, size)
		return size
	}
	if cause == nil {
		return nil
	}
	slices.Sort(refused)
	return fmt.Errorf("%s: %w", strings.Join(refused, ", "), cause)
}

// expelledError says that a commit was refused because the group does not know this member any more.
type expelledError struct{ error }

func (e *expelledError) Unwrap() error { return e.error }
