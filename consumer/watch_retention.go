package consumer

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// retentionEvery is how often the retention of the job's topics is looked up.
const retentionEvery = 5 * time.Minute

// retentions are how long the job's topics keep their records, as they were looked up last.
type retentions struct {
	mu    sync.Mutex
	at    time.Time
	asked []string
	keep  map[string]time.Duration // by topic; none where time alone takes no record
}

// lookUpRetention reads the topics' retention.ms, seldom. Without the permission for it (DescribeConfigs) nothing is known of them.
func (r *Runner) lookUpRetention(ctx context.Context, topics foundTopics) {
	t, names := &r.retentions, topics.names()
	t.mu.Lock()
	known := time.Since(t.at) < retentionEvery && slices.Equal(t.asked, names)
	t.mu.Unlock()
	if known {
		return
	}
	configs, err := r.instance.admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		configs = nil
	}
	keep := map[string]time.Duration{}
	for _, c := range configs {
		values := map[string]string{}
		for _, kv := range c.Configs {
			if kv.Value != nil {
				values[kv.Key] = *kv.Value
			}
		}
		ms, err := strconv.ParseInt(values["retention.ms"], 10, 64)
		if err == nil && ms >= 0 && ms < int64(maxRetention/time.Millisecond) && strings.Contains(values["cleanup.policy"], "delete") {
			keep[c.Name] = time.Duration(ms) * time.Millisecond
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.asked, t.keep = time.Now(), names, keep
}

// maxRetention is what a time.Duration can hold.
const maxRetention = 1<<63 - 1

// headroom is how long the oldest record that is not finished will be kept by its topic, the least of all partitions; negative when it
// may be gone from the log already. known is false if nothing waits, or time takes nothing of what does. Kafka deletes by segment: a
// record may stay longer, and where size limits the log as well, it may go sooner.
func (r *Runner) headroom(now time.Time) (least time.Duration, known bool) {
	r.retentions.mu.Lock()
	keep := r.retentions.keep // never changed, only replaced
	r.retentions.mu.Unlock()
	for _, p := range r.all() {
		limit, ok := keep[p.topic]
		written, waits := p.oldestWritten()
		if !ok || !waits {
			continue
		}
		if left := written.Add(limit).Sub(now); !known || left < least {
			least, known = left, true
		}
	}
	return least, known
}

// oldestWritten is the timestamp of the oldest record that is not finished, as far as it was read.
func (p *partition) oldestWritten() (at time.Time, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tracker != nil {
		if oldest := p.tracker.Oldest(); oldest != nil {
			return oldest.Caller.(*record).timestamp, true
		}
	}
	if len(p.queue) > 0 {
		return p.queue[0].Timestamp, true
	}
	return at, false
}
