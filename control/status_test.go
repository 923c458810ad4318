package control

import (
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"streamer/consumer"
	"streamer/sink"
)

// What the runner says of its deliveries stands in the status.
func TestStatusOfDeliveries(t *testing.T) {
	t.Parallel()
	var got JobStatus
	got.fill(consumer.Status{Delivery: sink.Stats{InFlight: 2, Waiting: 3, Ready: 7, Targets: []sink.TargetState{
		{Target: "http://a.test:80", Open: true, Cause: "answered 503 Service Unavailable", Rows: 3},
		{Target: "http://b.test:80", Cause: "connection refused", Rows: 2},
	}}})
	if got.InFlight != 5 {
		t.Errorf("%d in flight, want those with an attempt running and those that wait for one: 5", got.InFlight)
	}
	text, err := json.Marshal(got.BreakersOpen)
	if want := `[{"target":"http://a.test:80","cause":"answered 503 Service Unavailable"}]`; err != nil || string(text) != want {
		t.Errorf("breakers_open is %s (%v), want %s", text, err, want)
	}
}

// Every step that the diagram does not have is not taken.
func TestIllegalSteps(t *testing.T) {
	t.Parallel()
	legal := map[State]string{
		Starting: "running paused held failed stopped resetting", Running: "starting paused held failed stopped resetting",
		Paused: "starting running held failed stopped resetting", Held: "starting running paused failed stopped resetting",
		Failed: "starting running paused held stopped resetting", Stopped: "starting failed resetting", Resetting: "starting failed stopped",
	}
	for _, from := range States {
		for _, to := range States {
			want := from == to || strings.Contains(legal[from], string(to))
			if got := from.mayBecome(to); got != want {
				t.Errorf("%s to %s: allowed %v, want %v", from, to, got, want)
			}
			j := &supervised{state: from}
			j.become(to, "cause")
			if took := j.state == to; took != want {
				t.Errorf("%s to %s: taken %v, want %v", from, to, took, want)
			}
		}
	}
}

// Two broken jobs may have one id; the metric has it once.
func TestMetricOfSharedID(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	NewSupervisor(Options{Metrics: reg, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Jobs: []Job{{ID: "v", Broken: "twice"}, {ID: "v", Broken: "twice"}, {Broken: "no id"}}})
	if n, err := testutil.GatherAndCount(reg, "streamer_job_state"); err != nil || n != len(States) {
		t.Errorf("%d lines, %v", n, err)
	}
}
