package checker

import (
	"cmp"
	"slices"
	"time"

	"streamer/sink/sinktest"
)

const defaultSlack = 2 * time.Millisecond

// Check judges a history. It is pure: n rows, attempts and commits cost O(n log n).
func Check(h History) *Verdict {
	if h.Success == nil {
		h.Success = func(status int) bool { return status >= 200 && status < 300 }
	}
	if h.Slack == 0 {
		h.Slack = defaultSlack
	}
	c := &check{History: h, v: &Verdict{Explained: map[string]int{}}, rows: make(map[Position]*life, len(h.Rows)), commits: commitsByPartition(h.Commits)}
	c.collect()
	for _, l := range c.order {
		c.outcome(l)
		c.duplicates(l)
	}
	c.lanes()
	c.early()
	c.back()
	if len(h.Rows) == 0 {
		c.v.add("empty", Position{}, "nothing was produced: this proves nothing")
	}
	return c.v
}

// check is one judgement under way.
type check struct {
	History
	v       *Verdict
	rows    map[Position]*life
	order   []*life // as produced
	commits map[partition][]Commit
}

type partition struct {
	topic string
	n     int32
}

// life is all that happened to a row.
type life struct {
	Row
	attempts []sinktest.Attempt // by start
	dead     []DeadLetter       // by time
	final    time.Time          // when it was final first; zero: not
	ended    bool
}

// collect gives each row its attempts and dead letters, and finds when it was final first.
func (c *check) collect() {
	c.v.Rows, c.v.Attempts = len(c.Rows), len(c.Attempts)
	for _, r := range c.Rows {
		if _, twice := c.rows[r.Position]; twice {
			c.v.add("empty", r.Position, "listed twice as produced: mend the test")
			continue
		}
		l := &life{Row: r}
		c.rows[r.Position] = l
		c.order = append(c.order, l)
	}
	for _, a := range c.Attempts {
		p := Position{a.Topic, a.Partition, a.Offset, a.Row}
		if l := c.rows[p]; l != nil {
			l.attempts = append(l.attempts, a)
		} else {
			c.v.add("unknown", p, "attempt %d (%s %s) on a row that was not produced", a.Seq, a.Method, a.Path)
		}
	}
	for _, d := range c.DeadLetters {
		l := c.rows[d.Position]
		if l == nil { // the record as a whole, whatever row the dead letter names
			whole := d.Position
			whole.Row = WholeRecord
			l = c.rows[whole]
		}
		if l != nil {
			l.dead = append(l.dead, d)
		} else {
			c.v.add("unknown", d.Position, "dead letter (%s: %s) for a row that was not produced", d.Class, d.Reason)
		}
	}
	for _, l := range c.order {
		slices.SortStableFunc(l.attempts, func(a, b sinktest.Attempt) int { return a.Start.Compare(b.Start) })
		slices.SortStableFunc(l.dead, func(a, b DeadLetter) int { return a.At.Compare(b.At) })
		for _, a := range l.attempts {
			if c.delivers(a) {
				l.finalAt(a.End)
			}
		}
		if len(l.dead) > 0 {
			l.finalAt(l.dead[0].At)
		}
	}
}

func (l *life) finalAt(t time.Time) {
	if !l.ended || t.Before(l.final) {
		l.final, l.ended = t, true
	}
}

// accepts says that the API took the row, delivers that it also said so.
func (c *check) accepts(a sinktest.Attempt) bool  { return a.Status != 0 && c.Success(a.Status) }
func (c *check) delivers(a sinktest.Attempt) bool { return a.Answered && c.accepts(a) }

// outcome is rules 3 and 4.
func (c *check) outcome(l *life) {
	delivered := slices.ContainsFunc(l.attempts, c.delivers)
	switch {
	case l.Want == Nothing:
		if len(l.attempts)+len(l.dead) > 0 {
			c.v.add("wrong", l.Position, "wanted nothing, got %d attempts and %d dead letters", len(l.attempts), len(l.dead))
		}
		return
	case !l.ended:
		c.v.add("lost", l.Position, "neither delivered nor given up; %d attempts, last status %d", len(l.attempts), lastStatus(l))
		return
	}
	if delivered {
		c.v.Delivered++
	} else {
		c.v.GivenUp++
	}
	if l.Want == Delivered && len(l.dead) > 0 {
		c.v.add("wrong", l.Position, "wanted to be delivered, given up as %s: %s", l.dead[0].Class, l.dead[0].Reason)
	}
	if l.Want == GivenUp && delivered {
		c.v.add("wrong", l.Position, "wanted to be given up, delivered with status %d", lastStatus(l))
	}
}

func lastStatus(l *life) int {
	if len(l.attempts) == 0 {
		return 0
	}
	return l.attempts[len(l.attempts)-1].Status
}

func commitsByPartition(all []Commit) map[partition][]Commit {
	out := make(map[partition][]Commit)
	for _, s := range all {
		p := partition{s.Topic, s.Partition}
		out[p] = append(out[p], s)
	}
	for _, s := range out {
		slices.SortStableFunc(s, func(a, b Commit) int { return a.At.Compare(b.At) })
	}
	return out
}

// covered gives when a commit beyond the row was first seen.
func (c *check) covered(p Position) (Commit, bool) {
	for _, s := range c.commits[partition{p.Topic, p.Partition}] {
		if s.Offset > p.Offset {
			return s, true
		}
	}
	return Commit{}, false
}

// early is rule 8 for every row: the first commit beyond it came when it was final.
func (c *check) early() {
	for p, samples := range c.commits {
		var rows []*life
		for _, l := range c.order {
			if l.Topic == p.topic && l.Partition == p.n {
				rows = append(rows, l)
			}
		}
		slices.SortFunc(rows, func(a, b *life) int { return cmp.Compare(a.Offset, b.Offset) })
		at := 0
		for _, s := range samples {
			for ; at < len(rows) && rows[at].Offset < s.Offset; at++ {
				l := rows[at]
				c.v.Committed++
				switch {
				case l.Want == Nothing:
				case !l.ended:
					c.v.add("early", l.Position, "committed %d at %s, and the row never became final", s.Offset, clock(s.At))
				case l.final.After(s.At.Add(c.Slack)):
					c.v.add("early", l.Position, "committed %d at %s, %v before the row was final", s.Offset, clock(s.At), l.final.Sub(s.At))
				}
			}
		}
	}
}

// back is rule 8's second half.
func (c *check) back() {
	for p, samples := range c.commits {
		for i := 1; i < len(samples); i++ {
			was, is := samples[i-1], samples[i]
			if is.Offset < was.Offset && !c.reset(was, is) {
				c.v.add("back", Position{p.topic, p.n, is.Offset, 0}, "committed offset %d at %s, %d at %s", was.Offset, clock(was.At), is.Offset, clock(is.At))
			}
		}
	}
}

func (c *check) reset(was, is Commit) bool {
	return slices.ContainsFunc(c.Events, func(e Event) bool {
		return (e.Cause == Reset || e.Cause == Broker) && e.concerns(was.Topic, was.Partition) && !e.At.After(is.At) && !e.until().Before(was.At)
	})
}

func (e Event) until() time.Time {
	if e.Until.IsZero() {
		return e.At
	}
	return e.Until
}

func (e Event) concerns(topic string, partition int32) bool {
	return e.Topic == "" || e.Topic == topic && e.Partition == partition
}
