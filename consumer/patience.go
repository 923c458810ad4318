package consumer

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var _ kgo.HookBrokerConnect = (*patience)(nil)

// patience is how long a broker may hold a fetch back while there is nothing new. The story that it ends:
//
//  1. Partition A has a backlog, B of the same broker has nothing new. A is full, and paused.
//  2. The client asks the broker for B alone. The broker holds that fetch back for five seconds.
//  3. A has room again a moment later. A client has one fetch at a broker at a time, so A is asked for when that of B has come
//     back: for up to five seconds nothing is delivered.
//
// So after a partition was paused, resumed or assigned, fetches are held back for a tenth of the time that has passed since: what is paused
// and resumed many times a second loses little, and what is paused for hours costs no requests. That nothing is paused any more does not
// end it at once:
//
//  1. A is paused, and the client writes down what it will ask for: B alone.
//  2. A is resumed.
//  3. The fetch is sent. It still leaves A out, so it must not be held back for five seconds either.
//
// Nor does a first assignment: the client may send a fetch when it has come to B, and not yet to A. That happens once, so fetches are held
// back for as long as the assignment is old: eight or nine of them until that is reached, where a tenth would make fifty of each job
// that starts.
//
// Nor is a fetch waited for that was sent before: the rows of a partition that another instance has just given up would stay where they are
// for up to five seconds, as A's above. The protocol knows no way to end it but to end its connection (hurry), after which the client makes
// another one, a quarter of a second later. That costs a login at a broker, so it is done at those that lead what was assigned, and only
// where the broker has more than half a second left. No record is lost: the client goes on where it was, and nothing of the answer has come.
//
// None of this can happen to a partition that is the only one here: no other waits behind its fetch, and if one is assigned the fetch is
// ended. So that one is held back for longer, which is half the requests for most jobs at rest.
type patience struct {
	alone    atomic.Bool               // one partition is assigned
	since    atomic.Pointer[time.Time] // of the last pause or resume; nil: there was none
	assigned atomic.Pointer[time.Time] // of the last assignment

	mu   sync.Mutex
	held map[*groupConn]time.Time // where a fetch is not answered yet, and how long it may be held back
}

const (
	// fetchWait is how long a fetch is held back otherwise: a request every five seconds for each job and broker at rest.
	fetchWait = 5 * time.Second
	// aloneFetchWait is that of the only partition. The client is told fetchWait all the same: it takes a broker for dead that has not
	// answered ten seconds after that, and is not to learn so any later. Five are left for the answer.
	aloneFetchWait = 2 * fetchWait
	// leastFetchWait bounds the requests while partitions stop and go.
	leastFetchWait = 20 * time.Millisecond
	// worthHurry is what a broker has left at least to hold a fetch back that is ended.
	worthHurry = 500 * time.Millisecond
)

// changes says that partitions are about to be paused or resumed. It comes before the change: a fetch is sent at any time.
func (p *patience) changes(now time.Time) { p.since.Store(&now) }

// grows says the same of partitions that were assigned.
func (p *patience) grows(now time.Time) { p.assigned.Store(&now) }

// wait is how long a fetch that is sent now may be held back.
func (p *patience) wait(now time.Time) time.Duration {
	wait := fetchWait
	if p.alone.Load() {
		wait = aloneFetchWait
	}
	if at := p.since.Load(); at != nil {
		wait = min(wait, now.Sub(*at)/10)
	}
	if at := p.assigned.Load(); at != nil {
		wait = min(wait, now.Sub(*at))
	}
	return max(wait, leastFetchWait)
}

// sent notes a fetch that is sent now, and gives how long it may be held back.
func (p *patience) sent(c *groupConn, now time.Time) time.Duration {
	wait := p.wait(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = map[*groupConn]time.Time{}
	}
	p.held[c] = now.Add(wait)
	return wait
}

// answered notes that a connection holds no fetch back: there is an answer, or its end.
func (p *patience) answered(c *groupConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, c)
}

// errHurried is what the client is told of a fetch that was ended. It sends another one.
var errHurried = errors.New("the broker holds this fetch back, and partitions were assigned that it does not ask for")

// hurry ends the fetches that brokers, by their ids, hold back. It comes after grows: the next ones are not held back for long.
func (p *patience) hurry(now time.Time, brokers map[int32]bool) {
	p.mu.Lock()
	var ended []*groupConn
	for c, until := range p.held {
		if brokers[c.broker.Load()] && until.Sub(now) > worthHurry {
			ended = append(ended, c)
			delete(p.held, c)
		}
	}
	p.mu.Unlock()
	for _, c := range ended {
		c.end()
	}
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (*patience) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, conn net.Conn, _ error) {
	if c, ok := conn.(*groupConn); ok {
		c.broker.Store(meta.NodeID)
	}
}
