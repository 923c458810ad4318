package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// cell is one combination of what the cost of a row depends on.
type cell struct {
	format string // json or container
	rows   int    // of a record
	order  string // key, id or none
	delay  time.Duration
}

// name is how flags and reports call it. Rows of a container of many have no key but their own id.
func (c cell) name() string {
	order := c.order
	if order == "id" {
		order = "key"
	}
	return fmt.Sprintf("%s/%d/%s/%dms", c.format, c.rows, order, c.delay.Milliseconds())
}

// atOnce, soon and late are the latencies of the API.
const (
	atOnce = 0
	soon   = 10 * time.Millisecond
	late   = 100 * time.Millisecond
)

// many is the rows of a container that is worth its schema.
const many = 250

// inFlight is how many requests may be under way. An API that takes its time gets more.
func (c cell) inFlight() int {
	if c.delay == late {
		return 1024
	}
	return 256
}

func (c cell) contents(rows int) contents {
	keys := 10_000
	if c.delay == late {
		keys = 2000
	}
	return contents{rows: rows, keys: keys, format: c.format, perRecord: c.rows}
}

// cells are all of them, those on the same topic behind each other.
func cells() []cell {
	var all []cell
	for _, what := range []cell{{format: "json", rows: 1}, {format: "container", rows: 1}, {format: "container", rows: many}} {
		for _, delay := range []time.Duration{atOnce, soon, late} {
			for _, order := range []string{"key", "none"} {
				if order == "key" && what.rows > 1 {
					order = "id"
				}
				what.order, what.delay = order, delay
				all = append(all, what)
			}
		}
	}
	return all
}

// What a run with an API that answers at once, and what one with a slow API, must reach.
const (
	ratioTarget = 1.0
	rateTarget  = 8000
	rssTarget   = 130e6
)

// path compares the costs of streamer and the floor.
func (b *bench) path(ctx context.Context) error {
	res := b.report.scenario("path", fmt.Sprintf("%d rows, %d partitions; cell: format / rows a record / order / API latency; 256 requests in flight and 10,000 keys, at 100 ms 1,024 and 2,000",
		b.rows, partitions), "rows/s", "CPU-s per 100,000 rows", "peak RSS, MB", "ratio")
	all := slices.DeleteFunc(cells(), func(c cell) bool { return !b.cells.MatchString(c.name()) })
	for len(all) > 0 {
		c := all[0].contents(b.rows)
		same := len(all)
		if n := slices.IndexFunc(all, func(o cell) bool { return o.contents(b.rows) != c }); n > 0 {
			same = n
		}
		err := b.topic(ctx, c, func(topic string) error {
			for _, at := range all[:same] {
				if err := b.inTurn(ctx, res, at, topic); err != nil {
					return fmt.Errorf("cell %s: %w", at.name(), err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		all = all[same:]
	}
	res.checkPeak("streamer")
	return nil
}

// inTurn lets floor and streamer bring the same topic to an API, one after the other, in every round.
func (b *bench) inTurn(ctx context.Context, res *result, at cell, topic string) error {
	c := at.contents(b.rows)
	rows := c.records() * c.rowsEach()
	for round := range b.rounds {
		for _, program := range turns(round, "floor", "streamer") {
			r, err := b.deliver(ctx, trip{program: program, cell: at.name(), round: round, topic: topic, c: c, rows: rows, records: c.records(),
				order: at.order, inFlight: at.inFlight()}, "path", at.delay)
			if err != nil {
				return err
			}
			res.add(r)
			b.say("%s, round %d: %s", at.name(), round+1, r)
		}
	}
	ratio := res.ratio(at.name())
	if at.delay == atOnce && at.order != "none" {
		res.check(check{What: at.name() + ", rows per CPU-second, streamer / floor", Value: ratio, Target: ratioTarget, AtLeast: true, Assert: true})
	}
	if at.delay == late && at.order == "key" {
		rate := res.median(at.name(), "streamer", func(r run) float64 { return r.RowsPerSecond })
		res.check(check{What: at.name() + ", rows/s", Value: rate, Target: rateTarget, AtLeast: true})
	}
	return nil
}

// deliver lets one program bring a whole topic to a fresh API.
func (b *bench) deliver(ctx context.Context, t trip, scenario string, delay time.Duration) (run, error) {
	var used usage
	got, err := against(ctx, receiverSettings{Delay: delay}, func(_ *process, url string) error {
		return b.during(ctx, t, scenario, url, &used, func() error { return nil })
	})
	if err == nil && got.Rows != int64(t.rows) {
		err = fmt.Errorf("%s made %d requests of %d rows", t.program, got.Rows, t.rows)
	}
	return t.runOf(got, used, t.rows), err
}
