package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// bench is one run of the program: a broker, the scenarios, their report.
type bench struct {
	options
	log     io.Writer
	broker  *process
	brokers []string
	topics  int
	report  report
}

// Bounds of single steps, far above what they take.
const (
	startWithin = 4 * time.Minute
	fillWithin  = 4 * time.Minute
	runWithin   = 7 * time.Minute
)

// start starts the broker: a real one if that is possible and wanted, else the fake.
func (b *bench) start(ctx context.Context) error {
	started, err := b.startBroker(ctx, b.options.broker != "fake")
	if err == nil && started.None != "" {
		if b.options.broker == "real" {
			return errors.Join(errors.New(started.None), b.close())
		}
		b.say("%s", started.None)
		if err := b.close(); err != nil {
			return err
		}
		started, err = b.startBroker(ctx, false)
	}
	if err != nil {
		return errors.Join(err, b.close())
	}
	b.brokers = started.Brokers
	b.report.begin(started.Kind)
	b.say("broker: %s", started.Kind)
	return nil
}

func (b *bench) startBroker(ctx context.Context, realOne bool) (started brokerStarted, err error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if b.broker, err = start("broker", brokerSettings{Real: realOne}); err == nil {
		err = b.broker.hear(ctx, &started)
	}
	return started, err
}

// close ends the broker. The other processes have ended with their runs.
func (b *bench) close() error {
	if b.broker == nil {
		return nil
	}
	err := b.broker.end(nil)
	b.broker = nil
	return err
}

// say tells how far the run has come.
func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.log, "bench: "+format+"\n", args...) // who cannot read it misses nothing of the report
}

// topic makes a topic, gives its name, and runs do while it is there.
func (b *bench) topic(ctx context.Context, c contents, do func(topic string) error) error {
	b.topics++
	topic := fmt.Sprintf("bench-%d-%d", time.Now().UnixMilli(), b.topics)
	b.say("writing %d records to %s", c.rows, topic)
	filling, cancel := context.WithTimeout(ctx, fillWithin)
	defer cancel()
	if err := fill(filling, b.brokers, topic, c); err != nil {
		return err
	}
	return errors.Join(do(topic), remove(b.brokers, topic))
}

// against runs do with a fresh receiving API and gives what that received.
func against(ctx context.Context, set receiverSettings, do func(url string) error) (got received, err error) {
	api, err := start("receiver", set)
	if err != nil {
		return got, err
	}
	var url string
	if err = api.hear(ctx, &url); err == nil {
		err = do(url)
	}
	return got, errors.Join(err, api.end(&got))
}

// measured runs one role to its end and gives what it used.
func measured(ctx context.Context, role string, settings any) (used usage, err error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	p, err := start(role, settings)
	if err != nil {
		return used, err
	}
	err = p.hear(ctx, &used)
	return used, errors.Join(err, p.end(nil))
}

// profiles names the files of a process' profiles.
func (b *bench) profiles(name string) (p profiles) {
	if b.cpuProfile != "" {
		p.CPUProfile = filepath.Join(b.cpuProfile, name+".cpu.pprof")
	}
	if b.memProfile != "" {
		p.MemProfile = filepath.Join(b.memProfile, name+".heap.pprof")
	}
	return p
}

// path compares the costs of streamer and the floor.
func (b *bench) path(ctx context.Context) error {
	const keys, inFlight = 10_000, 256
	res := b.report.scenario("path", fmt.Sprintf("%d one-row containers, %d partitions, %d keys, order by key, API answers at once, %d in flight",
		b.rows, partitions, keys, inFlight))
	err := b.inTurn(ctx, res, contents{rows: b.rows, keys: keys}, inFlight, 0)
	res.compare()
	return err
}

// latency measures how many rows a second streamer brings to an API that takes 100 ms for each. The floor shows what the machine
// gives at that time.
func (b *bench) latency(ctx context.Context) error {
	const keys, inFlight, delay, target = 1000, 1024, 100 * time.Millisecond, 8000
	rows := max(b.rows*6/10/keys*keys, keys) // every key has as many as the others
	res := b.report.scenario("latency", fmt.Sprintf("%d one-row containers, %d partitions, %d keys, order by key, API answers after %v, concurrency %d",
		rows, partitions, keys, delay, inFlight))
	err := b.inTurn(ctx, res, contents{rows: rows, keys: keys}, inFlight, delay)
	rate := res.median("streamer", func(r run) float64 { return r.RowsPerSecond })
	res.check(check{What: "rows/s", Value: rate, Target: target, AtLeast: true})
	return err
}

// inTurn lets floor and streamer bring the same topic to an API, one after the other, in every round.
func (b *bench) inTurn(ctx context.Context, res *result, c contents, inFlight int, delay time.Duration) error {
	return b.topic(ctx, c, func(topic string) error {
		for round := range b.rounds {
			order := []string{"floor", "streamer"}
			if round%2 == 1 {
				order[0], order[1] = order[1], order[0] // whatever comes second may find caches warm, or the machine hot
			}
			for _, program := range order {
				name := fmt.Sprintf("%s-%d", res.Scenario, round+1)
				r, err := b.deliver(ctx, program, name, topic, c.rows, inFlight, delay)
				if err != nil {
					return err
				}
				res.add(r)
				b.say("round %d: %s", round+1, r)
			}
		}
		return nil
	})
}

// deliver lets one program bring a whole topic to a fresh API.
func (b *bench) deliver(ctx context.Context, program, name, topic string, rows, inFlight int, delay time.Duration) (run, error) {
	var used usage
	got, err := against(ctx, receiverSettings{Delay: delay}, func(url string) (err error) {
		id := name + "-" + topic
		if program == "floor" {
			used, err = measured(ctx, "floor", floorSettings{Brokers: b.brokers, Topic: topic, Group: "floor." + id, URL: url, Rows: rows, InFlight: inFlight,
				profiles: b.profiles(name + "-floor")})
			return err
		}
		used, err = measured(ctx, "streamer", streamerSettings{Brokers: b.brokers, Jobs: []string{jobText(id, topic, url, inFlight)}, Rows: rows,
			profiles: b.profiles(name + "-streamer")})
		return err
	})
	if err == nil && got.Rows != int64(rows) {
		err = fmt.Errorf("%s made %d requests of %d rows", program, got.Rows, rows)
	}
	if err != nil {
		return run{}, err
	}
	return run{Program: program, RowsPerSecond: got.perSecond(), CPUPer100k: used.CPU.Seconds() * 1e5 / float64(rows),
		PeakRSS: used.PeakRSS, Connections: got.Conns}, nil
}
