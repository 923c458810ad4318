package consumer

import (
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
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
// answer may have waited in a socket all the time that we were frozen. An answer with an error code counts for nothing (see told). Under
// the consumer protocol the request is ConsumerGroupHeartbeat and the session timeout is the group's; all else is the same.
//
//  4. After such a gap the first answer may be the refusal itself, which the hook cannot tell from a good one. It does not open
//     the fence: the refusal reaches us as lost partitions within the same heartbeat, so only a second answer, or a new
//     assignment, proves that we are still a member.
type fence struct {
	consumer bool   // the group is one of the consumer protocol
	fellBack func() // called when the client joins a classic group all the same

	mu      sync.Mutex
	limit   time.Duration     // session timeout less the margin
	refused map[kmsg.Key]bool // the answer that the hook is about to report is a refusal
	classic bool              // the client fell back to the classic protocol: nothing is ever sent
	written time.Time         // when the last answered request was written
	suspect bool              // an answer came after a gap; the next one decides
	shut    bool              // the group gave an error, or was asked to join twice; a new assignment opens
	joins   int               // answered JoinGroup requests one after the other
}

// permitRetry is how long a row waits before it asks a closed fence again.
const permitRetry = 100 * time.Millisecond

var _ kgo.HookBrokerE2E = (*fence)(nil)
var _ kgo.HookGroupManageError = (*fence)(nil)

func newFence(session time.Duration) *fence {
	return &fence{limit: fenceLimit(session), refused: map[kmsg.Key]bool{}}
}

// fenceLimit is the session timeout less the margin.
func fenceLimit(session time.Duration) time.Duration {
	return session - max(session/5, 500*time.Millisecond)
}

// setSession follows a session timeout that was changed.
func (f *fence) setSession(session time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = fenceLimit(session)
}

// told takes the error code of an answer, before the hook reports that there was one. A refusal proves no membership; those that say that
// there is none close the fence at once, before the client has read them.
func (f *fence) told(key kmsg.Key, code int16) {
	err := kerr.ErrorForCode(code)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused[key] = err != nil && !errors.Is(err, kerr.RebalanceInProgress) // which a member is told
	if notMember(err) {
		f.shut = true
	}
}

// notMember says that the group does not know this member, or not as what it says it is.
func notMember(err error) bool {
	return errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) ||
		errors.Is(err, kerr.FencedInstanceID) || errors.Is(err, kerr.FencedMemberEpoch)
}

// OnBrokerE2E is called by the Kafka client for every request that was answered or failed.
func (f *fence) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if e2e.Err() != nil {
		return
	}
	switch key := kmsg.Key(key); key {
	case kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat:
		f.joining(key)
		if !f.wasRefused(key) {
			f.answered(time.Now().Add(-e2e.ReadWait - e2e.TimeToRead))
		}
	}
}

func (f *fence) wasRefused(key kmsg.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	refused := f.refused[key]
	delete(f.refused, key)
	return refused
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
	if f.consumer && !f.classic {
		f.classic = true
		f.fellBack()
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
	if f.shut || f.suspect || f.classic || time.Since(f.written) > f.limit {
		return permitRetry
	}
	return 0
}

// alive says that the session cannot have run out yet.
func (f *fence) alive() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.written) <= f.limit
}
