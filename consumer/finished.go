package consumer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/track"
)

// commit is what is committed of a partition: the next offset to read, and what is finished above it.
type commit struct {
	track.Place
	metadata string
}

// told is what was last encoded of a partition, so that nothing is encoded again while nothing changes.
type told struct {
	commit
	changes uint64
	limit   int
	left    int64 // finished, and left out of the metadata for want of room
}

// snapshots are reused: one may take half a megabyte.
var snapshots = sync.Pool{New: func() any { return new(track.Finished) }}

// finished gives what to commit, and whether it differs from what the group has acknowledged. What is finished is copied under the
// partition's lock and encoded without it: rows that end do not wait for that.
func (p *partition) finished() (c commit, changed bool) {
	f := snapshots.Get().(*track.Finished)
	defer snapshots.Put(f)
	p.mu.Lock()
	if p.tracker == nil || p.life == closed || p.severed() {
		p.mu.Unlock()
		return c, false
	}
	now := p.position(f)
	p.mu.Unlock()
	return p.encode(f, now)
}

// position reads what is finished into f, unless it was encoded before, for who holds the lock.
func (p *partition) position(f *track.Finished) told {
	limit := p.runner.limits.perPartition()
	if changes := p.tracker.Changes() + 1; p.told.changes == changes && p.told.limit == limit {
		return p.told
	}
	now := told{changes: p.tracker.Changes() + 1, limit: limit, left: -1}
	now.Place = p.runner.place(p)
	now.Offset, now.Epoch = p.tracker.Committable()
	f.Read(p.tracker)
	return now
}

// encode turns what position has read into the commit.
func (p *partition) encode(f *track.Finished, now told) (c commit, changed bool) {
	if now.left < 0 {
		now.metadata, now.left = f.Encode(now.Place, now.limit)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if more := now.left - p.told.left; more > 0 {
		p.runner.instance.metrics.metadataDropped.WithLabelValues(p.runner.cfg.Job).Add(float64(more))
	}
	p.told = now
	return now.commit, now.Offset != p.committed || now.metadata != p.metadata
}

// acknowledged notes what the group has committed.
func (p *partition) acknowledged(c commit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.Offset >= p.committed {
		p.committed, p.metadata = c.Offset, c.metadata
	}
}

// movedTo says that the group has not acknowledged this very offset last.
func (p *partition) movedTo(offset int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.committed != offset
}

// place is what p's commits are bound to, but for offset and epoch. The partition's lock is held.
func (r *Runner) place(p *partition) track.Place {
	return track.Place{TopicID: p.topicID, Owner: r.owner, Parts: p.definition.counted}
}

// restore gives what earlier owners had finished above the commits of these partitions, as far as it can be believed; what is not is
// sent again. It fails only when ctx ends, which a rebalance does: it is called again then, for what is still assigned.
func (r *Runner) restore(ctx context.Context, fetched map[string]map[int32]kgo.Offset) (map[TopicPartition]track.Finished, error) {
	all := commits{}
	for topic, ids := range fetched {
		for id, o := range ids {
			if p := r.partition(topic, id); p != nil {
				p.mu.Lock()
				c := commit{r.place(p), r.metadata[TopicPartition{topic, id}]}
				p.mu.Unlock()
				c.Offset, c.Epoch = o.EpochOffset().Offset, o.EpochOffset().Epoch
				all[TopicPartition{topic, id}] = c
			}
		}
	}
	return r.instance.believe(ctx, r.log, all)
}

// believe gives what commits say was finished above them, as far as it can be believed. It fails only when ctx ends.
func (i *Instance) believe(ctx context.Context, log *slog.Logger, all commits) (map[TopicPartition]track.Finished, error) {
	found := map[TopicPartition]track.Finished{}
	var ask kadm.OffsetForLeaderEpochRequest
	for at, c := range all {
		f, left, err := track.Decode(c.metadata, c.Place)
		switch {
		case errors.Is(err, track.ErrElsewhere):
			log.Info("what the commit's metadata says is finished is of another topic, group or offset: it is not believed", "topic", at.Topic, "partition", at.Partition)
		case err != nil:
			log.Warn("what was finished above the commit cannot be read, and is sent again", "topic", at.Topic, "partition", at.Partition, "cause", err)
		case !f.Empty():
			found[at] = f
			_, epoch := f.Top()
			ask.Add(at.Topic, at.Partition, epoch)
		}
		if left > 0 {
			log.Info("finished work did not fit into the commit's metadata, and is sent again", "topic", at.Topic, "partition", at.Partition, "finished", left)
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	ends, err := i.epochEnds(ctx, ask)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for at, f := range found {
		end, epoch := f.Top()
		answer, ok := ends[at.Topic][at.Partition]
		switch {
		case !ok || answer.Err != nil:
			log.Warn("the leader does not say whether the log was cut; what was finished above the commit is sent again",
				"topic", at.Topic, "partition", at.Partition, "cause", errors.Join(err, answer.Err))
			delete(found, at)
		case answer.LeaderEpoch != epoch:
			log.Warn("the log was written anew since rows above the commit were finished; they are sent again",
				"topic", at.Topic, "partition", at.Partition, "epoch", epoch)
			delete(found, at)
		case answer.EndOffset < end:
			log.Warn("the log was cut since rows above the commit were finished; those above the cut are not believed",
				"topic", at.Topic, "partition", at.Partition, "epoch", epoch, "cut", answer.EndOffset)
			f.Clip(answer.EndOffset)
			found[at] = f
		}
	}
	return found, nil
}

// epochEnds asks where epochs end in the logs. A leader that is away, or moving, is asked again for a while: this comes just after a
// rebalance, which is often due to the very trouble that took the leader. The error is the last one, of what has no answer.
func (i *Instance) epochEnds(ctx context.Context, ask kadm.OffsetForLeaderEpochRequest) (kadm.OffsetsForLeaderEpochs, error) {
	ctx, cancel := context.WithTimeout(ctx, prepareRetry)
	defer cancel()
	all := kadm.OffsetsForLeaderEpochs{}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		ends, err := i.admin.OffsetForLeaderEpoch(ctx, ask)
		left := kadm.OffsetForLeaderEpochRequest{}
		for topic, ids := range ask {
			if all[topic] == nil {
				all[topic] = map[int32]kadm.OffsetForLeaderEpoch{}
			}
			for id, epoch := range ids {
				answer, ok := ends[topic][id]
				if ok {
					all[topic][id] = answer
				}
				if !ok || kerr.IsRetriable(answer.Err) {
					left.Add(topic, id, epoch)
				}
			}
		}
		if ask = left; len(ask) == 0 {
			return all, nil
		}
		if !sleep(ctx, wait) {
			return all, err
		}
	}
}

// past is what this process had finished of a partition in earlier assignments, so that it can say what it sends again.
type past struct {
	topicID [16]byte
	parts   uint32
	track.Finished
}

// maxPast bounds the memory of one past; what is beyond is not counted when it is sent again.
const maxPast = 1024

// earlier says of the record that the worker has in its hands which rows this process had finished before.
type earlier struct {
	track.Finished
	whole bool
	rows  func(row int32) bool
}

func (e *earlier) look(offset int64) { e.whole, e.rows = e.Take(offset) }

// sent says whether a row was final in an earlier assignment, and is sent again now.
func (e *earlier) sent(row int32) bool { return e.whole || e.rows != nil && e.rows(row) }

// remember notes what this assignment has finished. The worker has ended.
func (p *partition) remember(f *track.Finished, committable int64) {
	all := f.Keep(p.began, committable, p.earlier.Finished, maxPast)
	p.runner.mu.Lock()
	defer p.runner.mu.Unlock()
	p.runner.past[TopicPartition{p.topic, p.id}] = past{p.topicID, p.definition.counted, all}
}

// pastOf gives what earlier assignments of p had finished.
func (r *Runner) pastOf(p *partition) track.Finished {
	r.mu.RLock()
	defer r.mu.RUnlock()
	before := r.past[TopicPartition{p.topic, p.id}]
	switch {
	case before.topicID != p.topicID:
		return track.Finished{}
	case before.parts != p.definition.counted:
		before.Whole()
	}
	return before.Finished
}

// sending counts a row that is sent again.
func (r *Runner) sending(again bool) {
	if again {
		r.again.Inc()
	}
}
