package consumer

import (
	"sync"
	"sync/atomic"
)

// budget bounds the memory that records take, over all jobs of the process: raw values waiting to be decoded, requests waiting
// to be final, and what the Kafka clients have fetched ahead.
//
// Every job may always use its reserve (an equal part of one half); none takes over one half; between the two it is first
// come, first served until the whole is used.
type budget struct {
	total int64

	mu       sync.Mutex
	accounts []*account
}

// account is one job's part of the budget.
type account struct {
	budget   *budget
	used     atomic.Int64
	buffered func() int64 // bytes the job's Kafka client has fetched ahead
}

func (b *budget) open(buffered func() int64) *account {
	a := &account{budget: b, buffered: buffered}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accounts = append(b.accounts, a)
	return a
}

func (a *account) close() {
	b := a.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range b.accounts {
		if other == a {
			b.accounts = append(b.accounts[:i], b.accounts[i+1:]...)
			return
		}
	}
}

// add counts n bytes more, or fewer.
func (a *account) add(n int64) { a.used.Add(n) }

// level says how full the account is: 1 and more means that nothing should be read now. Reading goes on below lowMark, so that
// a job at its limit does not stop and start with every row.
func (a *account) level() float64 {
	own := a.used.Load() + a.buffered()
	b := a.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	var all int64
	for _, other := range b.accounts {
		all += other.used.Load() + other.buffered()
	}
	half := float64(b.total) / 2
	reserve := half / float64(max(len(b.accounts), 1))
	level := float64(own) / half
	if own := float64(own); own > reserve {
		level = max(level, min(float64(all)/float64(b.total), own/reserve))
	}
	return level
}

// limit is the most the account may use.
func (a *account) limit() int64 { return a.budget.total / 2 }

// fetchable is the most one fetch of the job should bring: it lies beside what is held, and the next one is on its way. With many
// jobs each stays within its reserve.
func (a *account) fetchable() int64 {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	return a.limit() / int64(max(len(a.budget.accounts), 4))
}

// lowMark is the level below which a paused partition is fetched again.
const lowMark = 0.75
