// Command bench measures what streamer costs beside a hand-written loop, and what memory it takes. See README.md.
//
// Everything measured is a process of its own, of this same program: it starts itself again with a role as its first argument.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	rows, rounds, jobs, waiting int
	rate, memory                int
	liveFor                     time.Duration
	scenarios                   []string
	cells                       *regexp.Regexp
	broker                      string
	hold, restFor               time.Duration
	output, into                string
	assert                      bool
	cpuProfile, memProfile      string
}

// scenarios in the order in which they run.
var scenarios = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"path", (*bench).path},
	{"formats", (*bench).formats},
	{"live", (*bench).live},
	{"stuckkey", (*bench).stuckKey},
	{"kill", (*bench).kill},
	{"rest", (*bench).rest},
	{"stuck", (*bench).stuck},
}

// known are the names of the scenarios.
func known() string {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return strings.Join(names, ",")
}

// limit bounds a whole run; every process in it has shorter ones.
const limit = time.Hour

func main() {
	if code, ok := role(os.Args[1:], os.Stdin, os.Stdout); ok {
		os.Exit(code)
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if err := measure(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	var names, which string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.rows, "rows", 60_000, "rows of a run of scenarios path, formats and kill, 8 to 2,000,000")
	f.IntVar(&o.rounds, "rounds", 3, "runs of floor and streamer in turn, of which medians are taken, 1 to 20")
	f.IntVar(&o.jobs, "jobs", 50, "jobs of scenario rest, 1 to 200")
	f.IntVar(&o.waiting, "waiting", 1_000_000, "records of scenario stuck, 8 to 2,000,000")
	f.DurationVar(&o.hold, "hold", 45*time.Second, "how long scenario stuck watches, at most 5m")
	f.DurationVar(&o.restFor, "rest", 150*time.Second, "how long scenario rest watches, at most 5m; Go looks at an idle heap every 2m")
	f.IntVar(&o.rate, "rate", 2000, "rows a second of scenarios live and stuckkey, 10 to 20,000")
	f.DurationVar(&o.liveFor, "live", 10*time.Second, "how long the input of live and stuckkey lasts, 1s to 5m")
	f.IntVar(&o.memory, "memory", 0, "streamer's STREAMER_MEMORY in MiB, 16 to 4,096; 0: its default")
	f.StringVar(&names, "scenario", "all", "some of "+known())
	f.StringVar(&which, "cells", "", "regular expression: the cells of scenario path, such as json/1/key/0ms or 'container/(1|250)/.*/100ms'; empty: all")
	f.StringVar(&o.broker, "broker", "auto", "auto (a real Kafka if this machine has one), real or fake")
	f.StringVar(&o.output, "o", "text", "text or json")
	f.StringVar(&o.into, "into", "", "document whose figures are to be replaced, such as docs/performance.md")
	f.BoolVar(&o.assert, "assert", false, "end with 1 if a target is missed that holds on any machine: the ratio, the memory")
	f.StringVar(&o.cpuProfile, "cpuprofile", "", "folder for a CPU profile of each measured process")
	f.StringVar(&o.memProfile, "memprofile", "", "folder for heap profiles of streamer: of rest and stuck while they hold, of the others at their ends, for allocations")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var bad error
	if o.cells, bad = regexp.Compile(which); bad != nil {
		return o, fmt.Errorf("-cells: %w", bad)
	}
	for _, s := range scenarios {
		if names == "all" || strings.Contains(","+names+",", ","+s.name+",") {
			o.scenarios = append(o.scenarios, s.name)
		}
	}
	for _, c := range []struct {
		wrong bool
		say   string
	}{
		{f.NArg() > 0, "takes flags only"},
		{names != "all" && len(o.scenarios) != strings.Count(names, ",")+1, "-scenario: some of " + known()},
		{!slices.ContainsFunc(cells(), func(c cell) bool { return o.cells.MatchString(c.name()) }), "-cells: no cell has such a name; they are json/1, container/1, container/250; key, none; 0ms, 10ms, 100ms"},
		{o.rate < 10 || o.rate > 20_000, "-rate: 10 to 20,000"},
		{o.memory != 0 && (o.memory < 16 || o.memory > 4096), "-memory: 16 to 4,096, or 0"},
		{o.liveFor < time.Second || o.liveFor > 5*time.Minute, "-live: 1s to 5m"},
		{o.rows < partitions || o.rows > 2_000_000, "-rows: 8 to 2,000,000"},
		{o.rounds < 1 || o.rounds > 20, "-rounds: 1 to 20"},
		{o.jobs < 1 || o.jobs > 200, "-jobs: 1 to 200"},
		{o.waiting < partitions || o.waiting > 2_000_000, "-waiting: 8 to 2,000,000"},
		{o.hold < time.Second || o.hold > 5*time.Minute, "-hold: 1s to 5m"},
		{o.restFor < time.Second || o.restFor > 5*time.Minute, "-rest: 1s to 5m"},
		{o.broker != "auto" && o.broker != "real" && o.broker != "fake", "-broker: auto, real or fake"},
		{o.output != "text" && o.output != "json", "-o: text or json"},
	} {
		if c.wrong {
			return o, errors.New(c.say)
		}
	}
	for _, dir := range []string{o.cpuProfile, o.memProfile} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return o, err
		}
	}
	return o, nil
}

// measure runs the chosen scenarios and writes the report, also of those that were measured before one failed.
func measure(o options, out io.Writer) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b := &bench{options: o, log: os.Stderr}
	if err := b.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, s := range scenarios {
		if !strings.Contains(","+strings.Join(o.scenarios, ",")+",", ","+s.name+",") {
			continue
		}
		if err = s.run(b, ctx); err != nil {
			err = fmt.Errorf("scenario %s: %w", s.name, err)
			break
		}
	}
	if e := b.report.write(out, o.output); e != nil {
		return errors.Join(err, e)
	}
	if o.into != "" && err == nil {
		err = b.report.document(o.into)
	}
	if missed := b.report.missed(); err == nil && o.assert && len(missed) > 0 {
		err = fmt.Errorf("missed: %s", strings.Join(missed, "; "))
	}
	return err
}
