package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
	"streamer/sink/sinktest/proxy"
)

// report is what a run leaves behind, as JSON and as text.
type report struct {
	Seed                 uint64
	Kafka                string
	Began                time.Time
	Seconds              float64
	Rows, Attempts       int
	Lost, Order, Early   int
	Duplicates           int
	Explained            map[string]int // duplicates by cause
	Unexplained          int
	OldestAfterCrash     string // how long the rows sent again after a kill -9 had been final, at most
	Commits, WithAbove   int    // seen in the broker; with finished work above the offset
	Aborted, DeadLetters int
	Answers              map[string]int // attempts by what the API did
	Jobs                 map[string]*checker.Verdict
	Spells, Steps        []string
}

// commitMargin is what may pass between the answer to a row and the reading of positions that knows it, on two busy cores.
const commitMargin = time.Second

// judge lets the checker look at each job, writes the report, and fails the test if a promise was broken.
func (r *run) judge() {
	r.Helper()
	r.readBack()
	attempts := r.api.Attempts()
	r.way.Close() // so that all its connections have ended
	proxy.Doubt(attempts, r.way.Ended())
	for _, i := range r.past {
		r.events = append(r.events, i.read().events...)
	}
	rep := &report{Seed: r.seed, Kafka: r.cluster.Version, Began: r.began.UTC(), Seconds: time.Since(r.began).Seconds(),
		Attempts:  len(attempts),
		Explained: map[string]int{}, Answers: map[string]int{}, Jobs: map[string]*checker.Verdict{}, Aborted: r.source.aborted, Steps: r.did}
	for _, s := range r.plan.Spells {
		rep.Spells = append(rep.Spells, fmt.Sprintf("%6.1f to %.1f s: %s", s.From.Seconds(), s.Until.Seconds(), s.Name))
	}
	var oldest time.Duration
	for name, j := range map[string]*chaosJob{"keyed": r.keyed, "named": r.named} {
		h := checker.History{Rows: j.rows, Commits: j.commits.Stop(r), Timeout: attemptTimeout,
			DeadLetters: r.cluster.DeadLetters(r, "streamer.dead-letters."+j.id)}
		for _, a := range attempts {
			if slices.Contains(j.topics, a.Topic) {
				h.Attempts = append(h.Attempts, a)
			}
		}
		h.Events = bounded(r.events, j.topics, h.Commits)
		v := checker.Check(h)
		rep.add(name, v, h)
		oldest = max(oldest, v.Oldest[checker.Crash])
		v.Check(r)
	}
	rep.OldestAfterCrash = oldest.Round(time.Millisecond).String()
	for _, a := range attempts {
		rep.Answers[answered(a)]++
	}
	r.write(rep)
}

// bounded gives the events of a job's topics. After a crash only rows may be sent again that became final since the commit before the
// last: a commit holds all that was final when its positions were read, which is after the broker had taken the one before it.
func bounded(events []checker.Event, topics []string, commits []checker.Commit) (out []checker.Event) {
	for _, e := range events {
		if e.Where != nil {
			e.Where = slices.DeleteFunc(slices.Clone(e.Where), func(p checker.Partition) bool { return !slices.Contains(topics, p.Topic) })
		}
		if e.Cause == checker.Crash {
			var last, before time.Time // two commits of the instance
			for _, c := range commits {
				if c.At.Before(e.At) && c.At.After(last) && slices.Contains(e.Where, checker.Partition{Topic: c.Topic, ID: c.Partition}) {
					last, before = c.At, last
				}
			}
			if !before.IsZero() {
				e.Within = e.At.Sub(before) + commitMargin
			}
		}
		out = append(out, e)
	}
	return out
}

func (rep *report) add(name string, v *checker.Verdict, h checker.History) {
	rep.Jobs[name] = v
	rep.Rows += v.Rows
	rep.Lost += v.Count("lost")
	rep.Order += v.Count("order")
	rep.Early += v.Count("early")
	rep.Duplicates += v.Duplicates
	rep.Unexplained += v.Count("duplicate")
	for cause, n := range v.Explained {
		rep.Explained[cause] += n
	}
	rep.Commits += len(h.Commits)
	for _, c := range h.Commits {
		if c.Above != nil {
			rep.WithAbove++
		}
	}
	rep.DeadLetters += len(h.DeadLetters)
}

func answered(a sinktest.Attempt) string {
	switch {
	case a.Status == 0:
		return "none"
	case !a.Answered:
		return fmt.Sprint(a.Status, ", broken off or lost")
	}
	return fmt.Sprint(a.Status)
}

// String is the report for people.
func (rep *report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, Kafka %s, %s, %.0f s\n", rep.Seed, rep.Kafka, rep.Began.Format(time.RFC3339), rep.Seconds)
	fmt.Fprintf(&b, "%d rows, %d attempts, %d dead letters, %d records of transactions that were not committed\n",
		rep.Rows, rep.Attempts, rep.DeadLetters, rep.Aborted)
	fmt.Fprintf(&b, "lost %d, started before the row before was final %d, committed past an unfinished row %d", rep.Lost, rep.Order, rep.Early)
	fmt.Fprintf(&b, " (%d commits seen, %d of them with finished work above)\n", rep.Commits, rep.WithAbove)
	stragglers := 0
	for _, v := range rep.Jobs {
		stragglers += v.Stragglers
	}
	fmt.Fprintf(&b, "%d attempts arrived when they had been given up\n", stragglers)
	fmt.Fprintf(&b, "duplicates %d, unexplained %d; rows sent again after a kill -9 had been final for at most %s\n",
		rep.Duplicates, rep.Unexplained, rep.OldestAfterCrash)
	counts := func(what string, of map[string]int) {
		fmt.Fprintf(&b, "%s:", what)
		for _, k := range slices.Sorted(maps.Keys(of)) {
			fmt.Fprintf(&b, " %s %d;", k, of[k])
		}
		b.WriteString("\n")
	}
	counts("duplicates by cause", rep.Explained)
	counts("answers of the API", rep.Answers)
	for _, name := range slices.Sorted(maps.Keys(rep.Jobs)) {
		fmt.Fprintf(&b, "job %s: %v\n", name, rep.Jobs[name])
	}
	fmt.Fprintf(&b, "the API's bad times:\n  %s\nwhat was done:\n  %s\n", strings.Join(rep.Spells, "\n  "), strings.Join(rep.Steps, "\n  "))
	return b.String()
}

// write logs the report and, if CHAOS_REPORTS names a folder, leaves it there under the seed, with the instances' logs.
func (r *run) write(rep *report) {
	r.Helper()
	r.Log(rep)
	dir := os.Getenv("CHAOS_REPORTS")
	if dir == "" {
		return
	}
	text, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		r.Fatal(err)
	}
	files := map[string]string{".json": string(text), ".txt": rep.String()}
	for _, i := range r.past {
		files[".log"] += "== " + i.name + "\n" + i.log.String()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.Fatal(err)
	}
	for end, text := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(rep.Seed)+end), []byte(text), 0o644); err != nil {
			r.Fatal(err)
		}
	}
}
