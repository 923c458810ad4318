package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// letterFetchBytes bounds what a reader of dead letters has fetched ahead.
	letterFetchBytes = 8 << 20
	// letterIdle is how long a reader waits for records that must be there before it asks where the log begins and ends now.
	letterIdle = 5 * time.Second
)

// ErrLettersOff says that a job has no dead letters.
var ErrLettersOff = errors.New("dead letters of this job are off")

// span is the part of a partition from one offset up to another.
type span struct {
	partition int32
	from, to  int64
}

// spansOf are the least spans that have all of the addresses, which rise: one in each partition.
func spansOf(addresses []LetterAddress) []span {
	var spans []span
	for _, at := range addresses {
		if n := len(spans); n > 0 && spans[n-1].partition == at.Partition {
			spans[n-1].to = at.Offset + 1
		} else {
			spans = append(spans, span{at.Partition, at.Offset, at.Offset + 1})
		}
	}
	return spans
}

// spans are the partitions of the topic from cursor on, in their order; none for a topic that is missing or empty.
func (d *DeadLetters) spans(ctx context.Context, cursor LetterAddress) ([]span, error) {
	topic := d.cfg.DeadLetterTopic
	if topic == "" {
		return nil, ErrLettersOff
	}
	starts, err := d.instance.admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, d.instance.reach(err)
	}
	ends, err := d.instance.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, d.instance.reach(err)
	}
	var out []span
	for id, end := range ends[topic] {
		start, ok := starts.Lookup(topic, id)
		switch {
		case errors.Is(end.Err, kerr.UnknownTopicOrPartition) || errors.Is(start.Err, kerr.UnknownTopicOrPartition):
			continue
		case end.Err != nil || start.Err != nil:
			return nil, fmt.Errorf("dead-letter topic %s, partition %d: %w", topic, id, errors.Join(end.Err, start.Err))
		}
		s := span{partition: id, from: start.Offset, to: end.Offset}
		if id == cursor.Partition {
			s.from = max(s.from, cursor.Offset)
		}
		if ok && id >= cursor.Partition && s.from < s.to {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b span) int { return int(a.partition - b.partition) })
	return out, nil
}

// scan hands the records of the spans to each, one partition after the other, until it returns false. It gives the address that comes
// next. Records that expire while it reads are passed over.
func (d *DeadLetters) scan(ctx context.Context, spans []span, each func(*kgo.Record) bool) (LetterAddress, error) {
	var next LetterAddress
	if len(spans) == 0 {
		return next, nil
	}
	r, err := d.newReader()
	if err != nil {
		return next, err
	}
	defer r.close()
	for _, s := range spans {
		if next, err = r.read(ctx, s, each); err != nil || next.Offset < s.to {
			return next, err
		}
	}
	return next, nil
}

// letterReader reads parts of the topic, without a group.
type letterReader struct {
	client *kgo.Client
	admin  *kadm.Client
	topic  string
}

func (d *DeadLetters) newReader() (*letterReader, error) {
	opts, err := d.instance.options(clientID + ".dead-letters")
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts,
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(letterFetchBytes),
		kgo.FetchMaxPartitionBytes(letterFetchBytes),
		kgo.BrokerMaxReadBytes(maxReadBytes),
		kgo.MaxConcurrentFetches(1),
	)...)
	if err != nil {
		return nil, err
	}
	return &letterReader{client: client, admin: d.instance.admin, topic: d.cfg.DeadLetterTopic}, nil
}

func (r *letterReader) close() { r.client.Close() }

// read hands the records of s to each until it returns false, and gives the address behind the last one it took.
func (r *letterReader) read(ctx context.Context, s span, each func(*kgo.Record) bool) (LetterAddress, error) {
	at := LetterAddress{s.partition, s.from}
	r.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: {s.partition: kgo.NewOffset().At(s.from)}})
	defer r.client.RemoveConsumePartitions(map[string][]int32{r.topic: {s.partition}})
	for at.Offset < s.to {
		wait, cancel := context.WithTimeout(ctx, letterIdle)
		fetches := r.client.PollRecords(wait, 1000)
		cancel()
		if ctx.Err() != nil {
			return at, ctx.Err()
		}
		more, took := true, false
		fetches.EachRecord(func(rec *kgo.Record) {
			if rec.Partition != at.Partition || rec.Offset < at.Offset || rec.Offset >= s.to || !more {
				return
			}
			if more = each(rec); more {
				at.Offset, took = rec.Offset+1, true
			}
		})
		switch err := letterFetchError(fetches); {
		case !more:
			return at, nil
		case took:
		case err != nil && !errors.Is(err, kerr.OffsetOutOfRange):
			return at, fmt.Errorf("read dead letters of %s/%d at %d: %w", r.topic, at.Partition, at.Offset, err)
		default: // nothing where something must be: it has expired, or the end of the log was compacted
			if err := r.expired(ctx, &at, s.to); err != nil {
				return at, err
			}
		}
	}
	return at, nil
}

// errPartitionGone says that there is no such partition, or not any more.
var errPartitionGone = errors.New("the partition is gone")

// expired moves at to where the log begins now, or to the end if nothing is left before it.
func (r *letterReader) expired(ctx context.Context, at *LetterAddress, end int64) error {
	starts, err := r.admin.ListStartOffsets(ctx, r.topic)
	if err != nil {
		return err
	}
	start, ok := starts.Lookup(r.topic, at.Partition)
	switch {
	case !ok || start.Err != nil:
		return fmt.Errorf("read dead letters of %s/%d at %d: %w", r.topic, at.Partition, at.Offset, errors.Join(errPartitionGone, start.Err))
	case start.Offset > at.Offset:
		at.Offset = start.Offset
	default:
		at.Offset = end // a gap up to the end
	}
	if at.Offset < end {
		r.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{r.topic: {at.Partition: {Epoch: -1, Offset: at.Offset}}})
	}
	return nil
}

// letterFetchError is the first error of a fetch that is not only the end of a wait.
func letterFetchError(f kgo.Fetches) error {
	for _, e := range f.Errors() {
		if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
			return e.Err
		}
	}
	return nil
}
