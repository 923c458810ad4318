package people

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"streamer/control/service"
)

const (
	// freeWrong is how often a credential of one name may be wrong from one address before the next try has to wait; freeFrom is the
	// same for all names together, so that many people behind one address do not lock each other out.
	freeWrong = 5
	freeFrom  = 50
	// firstWait is the first wait; each further wrong credential doubles it up to mostWait.
	firstWait = time.Second
	mostWait  = 5 * time.Minute
	// forgetAfter is how long wrong credentials are remembered when no further one comes.
	forgetAfter = 15 * time.Minute
	// maxRemembered bounds what is remembered. When it is full, the oldest of lookedAt is forgotten.
	maxRemembered = 10_000
	lookedAt      = 100
)

// attempts remembers wrong credentials, by address and by address and name, and lets the next try from there wait. It never counts a name
// from everywhere: who knows the admin's name could keep him out. Right credentials that come while they have to wait are not looked at,
// else waiting would tell which one was right.
type attempts struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[origin]*wrongs
}

// origin is where a credential came from; an empty name stands for all names.
type origin struct{ from, name string }

type wrongs struct {
	n    int
	last time.Time
}

func newAttempts(now func() time.Time) *attempts {
	return &attempts{now: now, seen: map[origin]*wrongs{}}
}

// network is what of a client's address counts: of IPv6 the /64, which one machine has as a whole.
func network(client string) string {
	ip, err := netip.ParseAddr(client)
	if err != nil || ip.Unmap().Is4() {
		return client
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return client
	}
	return prefix.String()
}

// wait is how long the next try has to wait; 0: not at all.
func (a *attempts) wait(client, name string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	from := network(client)
	return max(a.waitOf(origin{from, name}, freeWrong), a.waitOf(origin{from, ""}, freeFrom))
}

func (a *attempts) waitOf(o origin, free int) time.Duration {
	w := a.seen[o]
	if w == nil || w.n < free {
		return 0
	}
	wait := min(mostWait, time.Duration(float64(firstWait)*math.Pow(2, float64(min(w.n-free, 20)))))
	return max(0, wait-a.now().Sub(w.last))
}

// wrong notes a wrong credential, and says that it is the first one after which the next try has to wait.
func (a *attempts) wrong(client, name string) (first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	from := network(client)
	one := a.note(origin{from, name})
	all := a.note(origin{from, ""})
	return one == freeWrong || all == freeFrom
}

func (a *attempts) note(o origin) int {
	now := a.now()
	w := a.seen[o]
	if w == nil {
		a.room()
		w = &wrongs{}
		a.seen[o] = w
	}
	if now.Sub(w.last) > forgetAfter {
		w.n = 0
	}
	w.n, w.last = w.n+1, now
	return w.n
}

// room forgets one when there are too many: of some, taken by chance, the one that was wrong longest ago. That takes no longer the more
// there are, and who sends many wrong ones cannot say which is forgotten.
func (a *attempts) room() {
	if len(a.seen) < maxRemembered {
		return
	}
	var oldest origin
	looked := 0
	for o, w := range a.seen { // in an order of chance
		if looked == 0 || w.last.Before(a.seen[oldest].last) {
			oldest = o
		}
		if looked++; looked == lookedAt {
			break
		}
	}
	delete(a.seen, oldest)
}

// right forgets what was wrong of a name from an address.
func (a *attempts) right(client, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.seen, origin{network(client), name})
}

// later refuses a try that has to wait.
func later(wait time.Duration) *service.Problem {
	seconds := int(math.Ceil(wait.Seconds()))
	p := service.Refuse(http.StatusTooManyRequests, "", "too many credentials from this address were wrong", "try again in "+strconv.Itoa(seconds)+" s")
	p.RetryAfter = time.Duration(seconds) * time.Second
	return p
}
