package checker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"streamer/sink/sinktest"
)

// LostAnswer explains a duplicate whose accepted attempt's answer may not have been read.
const LostAnswer = "lost answer"

// deed is an attempt or a dead letter.
type deed struct {
	start, end time.Time
	counts     bool // the API accepted the row, or it was given up: what comes after repeats it
	unread     bool // the answer may not have been read
	letter     bool // a dead letter
	name       string
}

// duplicates is rule 7 for one row.
func (c *check) duplicates(l *life) {
	if len(l.attempts)+len(l.dead) < 2 {
		return
	}
	deeds := make([]deed, 0, len(l.attempts)+len(l.dead))
	for try, a := range l.attempts {
		if l.straggles(try) {
			continue
		}
		deeds = append(deeds, deed{
			a.Start, a.End, c.accepts(a), !a.Answered || a.Doubtful || c.timedOut(a), false, fmt.Sprintf("attempt %d", a.Seq)})
	}
	for _, d := range l.dead {
		at := d.At
		for _, a := range l.attempts { // behind the attempt that led to it, whose time is finer
			if !a.Start.After(d.At.Add(time.Millisecond)) && !at.After(a.Start) {
				at = a.Start.Add(1)
			}
		}
		deeds = append(deeds, deed{at, at, true, false, true, "dead letter (" + d.Class + ")"})
	}
	slices.SortStableFunc(deeds, func(a, b deed) int { return cmp.Or(a.start.Compare(b.start)) })
	last := -1
	for i, d := range deeds {
		if last >= 0 {
			c.v.Duplicates++
			before := deeds[last]
			cause, ok := LostAnswer, before.unread
			if !ok {
				var age time.Duration
				if cause, age, ok = c.event(l, before, d.start); ok && cause == Crash {
					c.v.Oldest[cause] = max(c.v.Oldest[cause], age)
				}
			}
			if ok {
				c.v.Explained[cause]++
			} else {
				c.v.add("duplicate", l.Position, "%s at %s after %s had made the row final at %s%s", d.name, clock(d.start), before.name, clock(before.end), cause)
			}
		}
		if d.counts {
			last = i
		}
	}
}

// timedOut says that an answer came when the client's time was up, or nearly so.
func (c *check) timedOut(a sinktest.Attempt) bool {
	return c.Timeout > 0 && a.End.Sub(a.Start) >= c.Timeout-c.Slack
}

// event finds what happened between the start of a deed and that of the one that repeats it, and how long before it the row was
// final. Without an explanation it says what spoke against the nearest one.
func (c *check) event(l *life, before deed, again time.Time) (cause string, age time.Duration, ok bool) {
	ended := before.end
	for _, e := range c.Events {
		if !e.concerns(Partition{l.Topic, l.Partition}) || e.At.After(again) || e.until().Before(before.start) || e.Cause == Blind && !before.letter {
			continue
		}
		if e.Within > 0 && ended.Before(e.At.Add(-e.Within)) {
			cause = fmt.Sprintf("; a %s at %s is no reason: the row was final more than %v before", e.Cause, clock(e.At), e.Within)
			continue
		}
		known := e.At
		switch {
		case e.Cause == Crash, e.Cause == Lost, e.Cause == Undone, e.Cause == Blind, e.Cause == Away, e.Cause == Freeze && again.Before(e.until()): // who sends again has read the commits
			known = again
		case e.Cause == Broker:
			known = e.At.Add(-e.Within)
		}
		if s, ok := c.covered(l.Position, known); ok && !c.brokerLost(s.At, again) && (e.Cause != Away || s.Offset > l.Offset) {
			cause = fmt.Sprintf("; a %s at %s is no reason: commit %d at %s covered the row", e.Cause, clock(e.At), s.Offset, clock(s.At))
			continue
		}
		return e.Cause, max(e.At.Sub(ended), 0), true
	}
	return cause, 0, false
}

// brokerLost says that a commit at t may have been unknown to who asked for it by until.
func (c *check) brokerLost(t, until time.Time) bool {
	return slices.ContainsFunc(c.Events, func(e Event) bool {
		return e.Cause == Broker && !e.At.Add(-e.Within).After(t) && !e.until().Before(t) && !e.At.After(until)
	})
}
