package main

import (
	"context"
	"fmt"
	"time"
)

// What a crash may cost.
const (
	againTarget = 0.25 // seconds' worth of rows that are sent again
	backTarget  = 2.0  // seconds until rows arrive that had not before
)

// kill measures what a crash costs: the process is killed with rows in flight, and started again at once under the same instance id.
func (b *bench) kill(ctx context.Context) error {
	const keys, inFlight, delay, static = 10_000, 256, 5 * time.Millisecond, "bench-0"
	res := b.report.scenario("kill", fmt.Sprintf("%d JSON rows, %d partitions, %d keys, order by key, API answers after %v, %d in flight; SIGKILL after 40 %% of them, started again at once, static instance id",
		b.rows, partitions, keys, delay, inFlight), "rows/s before", "lost", "sent again", "of rows, s", "back after, s", "peak RSS, MB")
	for round := range b.rounds {
		for _, program := range turns(round, "floor", "streamer") {
			c := contents{rows: b.rows, keys: keys, format: formatJSON, numbered: true}
			t := trip{program: program, round: round, c: c, records: b.rows, order: "key", inFlight: inFlight, instance: static}
			var r run
			err := b.topic(ctx, c, func(topic string) (err error) {
				t.topic = topic
				r, err = b.killed(ctx, t, delay)
				return err
			})
			if err != nil {
				return err
			}
			res.add(r)
			b.say("kill, round %d: %s lost %d, sent %d again (%.2f s), back after %.2f s", round+1, program, r.Lost, r.Again, r.AgainSeconds, r.Back)
		}
	}
	res.check(check{What: "lost", Value: res.most("streamer", func(r run) float64 { return float64(r.Lost) }), Target: 0, Assert: true})
	res.check(check{What: "seconds' worth of rows sent again", Value: res.median("", "streamer", func(r run) float64 { return r.AgainSeconds }), Target: againTarget, Assert: true})
	res.check(check{What: "s until new rows arrive", Value: res.median("", "streamer", func(r run) float64 { return r.Back }), Target: backTarget})
	res.checkPeak("streamer")
	return nil
}

// killed is one run with a crash.
func (b *bench) killed(ctx context.Context, t trip, delay time.Duration) (run, error) {
	all := int64(t.c.rows)
	var before received
	var used usage
	announce := []int64{all * 4 / 10}
	if t.program == "floor" {
		announce = append(announce, all) // it is told to end then
	}
	got, err := against(ctx, receiverSettings{Delay: delay, Numbers: t.c.rows, Announce: announce}, func(api *process, url string) error {
		p, err := b.send(t, "kill", url)
		if err != nil {
			return err
		}
		first, cancel := context.WithTimeout(ctx, runWithin)
		defer cancel()
		err = api.hear(first, &before)
		p.kill()
		if err != nil {
			return err
		}
		if t.program == "streamer" { // it ends when all is committed, whatever has arrived
			return b.during(ctx, t, "kill", url, &used, func() error { return nil })
		}
		again, err := b.send(t, "kill", url)
		if err != nil {
			return err
		}
		rest, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		_ = api.hear(rest, &received{}) // if it never comes, the rows that lack are lost
		return again.end(&used)
	})
	r := t.runOf(before, used, t.c.rows)
	r.Connections, r.CPUPer100k = got.Conns, 0 // the first process took its figures with it
	r.Again, r.Lost, r.Back = got.Again, all-(got.Rows-got.Again), got.Gap.Seconds()
	r.AgainSeconds = float64(got.Again) / before.perSecond()
	return r, err
}
