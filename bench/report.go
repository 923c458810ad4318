package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is what a run of the program found.
type report struct {
	Cores     int       `json:"cores"`
	Load      string    `json:"load"` // of the machine in the minute before, by /proc/loadavg: what else it had to do
	Go        string    `json:"go"`
	Broker    string    `json:"broker"`
	Scenarios []*result `json:"scenarios"`
}

// result is one scenario's: runs if rows were delivered, memory if a process was watched, and what the targets say.
type result struct {
	Scenario string             `json:"scenario"`
	What     string             `json:"what"`
	Runs     []run              `json:"runs,omitempty"`
	Ratios   map[string]float64 `json:"rows_per_cpu_second_streamer_to_floor,omitempty"` // by cell
	Memory   *usage             `json:"memory,omitempty"`
	Checks   []check            `json:"checks"`

	columns []string // of the text
}

// run is one program's way through a topic. What a scenario does not measure is 0.
type run struct {
	Cell          string  `json:"cell,omitempty"`
	Program       string  `json:"program"`
	RowsPerSecond float64 `json:"rows_per_second"`             // from the first request to the last
	CPUPer100k    float64 `json:"cpu_seconds_per_100000_rows"` // of the program's process alone
	PeakRSS       int64   `json:"peak_rss"`                    // bytes
	Connections   int64   `json:"connections"`                 // that the API accepted
	P50           float64 `json:"p50_ms,omitempty"`            // from append to arrival
	P99           float64 `json:"p99_ms,omitempty"`
	Lost          int64   `json:"lost,omitempty"`
	Again         int64   `json:"again,omitempty"`         // rows
	AgainSeconds  float64 `json:"again_seconds,omitempty"` // their number by the rate before the crash
	Back          float64 `json:"back_seconds,omitempty"`  // the longest time without a new row after the crash
}

func (r run) String() string {
	s := fmt.Sprintf("%s %.0f rows/s, %.2f CPU-s per 100,000 rows, peak RSS %.0f MB, %d connections",
		r.Program, r.RowsPerSecond, r.CPUPer100k, float64(r.PeakRSS)/1e6, r.Connections)
	if r.P99 > 0 {
		s += fmt.Sprintf(", p50 %.2f ms, p99 %.2f ms", r.P50, r.P99)
	}
	return s
}

// figures are what columns of the text show of a run: medians over the rounds. Any other column is the cell's ratio.
var figures = map[string]struct {
	format string
	of     func(run) float64
}{
	"rows/s":                 {"%.0f", func(r run) float64 { return r.RowsPerSecond }},
	"rows/s before":          {"%.0f", func(r run) float64 { return r.RowsPerSecond }},
	"CPU-s per 100,000 rows": {"%.2f", func(r run) float64 { return r.CPUPer100k }},
	"peak RSS, MB":           {"%.0f", func(r run) float64 { return float64(r.PeakRSS) / 1e6 }},
	"p50, ms":                {"%.2f", func(r run) float64 { return r.P50 }},
	"p99, ms":                {"%.2f", func(r run) float64 { return r.P99 }},
	"lost":                   {"%.0f", func(r run) float64 { return float64(r.Lost) }},
	"sent again":             {"%.0f", func(r run) float64 { return float64(r.Again) }},
	"of rows, s":             {"%.3f", func(r run) float64 { return r.AgainSeconds }},
	"back after, s":          {"%.2f", func(r run) float64 { return r.Back }},
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
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load, _, _ = strings.Cut(string(text), " ")
	}
}

func (r *report) scenario(name, what string, columns ...string) *result {
	res := &result{Scenario: name, What: what, columns: columns}
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

// of gives the figures of one program in one cell, in the order of the rounds.
func (res *result) of(cell, program string, figure func(run) float64) []float64 {
	var out []float64
	for _, r := range res.Runs {
		if r.Cell == cell && r.Program == program {
			out = append(out, figure(r))
		}
	}
	return out
}

func (res *result) median(cell, program string, figure func(run) float64) float64 {
	return median(res.of(cell, program, figure))
}

// most is the largest figure of one program in all its runs.
func (res *result) most(program string, figure func(run) float64) float64 {
	var most float64
	for _, r := range res.Runs {
		if r.Program == program {
			most = max(most, figure(r))
		}
	}
	return most
}

// median is 0 for no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// compare gives the ratio of one cell and program to another: the median over the rounds, each round's two runs compared with each
// other, since what else the machine does changes more from minute to minute than from run to run. 0 without such runs.
func (res *result) compare(cell, program, otherCell, other string, figure func(run) float64) float64 {
	above, below := res.of(cell, program, figure), res.of(otherCell, other, figure)
	var ratios []float64
	for i := range min(len(above), len(below)) {
		if below[i] > 0 {
			ratios = append(ratios, above[i]/below[i])
		}
	}
	return median(ratios)
}

// cost is what ratios of CPU time are taken of.
func cost(r run) float64 { return r.CPUPer100k }

// ratio is streamer's rows per CPU-second as a part of the floor's in a cell. It is kept for the report.
func (res *result) ratio(cell string) float64 { return res.ratioTo(cell, cell) }

// ratioTo is that with the floor of another cell.
func (res *result) ratioTo(floorCell, cell string) float64 {
	if res.Ratios == nil {
		res.Ratios = map[string]float64{}
	}
	res.Ratios[cell] = res.compare(floorCell, "floor", cell, "streamer", cost)
	return res.Ratios[cell]
}

// checkPeak holds the largest peak of all runs of a program to the target.
func (res *result) checkPeak(program string) {
	peak := res.most(program, func(r run) float64 { return float64(r.PeakRSS) / 1e6 })
	res.check(check{What: "peak RSS, MB, the most of all runs", Value: peak, Target: rssTarget / 1e6, Assert: true})
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
	line("%d cores, load %s before, %s, %s", r.Cores, r.Load, r.Go, r.Broker)
	for _, s := range r.Scenarios {
		line("\n%s: %s", s.Scenario, s.What)
		s.table(line)
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

// table prints a line for each cell and program.
func (res *result) table(line func(string, ...any)) {
	type who struct{ cell, program string }
	var seen []who
	for _, r := range res.Runs {
		w := who{r.Cell, r.Program}
		if slices.Contains(seen, w) {
			continue
		}
		if len(seen) == 0 {
			rounds := len(res.of(w.cell, w.program, func(run) float64 { return 0 }))
			line("\tmedian of %d\t\t%s\t", rounds, strings.Join(res.columns, "\t"))
		}
		seen = append(seen, w)
		text := "\t" + w.cell + "\t" + w.program + "\t"
		for _, c := range res.columns {
			if f, ok := figures[c]; ok {
				text += fmt.Sprintf(f.format, res.median(w.cell, w.program, f.of))
			} else if w.program == "streamer" {
				text += fmt.Sprintf("%.2f", res.Ratios[w.cell])
			}
			text += "\t"
		}
		line("%s", text)
	}
}
