package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
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
	b.say("writing %d records to %s", c.records(), topic)
	filling, cancel := context.WithTimeout(ctx, fillWithin)
	defer cancel()
	if err := fill(filling, b.brokers, topic, c); err != nil {
		return err
	}
	return errors.Join(do(topic), remove(b.brokers, topic))
}

// eachTopic makes a topic for each of several contents, gives their names, and runs do while they are there.
func (b *bench) eachTopic(ctx context.Context, all []contents, do func(topics []string) error) error {
	if len(all) == 0 {
		return do(nil)
	}
	return b.topic(ctx, all[0], func(first string) error {
		return b.eachTopic(ctx, all[1:], func(rest []string) error { return do(append([]string{first}, rest...)) })
	})
}

// against runs do with a fresh receiving API and gives what that received.
func against(ctx context.Context, set receiverSettings, do func(api *process, url string) error) (got received, err error) {
	api, err := start("receiver", set)
	if err != nil {
		return got, err
	}
	var url string
	if err = api.hear(ctx, &url); err == nil {
		err = do(api, url)
	}
	err = errors.Join(err, api.end(&got))
	return got, err // apart: Go does not say which of two operands is read first
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

// trip is one program's way with a topic.
type trip struct {
	program       string // floor or streamer
	cell          string // of its scenario; empty if that has one
	round         int
	topic         string
	c             contents
	rows, records int // that end it; 0 rows: the floor ends when it is told to
	order         string
	inFlight      int
	delivery      string // more of the job's delivery
	body          string // the job's lines for its body; empty: fields
	registry      string // URL of the schema registry; empty: none
	instance      string
}

// name is one for files, groups and job ids.
func (t trip) name(scenario string) string {
	name := scenario
	if t.cell != "" {
		name += "-" + strings.ReplaceAll(t.cell, "/", "-")
	}
	return fmt.Sprintf("%s-%d-%s", name, t.round+1, t.program)
}

// send starts the trip's program.
func (b *bench) send(t trip, scenario, url string) (*process, error) {
	name := t.name(scenario)
	id := name + "-" + t.topic
	if t.program == "floor" {
		return start("floor", floorSettings{Brokers: b.brokers, Topic: t.topic, Group: id, Instance: t.instance, URL: url, Rows: t.rows,
			InFlight: t.inFlight, JSON: t.c.format == formatJSON, Unorder: t.order == "none", profiles: b.profiles(name)})
	}
	body := cmp.Or(t.body, fields)
	return start("streamer", streamerSettings{Brokers: b.brokers, Instance: t.instance, Records: t.records, Memory: int64(b.memory) << 20,
		Jobs: []string{jobWith(body, id, t.topic, url, t.inFlight, t.order, t.delivery)}, Registry: t.registry, profiles: b.profiles(name)})
}

// during runs do while the trip's program runs, and then the program to its end.
func (b *bench) during(ctx context.Context, t trip, scenario, url string, used *usage, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	p, err := b.send(t, scenario, url)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		p.kill()
		return err
	}
	return errors.Join(p.hear(ctx, used), p.end(nil))
}

// turns gives the programs in the order of a round: whatever comes second may find caches warm, or the machine hot.
func turns(round int, programs ...string) []string {
	n := round % len(programs)
	return append(slices.Clone(programs[n:]), programs[:n]...)
}

// runOf says what a program used and the API received. rows are those that CPU time was used for.
func (t trip) runOf(got received, used usage, rows int) run {
	return run{Cell: t.cell, Program: t.program, RowsPerSecond: got.perSecond(), CPUPer100k: used.CPU.Seconds() * 1e5 / float64(rows),
		PeakRSS: used.PeakRSS, Connections: got.Conns, P50: millis(got.P50), P99: millis(got.P99)}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
