package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

// listener is a writer that calls heard when all words were written.
type listener struct {
	mu    sync.Mutex
	text  bytes.Buffer
	words []string
	heard func()
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.text.Write(p)
	if l.heard != nil && len(l.missing()) == 0 {
		l.heard()
		l.heard = nil
	}
	return n, err
}

// missing are the words that were not written yet; where lines were broken does not matter.
func (l *listener) missing() []string {
	var out []string
	text := strings.Join(strings.Fields(l.text.String()), " ")
	for _, w := range l.words {
		if !strings.Contains(text, w) {
			out = append(out, w)
		}
	}
	return out
}

func (l *listener) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// changed gives the demo's jobs with one replacement.
func changed(t *testing.T, job, from, to string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	for _, r := range roles {
		name := "jobs/" + r.job + ".yaml"
		text, err := fs.ReadFile(jobFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		if r.job == job {
			if !strings.Contains(string(text), from) {
				t.Fatalf("%s does not hold %q", name, from)
			}
			text = []byte(strings.Replace(string(text), from, to, 1))
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	return files
}

// Interrupted as soon as everything has happened once: what a loaded machine needs longer for, it gets.
func TestTellsWhatHappensAndKeepsThePromise(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out := listener{heard: cancel, words: []string{
		"url: http://127.0.0.1:",             // a job
		`"phone":`,                           // a row as it was produced
		"PUT /households/hh-",                // its request
		`,"visit":1}`,                        // with a masked body
		"The field phone is not in it",       //
		"Idempotency-Key: ",                  //
		"Authorization: Basic ********",      // of another job
		"celsius=39",                         // which sends a form
		"the connection broke in the middle", // troubles
		"503 Service Unavailable, Retry-After: 1",
		"as attempt 2: ",
		"the registry goes down",
		"OPEN in job households",
		"The registry is back",
		"CLOSED in job households",
		"answered 422",                     // a row given up
		"streamer-class: payload",          // and a record
		"has joined group streamer.fever-", //
	}}
	rep, err := Run(ctx, Options{Rate: 800, Out: &out, Settle: 2 * time.Minute, cycle: 4 * time.Second})
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !rep.OK || !rep.Interrupted || !strings.Contains(out.String(), "KEPT") || rep.Rows == 0 || rep.Records == 0 || rep.RowsPerSecond == 0 {
		t.Errorf("not kept: %+v", rep)
	}
	if missing := out.missing(); len(missing) > 0 {
		t.Errorf("not told: %q", missing)
	}
	if strings.Contains(out.String(), "open-sesame") || strings.ContainsRune(out.String(), 0x1b) {
		t.Error("a secret or a terminal's control character was printed")
	}
	if j := rep.Jobs[0]; j.Delivered == 0 || j.DeadLetters < 2 || j.Retries == 0 || j.Duplicates == 0 || j.Requests < j.Delivered {
		t.Errorf("too little happened: %+v", j)
	}
	if t.Failed() {
		t.Log(&out)
	}
}

func TestJobThatDropsRowsFailsTheCheck(t *testing.T) {
	t.Parallel()
	var out listener
	rep, err := Run(t.Context(), Options{For: time.Second, Out: &out, jobs: changed(t, "measurements", "order:", "filter: $[?(@.celsius < 0)]\norder:")})
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if rep.OK || rep.Jobs[1].Lost == 0 || rep.Jobs[0].Lost > 0 || !strings.Contains(out.String(), "FAILED") || !strings.Contains(out.String(), "job measurements: lost") {
		t.Errorf("not found: %+v\n%s", rep, &out)
	}
}

func TestLagThatStaysFailsTheCheck(t *testing.T) {
	t.Parallel()
	var out listener
	rep, err := Run(t.Context(), Options{For: time.Second, Rate: 100, Settle: 300 * time.Millisecond, Out: &out,
		jobs: changed(t, "measurements", "[demo.Measurement]", "[demo.Missing]")})
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if rep.OK || rep.Settled || !strings.Contains(out.String(), "lag") || rep.Jobs[1].Pending == 0 || rep.Jobs[1].Lost > 0 {
		t.Errorf("report %+v\n%s", rep, &out)
	}
}

func TestCommandPrintsTheReportAsJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := Command()
	c.SetOut(&out)
	c.SetArgs([]string{"--for", "1s", "-o", "json"})
	if err := c.Execute(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	var rep Report
	if err := json.Unmarshal(out.Bytes(), &rep); err != nil || !rep.OK || len(rep.Jobs) != len(roles) {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestCommandRefusesWrongUse(t *testing.T) {
	for name, args := range map[string][]string{
		"too short":      {"--for", "10ms"},
		"negative time":  {"--for", "-1s"},
		"no rate":        {"--rate", "0"},
		"rate no number": {"--rate", "NaN"},
		"too fast":       {"--rate", "1e9"},
		"unknown format": {"-o", "xml"},
		"an argument":    {"now"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Command()
			c.SilenceErrors, c.SilenceUsage = true, true
			c.SetArgs(args)
			if err := c.Execute(); err == nil || errors.Is(err, ErrVerdict) {
				t.Errorf("%v: %v", args, err)
			}
		})
	}
}

func TestReportAsYAMLHasTheFieldsOfTheJSON(t *testing.T) {
	var out bytes.Buffer
	if err := (Report{OK: true, Rows: 3, Jobs: []JobReport{{Job: "a"}}}).write(&out, "yaml"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ok: true\n", "rows: 3\n", "  - job: a\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
