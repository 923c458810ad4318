package consumer

import (
	"errors"
	"math/bits"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
)

// What the metadata of commits may take. Kafka's defaults are 4,096 characters for a partition (offset.metadata.max.bytes) and 1 MiB for
// a commit as a whole, which it writes as one batch.
const (
	maxMetadata = 4096
	minMetadata = 64 // shorter ones tell nothing
	maxRequest  = 256 << 10
)

// limits are what the broker takes, as far as its refusals say. They only fall: a broker's setting that was raised is noticed when the
// job is started again.
type limits struct {
	metadata atomic.Int64 // characters of a partition's metadata; 0: none
	request  atomic.Int64 // bytes of a request
}

// perPartition is how many characters the metadata of one partition may have.
func (l *limits) perPartition() int { return int(l.metadata.Load()) }

// lower makes v smaller.
func lower(v *atomic.Int64, to int64) {
	for old := v.Load(); to < old && !v.CompareAndSwap(old, to); old = v.Load() {
	}
}

// split divides commits into requests that are no larger than they may be. One partition is a request of its own if it must.
func (r *Runner) split(all commits) []commits {
	var out []commits
	room, limit := int64(0), r.limits.request.Load()
	for at, c := range all {
		bytes := commitBytes(r.cfg.Group, at.Topic, c.metadata)
		if len(out) == 0 || bytes > room {
			out, room = append(out, commits{}), limit
		}
		out[len(out)-1][at] = c
		room -= bytes
	}
	return out
}

// commitBytes is what the commit of a partition takes in the request, and about what it takes in the broker's log: group and topic stand
// in each record there.
func commitBytes(group, topic, metadata string) int64 {
	return int64(96 + len(group) + len(topic) + len(metadata))
}

// carry says that some of the commits have metadata.
func (all commits) carry() bool {
	for _, c := range all {
		if c.metadata != "" {
			return true
		}
	}
	return false
}

func tooLarge(err error) bool {
	return errors.Is(err, kerr.OffsetMetadataTooLarge) || errors.Is(err, kerr.InvalidCommitOffsetSize) || errors.Is(err, kerr.MessageTooLarge)
}

// sizeError says that the commits of some partitions were refused because of the size of metadata, and are to be made again at once
// without.
type sizeError struct {
	at    []TopicPartition
	cause error
}

func (e *sizeError) Error() string { return e.cause.Error() }
func (e *sizeError) Unwrap() error { return e.cause }

// of gives those of the commits that were refused.
func (e *sizeError) of(all commits) commits {
	out := commits{}
	for _, at := range e.at {
		out[at] = all[at]
	}
	return out
}

// learnLimit lowers a limit after a refusal. The next metadata is tried with the next lower power of two, which settings usually are; a
// request that is refused as a whole is halved while it has more than one partition.
func (r *Runner) learnLimit(part commits, refused *sizeError) {
	longest, bytes := 0, int64(0)
	for at, c := range part {
		bytes += commitBytes(r.cfg.Group, at.Topic, c.metadata)
	}
	for _, at := range refused.at {
		longest = max(longest, len(part[at].metadata))
	}
	if !errors.Is(refused.cause, kerr.OffsetMetadataTooLarge) && len(part) > 1 {
		lower(&r.limits.request, max(bytes/2, maxMetadata))
		r.log.Warn("the broker refuses a commit of this size; later ones are split further", "bytes", bytes, "cause", refused.cause)
		return
	}
	next := int64(0)
	if longest > minMetadata {
		next = 1 << (bits.Len(uint(longest-1)) - 1)
	}
	before := r.limits.metadata.Load()
	lower(&r.limits.metadata, next)
	if now := r.limits.metadata.Load(); now < before {
		r.log.Warn("the broker refuses commit metadata of this size (offset.metadata.max.bytes); what does not fit is sent again after a crash",
			"characters", longest, "now_at_most", now, "cause", refused.cause)
	}
}
