package checker

import (
	"cmp"
	"fmt"
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
	c := &check{History: h, v: &Verdict{Explained: map[string]int{}, Oldest: map[string]time.Duration{}}, rows: make(map[Position]*life, len(h.Rows)), commits: commitsByPartition(h.Commits)}
	c.collect()
	for _, l := range c.order {
		c.outcome(l)
		c.duplicates(l)
	}
	c.lanes()
	c.early()
	c.untold()
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
	commits map[Partition][]Commit
}

// life is all that happened to a row.
type life struct {
	Row
	attempts []sinktest.Attempt // by start
	dead     []DeadLetter       // by time
	told     []Told             // by time
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
		p := Position{a.Topic, a.Partition, a.Offset, a.Row, a.Route}
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
			whole.Row, whole.Route = WholeRecord, ""
			l = c.rows[whole]
		}
		if l != nil {
			l.dead = append(l.dead, d)
		} else {
			c.v.add("unknown", d.Position, "dead letter (%s: %s) for a row that was not produced", d.Class, d.Reason)
		}
	}
	for _, t := range c.Told {
		if l := c.rows[t.Position]; l != nil && l.Told {
			l.told = append(l.told, t)
		} else {
			c.v.add("unknown", t.Position, "a record tells of a row that was not produced, or not to be told of")
		}
	}
	for _, l := range c.order {
		slices.SortStableFunc(l.told, func(a, b Told) int { return a.At.Compare(b.At) })
		slices.SortStableFunc(l.attempts, func(a, b sinktest.Attempt) int { return a.Start.Compare(b.Start) })
		slices.SortStableFunc(l.dead, func(a, b DeadLetter) int { return a.At.Compare(b.At) })
		for _, a := range l.attempts {
			if c.delivers(a) && !l.Told {
				l.finalAt(a.End)
			}
		}
		for _, t := range l.told {
			if !slices.ContainsFunc(l.attempts, func(a sinktest.Attempt) bool { return c.accepts(a) && !a.Start.After(t.At.Add(time.Millisecond)) }) {
				c.v.add("wrong", l.Position, "a record told at %s of an answer that the API had not given", clock(t.At))
			}
			l.finalAt(l.behind(t.At))
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

// behind is a record's time, which is in whole milliseconds, rounded down, behind the start of the attempt that led to it.
func (l *life) behind(t time.Time) time.Time {
	when := t
	for _, a := range l.attempts {
		if !a.Start.After(t.Add(time.Millisecond)) {
			when = later(when, a.Start)
		}
	}
	return when
}

// accepts says that the API took the row, delivers that it also said so.
func (c *check) accepts(a sinktest.Attempt) bool {
	return a.Step == "" && a.Status != 0 && c.Success(a.Status)
}
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

func commitsByPartition(all []Commit) map[Partition][]Commit {
	out := make(map[Partition][]Commit)
	for _, s := range all {
		p := Partition{s.Topic, s.Partition}
		out[p] = append(out[p], s)
	}
	for _, s := range out {
		slices.SortStableFunc(s, func(a, b Commit) int { return a.At.Compare(b.At) })
	}
	return out
}

// covered gives the commit before t that covered the row, by its offset or, if it was the last one before t, by its metadata.
func (c *check) covered(p Position, t time.Time) (s Commit, ok bool) {
	var last Commit
	for _, s := range c.commits[Partition{p.Topic, p.Partition}] {
		if !s.At.Before(t) {
			break
		}
		if s.Offset > p.Offset {
			return s, true
		}
		last = s
	}
	if last.Above != nil && last.Above()(p.Offset, p.Row) {
		return last, true
	}
	return Commit{}, false
}

// early is rule 8 for every row: it was final when the first commit beyond it came, and by each whose metadata calls it finished.
func (c *check) early() {
	byPartition := make(map[Partition][]*life)
	for _, l := range c.order {
		p := Partition{l.Topic, l.Partition}
		byPartition[p] = append(byPartition[p], l)
	}
	for p, samples := range c.commits {
		rows := byPartition[p]
		slices.SortFunc(rows, byAddress)
		at := 0
		for _, s := range samples {
			for ; at < len(rows) && rows[at].Offset < s.Offset; at++ {
				l := rows[at]
				c.v.Committed++
				if text := c.notFinal(l, s.At); text != "" {
					c.v.add("early", l.Position, "committed %d at %s, and %s", s.Offset, clock(s.At), text)
				}
			}
			c.earlyAbove(s, rows)
		}
	}
}

// earlyAbove is early for one commit's metadata.
func (c *check) earlyAbove(s Commit, rows []*life) {
	if s.Above == nil {
		return
	}
	above := s.Above()
	from, _ := slices.BinarySearchFunc(rows, s.Offset, func(l *life, offset int64) int { return cmp.Compare(l.Offset, offset) })
	for _, l := range rows[from:] {
		if text := c.notFinal(l, s.At); text != "" && above(l.Offset, l.Row.Position.Row) {
			c.v.add("early", l.Position, "called finished by the metadata of commit %d at %s, and %s", s.Offset, clock(s.At), text)
		}
	}
}

// notFinal is empty if the row was final at t, else says when it was.
func (c *check) notFinal(l *life, t time.Time) string {
	switch {
	case l.Want == Nothing:
	case !l.ended:
		return "the row never became final"
	case l.final.After(t.Add(c.Slack)):
		return fmt.Sprintf("the row was final only %v later", l.final.Sub(t))
	}
	return ""
}

// untold is rule 8 by the log alone, which no clock can blur: what tells of a row stood in its topic when a commit beyond the row was taken.
func (c *check) untold() {
	for _, s := range c.Taken {
		for _, l := range c.order {
			if l.Topic != s.Topic || l.Partition != s.Partition || l.Offset >= s.Offset || len(l.told) == 0 {
				continue
			}
			if !slices.ContainsFunc(l.told, func(t Told) bool { return t.Where.Offset < s.Told[t.Where.Partition] }) {
				c.v.add("early", l.Position, "commit %d was taken at %s, and only behind it stands what tells of the row, at %d/%d", s.Offset, clock(s.At),
					l.told[0].Where.Partition, l.told[0].Where.Offset)
			}
		}
	}
}

func byAddress(a, b *life) int {
	return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Row.Position.Row, b.Row.Position.Row), cmp.Compare(a.Part, b.Part))
}

// back is rule 8's second half.
func (c *check) back() {
	for p, samples := range c.commits {
		for i := 1; i < len(samples); i++ {
			was, is := samples[i-1], samples[i]
			if is.Offset < was.Offset && !c.reset(was, is) {
				c.v.add("back", Position{Topic: p.Topic, Partition: p.ID, Offset: is.Offset}, "committed offset %d at %s, %d at %s", was.Offset, clock(was.At), is.Offset, clock(is.At))
			}
		}
	}
}

func (c *check) reset(was, is Commit) bool {
	return slices.ContainsFunc(c.Events, func(e Event) bool {
		return (e.Cause == Broker || e.Cause == Reset && e.concerns(Partition{was.Topic, was.Partition})) && !e.At.After(is.At) && !e.until().Before(was.At)
	})
}

func (e Event) until() time.Time {
	if e.Until.IsZero() {
		return e.At
	}
	return e.Until
}

func (e Event) concerns(p Partition) bool { return e.Where == nil || slices.Contains(e.Where, p) }
