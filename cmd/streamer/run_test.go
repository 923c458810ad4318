package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
	"streamer/control"
)

// program is a running App with what a test asks of it.
type program struct {
	*App
	soft, hard context.CancelFunc
	ended      chan error
	log        *logBook
}

// start runs the whole program with one job file on a free port.
func start(t *testing.T, kafka consumer.Client, jobs string) *program {
	t.Helper()
	return startIn(t, "streamer", kafka, jobs)
}

// startIn is start in a namespace of the test's own.
func startIn(t *testing.T, namespace string, kafka consumer.Client, jobs string) *program {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jobs.yaml"), []byte(jobs), 0o600); err != nil {
		t.Fatal(err)
	}
	return startWith(t, settings.Settings{Kafka: kafka, Namespace: namespace, Listen: "127.0.0.1:0", Jobs: dir, AllowHosts: []string{"127.0.0.1"},
		MemoryBytes: 64 << 20}, func(string) (string, bool) { return "", false })
}

// startWith runs the whole program with these settings and variables.
func startWith(t *testing.T, s settings.Settings, env func(string) (string, bool)) *program {
	t.Helper()
	return startAt(t, slog.LevelInfo, s, env)
}

// startAt is startWith for a log of a level.
func startAt(t *testing.T, level slog.Level, s settings.Settings, env func(string) (string, bool)) *program {
	t.Helper()
	log := &logBook{news: make(chan struct{}, 1)}
	a, err := New(Options{Settings: s, Env: env, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))})
	if err != nil {
		t.Fatal(err)
	}
	p := &program{App: a, ended: make(chan error, 1), log: log}
	var soft, hard context.Context
	soft, p.soft = context.WithCancel(context.Background())
	hard, p.hard = context.WithCancel(context.Background())
	go func() { p.ended <- a.Run(soft, hard) }()
	t.Cleanup(func() {
		p.hard()
		p.soft()
	})
	return p
}

// logBook keeps the lines of a log, and says when there is a new one.
type logBook struct {
	mu    sync.Mutex
	lines []string
	news  chan struct{} // capacity 1
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.lines = append(l.lines, string(p))
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

// has tells whether a line has every part.
func (l *logBook) has(parts []string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
	})
}

// says waits for a line of the log that has every part.
func (p *program) says(t *testing.T, parts ...string) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for !p.log.has(parts) {
		select {
		case <-p.log.news:
		case <-late:
			t.Fatalf("the log never said %q, but\n%s", parts, strings.Join(p.log.lines, ""))
		}
	}
}

func (p *program) readiness(t *testing.T) (int, control.Readiness) {
	t.Helper()
	resp, err := http.Get("http://" + p.Addr() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var r control.Readiness
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, r
}

const twoJobs = `id: people
owner: demo
type: POST
topic: [Person]
datamap: {id: $.msg.id}
url: API/people/{id}
---
id: broken
owner: demo
type: POST
topic: []
datamap: {}
url: https://api.example.org/people
`

// onePerson is a Kafka in memory with one record, and gives its brokers.
func onePerson(t *testing.T) []string {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "Person"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("Person"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := producer.ProduceSync(t.Context(), kgo.StringRecord(`{"id": "p-1"}`)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return cluster.ListenAddrs()
}

// One job delivers beside a broken one; a stop leaves nothing behind.
func TestRunDelivers(t *testing.T) {
	t.Parallel()
	brokers := onePerson(t)
	paths := make(chan string, 10)
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.Method + " " + r.URL.Path }))
	defer api.Close()
	p := start(t, consumer.Client{Brokers: brokers}, strings.ReplaceAll(twoJobs, "API", api.URL))
	p.says(t, "job file: topic: is empty", "line=11", "job=broken")
	select {
	case got := <-paths:
		if got != "POST /people/p-1" {
			t.Errorf("the API saw %s", got)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the API saw nothing")
	}
	status, r := p.readiness(t)
	if status != http.StatusOK || !r.Ready || len(r.Jobs) != 2 || r.Jobs[0].State != control.Failed || r.Jobs[1].State != control.Running {
		t.Errorf("readiness %d %+v", status, r)
	}
	if !strings.Contains(r.Jobs[0].Cause, "jobs.yaml:11: topic: is empty") {
		t.Errorf("cause %q", r.Jobs[0].Cause)
	}
	p.soft()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	p.says(t, "stopped; no row left unfinished")
	p.Close() // a second time
}

// A row that waits at an API which never answers is named in the last line, and a hard stop does not wait for it.
func TestRunStopsHard(t *testing.T) {
	t.Parallel()
	brokers := onePerson(t)
	asked := make(chan struct{}, 10)
	release := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	defer api.Close()
	defer close(release)
	p := start(t, consumer.Client{Brokers: brokers}, strings.ReplaceAll(twoJobs, "API", api.URL))
	<-asked
	p.soft()
	p.says(t, "stopping")
	p.hard()
	select {
	case err := <-p.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second): // less than the attempt's time
		t.Fatal("a hard stop took longer than 20s")
	}
	p.says(t, "rows left unfinished may be delivered again", "rows=1")
}

// A wrong password fails the jobs with a clear cause, and the process stays to say so.
func TestRunWrongPassword(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "Person"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "u", "right"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	// The embedded broker hangs up on a wrong password; a real one answers with an error.
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	p := start(t, consumer.Client{Brokers: cluster.ListenAddrs(), SASL: consumer.SASL{Mechanism: "SCRAM-SHA-256", User: "u", Password: "wrong"}},
		strings.ReplaceAll(twoJobs, "API", "https://api.example.org"))
	p.says(t, `msg="job failed"`, "job=people", `kafka refuses user \"u\": wrong user, password or mechanism`)
	status, r := p.readiness(t)
	if status != http.StatusServiceUnavailable || r.Jobs[1].State != control.Failed || !strings.Contains(r.Jobs[1].Cause, "kafka refuses user") {
		t.Errorf("readiness %d %+v", status, r)
	}
	p.soft()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
}
