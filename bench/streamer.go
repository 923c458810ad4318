package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"streamer/consumer"
	"streamer/consumer/registry"
	"streamer/control/job"
	"streamer/sink"
)

// streamerSettings are those of one run of streamer's own data path: its jobs, until each has committed so many records, then Hold
// longer.
type streamerSettings struct {
	Brokers  []string `json:"brokers"`
	Jobs     []string `json:"jobs"`
	Instance string   `json:"instance"` // makes memberships static
	// Records is what each job's group has committed, counted from the begin of its topics, before the run goes on; 0: nothing, as
	// under an API that never answers.
	Records int `json:"records"`
	// Hold is how long the process is watched then.
	Hold     time.Duration `json:"hold"`
	Memory   int64         `json:"memory"`
	Registry string        `json:"registry"` // URL of the schema registry; empty: none
	profiles
}

// lookEvery is how often a run is asked whether it is done, and its memory is looked at while it holds.
const lookEvery = 50 * time.Millisecond

// streamerRole runs jobs as streamer does: job text, one instance, a runner per job, metrics registered, the collector's settings
// those of the program.
func streamerRole(settings []byte, s *stage) error {
	var set streamerSettings
	if err := json.Unmarshal(settings, &set); err != nil {
		return err
	}
	return set.profiled(s, func() (usage, error) { return runStreamer(s.stopped, set) })
}

func runStreamer(ctx context.Context, set streamerSettings) (seen usage, err error) {
	before := cpu()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	instance, err := consumer.NewInstance(consumer.Client{Brokers: set.Brokers}, set.Memory, reg, log)
	if err != nil {
		return seen, err
	}
	defer instance.Close()
	process := processOf(set.Instance)
	if set.Registry != "" {
		asked, err := registry.New(registry.Options{URL: set.Registry, Guard: process.Guard})
		if err != nil {
			return seen, err
		}
		defer asked.Close()
		process.Registry = asked.Schema
	}
	var runners []*consumer.Runner
	for _, text := range set.Jobs {
		cfg, err := compile(text, process)
		if err != nil {
			return seen, err
		}
		runners = append(runners, instance.NewRunner(cfg))
	}
	soft, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	hard, stopHard := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHard()
	var all sync.WaitGroup
	for _, r := range runners {
		all.Go(func() {
			if err := r.Run(soft, hard); err != nil {
				stop(err)
			}
		})
	}
	err = watch(soft, func() bool { return committed(runners) >= int64(set.Records*len(runners)) })
	if err == nil && set.Hold > 0 {
		end := time.Now().Add(set.Hold)
		err = watch(soft, func() bool {
			if err := seen.look(); err != nil {
				stop(err)
			}
			return !time.Now().Before(end)
		})
		seen.lookLive()
		err = errors.Join(err, set.heap())
		stopHard() // what follows is not measured
	}
	stop(nil)
	all.Wait()
	if err != nil || set.Hold > 0 {
		return seen, err
	}
	seen.CPU = cpu() - before
	return seen, errors.Join(seen.look(), set.heap())
}

// processOf is what a job is compiled for; instance makes its membership static.
func processOf(instance string) job.Process {
	return job.Process{Namespace: namespace, Instance: instance, Guard: sink.Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
}

// compile gives what runs of a job's text.
func compile(text string, process job.Process) (consumer.Config, error) {
	definitions, broken := job.ParseFile("bench.yaml", []byte(text))
	if len(broken) > 0 || len(definitions) != 1 {
		return consumer.Config{}, fmt.Errorf("not the text of one job: %v", broken)
	}
	cfg, faults := definitions[0].Compile(process)
	return cfg, faults.Err()
}

// committed is the number of records that all runners together have committed; their topics begin at 0.
func committed(runners []*consumer.Runner) int64 {
	var n int64
	for _, r := range runners {
		for _, p := range r.Status().Partitions {
			n += max(p.Committed, 0)
		}
	}
	return n
}

// watch returns when done says so, or with the cause of ctx' end.
func watch(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
