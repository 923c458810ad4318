package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"streamer/consumer"
)

// TestMain lets the processes that the benchmark starts be processes of the test.
func TestMain(m *testing.M) {
	if code, ok := role(os.Args[1:], os.Stdin, os.Stdout); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

// A comparison is worth nothing if the two programs do not send the same.
func TestFloorAndStreamerSendTheSameBody(t *testing.T) {
	t.Parallel()
	cfg, err := compile(jobText("same", "topic", "http://127.0.0.1:1", 256))
	if err != nil {
		t.Fatal(err)
	}
	var floor household
	for i := range 300 {
		value, err := contents{}.value(i)
		if err != nil {
			t.Fatal(err)
		}
		got, err := floor.body(value)
		if err != nil {
			t.Fatal(err)
		}
		rows := consumer.Render(cfg, consumer.Record{Topic: "topic", Key: []byte(householdKey(i)), Value: value})
		if len(rows) != 1 || !bytes.Equal(rows[0].Request.Body, got) {
			t.Fatalf("row %d: the floor sends %s, streamer %+v", i, got, rows)
		}
	}
}

func TestFloorRefusesDamagedContainers(t *testing.T) {
	t.Parallel()
	value, err := contents{}.value(1)
	if err != nil {
		t.Fatal(err)
	}
	var floor household
	for n := range len(value) - 16 { // it does not look at the marker behind the block
		if body, err := floor.body(value[:n]); err == nil {
			t.Fatalf("%d of %d bytes gave %s", n, len(value), body)
		}
	}
}

func TestRecordsAreOfTheSizeThatIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]contents{"container": {}, "JSON": {json: true}} {
		for i := range 100 {
			value, err := c.value(i)
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
		{"none", "", "", 4},
		{"some scenarios", "-scenario path,stuck", "", 2},
		{"a scenario that is none", "-scenario path,speed", "-scenario:", 0},
		{"no rows", "-rows 0", "-rows:", 0},
		{"too many rounds", "-rounds 21", "-rounds:", 0},
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
	} {
		res.add(r)
	}
	res.compare()
	rep := report{Scenarios: []*result{res}}
	if got := res.Checks[0].Value; got != 0.6 || len(rep.missed()) != 1 {
		t.Errorf("ratio %v, missed %v", got, rep.missed())
	}
	res.Checks[0].Value = ratioTarget
	if len(rep.missed()) != 0 {
		t.Errorf("missed at the target itself: %v", rep.missed())
	}
}

// Every scenario runs to its end, small, on the embedded broker; what it measures is another question.
func TestEveryScenarioMeasures(t *testing.T) {
	var out bytes.Buffer
	o, err := parse(strings.Fields("-rows 2000 -rounds 2 -jobs 2 -waiting 2000 -hold 1500ms -rest 1500ms -broker fake -o json"))
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
	if len(got.Scenarios) != len(scenarios) {
		t.Fatalf("%d scenarios in %s", len(got.Scenarios), out.Bytes())
	}
	for i, s := range got.Scenarios {
		runs, watched := []int{4, 4, 0, 0}[i], i >= 2
		if s.Scenario != scenarios[i].name || len(s.Runs) != runs || (s.Memory != nil) != watched || len(s.Checks) != 1 || s.Checks[0].Value <= 0 {
			t.Errorf("scenario %d is %s with %d runs, memory %v, checks %v", i, s.Scenario, len(s.Runs), s.Memory, s.Checks)
		}
		for _, r := range s.Runs {
			if r.RowsPerSecond <= 0 || r.CPUPer100k <= 0 || r.PeakRSS < 1<<20 {
				t.Errorf("%s: %s", s.Scenario, r)
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
	got, err := against(t.Context(), receiverSettings{Delay: delay}, func(url string) error {
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
