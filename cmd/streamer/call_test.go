package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"

	"streamer/consumer"
	"streamer/control"
)

// night is when the scripts that call an instance are played.
var night = time.Date(2026, 1, 31, 3, 0, 0, 0, time.UTC)

// instance starts the API of an instance with jobs of all kinds, and stops the clock of the commands that follow.
func instance(ts *testscript.TestScript, _ bool, _ []string) {
	s := control.NewServer(control.ServerOptions{
		Listen: "127.0.0.1:0", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Readiness: func() control.Readiness { return control.Readiness{Ready: true} },
		API:       control.API{Jobs: nightJobs{}},
	})
	ts.Check(s.Start())
	ts.Defer(func() { s.Stop(context.Background()) })
	ts.Setenv("STREAMER_URL", "http://"+s.Addr())
	ts.Setenv("CLOCK", night.Format(time.RFC3339))
}

// nightJobs are jobs as an operator may find them.
type nightJobs struct{}

func (nightJobs) Here() []control.JobHere {
	number := func(n int64) *int64 { return &n }
	since := night.Add(-12 * time.Minute)
	return []control.JobHere{
		{JobStatus: control.JobStatus{ID: "births", Owner: "health", File: "/etc/streamer/jobs/births.yaml", State: control.Running, Since: night.Add(-50 * time.Hour),
			Lag: number(0)},
			Held: []control.PartitionView{{Topic: "birth", Partition: 0, Committed: number(120), HighWatermark: number(120), Lag: number(0)}}},
		{JobStatus: control.JobStatus{ID: "deaths", File: "/etc/streamer/jobs/deaths.yaml", State: control.Failed, Since: night.Add(-3 * time.Hour),
			Cause: "/etc/streamer/jobs/deaths.yaml:3: url: is missing"}},
		{JobStatus: control.JobStatus{ID: "visits", Owner: "health", File: "/etc/streamer/jobs/visits.yaml", State: control.Running, Since: night.Add(-5 * time.Hour),
			Cause: "rows wait: target: answered 503 Service Unavailable", Lag: number(1207), InFlight: 8, OldestPendingSeconds: 751.3,
			BreakersOpen: []control.Breaker{{Target: "https://api.example.org:443", Cause: "answered 503 Service Unavailable"}}},
			Holds: []consumer.Hold{{Cause: consumer.HoldCredentials, Reason: "https://api.example.org:443 answered 401 Unauthorized to every row since 02:48",
				Next: "a row is tried every 30s; mend the credentials", Since: since}},
			Held: []control.PartitionView{
				{Topic: "visit", Partition: 0, Committed: number(1000), HighWatermark: number(2200), Lag: number(1200), Pending: 64, Full: true},
				{Topic: "visit", Partition: 1, Committed: number(7), HighWatermark: number(14), Lag: number(7), Cause: "records expired", Since: &since,
					Hold: &consumer.Hold{Cause: consumer.HoldExpired, Reason: "records 7 to 11 expired before they were sent: 5 records", Since: since,
						Next: "streamer offsets accept visits --topic visit --partition 1 --at earliest"}},
				{Topic: "visit", Partition: 2, Cause: "fetch: LEADER_NOT_AVAILABLE", Since: &since},
			}},
	}
}
