package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"streamer/consumer"
	"streamer/control/job"
	"streamer/schemas"
	"streamer/schemas/schemastest"
)

// TestMain lets the processes that the benchmark starts be processes of the test.
func TestMain(m *testing.M) {
	if code, ok := role(os.Args[1:], os.Stdin, os.Stdout); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

// A comparison is worth nothing if the programs, and the ways to make a body, do not send the same.
func TestFloorAndStreamerSendTheSameBody(t *testing.T) {
	t.Parallel()
	type source struct {
		body string
		c    contents
	}
	sources := map[string]source{"container of many": {fields, contents{perRecord: 250}}}
	for _, w := range ways {
		sources[w.name] = source{cmp.Or(w.body, fields), contents{format: w.format}}
	}
	for name, src := range sources {
		cfg, err := compile(jobWith(src.body, "same", "topic", "http://127.0.0.1:1", 256, "key", ""), withSchema())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 300 / src.c.rowsEach() {
			var want []householdRow
			for n := range src.c.rowsEach() {
				row, _, err := contents{format: formatJSON}.value(i*src.c.rowsEach() + n)
				if err != nil {
					t.Fatal(err)
				}
				read, err := jsonFields(row)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, read)
			}
			rec := recordOf(t, src.c, i)
			if floor := (household{json: src.c.format == formatJSON}); floor.json || src.c.format == "" || src.c.format == formatContainer {
				got, err := floor.read(rec.Value)
				if err != nil || !slices.EqualFunc(got, want, func(a, b householdRow) bool { return a.id == b.id && bytes.Equal(a.body, b.body) }) {
					t.Fatalf("%s %d: the floor reads %v, %v", name, i, got, err)
				}
			}
			rows := consumer.Render(cfg, rec)
			if len(rows) != len(want) {
				t.Fatalf("%s %d: streamer finds %d rows of %d", name, i, len(rows), len(want))
			}
			for n, row := range rows {
				if !sameBody(row.Request.Body, want[n].body, src.body) || want[n].id != householdKey(i*src.c.rowsEach()+n) {
					t.Fatalf("%s %d, row %d: the floor sends %s, streamer %+v", name, i, n, want[n].body, row)
				}
			}
		}
	}
}

// sameBody compares bodies; a program of jq gives the members of an object by their names.
func sameBody(got, want []byte, made string) bool {
	if !strings.Contains(made, "$jq") {
		return bytes.Equal(got, want)
	}
	var a, b map[string]any
	return len(got) == len(want) && json.Unmarshal(got, &a) == nil && json.Unmarshal(want, &b) == nil && maps.Equal(a, b)
}

// withSchema is a process with a registry that has the schema at hand.
func withSchema() job.Process {
	p := processOf("")
	p.Registry = func(int) (schemas.Registered, error) { return schemas.Registered{Text: schemastest.Household}, nil }
	return p
}

// recordOf is the i-th record of a topic.
func recordOf(t *testing.T, c contents, i int) consumer.Record {
	t.Helper()
	value, headers, err := c.value(i)
	if err != nil {
		t.Fatal(err)
	}
	rec := consumer.Record{Topic: "topic", Key: []byte(householdKey(i)), Value: value}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, consumer.RecordHeader(h))
	}
	return rec
}

func TestFloorRefusesDamagedRecords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]contents{"JSON": {format: formatJSON}, "container": {}} {
		value, _, err := c.value(1)
		if err != nil {
			t.Fatal(err)
		}
		floor, whole := household{json: c.format == formatJSON}, len(value)
		if c.format != formatJSON {
			whole -= 16 // it does not look at the marker behind the block
		}
		for n := range whole {
			if rows, err := floor.read(value[:n]); err == nil {
				t.Fatalf("%s: %d of %d bytes gave %s", name, n, len(value), rows[0].body)
			}
		}
	}
}

func TestRecordsAreOfTheSizeThatIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]contents{"container": {}, "JSON": {format: formatJSON, pad: true}} {
		for i := range 100 {
			value, _, err := c.value(i)
			if err != nil {
				t.Fatal(err)
			}
			if len(value) < 900 || len(value) > 1300 {
				t.Errorf("%s %d has %d bytes, not about 1 kB", name, i, len(value))
			}
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, args, problem string
		scenarios           int
	}{
		{"none", "", "", 7},
		{"some scenarios", "-scenario path,stuck", "", 2},
		{"a scenario that is none", "-scenario path,speed", "-scenario:", 0},
		{"no rows", "-rows 0", "-rows:", 0},
		{"too many rounds", "-rounds 21", "-rounds:", 0},
		{"cells that are none", "-cells json/250", "-cells:", 0},
		{"cells that are no pattern", "-cells (", "-cells:", 0},
		{"no rate", "-rate 0", "-rate:", 0},
		{"an input without end", "-live 1h", "-live:", 0},
		{"a hold without end", "-hold 1h", "-hold:", 0},
		{"an unknown output", "-o xml", "-o:", 0},
		{"an argument", "path", "takes flags only", 0},
	} {
		o, err := parse(strings.Fields(c.args))
		switch {
		case c.problem == "" && (err != nil || len(o.scenarios) != c.scenarios):
			t.Errorf("%s: %v, %v", c.name, o.scenarios, err)
		case c.problem != "" && (err == nil || !strings.HasPrefix(err.Error(), c.problem)):
			t.Errorf("%s: error %v, want %s", c.name, err, c.problem)
		}
	}
}

func TestRatioComparesTheRunsOfARound(t *testing.T) {
	t.Parallel()
	res := &result{Scenario: "path"}
	for _, r := range []run{
		{Program: "floor", CPUPer100k: 4}, {Program: "streamer", CPUPer100k: 5}, // 0.8
		{Program: "streamer", CPUPer100k: 20}, {Program: "floor", CPUPer100k: 10}, // a busy minute: 0.5
		{Program: "floor", CPUPer100k: 6}, {Program: "streamer", CPUPer100k: 10}, // 0.6
		{Cell: "other", Program: "floor", CPUPer100k: 1}, {Cell: "other", Program: "streamer", CPUPer100k: 2},
	} {
		res.add(r)
	}
	if got, other := res.ratio(""), res.ratio("other"); got != 0.6 || other != 0.5 {
		t.Errorf("ratios %v, %v", got, other)
	}
	if got := res.compare("other", "streamer", "", "none", func(r run) float64 { return r.CPUPer100k }); got != 0 {
		t.Errorf("a ratio to nothing is %v", got)
	}
	if got := res.most("streamer", func(r run) float64 { return r.CPUPer100k }); got != 20 {
		t.Errorf("the most is %v", got)
	}
	res.check(check{What: "ratio", Value: 0.6, Target: 1, AtLeast: true, Assert: true})
	rep := report{Scenarios: []*result{res}}
	if len(rep.missed()) != 1 {
		t.Errorf("missed %v", rep.missed())
	}
	res.Checks[0].Value = 1
	if len(rep.missed()) != 0 {
		t.Errorf("missed at the target itself: %v", rep.missed())
	}
}

// The text has a line for each cell and program, and the ratio where it belongs.
func TestTextOfCells(t *testing.T) {
	t.Parallel()
	rep := &report{}
	res := rep.scenario("path", "what", "rows/s", "ratio")
	for round := range 2 {
		for _, cell := range []string{"json/1/key/0ms", "json/1/none/0ms"} {
			for _, program := range turns(round, "floor", "streamer") {
				res.add(run{Cell: cell, Program: program, RowsPerSecond: float64(100 + 10*round), CPUPer100k: float64(len(program))})
			}
			res.ratio(cell)
		}
	}
	var out bytes.Buffer
	if err := rep.write(&out, "text"); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{"path: what", "median of 2 rows/s ratio", "json/1/key/0ms floor 105", "json/1/key/0ms streamer 105 0.62",
		"json/1/none/0ms floor 105", "json/1/none/0ms streamer 105 0.62"}
	if !slices.Equal(lines[2:], want) {
		t.Errorf("%q", lines)
	}
}

func TestFiguresIntoADocument(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n"+figuresBegin+"old\n"+figuresEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rep := &report{Go: "go1.26"}
	for range 2 { // the second time finds what the first has written
		if err := rep.document(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if want := "before\n" + figuresBegin + "\n```text\n0 cores, load  before, go1.26, \n```\n\n" + figuresEnd + "after\n"; err != nil || string(got) != want {
		t.Errorf("%v: %s", err, got)
	}
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rep.document(path); err == nil || !strings.Contains(err.Error(), "no place for figures") {
		t.Errorf("a document without marks: %v", err)
	}
}

func TestCellsHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, c := range cells() {
		names[c.name()] = true
		if each := c.contents(1).rowsEach(); c.contents(1).keys%(each*partitions) != 0 {
			t.Errorf("%s: a key would be in several partitions", c.name())
		}
	}
	if len(names) != 18 || !names["container/250/key/10ms"] {
		t.Errorf("%d names: %v", len(names), names)
	}
}

func TestArrivals(t *testing.T) {
	t.Parallel()
	began := time.Unix(1_700_000_000, 0)
	var live arrivals
	live.note(7, receiverSettings{Clock: true}, began) // a row from before the input has no time
	for i := range 200 {
		at := began.Add(time.Duration(i) * time.Millisecond)
		live.note(at.UnixNano(), receiverSettings{Clock: true}, at.Add(time.Duration(i+1)*time.Microsecond))
	}
	var got received
	if live.sum(&got); got.Timed != 200 || got.P50 != 100*time.Microsecond || got.P99 != 198*time.Microsecond || live.rows != 201 {
		t.Errorf("live: %+v of %d rows", got, live.rows)
	}
	var crash arrivals
	for i, number := range []int64{1, 2, 3, 2, 3, 4} {
		crash.note(number, receiverSettings{Numbers: 4}, began.Add(time.Duration(i*i)*time.Second))
	}
	got = received{}
	if crash.sum(&got); got.Again != 2 || got.Gap != 21*time.Second || crash.rows != 4 {
		t.Errorf("crash: %+v of %d rows", got, crash.rows)
	}
}

func TestNumbersOfRows(t *testing.T) {
	t.Parallel()
	value, _, err := contents{format: formatJSON}.value(3)
	if err != nil {
		t.Fatal(err)
	}
	row, err := jsonFields(withNumber(value, 1_700_000_000_123_456_789))
	if err != nil || numberOf(row.body) != 1_700_000_000_123_456_789 || !timed(numberOf(row.body)) {
		t.Errorf("%s, %v", row.body, err)
	}
	if n := numberOf([]byte(`{"id":"a"}`)); n != 0 {
		t.Errorf("a row without a number has %d", n)
	}
}

// Every scenario runs to its end, small, on the embedded broker. What it measures in so few rows is held loosely: half of each ratio of CPU
// times, which a busy machine does not change by as much.
func TestEveryScenarioMeasures(t *testing.T) {
	var out bytes.Buffer
	o, err := parse(strings.Fields("-rows 2000 -rounds 1 -cells (json/1/key|container/250/none)/(0|100)ms -live 1s -rate 1000 " +
		"-jobs 2 -waiting 2000 -hold 1500ms -rest 1500ms -broker fake -o json"))
	if err == nil {
		err = measure(o, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, out.Bytes())
	}
	want := []struct {
		name         string
		runs, checks int
	}{{"path", 8, 3}, {"formats", 9, 7}, {"live", 2, 5}, {"stuckkey", 3, 3}, {"kill", 2, 4}, {"rest", 0, 1}, {"stuck", 0, 1}}
	if len(got.Scenarios) != len(want) {
		t.Fatalf("%d scenarios in %s", len(got.Scenarios), out.Bytes())
	}
	for i, s := range got.Scenarios {
		if s.Scenario != want[i].name || len(s.Runs) != want[i].runs || (s.Memory != nil) != (want[i].runs == 0) || len(s.Checks) != want[i].checks {
			t.Errorf("scenario %d is %s with %d runs, memory %v, checks %v", i, s.Scenario, len(s.Runs), s.Memory, s.Checks)
		}
		for _, c := range s.Checks {
			if c.Assert && c.AtLeast && c.Value < c.Target/2 {
				t.Errorf("%s: %v", s.Scenario, c)
			}
		}
		for _, r := range s.Runs {
			timed := s.Scenario == "live" || s.Scenario == "stuckkey"
			if r.RowsPerSecond <= 0 || r.PeakRSS < 1<<20 || (r.CPUPer100k <= 0) != (s.Scenario == "kill") || (r.P99 > 0) != timed || r.Lost != 0 {
				t.Errorf("%s: %+v", s.Scenario, r)
			}
		}
		if m := s.Memory; m != nil && (m.LiveHeap <= 0 || m.PeakHeap < m.LiveHeap || m.PeakRSS < m.RSS) {
			t.Errorf("%s: %+v", s.Scenario, *m)
		}
	}
}

// A receiver that answered at once would make the latency scenario meaningless.
func TestReceiverTakesItsTime(t *testing.T) {
	const delay = 50 * time.Millisecond
	var took time.Duration
	got, err := against(t.Context(), receiverSettings{Delay: delay}, func(_ *process, url string) error {
		f := floor{settings: floorSettings{URL: url}}
		defer f.http.CloseIdleConnections()
		began := time.Now()
		err := f.post([]byte(`{"a":1}`))
		took = time.Since(began)
		return err
	})
	if err != nil || got.Rows != 1 || took < delay {
		t.Errorf("%d rows in %v, %v", got.Rows, took, err)
	}
}
