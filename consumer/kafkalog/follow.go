package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// patience is how many polls in a row may give nothing before reports that should be there are not waited for any more.
const patience = 5

// idle is how long the follower waits for records before it looks whether those that are missing exist at all.
const idle = time.Second

// follow reads both topics from their start and then keeps up, until ctx ends or something is wrong: then it is to be called anew,
// and everything is read again. What readers see is replaced only when the new view has caught up with the log as it was at the
// beginning, so that nobody sees half of it.
func (l *Log) follow(ctx context.Context) error {
	begun, v := time.Now(), newView()
	offsets, jobsEnd, statusEnd, ids, err := l.prepare(ctx)
	if err != nil {
		return err
	}
	v.id, v.next = ids[0], offsets[l.jobs].EpochOffset().Offset
	statusNext := offsets[l.status].EpochOffset().Offset
	client, err := l.newClient(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.jobs: {0: offsets[l.jobs]}, l.status: {0: offsets[l.status]}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The last record before the last stable offset may be a marker: without it, that offset would never appear.
		kgo.KeepControlRecords(),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop(nil)
	watching.Go(func() { // ends with ctx, and ends it when it finds something wrong
		err := l.watch(ctx, ids)
		if ctx.Err() == nil {
			l.unfollowed(err) // now: to end the client takes seconds while Kafka does not answer
		}
		stop(err)
	})
	published, quiet := false, 0 // quiet: polls in a row that gave nothing
	for {
		poll, cancel := context.WithTimeout(ctx, idle)
		fetches := client.PollFetches(poll)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) {
				return fmt.Errorf("topic %s: %w", e.Topic, e.Err)
			}
		}
		none := fetches.NumRecords() == 0
		if quiet > 0 && none {
			if err := l.skipGap(ctx, v, jobsEnd); err != nil {
				return err
			}
		}
		if quiet++; !none {
			quiet = 0
		}
		l.mu.Lock()
		news := false
		foreign := int64(-1)
		fetches.EachRecord(func(r *kgo.Record) {
			switch r.Topic {
			case l.jobs:
				v.next = r.Offset + 1
				switch {
				case r.Attrs.IsControl():
				case v.take(r):
					l.pending.look(r)
					news = true
				default:
					foreign = r.Offset
				}
			case l.status:
				statusNext = r.Offset + 1
				v.hear(r, published)
				news = true
			}
		})
		v.prune()
		// Reports are worth waiting for, but not to be missed for ever: their topic may lose its end to retention.
		if !published && v.next >= jobsEnd && (statusNext >= statusEnd || quiet >= patience) {
			published = true
			l.publish(v, begun)
			news = true
		}
		if published {
			l.tell(news)
		}
		l.mu.Unlock()
		if foreign >= 0 {
			l.trouble(troubleForeign, fmt.Sprintf("topic %s has a record that no streamer wrote, at offset %d: it has no key, or one of more than %d bytes; it is "+
				"passed over. Nobody else is to write there", l.jobs, foreign, maxKeyBytes))
		}
		if published {
			l.bar(nil)
			l.trouble(troubleFollow, "")
		}
	}
}

// unfollowed notes why the log is not followed.
func (l *Log) unfollowed(err error) {
	if barred := new(barredError); errors.As(err, &barred) {
		l.bar(barred)
		l.trouble(troubleFollow, barred.cause)
		return
	}
	l.trouble(troubleFollow, fmt.Sprintf("the log in Kafka cannot be followed: %v", err))
}

// prepare makes the topics and gives where to begin, the ends as they are now, and which topics these are.
func (l *Log) prepare(ctx context.Context) (offsets map[string]kgo.Offset, jobsEnd, statusEnd int64, ids topicIDs, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := l.ensureTopics(ctx); err != nil {
		return nil, 0, 0, ids, err
	}
	if ids, err = l.ids(ctx); err != nil {
		return nil, 0, 0, ids, err
	}
	if err := l.same(ids); err != nil {
		return nil, 0, 0, ids, err
	}
	if slices.Contains(ids[:], kadm.TopicID{}) { // one that was just made
		return nil, 0, 0, ids, kerr.UnknownTopicOrPartition
	}
	starts, err := l.admin.ListStartOffsets(ctx, l.jobs, l.status)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, 0, 0, ids, err
	}
	ends, err := l.admin.ListCommittedOffsets(ctx, l.jobs, l.status)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, 0, 0, ids, err
	}
	offsets = map[string]kgo.Offset{}
	for _, topic := range []string{l.jobs, l.status} {
		start, _ := starts.Lookup(topic, 0)
		offsets[topic] = kgo.NewOffset().At(start.Offset)
	}
	j, _ := ends.Lookup(l.jobs, 0)
	s, _ := ends.Lookup(l.status, 0)
	return offsets, j.Offset, s.Offset, ids, nil
}

// publish makes v what readers see. It has read the log as it was after begun. The caller holds mu.
func (l *Log) publish(v *view, begun time.Time) {
	v.number = 1
	if l.view == nil {
		close(l.read)
	} else {
		v.number += l.view.number
	}
	l.view, l.heard = v, begun
}

// tell wakes who waits for the follower, and with news those who wait for a change. The caller holds mu.
func (l *Log) tell(news bool) {
	l.settle()
	close(l.moved)
	l.moved = make(chan struct{})
	if news {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// reach waits until this instance has read .jobs up to end.
func (l *Log) reach(ctx context.Context, end int64) error {
	for {
		l.mu.Lock()
		at, moved := int64(-1), l.moved
		if l.view != nil {
			at = l.view.next
		}
		l.wanted = max(l.wanted, end)
		if at >= end {
			l.wanted = 0
		}
		l.mu.Unlock()
		if at >= end {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%w: the log was read up to offset %d, not to %d: %w", errPassing, at, end, ctx.Err())
		}
	}
}

// skipGap brings the view over a gap at the end of the log: compaction may have removed all records up to the end, markers too,
// and a client that waits for the one before the end waits for ever. It asks the broker what is there.
func (l *Log) skipGap(ctx context.Context, v *view, end int64) error {
	l.mu.Lock()
	next := v.next
	end = max(end, l.wanted)
	l.mu.Unlock()
	if next >= end {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	meta, err := l.admin.Metadata(ctx, l.jobs)
	if err != nil {
		return err
	}
	topic := meta.Topics[l.jobs]
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.IsolationLevel = maxRecordBytes, 1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = l.jobs, topic.ID
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes = next, maxRecordBytes
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	answer, err := l.client.Broker(int(topic.Partitions[0].Leader)).RetriableRequest(ctx, req)
	if err != nil {
		return err
	}
	resp := answer.(*kmsg.FetchResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil
	}
	if got := resp.Topics[0].Partitions[0]; got.ErrorCode == 0 && len(got.RecordBatches) == 0 && got.LastStableOffset >= end {
		l.mu.Lock()
		v.next = end
		l.mu.Unlock()
	}
	return nil
}
