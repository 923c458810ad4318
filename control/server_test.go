package control

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func startServer(t *testing.T, ready func() Readiness) string {
	t.Helper()
	reg := prometheus.NewRegistry()
	up := prometheus.NewGauge(prometheus.GaugeOpts{Name: "streamer_test_up", Help: "up"})
	up.Set(1)
	reg.MustRegister(up)
	s := NewServer(ServerOptions{Listen: "127.0.0.1:0", Readiness: ready, Metrics: reg, API: API{Jobs: fakeJobs{}, Store: &fakeStore{}, Fleet: lonely{}}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Stop(context.Background())
	})
	return "http://" + s.Addr()
}

func get(t *testing.T, method, url string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func TestServerRoutes(t *testing.T) {
	t.Parallel()
	base := startServer(t, func() Readiness { return Readiness{Ready: true, Jobs: []JobStatus{{ID: "v", State: Running}}} })
	cases := []struct {
		name, method, path string
		status             int
		kind, says         string
	}{
		{"alive", http.MethodGet, "/healthz", 200, "text/plain", "alive"},
		{"alive, head only", http.MethodHead, "/healthz", 200, "text/plain", ""},
		{"ready", http.MethodGet, "/readyz", 200, "application/json", `"state": "running"`},
		{"metrics", http.MethodGet, "/metrics", 200, "text/plain", "streamer_test_up 1"},
		{"jobs", http.MethodGet, "/api/v1/jobs", 200, "application/json", `{"jobs":[]}`},
		{"unknown path", http.MethodGet, "/jobs", 404, "application/problem+json", `"title":"Not Found"`},
		{"unknown path of the API", http.MethodGet, "/api/v1/joobs", 404, "application/problem+json", `"status":404`},
		{"the API itself", http.MethodGet, "/api", 404, "application/problem+json", `"status":404`},
		{"wrong method of the API", http.MethodDelete, "/api/v1/jobs", 405, "application/problem+json", "does not take DELETE"},
		{"wrong method", http.MethodPost, "/readyz", 405, "application/problem+json", "does not take POST"},
		{"unknown path, head only", http.MethodHead, "/x", 404, "application/problem+json", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, header, body := get(t, c.method, base+c.path)
			if status != c.status || !strings.HasPrefix(header.Get("Content-Type"), c.kind) || !strings.Contains(body, c.says) {
				t.Errorf("got %d %s %s", status, header.Get("Content-Type"), body)
			}
		})
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	base := startServer(t, func() Readiness {
		return Readiness{Kafka: "connection refused", Files: []string{"c.yaml: no YAML"}, Jobs: []JobStatus{{ID: "v", File: "v.yaml", State: Failed,
			Cause: "url: is missing", Since: since, Waits: []Wait{{Topic: "t", Partition: 3, Cause: "topic was recreated", Since: since}}}}}
	})
	status, _, body := get(t, http.MethodGet, base+"/readyz")
	var got Readiness
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusServiceUnavailable || got.Ready || got.Kafka != "connection refused" || len(got.Files) != 1 ||
		got.Jobs[0].Cause != "url: is missing" || got.Jobs[0].Waits[0].Cause != "topic was recreated" || !got.Jobs[0].Since.Equal(since) {
		t.Errorf("got %d %s", status, body)
	}
}

func TestHandlerPanics(t *testing.T) {
	t.Parallel()
	base := startServer(t, func() Readiness { panic("a bug with a secret in it") })
	status, header, body := get(t, http.MethodGet, base+"/readyz")
	if status != 500 || header.Get("Content-Type") != "application/problem+json" || strings.Contains(body, "secret") {
		t.Errorf("got %d %s", status, body)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	base := startServer(t, func() Readiness { return Readiness{} })
	s := NewServer(ServerOptions{Listen: strings.TrimPrefix(base, "http://"), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Metrics: prometheus.NewRegistry(), Readiness: func() Readiness { return Readiness{} }})
	err := s.Start()
	if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), "STREAMER_LISTEN") {
		t.Errorf("error %v", err)
	}
	s.Stop(context.Background())
}

func TestServerStartStopOrder(t *testing.T) {
	t.Parallel()
	s := NewServer(ServerOptions{Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Metrics: prometheus.NewRegistry(), Readiness: func() Readiness { return Readiness{} }})
	s.Stop(t.Context())
	if err := s.Start(); err != nil || s.Addr() != "" {
		t.Errorf("a stopped server started: %v at %s", err, s.Addr())
	}
	s.Stop(t.Context())
}
