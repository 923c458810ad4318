package consumer

import (
	"sync/atomic"
	"time"
)

// patience is how long a broker may hold a fetch back while there is nothing new. The story that it ends:
//
//  1. Partition A has a backlog, B of the same broker has nothing new. A is full, and paused.
//  2. The client asks the broker for B alone. The broker holds that fetch back for five seconds.
//  3. A has room again a moment later. A client has one fetch at a broker at a time, so A is asked for when that of B has come
//     back: for up to five seconds nothing is delivered.
//
// So while a partition is paused, fetches are held back for a tenth of the time that has passed since the last pause: what is paused
// and resumed many times a second loses little, and what is paused for hours costs no requests.
type patience struct {
	since atomic.Int64 // Unix nanoseconds of the last pause; 0: no partition is paused
}

const (
	// fetchWait is how long a fetch is held back otherwise: a request every five seconds for each job and broker at rest.
	fetchWait = 5 * time.Second
	// leastFetchWait bounds the requests while partitions stop and go.
	leastFetchWait = 20 * time.Millisecond
)

// paused says that a partition is about to be paused.
func (p *patience) paused(now time.Time) { p.since.Store(now.UnixNano()) }

// none says that no partition is paused any more.
func (p *patience) none() { p.since.Store(0) }

// wait is how long a fetch that is sent now may be held back.
func (p *patience) wait(now time.Time) time.Duration {
	at := p.since.Load()
	if at == 0 {
		return fetchWait
	}
	return min(max(time.Duration(now.UnixNano()-at)/10, leastFetchWait), fetchWait)
}
