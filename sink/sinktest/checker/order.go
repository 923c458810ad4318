package checker

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"streamer/sink/sinktest"
)

type laneKey struct {
	Partition
	value string
}

// step is something that happens in a lane: an attempt on row at starts (and opens it), or row at becomes final (and is closed).
type step struct {
	when  time.Time
	at    int // index of the row in its lane
	try   int // index of the attempt in its row; -1: a dead letter, or a record that tells of it
	start bool
}

// lanes is rule 6.
func (c *check) lanes() {
	byLane := make(map[laneKey][]*life)
	for _, l := range c.order {
		if l.Lane != "" {
			k := laneKey{Partition{l.Topic, l.Partition}, l.Lane}
			byLane[k] = append(byLane[k], l)
		}
		c.overlap(l)
	}
	for _, rows := range byLane {
		slices.SortFunc(rows, byAddress)
		c.lane(rows)
	}
}

// lane plays a lane's steps in the order of time. Rows which are not final are open; an attempt may start on none but the first
// open row, or before it.
func (c *check) lane(rows []*life) {
	var steps []step
	open := make([]bool, len(rows))
	latest := make([]int, len(rows)) // the attempt of each row that started last
	var first lowest
	for i, l := range rows {
		if l.Want == Nothing {
			continue
		}
		open[i] = true
		first = append(first, i) // rising: a heap as it is
		for try, a := range l.attempts {
			if l.straggles(try) {
				c.v.Stragglers++
				continue
			}
			steps = append(steps, step{a.Start, i, try, true})
			if c.delivers(a) && !l.Told {
				steps = append(steps, step{later(a.End.Add(-c.Slack), a.Start), i, try, false})
			}
		}
		for _, d := range l.dead {
			steps = append(steps, step{l.behind(d.At), i, -1, false})
		}
		for _, t := range l.told {
			steps = append(steps, step{l.behind(t.At), i, -1, false})
		}
	}
	slices.SortFunc(steps, func(a, b step) int {
		return cmp.Or(a.when.Compare(b.when), cmp.Compare(truth(a.start), truth(b.start)), cmp.Compare(a.at, b.at))
	})
	for _, s := range steps {
		if !s.start {
			if s.try < 0 || s.try == latest[s.at] {
				open[s.at] = false
			}
			continue
		}
		for len(first) > 0 && !open[first[0]] {
			heap.Pop(&first)
		}
		if len(first) > 0 && first[0] < s.at {
			a, before := rows[s.at].attempts[s.try], rows[first[0]]
			c.v.add("order", rows[s.at].Position, "attempt %d started at %s, when row %d/%d of lane %q was not final (%d attempts on it in all)",
				a.Seq, clock(a.Start), before.Offset, before.Row.Position.Row, before.Lane, len(before.attempts))
		}
		latest[s.at] = s.try
		if !open[s.at] {
			open[s.at] = true
			heap.Push(&first, s.at)
		}
	}
}

// stragglerWithin is how long after the attempt that took its place a straggler may arrive.
const stragglerWithin = 5 * time.Second

// straggles says that an attempt reached the API after one that the client made later.
func (l *life) straggles(try int) bool {
	a := l.attempts[try]
	return !a.Answered && slices.ContainsFunc(l.attempts[:try], func(b sinktest.Attempt) bool {
		return b.Attempt > a.Attempt && b.Step == a.Step && a.Start.Sub(b.Start) < stragglerWithin
	})
}

// overlap is rule 6's sentence about a second attempt.
func (c *check) overlap(l *life) {
	for i := 1; i < len(l.attempts); i++ {
		a, b := l.attempts[i-1], l.attempts[i]
		if !a.Answered || !b.Start.Before(a.End.Add(-c.Slack)) || c.timedOut(a) {
			continue
		}
		if _, _, ok := c.event(l, deed{start: a.Start, end: a.End}, b.Start); !ok {
			c.v.add("order", l.Position, "attempt %d started at %s, %v before attempt %d on the same row was answered", b.Seq, clock(b.Start), a.End.Sub(b.Start), a.Seq)
		}
	}
}

// later gives t, but no earlier than just after start.
func later(t, start time.Time) time.Time {
	if least := start.Add(1); t.Before(least) {
		return least
	}
	return t
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lowest is a heap of row indices.
type lowest []int

func (h lowest) Len() int           { return len(h) }
func (h lowest) Less(i, j int) bool { return h[i] < h[j] }
func (h lowest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *lowest) Push(x any)        { *h = append(*h, x.(int)) }
func (h *lowest) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
