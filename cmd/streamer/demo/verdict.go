package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

// Report is the verdict with its numbers.
type Report struct {
	// OK: nothing was lost, nothing overtaken, nothing committed too early, and the lag reached 0 (or the demo was interrupted).
	OK          bool    `json:"ok"`
	Interrupted bool    `json:"interrupted"`
	Settled     bool    `json:"lag_zero"`
	Seconds     float64 `json:"seconds"`
	Records     int     `json:"records"`
	Rows        int     `json:"rows"`
	Requests    int     `json:"requests"`
	// RowsPerSecond counts rows that became final, of all jobs, from the first request to the last answer.
	RowsPerSecond float64     `json:"rows_per_second"`
	Jobs          []JobReport `json:"jobs"`
	Problems      []string    `json:"problems,omitempty"`
}

// JobReport is the verdict about one job.
type JobReport struct {
	Job  string `json:"job"`
	Rows int    `json:"rows"`
	// Delivered, DeadLetters and Unwanted (by filter or emit rule) are rows that are final, Pending those that are still in Kafka for
	// the next start.
	Delivered   int `json:"delivered"`
	DeadLetters int `json:"dead_letters"`
	Unwanted    int `json:"unwanted"`
	Pending     int `json:"pending"`
	// Requests were made, Retries of them beyond a row's first. Duplicates repeat a row that the API had accepted.
	Requests   int            `json:"requests"`
	Retries    int            `json:"retries"`
	Duplicates int            `json:"duplicates"`
	Explained  map[string]int `json:"duplicates_explained,omitempty"`
	// These break the promise.
	Lost      int `json:"lost"`
	Overtaken int `json:"overtaken"`
	Early     int `json:"committed_too_early"`
	Other     int `json:"other_findings"`
}

// evidence is what the check gets to see of a job.
type evidence struct {
	role    role
	history checker.History
	// committed is what the group has committed in the end, own what streamer counted.
	committed []checker.Commit
	own       numbers
}

// judge gathers the evidence, has the checker judge it, compares it with streamer's own metrics, and tells the verdict.
func (d *demo) judge(interrupted, settled bool) (Report, error) {
	ctx := context.Background()
	rep := Report{Interrupted: interrupted, Settled: settled, Seconds: time.Since(d.screen.begun).Seconds()}
	own, err := d.service.numbersOf()
	if err != nil {
		return rep, fmt.Errorf("metrics: %w", err)
	}
	records, rows := d.producer.count()
	rep.Records, rep.Rows = records, rows[householdTopic]+rows[measurementTopic]
	attempts, final := d.attempts(), 0
	var all []sinktest.Attempt
	for _, r := range roles {
		committed, err := d.broker.commits(ctx, r)
		if err != nil {
			return rep, err
		}
		d.watcher.keep(r, committed)
		e := evidence{role: r, committed: committed, own: own[r.job], history: checker.History{Rows: d.producer.expected(r), Attempts: attempts[r.job],
			DeadLetters: d.letters.of(r.job), Commits: d.watcher.commits[r.job]}}
		job, problems := assess(e)
		rep.Jobs = append(rep.Jobs, job)
		rep.Requests += job.Requests
		rep.Problems = append(rep.Problems, problems...)
		final += job.Delivered + job.DeadLetters + job.Unwanted
		all = append(all, e.history.Attempts...)
	}
	if took := span(all); took > 0 {
		rep.RowsPerSecond = float64(final) / took.Seconds()
	}
	if !settled && !interrupted {
		rep.Problems = append(rep.Problems, "the lag did not reach 0 in time")
	}
	rep.OK = len(rep.Problems) == 0
	d.laneStory(attempts[roles[0].job])
	d.tellVerdict(rep)
	return rep, nil
}

// assess has the checker judge a job, and compares what was seen from outside with what streamer counted.
func assess(e evidence) (JobReport, []string) {
	v := checker.Check(e.history)
	j := reportOf(e, v)
	return j, append(problems(e, v), disagreement(j, e.own)...)
}

func reportOf(e evidence, v *checker.Verdict) JobReport {
	j := JobReport{Job: e.role.job, Rows: v.Rows, Delivered: v.Delivered, DeadLetters: v.GivenUp, Requests: v.Attempts, Duplicates: v.Duplicates,
		Explained: v.Explained, Overtaken: v.Count("order"), Early: v.Count("early") + v.Count("back")}
	for _, r := range e.history.Rows {
		if r.Want == checker.Nothing {
			j.Unwanted++
		}
	}
	for _, a := range e.history.Attempts {
		if a.Attempt > 1 {
			j.Retries++
		}
	}
	for _, f := range v.Findings {
		switch {
		case f.Kind == "lost" && pending(f.Position, e.committed):
			j.Pending++
		case f.Kind == "lost":
			j.Lost++
		}
	}
	j.Other = len(v.Findings) - j.Pending - j.Lost - j.Overtaken - j.Early
	return j
}

// pending says that a row lies at or behind the committed offset: it is not lost, whoever reads on will deliver it.
func pending(p checker.Position, committed []checker.Commit) bool {
	for _, c := range committed {
		if c.Topic == p.Topic && c.Partition == p.Partition {
			return p.Offset >= c.Offset
		}
	}
	return true
}

// shownFindings is how many findings of a job are spelt out.
const shownFindings = 5

func problems(e evidence, v *checker.Verdict) []string {
	var out []string
	more := 0
	for _, f := range v.Findings {
		if f.Kind == "lost" && pending(f.Position, e.committed) {
			continue
		}
		if len(out) == shownFindings {
			more++
			continue
		}
		out = append(out, fmt.Sprintf("job %s: %s: %v: %s", e.role.job, f.Kind, f.Position, f.Text))
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("job %s: and %d more", e.role.job, more))
	}
	return out
}

// disagreement compares what streamer counted with what was seen from outside.
func disagreement(j JobReport, own numbers) []string {
	var out []string
	for _, c := range []struct {
		outcome string
		seen    int
	}{{"delivered", j.Delivered}, {"dead_lettered", j.DeadLetters}} {
		if n := own.rows[c.outcome]; n != c.seen {
			out = append(out, fmt.Sprintf("job %s: the metric streamer_rows_total says %d %s, from outside it was %d", j.Job, n, c.outcome, c.seen))
		}
	}
	return out
}

// span is the time from the first request to the last answer.
func span(all []sinktest.Attempt) time.Duration {
	if len(all) == 0 {
		return 0
	}
	first := slices.MinFunc(all, func(a, b sinktest.Attempt) int { return a.Start.Compare(b.Start) })
	last := slices.MaxFunc(all, func(a, b sinktest.Attempt) int { return a.End.Compare(b.End) })
	return last.End.Sub(first.Start)
}

// tableColumns are the widths of the verdict's numbers.
var tableColumns = []int{7, 10, 5, 9, 9, 8, 6, 5, 9}

// tableWidth is that of the whole table.
const tableWidth = 80

func (d *demo) tellVerdict(rep Report) {
	var b strings.Builder
	rule := strings.Repeat("─", min(d.screen.width(), tableWidth))
	fmt.Fprintf(&b, "\n%s\n%s\n\n", rule, d.screen.paint(bold, "The check: what was produced against what the APIs saw, dead letters and commits"))
	line := func(job string, numbers ...string) {
		fmt.Fprintf(&b, "%-12s", job)
		for i, n := range numbers {
			fmt.Fprintf(&b, "%*s", tableColumns[i], n)
		}
		b.WriteByte('\n')
	}
	line("job", "rows", "delivered", "dead", "unwanted", "requests", "retries", "twice", "lost", "overtook")
	for _, j := range rep.Jobs {
		line(j.Job, thousands(j.Rows), thousands(j.Delivered), thousands(j.DeadLetters), thousands(j.Unwanted), thousands(j.Requests),
			thousands(j.Retries), thousands(j.Duplicates), thousands(j.Lost), thousands(j.Overtaken))
	}
	b.WriteString("\ndead      rows given up; each is in its job's dead-letter topic, with the reason\n" +
		"unwanted  rows for which the job's filter or emit rule wants no request\n")
	explained := 0
	for _, j := range rep.Jobs {
		for _, n := range j.Explained {
			explained += n
		}
	}
	if explained > 0 {
		fmt.Fprintf(&b, "twice     %d requests repeated work that the API had done: the connection broke\n"+
			"          before its answer was whole. This is what \"at least once\" means. They\n"+
			"          carry the Idempotency-Key of the first one: the API knew %d of them.\n", explained, d.recognised())
	}
	for _, j := range rep.Jobs {
		if j.Pending > 0 {
			fmt.Fprintf(&b, "%s: %s not final yet; they lie behind the committed offset, so the next start would deliver them\n", j.Job, count(j.Pending, "row"))
		}
	}
	fmt.Fprintf(&b, "\n%s in %s, %s, %s rows/s final, %.1f s in all\n", count(rep.Rows, "row"), count(rep.Records, "record"), count(rep.Requests, "request"),
		thousands(int(rep.RowsPerSecond)), rep.Seconds)
	for _, p := range rep.Problems {
		b.WriteString(d.screen.paint(red, "  "+p) + "\n")
	}
	switch {
	case !rep.OK:
		b.WriteString(d.screen.paint(red, "FAILED: the promise was not kept, or could not be shown to be kept.") + "\n")
	case rep.Interrupted && !rep.Settled:
		b.WriteString(d.screen.paint(green, "KEPT SO FAR: nothing lost, no row overtook the one before it in its lane, no\n"+
			"      offset was committed early.") + "\n")
	default:
		b.WriteString(d.screen.paint(green, "KEPT: nothing lost, no row overtook the one before it in its lane, no offset\n"+
			"      was committed early, and streamer's own metrics say the same.") + "\n")
	}
	d.screen.text(b.String())
}

func (d *demo) recognised() int {
	n := 0
	for _, a := range d.apis {
		n += a.recognised()
	}
	return n
}

// write prints the report as json or yaml, with the same fields in the same order.
func (r Report) write(w io.Writer, format string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if format == "json" {
		_, err = w.Write(append(text, '\n'))
		return err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return err
	}
	plain(&root)
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(&root); err != nil {
		return err
	}
	_, err = w.Write(buf.Bytes())
	return err
}

// plain takes JSON's brackets and quotes away.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}
