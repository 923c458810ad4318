package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// warm is the rows that wait in the topic when a program starts: when they have arrived it is there, and the input begins.
	warm       = 10 * partitions
	warmWithin = time.Minute
	// lateAtMost is how late the producer may be before the figures say more of it than of the programs.
	lateAtMost = 50 * time.Millisecond
)

// What live runs must reach: the time from append to arrival, by the machine's clock and as a part of the floor's.
const (
	p50Target  = 1.5
	p99Target  = 8.0
	liveTarget = 1.5
)

// live measures how old rows are when they arrive, at a rate that both programs can bear.
func (b *bench) live(ctx context.Context) error {
	const keys, inFlight = 10_000, 256
	rows := int(b.liveFor.Seconds() * float64(b.rate))
	res := b.report.scenario("live", fmt.Sprintf("%d JSON rows at %d rows/s, %d partitions, %d keys, order by key, API answers at once, %d in flight; p50, p99: ms from append to arrival",
		rows, b.rate, partitions, keys, inFlight), "p50, ms", "p99, ms", "CPU-s per 100,000 rows", "peak RSS, MB")
	for round := range b.rounds {
		for _, program := range turns(round, "floor", "streamer") {
			t := trip{program: program, round: round, rows: warm + rows, records: warm + rows, order: "key", inFlight: inFlight}
			r, err := b.atRate(ctx, t, "live", keys, receiverSettings{})
			if err != nil {
				return err
			}
			res.add(r)
			b.say("live, round %d: %s", round+1, r)
		}
	}
	for _, f := range []struct {
		name   string
		figure func(run) float64
		target float64
	}{{"p50", func(r run) float64 { return r.P50 }, p50Target}, {"p99", func(r run) float64 { return r.P99 }, p99Target}} {
		res.check(check{What: f.name + ", streamer / floor", Value: res.compare("", "streamer", "", "floor", f.figure), Target: liveTarget})
		res.check(check{What: f.name + ", ms", Value: res.median("", "streamer", f.figure), Target: f.target})
	}
	res.checkPeak("streamer")
	return nil
}

// stuckKeyTarget is what the p99 of the others may be under a stuck key, in parts of that without.
const stuckKeyTarget = 2

// stuckKey measures how old the others' rows are while one key is stuck, since the API does not answer it or refuses it.
func (b *bench) stuckKey(ctx context.Context) error {
	const keys, inFlight = 1000, 256
	rows := int(b.liveFor.Seconds() * float64(b.rate))
	res := b.report.scenario("stuckkey", fmt.Sprintf("as live, with %d keys; cell: what the API does with the rows of one of them; p50, p99: of the others' rows",
		keys), "p50, ms", "p99, ms", "CPU-s per 100,000 rows", "peak RSS, MB")
	others := int64(warm + rows - (rows+keys-1)/keys)
	for round := range b.rounds {
		for _, how := range turns(round, "answers", "hangs", "503") {
			set := receiverSettings{}
			if how != "answers" {
				set = receiverSettings{StuckID: householdKey(0), Refuse: how == "503", Others: others}
			}
			t := trip{program: "streamer", cell: how, round: round, rows: warm + rows, records: warm + rows, order: "key", inFlight: inFlight,
				delivery: ", retry: {max: 1s}"}
			r, err := b.atRate(ctx, t, "stuckkey", keys, set)
			if err != nil {
				return err
			}
			res.add(r)
			b.say("stuckkey, %s, round %d: %s", how, round+1, r)
		}
	}
	for _, how := range []string{"hangs", "503"} {
		p99 := res.compare(how, "streamer", "answers", "streamer", func(r run) float64 { return r.P99 })
		res.check(check{What: "p99 of the others, " + how + " / answers", Value: p99, Target: stuckKeyTarget})
	}
	res.checkPeak("streamer")
	return nil
}

// atRate starts a program on a topic of its own, lets it come up, and then writes rows at the rate.
func (b *bench) atRate(ctx context.Context, t trip, scenario string, keys int, set receiverSettings) (r run, err error) {
	t.c = contents{rows: warm, keys: keys, format: formatJSON}
	set.Clock, set.Announce = true, []int64{warm}
	rows := t.rows - warm
	err = b.topic(ctx, t.c, func(topic string) error {
		t.topic = topic
		var used usage
		got, err := against(ctx, set, func(api *process, url string) error {
			return b.during(ctx, t, scenario, url, &used, func() error {
				warming, cancel := context.WithTimeout(ctx, warmWithin)
				defer cancel()
				if err := api.hear(warming, &received{}); err != nil {
					return err
				}
				return b.produce(ctx, producerSettings{Brokers: b.brokers, Topic: topic, Keys: keys, Rows: rows, Rate: b.rate})
			})
		})
		want := int64(rows)
		if set.Others > 0 {
			want = set.Others - warm
		}
		if err == nil && got.Timed != want {
			err = fmt.Errorf("%s: %d rows arrived with their times, not %d", t.program, got.Timed, want)
		}
		r = t.runOf(got, used, t.rows)
		return err
	})
	return r, err
}

// produce runs the producer to its end.
func (b *bench) produce(ctx context.Context, set producerSettings) error {
	p, err := start("producer", set)
	if err != nil {
		return err
	}
	var done produced
	err = errors.Join(p.hear(ctx, &done), p.end(nil))
	if done.Late > lateAtMost {
		b.say("the producer was late by up to %v: the machine is too busy for these figures", done.Late.Round(time.Millisecond))
	}
	return err
}
