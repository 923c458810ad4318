package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
)

// report is what a run of the program found.
type report struct {
	Cores     int       `json:"cores"`
	Go        string    `json:"go"`
	Broker    string    `json:"broker"`
	Scenarios []*result `json:"scenarios"`
}

// result is one scenario's: runs if rows were delivered, memory if a process was watched, and what the targets say.
type result struct {
	Scenario string  `json:"scenario"`
	What     string  `json:"what"`
	Runs     []run   `json:"runs,omitempty"`
	Memory   *usage  `json:"memory,omitempty"`
	Checks   []check `json:"checks"`
}

// run is one program's way through a topic.
type run struct {
	Program       string  `json:"program"`
	RowsPerSecond float64 `json:"rows_per_second"`             // from the first request to the last
	CPUPer100k    float64 `json:"cpu_seconds_per_100000_rows"` // of the program's process alone
	PeakRSS       int64   `json:"peak_rss"`                    // bytes
	Connections   int64   `json:"connections"`                 // that the API accepted
}

func (r run) String() string {
	return fmt.Sprintf("%s %.0f rows/s, %.2f CPU-s per 100,000 rows, peak RSS %.0f MB, %d connections",
		r.Program, r.RowsPerSecond, r.CPUPer100k, float64(r.PeakRSS)/1e6, r.Connections)
}

// check compares a figure with its target. Those of absolute time are never asserted: another machine is not a fault.
type check struct {
	What    string  `json:"what"`
	Value   float64 `json:"value"`
	Target  float64 `json:"target"`
	AtLeast bool    `json:"at_least"` // else at most
	Assert  bool    `json:"assert"`
}

func (c check) pass() bool {
	if c.AtLeast {
		return c.Value >= c.Target
	}
	return c.Value <= c.Target
}

func (c check) String() string {
	word, bound := "missed", "<="
	if c.pass() {
		word = "pass"
	}
	if c.AtLeast {
		bound = ">="
	}
	return fmt.Sprintf("%s: %.4g (target %s %.4g): %s", c.What, c.Value, bound, c.Target, word)
}

// MarshalJSON adds pass.
func (c check) MarshalJSON() ([]byte, error) {
	type plain check
	return json.Marshal(struct {
		plain
		Pass bool `json:"pass"`
	}{plain(c), c.pass()})
}

func (r *report) begin(broker string) {
	r.Cores, r.Go, r.Broker = runtime.NumCPU(), runtime.Version(), broker
}

func (r *report) scenario(name, what string) *result {
	res := &result{Scenario: name, What: what}
	r.Scenarios = append(r.Scenarios, res)
	return res
}

// missed gives the asserted checks that did not pass.
func (r *report) missed() []string {
	var out []string
	for _, s := range r.Scenarios {
		for _, c := range s.Checks {
			if c.Assert && !c.pass() {
				out = append(out, s.Scenario+": "+c.String())
			}
		}
	}
	return out
}

func (res *result) add(r run)     { res.Runs = append(res.Runs, r) }
func (res *result) check(c check) { res.Checks = append(res.Checks, c) }

// of gives the figures of one program, in the order of the rounds.
func (res *result) of(program string, figure func(run) float64) []float64 {
	var out []float64
	for _, r := range res.Runs {
		if r.Program == program {
			out = append(out, figure(r))
		}
	}
	return out
}

func (res *result) median(program string, figure func(run) float64) float64 {
	return median(res.of(program, figure))
}

// median is 0 for no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// ratioTarget is what streamer's rows per CPU-second must reach of the floor's.
const ratioTarget = 0.75

// compare adds the ratio: the median over the rounds, each round's two runs compared with each other, since what else the machine
// does changes more from minute to minute than from run to run.
func (res *result) compare() {
	cost := func(r run) float64 { return r.CPUPer100k }
	floor, streamer := res.of("floor", cost), res.of("streamer", cost)
	var ratios []float64
	for i := range min(len(floor), len(streamer)) {
		ratios = append(ratios, floor[i]/streamer[i])
	}
	res.check(check{What: "rows per CPU-second, streamer / floor", Value: median(ratios), Target: ratioTarget, AtLeast: true, Assert: true})
}

// write prints the report as text or json.
func (r *report) write(w io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // kept until Flush
	line("%d cores, %s, %s", r.Cores, r.Go, r.Broker)
	for _, s := range r.Scenarios {
		line("\n%s: %s", s.Scenario, s.What)
		if len(s.Runs) > 0 {
			line("\tmedian of %d\trows/s\tCPU-s per 100,000 rows\tpeak RSS, MB\t", len(s.Runs)/len(s.programs()))
		}
		for _, p := range s.programs() {
			line("\t%s\t%.0f\t%.2f\t%.0f\t", p, s.median(p, func(r run) float64 { return r.RowsPerSecond }),
				s.median(p, func(r run) float64 { return r.CPUPer100k }), s.median(p, func(r run) float64 { return float64(r.PeakRSS) / 1e6 }))
		}
		if m := s.Memory; m != nil {
			mb := func(n int64) float64 { return float64(n) / 1e6 }
			line("\tMB\tat the end\tpeak\t")
			line("\tRSS\t%.0f\t%.0f\t", mb(m.RSS), mb(m.PeakRSS))
			line("\tGo heap\t%.0f\t%.0f\t", mb(m.Heap), mb(m.PeakHeap))
			line("\tlive of it\t%.0f\t\t", mb(m.LiveHeap))
		}
		for _, c := range s.Checks {
			line("  %s", c)
		}
	}
	return t.Flush()
}

// programs are those of the runs, by name.
func (res *result) programs() []string {
	var out []string
	for _, r := range res.Runs {
		out = append(out, r.Program)
	}
	slices.SortFunc(out, cmp.Compare)
	return slices.Compact(out)
}
