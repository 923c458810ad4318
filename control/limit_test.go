package control

import (
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"streamer/consumer"
)

// fakeLimits has the partitions that a test gives it, and remembers the share. The limit holds back those with work.
type fakeLimits struct {
	mu            sync.Mutex
	work          []consumer.Work
	rows, redrive float64
}

func (l *fakeLimits) Load(string) consumer.Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := slices.ContainsFunc(l.work, func(w consumer.Work) bool { return w.Busy > 0 })
	return consumer.Load{Partitions: l.work, Rows: consumer.Sent{Held: held}}
}

func (l *fakeLimits) Divide(_ string, rows, redrive float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows, l.redrive = rows, redrive
}

func (l *fakeLimits) has(work []consumer.Work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work = work
}

func (l *fakeLimits) share() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rows
}

// Instances tell each other what they have to do, and each takes its part of the limit; one that goes takes back what it said, and one
// that dies is forgotten.
func TestInstancesDivideARateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 6)
		c.jobs[0] = file(t, "a", `, "delivery": {"rate_limit": {"rate": 100}}`)
		defer c.end()
		limits := map[string]*fakeLimits{}
		start := func(id string, work []consumer.Work) *member {
			limits[id] = &fakeLimits{work: work}
			return c.start(id, func(o *Options) { o.Limits = limits[id] })
		}
		shares := func(after time.Duration, want map[string]float64) {
			t.Helper()
			time.Sleep(after)
			for id, share := range want {
				if got := limits[id].share(); math.Abs(got-share) > 0.02 {
					t.Errorf("%s has %.3f of the limit, want %.3f", id, got, share)
				}
			}
		}
		start("x", works(1, 1, 0))
		if s := limits["x"].share(); s > leastShare {
			t.Errorf("%v before anything was heard", s)
		}
		shares(5*time.Second, map[string]float64{"x": 2. / 5}) // three partitions were not heard of yet
		y := start("y", at(3, works(1, 0)))
		z := start("z", at(5, works(1)))
		shares(5*time.Second, map[string]float64{"x": 0.5, "y": 0.25, "z": 0.25})
		limits["x"].has(works(1, 1, 1))
		shares(15*time.Second, map[string]float64{"x": 3. / 5, "y": 1. / 5, "z": 1. / 5})

		y.stop(t)
		delete(c.all, "y")
		limits["x"].has(works(1, 1, 1, 1, 0))
		shares(3*time.Second, map[string]float64{"x": 4. / 5, "z": 1. / 5})
		if n := len(c.log.Reports(workPrefix)); n != 2 {
			t.Errorf("%d instances say what they have to do", n)
		}
		z.silent.Store(true) // killed
		limits["z"].has(nil)
		shares(deadAfter+orphanFor+5*time.Second, map[string]float64{"x": 1})
	})
}

// A job without a limit is not divided, and nothing is said of it.
func TestJobWithoutALimitIsNotDivided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 6)
		defer c.end()
		l := &fakeLimits{work: works(1), rows: 1}
		c.start("x", func(o *Options) { o.Limits = l })
		time.Sleep(time.Minute)
		if l.share() != 1 || len(c.log.Reports(workPrefix)) != 0 {
			t.Errorf("share %v, %d claims", l.share(), len(c.log.Reports(workPrefix)))
		}
	})
}
