package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commits is what to commit, by partition.
type commits map[topicPartition]commit

// positions is what to commit of all assigned partitions with something new.
func (r *Runner) positions() commits {
	all := commits{}
	for _, p := range r.all() {
		if c, changed := p.finished(); changed {
			all[topicPartition{p.topic, p.id}] = c
		}
	}
	return all
}

// requestMetadata is what the metadata of one commit request may take together.
const requestMetadata = 256 << 10

// metadataLimit is how many characters the metadata of one partition may have.
func (r *Runner) metadataLimit() int {
	if r.bare.Load() {
		return 0
	}
	return min(maxMetadata, requestMetadata/int(max(r.assigned.Load(), 1)))
}

// commit hands commits to the client and gives the broker's answer when it is there. The client sends them in the order given.
// A commit that fails changes nothing: the next one holds at least as much.
func (r *Runner) commit(ctx context.Context, all commits) <-chan error {
	answer := make(chan error, 1)
	if len(all) == 0 {
		answer <- nil
		return answer
	}
	start := time.Now()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for at, c := range all {
		if offsets[at.topic] == nil {
			offsets[at.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[at.topic][at.id] = kgo.EpochOffset{Epoch: c.Epoch, Offset: c.Offset}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				p.Metadata = kmsg.StringPtr(all[topicPartition{req.Topics[i].Topic, p.Partition}].metadata)
			}
		}
		return nil
	})
	r.client.CommitOffsets(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		r.instance.metrics.commitSeconds.Observe(time.Since(start).Seconds())
		if err == nil {
			err = r.acknowledge(all, resp)
		}
		answer <- err
	})
	return answer
}

// commitNow commits and waits for the answer, at most until ctx ends.
func (r *Runner) commitNow(ctx context.Context, all commits) error {
	for {
		select {
		case err := <-r.commit(ctx, all):
			if !r.metadataRefused(all, err) {
				return err
			}
			for at, c := range all {
				c.metadata = ""
				all[at] = c
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// metadataRefused says that a commit failed because of its metadata, and is to be made again at once without. From then on this
// runner commits none.
func (r *Runner) metadataRefused(all commits, err error) bool {
	carried := false
	for _, c := range all {
		carried = carried || c.metadata != ""
	}
	size := errors.Is(err, kerr.OffsetMetadataTooLarge) || errors.Is(err, kerr.InvalidCommitOffsetSize) || errors.Is(err, kerr.MessageTooLarge)
	if !carried || !size {
		return false
	}
	if !r.bare.Swap(true) {
		r.log.Warn("the broker refuses commit metadata of this size (offset.metadata.max.bytes); rows finished above the committed offset are sent again after a crash", "cause", err)
	}
	return true
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

// acknowledge notes the commits that the broker answered for and gives the errors of the others.
func (r *Runner) acknowledge(all commits, resp *kmsg.OffsetCommitResponse) error {
	var errs []string
	var cause error
	for _, t := range resp.Topics {
		topic := t.Topic
		if topic == "" {
			topic = r.topicName(t.TopicID)
		}
		for _, rp := range t.Partitions {
			if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
				errs, cause = append(errs, fmt.Sprintf("%s/%d", topic, rp.Partition)), err
				if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.FencedInstanceID) {
					return &expelledError{err}
				}
				continue
			}
			if p := r.partition(topic, rp.Partition); p != nil {
				p.acknowledged(all[topicPartition{topic, rp.Partition}])
			}
		}
	}
	if cause == nil {
		return nil
	}
	slices.Sort(errs)
	return fmt.Errorf("%s: %w", strings.Join(errs, ", "), cause)
}

// expelledError says that a commit was refused because the group does not know this member any more.
type expelledError struct{ error }

func (e *expelledError) Unwrap() error { return e.error }
