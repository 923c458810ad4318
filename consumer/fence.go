package consumer

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fence keeps a member that the group may have given up from starting attempts. The story it ends:
//
//  1. Instance A is frozen (a stopped process, a paused virtual machine, a long swap) while it owns partition P.
//  2. A's session times out. The coordinator gives P to B, and B sends the rows that A had not finished.
//  3. A wakes up. Its next heartbeat will be refused, but until that answer is read A believes that it owns P, and would start
//     the rows it had waiting: again, and after newer rows of the same lane that B has sent meanwhile.
//
// So an attempt starts only while the last answered request that keeps a session alive was WRITTEN less than the session
// timeout, less a margin, ago: the coordinator's clock for us started no earlier than that. Not when it was answered: an
// answer may have waited in a socket all the time that we were frozen.
//
//  4. After such a gap the first answer may be the refusal itself, which the hook cannot tell from a good one. It does not open
//     the fence: the refusal reaches us as lost partitions within the same heartbeat, so only a second answer, or a new
//     assignment, proves that we are still a member.
type fence struct {
	limit time.Duration // session timeout less the margin

	mu      sync.Mutex
	written time.Time // when the last answered request was written
	suspect bool      // an answer came after a gap; the next one decides
	shut    bool      // the group gave an error, or was asked to join twice; a new assignment opens
	joins   int       // answered JoinGroup requests one after the other
}

// permitRetry is how long a row waits before it asks a closed fence again.
const permitRetry = 100 * time.Millisecond

var _ kgo.HookBrokerE2E = (*fence)(nil)
var _ kgo.HookGroupManageError = (*fence)(nil)

func newFence(session time.Duration) *fence {
	return &fence{limit: session - max(session/5, 500*time.Millisecond)}
}

// OnBrokerE2E is called by the Kafka client for every request that was answered or failed.
func (f *fence) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if e2e.Err() != nil {
		return
	}
	switch kmsg.Key(key) {
	case kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat:
		f.joining(kmsg.Key(key))
		f.answered(time.Now().Add(-e2e.ReadWait - e2e.TimeToRead))
	}
}

// joining closes the fence when a JoinGroup had to be asked twice: the first answer was a refusal, so the group had put us out (or
// it only gave a new member its id: nothing is assigned then).
func (f *fence) joining(key kmsg.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if key != kmsg.JoinGroup {
		f.joins = 0
		return
	}
	if f.joins++; f.joins > 1 {
		f.shut = true
	}
}

// answered notes that a request written at t was answered.
func (f *fence) answered(t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case t.Before(f.written):
	case !f.written.IsZero() && time.Since(f.written) > f.limit && !f.suspect:
		f.suspect, f.written = true, t
	default:
		f.suspect, f.written = false, t
	}
}

// OnGroupManageError is called by the Kafka client when the group refused us.
func (f *fence) OnGroupManageError(error) { f.close() }

func (f *fence) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut = true
}

// open is called with every assignment: the group has just answered a JoinGroup and a SyncGroup.
func (f *fence) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut, f.suspect = false, false
}

// permit is 0 when an attempt may start now, else how long to wait before asking again.
func (f *fence) permit() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut || f.suspect || time.Since(f.written) > f.limit {
		return permitRetry
	}
	return 0
}
