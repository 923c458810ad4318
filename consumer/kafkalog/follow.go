package kafkalog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// checkEvery is how often the follower looks whether Kafka is there and the topics are the same. A client that follows a topic by its
// id learns of neither.
const checkEvery = 10 * time.Second

// patience is how many polls in a row may give nothing before reports that should be there are not waited for any more.
const patience = 5

// idle is how long the follower waits for records before it looks whether those that are missing exist at all.
const idle = time.Second

// view is what the follower has read. It is changed by the follower only, under Log.mu once it is published.
type view struct {
	id      [16]byte // of .jobs
	objects map[string]Entry
	next    int64 // offset of .jobs up to which everything was read
	reports map[string]report
	clock   clock
	pruned  time.Time
}

// follow reads both topics from their start and then keeps up, until ctx ends or something is wrong: then it is to be called anew,
// and everything is read again. What readers see is replaced only when the new view has caught up with the log as it was at the
// beginning, so that nobody sees half of it.
func (l *Log) follow(ctx context.Context) error {
	v := &view{objects: map[string]Entry{}, reports: map[string]report{}, pruned: time.Now()}
	offsets, jobsEnd, statusEnd, err := l.prepare(ctx)
	if err != nil {
		return err
	}
	ids, err := l.topicIDs(ctx)
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
	published, quiet, checked := false, 0, time.Now() // quiet: polls in a row that gave nothing
	for {
		if time.Since(checked) > checkEvery {
			if now, err := l.topicIDs(ctx); err != nil || now != ids {
				l.client.PurgeTopicsFromProducing(l.status) // it would go on writing reports to the id it knows
				return cmp.Or(err, errors.New("a topic of the log was deleted and made anew"))
			}
			checked = time.Now()
		}
		poll, cancel := context.WithTimeout(ctx, idle)
		fetches := client.PollFetches(poll)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
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
		fetches.EachRecord(func(r *kgo.Record) {
			switch r.Topic {
			case l.jobs:
				v.next = r.Offset + 1
				if !r.Attrs.IsControl() {
					l.take(v, r)
					news = true
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
			l.publish(v)
			news = true
		}
		if published {
			l.tell(news)
		}
		l.mu.Unlock()
		if published {
			l.trouble(troubleFollow, "")
		}
	}
}

// prepare makes the topics and gives where to begin, and the ends as they are now.
func (l *Log) prepare(ctx context.Context) (offsets map[string]kgo.Offset, jobsEnd, statusEnd int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := l.ensureTopics(ctx); err != nil {
		return nil, 0, 0, err
	}
	starts, err := l.admin.ListStartOffsets(ctx, l.jobs, l.status)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, 0, 0, err
	}
	ends, err := l.admin.ListCommittedOffsets(ctx, l.jobs, l.status)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, 0, 0, err
	}
	offsets = map[string]kgo.Offset{}
	for _, topic := range []string{l.jobs, l.status} {
		start, _ := starts.Lookup(topic, 0)
		offsets[topic] = kgo.NewOffset().At(start.Offset)
	}
	j, _ := ends.Lookup(l.jobs, 0)
	s, _ := ends.Lookup(l.status, 0)
	return offsets, j.Offset, s.Offset, nil
}

// topicIDs are those of the topics that are followed.
func (l *Log) topicIDs(ctx context.Context) (ids [2]kadm.TopicID, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	meta, err := l.admin.Metadata(ctx, l.jobs, l.status)
	if err == nil {
		err = meta.Topics.Error()
	}
	return [2]kadm.TopicID{meta.Topics[l.jobs].ID, meta.Topics[l.status].ID}, err
}

// take brings one record of .jobs into the view. The caller holds mu.
func (l *Log) take(v *view, r *kgo.Record) {
	key := string(r.Key)
	if r.Value == nil {
		delete(v.objects, key)
	} else {
		// A copy: the record's bytes are part of all that was fetched with it.
		v.objects[key] = Entry{Key: key, Value: bytes.Clone(r.Value), Revision: r.Offset, Log: v.id, At: r.Timestamp}
	}
	l.pending.look(r)
}

// publish makes v what readers see. The caller holds mu.
func (l *Log) publish(v *view) {
	if l.view == nil {
		close(l.read)
	}
	l.view = v
}

// tell wakes who waits for the follower, and with news those who wait for a change. The caller holds mu.
func (l *Log) tell(news bool) {
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
