package control

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// mostStarts is how many jobs of an instance start at a time: each asks Kafka several things and opens connections.
	mostStarts = 32
	// startPatience is how long a start may keep others waiting. A job may wait for its topics for ever.
	startPatience = 2 * time.Second
	startLook     = 20 * time.Millisecond
)

// gate lets so many in at a time, in the order of the ids of those that wait.
type gate struct {
	mu      sync.Mutex
	free    int
	waiting []*waiter // by id
}

type waiter struct {
	id   string
	turn chan struct{} // closed when it is let in
}

func newGate(n int) *gate { return &gate{free: n} }

// enter waits for the job's turn; leave is to be called once, and again without harm. It gives false when ctx ends or the job is not to
// run here any more.
func (g *gate) enter(ctx context.Context, j *supervised) (leave func(), ok bool) {
	w := &waiter{id: j.ID, turn: make(chan struct{})}
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		close(w.turn)
	} else {
		at, _ := slices.BinarySearchFunc(g.waiting, w, func(a, b *waiter) int { return cmp.Compare(a.id, b.id) })
		g.waiting = slices.Insert(g.waiting, at, w)
	}
	g.mu.Unlock()
	for j.decided().run {
		select {
		case <-w.turn:
			return sync.OnceFunc(g.leave), true
		default:
		}
		j.become(Starting, "waiting for other jobs to start")
		select {
		case <-w.turn:
			j.become(Starting, "")
		case <-j.news:
		case <-ctx.Done():
			g.abandon(w)
			return nil, false
		}
	}
	g.abandon(w)
	return nil, false
}

// leave lets the next one in.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.free++
		return
	}
	close(g.waiting[0].turn)
	g.waiting = slices.Delete(g.waiting, 0, 1)
}

// abandon is for who does not wait any more, and may have been let in meanwhile.
func (g *gate) abandon(w *waiter) {
	g.mu.Lock()
	at := slices.Index(g.waiting, w)
	if at >= 0 {
		g.waiting = slices.Delete(g.waiting, at, at+1)
	}
	g.mu.Unlock()
	if at < 0 {
		g.leave()
	}
}

// awaitStart returns when a runner has started, has taken its time, or ctx ends.
func awaitStart(ctx context.Context, r Runner) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for ofRunner(r.Status().State) == Starting && sleep(ctx, startLook) {
	}
}
