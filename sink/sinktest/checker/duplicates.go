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
	name       string
}

// duplicates is rule 7 for one row.
func (c *check) duplicates(l *life) {
	if len(l.attempts)+len(l.dead) < 2 {
		return
	}
	deeds := make([]deed, 0, len(l.attempts)+len(l.dead))
	for _, a := range l.attempts {
		deeds = append(deeds, deed{a.Start, a.End, c.accepts(a), !a.Answered || c.timedOut(a), fmt.Sprintf("attempt %d", a.Seq)})
	}
	for _, d := range l.dead {
		at := d.At
		for _, a := range l.attempts { // behind the attempt that led to it, whose time is finer
			if !a.Start.After(d.At.Add(time.Millisecond)) && !at.After(a.Start) {
				at = a.Start.Add(1)
			}
		}
		deeds = append(deeds, deed{at, at, true, false, "dead letter (" + d.Class + ")"})
	}
	slices.SortStableFunc(deeds, func(a, b deed) int { return cmp.Or(a.start.Compare(b.start)) })
	last := -1
	for i, d := range deeds {
		if last >= 0 {
			c.v.Duplicates++
			before := deeds[last]
			cause, ok := LostAnswer, before.unread
			if !ok {
				cause, ok = c.event(l, before.start, before.end, d.start)
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

// event finds what happened between the start of an attempt, which ended at ended, and that of the one that repeats it. Without
// an explanation it says what spoke against the nearest one.
func (c *check) event(l *life, start, ended, again time.Time) (cause string, ok bool) {
	for _, e := range c.Events {
		if !e.concerns(l.Topic, l.Partition) || e.At.After(again) || e.until().Before(start) {
			continue
		}
		if e.Within > 0 && ended.Before(e.At.Add(-e.Within)) {
			cause = fmt.Sprintf("; a %s at %s is no reason: the row was final more than %v before", e.Cause, clock(e.At), e.Within)
			continue
		}
		if s, ok := c.covered(l.Position); ok && s.At.Before(e.At) {
			cause = fmt.Sprintf("; a %s at %s is no reason: offset %d was committed by %s", e.Cause, clock(e.At), s.Offset, clock(s.At))
			continue
		}
		return e.Cause, true
	}
	return cause, false
}
