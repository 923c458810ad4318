package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A job runs on as many instances as it has partitions, or as it says; the place of one that dies without a word is taken within
// 15 s, and one that stops is replaced at once.
func TestPlacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 2, -1, 100)
		defer c.end()
		for _, id := range []string{"x", "y", "z"} {
			c.start(id)
		}
		time.Sleep(5 * time.Second)
		for job, n := range map[string]int{"a": 1, "b": 2, "c": 1, "d": 3} {
			if on := strings.Fields(c.runs(job)); len(on) != n {
				t.Errorf("job %s runs on %v, want %d instances", job, on, n)
			}
		}
		was := c.runs("a")
		for id, m := range c.all {
			j := m.Readiness().Jobs[0]
			if id != was && (j.State != Stopped || j.Cause != "runs on "+was) {
				t.Errorf("job a on %s is %s: %s", id, j.State, j.Cause)
			}
		}
		dead := c.all[was]
		dead.silent.Store(true) // killed
		delete(c.all, was)
		died := time.Now()
		for c.runs("a") == "" {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(died); took > 9500*time.Millisecond || took < 5*time.Second {
			t.Errorf("taken over after %v", took)
		}
		next := c.runs("a")
		c.all[next].stop(t) // in good order
		delete(c.all, next)
		time.Sleep(2 * time.Second)
		if on := c.runs("a"); on == "" || on == next {
			t.Errorf("after %s was stopped, job a runs on %q", next, on)
		}
		dead.hard()
	})
}

// Hashing is fair, and moves only what has to move.
func TestPlaceMovesLittle(t *testing.T) {
	t.Parallel()
	live := []string{"i-0", "i-1", "i-2", "i-3", "i-4"}
	count, moved := map[string]int{}, 0
	for n := range 1000 {
		job := fmt.Sprint("job-", n)
		before := place(job, 2, live)
		for _, id := range before {
			count[id]++
		}
		after := place(job, 2, live[:4])
		for _, id := range after {
			if !slices.Contains(before, id) {
				moved++
			}
		}
	}
	for id, n := range count {
		if n < 320 || n > 480 {
			t.Errorf("%s has %d of 2000 places", id, n)
		}
	}
	if moved != count["i-4"] {
		t.Errorf("%d places moved when the one with %d went", moved, count["i-4"])
	}
	if got := place("j", 9, live); len(got) != 5 {
		t.Errorf("%d of 5 instances", len(got))
	}
}

// Jobs that do not fit into the connections are not started, those that run keep theirs, and there is room again when one stops.
func TestConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 10, 10)
		defer c.end()
		for i, j := range c.jobs {
			c.jobs[i] = file(t, j.ID, `, "delivery": {"concurrency": 50}`) // and 6 to three brokers
		}
		m := c.start("i", func(o *Options) { o.Connections = 130 })
		time.Sleep(3 * time.Second)
		c.state(m, "a=running b=running c=failed")
		want := "needs 56 connections (2 to each of 3 brokers, 50 for requests), and 18 of 130 are left;"
		if cause := m.Readiness().Jobs[2].Cause; !strings.HasPrefix(cause, want) {
			t.Errorf("cause %q, want %q", cause, want)
		}
		if err := m.Stop(t.Context(), "a", operator("ann")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		c.state(m, "a=stopped b=running c=running")
		if err := m.Start(t.Context(), "a", operator("ann")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		c.state(m, "a=failed b=running c=running")
	})
}
