package kafkalog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// maxAuditLines is the longest page of the audit.
	maxAuditLines = 1000
	// auditTimeout bounds the read of a page.
	auditTimeout = 30 * time.Second
)

// Audit gives lines of the audit whose keys keep accepts (nil: all), newest first, at most limit (1 to 1000) of them, written before
// the given revision (0: the newest). next is the revision to go on before; 0: there are no more.
func (l *Log) Audit(ctx context.Context, before int64, limit int, keep func(key string) bool) (lines []Entry, next int64, err error) {
	limit = min(max(limit, 1), maxAuditLines)
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	starts, err := l.admin.ListStartOffsets(ctx, l.audit)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the audit: %w", err)
	}
	ends, err := l.admin.ListCommittedOffsets(ctx, l.audit)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the audit: %w", err)
	}
	start, _ := starts.Lookup(l.audit, 0)
	end, _ := ends.Lookup(l.audit, 0)
	to := end.Offset
	if before > 0 {
		to = min(before, to)
	}
	// A line and its marker take two offsets, so a window of twice the page is mostly enough.
	for window := int64(2*limit + 1); to > start.Offset && len(lines) < limit; window *= 2 {
		from := max(to-window, start.Offset)
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
	if len(lines) == limit && lines[limit-1].Revision > start.Offset {
		next = lines[limit-1].Revision
	}
	return lines, next, nil
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
