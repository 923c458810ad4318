package kafkalog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// maxAuditLines is the longest page of the audit.
	maxAuditLines = 1000
	// auditTimeout bounds the read of a page.
	auditTimeout = 30 * time.Second
	// auditPatience is how long a page waits for lines whose transactions are not ended.
	auditPatience = time.Second
)

// Audit gives lines of the audit whose keys keep accepts (nil: all), newest first, at most limit (1 to 1000) of them, written before
// the given revision (0: the newest). next is the revision to go on before; 0: there are no more.
func (l *Log) Audit(ctx context.Context, before int64, limit int, keep func(key string) bool) (lines []Entry, next int64, err error) {
	limit = min(max(limit, 1), maxAuditLines)
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	start, err := auditOffset(ctx, l.audit, l.admin.ListStartOffsets)
	if err != nil {
		return nil, 0, fmt.Errorf("read the audit: %w", err)
	}
	to, err := l.auditEnd(ctx, before)
	if err != nil {
		return nil, 0, fmt.Errorf("read the audit: %w", err)
	}
	// A line and its marker take two offsets, so a window of twice the page is mostly enough.
	for window := int64(2*limit + 1); to > start && len(lines) < limit; window *= 2 {
		from := max(to-window, start)
		found, err := l.readAudit(ctx, from, to)
		if err != nil {
			return nil, 0, fmt.Errorf("read the audit: %w", err)
		}
		slices.Reverse(found)
		for _, e := range found {
			if len(lines) < limit && (keep == nil || keep(e.Key)) {
				lines = append(lines, e)
			}
		}
		to = from
	}
	if len(lines) == limit && lines[limit-1].Revision > start {
		next = lines[limit-1].Revision
	}
	return lines, next, nil
}

// auditEnd gives the offset behind the newest line before the given revision (0: of all) that can be read. Kafka answers a commit
// before it has written the marker to both topics, so that what a write has left in the jobs topic may be there a moment before its
// line: that moment is waited for. A transaction whose writer is gone stays open, and is not.
func (l *Log) auditEnd(ctx context.Context, before int64) (int64, error) {
	written, err := auditOffset(ctx, l.audit, l.admin.ListEndOffsets)
	if err != nil {
		return 0, err
	}
	if before > 0 {
		written = min(written, before)
	}
	for patience := time.After(auditPatience); ; {
		ended, err := auditOffset(ctx, l.audit, l.admin.ListCommittedOffsets)
		if err != nil || ended >= written {
			return written, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-patience:
			return ended, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func auditOffset(ctx context.Context, topic string, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (int64, error) {
	offsets, err := list(ctx, topic)
	if err == nil {
		err = offsets.Error()
	}
	offset, _ := offsets.Lookup(topic, 0)
	return offset.Offset, err
}

// readAudit gives the lines from one offset up to another, in their order. The record before to always exists, since the topic is
// not compacted: a line, or the marker of its transaction.
func (l *Log) readAudit(ctx context.Context, from, to int64) (out []Entry, err error) {
	client, err := l.newClient(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.audit: {0: kgo.NewOffset().At(from)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for at := from; at < to; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			if r.Offset < to && !r.Attrs.IsControl() {
				out = append(out, Entry{Key: string(r.Key), Value: r.Value, Revision: r.Offset, At: r.Timestamp, Writer: writerOf(r)})
			}
		})
	}
	return out, nil
}

func writerOf(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key == writerHeader {
			return string(h.Value)
		}
	}
	return ""
}
