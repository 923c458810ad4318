package consumer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"streamer/consumer/consumertest"
	"streamer/mapping"
	"streamer/schemas"
	"streamer/sink"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(consumertest.Main(m)) }

// within bounds every wait of these tests. It is no claim of what is waited for: two busy cores may run many tests, and a broker, for minutes.
const within = 2 * time.Minute

// fixture is a cluster, a receiving API and jobs that run between them.
type fixture struct {
	*testing.T
	cluster  *consumertest.Cluster
	api      *sinktest.Receiver
	producer *kgo.Client
	rows     map[string]int                       // see produceKeys
	watches  map[string]*consumertest.CommitWatch // by group
}

func setup(t *testing.T, c *consumertest.Cluster, answer func(*sinktest.Attempt) sinktest.Answer) *fixture {
	t.Helper()
	api, err := sinktest.Listen(answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() { // perhaps before it let go of answers that it holds back: Close would wait for them, and hide the failure
			go api.Close()
			return
		}
		api.Close()
	})
	return &fixture{T: t, cluster: c, api: api, producer: c.Producer(t), rows: map[string]int{}, watches: map[string]*consumertest.CommitWatch{}}
}

// job is the usual one: rows {"id": …, "n": …} become PUT /rows/<id> with the row's n in the body; retries come soon.
func (f *fixture) job(topic string, change ...func(*Config)) Config {
	f.Helper()
	cfg := Config{
		Job: consumertest.Name("job"), Namespace: "test", Topics: []string{topic},
		Schemas:           schemas.Config{Format: schemas.FormatAuto},
		Program:           f.program(`{"id": "$.msg.id", "n": "$.msg.n"}`, f.api.URL()+"/rows/{id}", `["n"]`, ""),
		IdempotencyHeader: "Idempotency-Key", PositionHeaders: true,
		Commit: 20 * time.Millisecond, Drain: 5 * time.Second,
		Sink: sink.Config{Timeout: 10 * time.Second, Concurrency: 64, AttemptHeader: true,
			Retry:   sink.Retry{Initial: 5 * time.Millisecond, Max: 50 * time.Millisecond},
			Breaker: sink.Breaker{Failures: 1000, Open: 50 * time.Millisecond},
			Guard:   sink.Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
	}
	cfg.Group = cfg.Namespace + "." + cfg.Job
	cfg.DeadLetterTopic = cfg.Namespace + ".dead-letters." + cfg.Job
	for _, c := range change {
		c(&cfg)
	}
	return cfg
}

func (f *fixture) program(datamap, url, body, filter string) *mapping.Program {
	f.Helper()
	c := mapping.Config{Type: f.value(`"PUT"`), URL: f.value(fmt.Sprintf("%q", url)), DataMap: f.value(datamap), JSONBody: f.value(body)}
	if filter != "" {
		c.Filter = f.value(filter)
	}
	p, faults := mapping.Compile(c)
	if err := faults.Err(); err != nil {
		f.Fatal(err)
	}
	return p
}

func (f *fixture) value(text string) schemas.Value {
	f.Helper()
	v, err := schemas.ParseJSON([]byte(text), schemas.Limits{})
	if err != nil {
		f.Fatal(err)
	}
	return v
}

// running is a job that runs on an instance of its own.
type running struct {
	f      *fixture
	runner *Runner
	soft   context.CancelFunc
	hard   context.CancelFunc
	ended  chan error
}

// run starts the job; it is stopped with the test, if the test does not.
func (f *fixture) run(cfg Config) *running {
	f.Helper()
	return f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, 0), cfg)
}

func (f *fixture) instance(c Client, memory int64) *Instance {
	f.Helper()
	c.MetadataMinAge = 20 * time.Millisecond
	c.GroupProtocol = cmp.Or(c.GroupProtocol, GroupProtocol(consumertest.GroupProtocol))
	i, err := newInstance(c, memory, prometheus.NewRegistry(), logTo(f.T), 2*time.Second)
	if err != nil {
		f.Fatal(err)
	}
	return i
}

// lively gives a group of the consumer protocol times that tests can wait for. Of the classic one, members say their times themselves.
func (f *fixture) lively(group string) {
	f.Helper()
	f.cluster.GroupTimes(f, group, 6*time.Second, time.Second)
}

func (f *fixture) runOn(i *Instance, cfg Config, change ...func(*Runner)) *running {
	f.Helper()
	if i.kafka.GroupProtocol == GroupConsumer {
		f.lively(cfg.Group)
	}
	if f.watches[cfg.Group] == nil {
		f.watches[cfg.Group] = f.cluster.WatchCommits(f, cfg.Group, 20*time.Millisecond)
	}
	soft, stop := context.WithCancel(context.Background())
	hard, kill := context.WithCancel(context.Background())
	j := &running{f: f, runner: i.NewRunner(cfg), soft: stop, hard: kill, ended: make(chan error, 1)}
	for _, c := range change {
		c(j.runner)
	}
	go func() {
		err := j.runner.Run(soft, hard)
		i.Close()
		j.ended <- err
	}()
	f.Cleanup(func() { kill(); _ = j.stop() }) // its error is for tests that look
	return j
}

// stop ends the job softly and returns what Run returned.
func (j *running) stop() error {
	j.soft()
	select {
	case err := <-j.ended:
		j.ended <- err
		return err
	case <-time.After(within):
		j.f.Error("the job does not stop")
		return nil
	}
}

func logTo(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// rec is a JSON record {"id": key, "n": n}, keyed by key.
func rec(topic string, partition int32, key string, n int) *kgo.Record {
	value, _ := json.Marshal(map[string]any{"id": key, "n": n}) // of a string and a number
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: value}
}

// committed waits until the group has committed what the partitions hold. Their ends are looked up each time: the marker of a
// transaction may be written a moment after its end was answered.
func (f *fixture) committed(cfg Config, topic string) {
	f.Helper()
	f.commitsReach(cfg, topic, func() map[int32]int64 { return f.cluster.EndOffsets(f, topic) })
}

func (f *fixture) committedTo(cfg Config, topic string, want map[int32]int64) {
	f.Helper()
	f.commitsReach(cfg, topic, func() map[int32]int64 { return want })
}

func (f *fixture) commitsReach(cfg Config, topic string, want func() map[int32]int64) {
	f.Helper()
	consumertest.WaitFor(f, within, "the commits of "+topic, func() (any, bool) {
		got, ends := f.cluster.Committed(f, cfg.Group)[topic], want()
		for id, end := range ends {
			if end > 0 && got[id] != end {
				return fmt.Sprintf("%v of %v", got, ends), false
			}
		}
		return got, true
	})
}

// attempts waits until n attempts have ended.
func (f *fixture) attempts(n int) []sinktest.Attempt {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), within)
	defer cancel()
	if err := f.api.Wait(ctx, n); err != nil {
		f.Fatal(err)
	}
	return f.api.Attempts()
}

// waitCause waits until the status of the job, or of one of its partitions, says part.
func (j *running) waitCause(part string) {
	j.f.Helper()
	consumertest.WaitFor(j.f, within, fmt.Sprintf("a status that says %q", part), func() (any, bool) {
		s := j.runner.Status()
		said := s.Cause
		for _, p := range s.Partitions {
			said += "; " + p.Cause
		}
		return said, strings.Contains(said, part)
	})
}

// dialWhen refuses connections until up.
func dialWhen(up *atomic.Bool) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !up.Load() {
			return nil, syscall.ECONNREFUSED
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

// verdict lets the checker judge the run: every committed record of the topic is one row, its lane is its key, and want says how it
// should end (nil: delivered). Call it when everything is committed.
func (f *fixture) verdict(cfg Config, topic string, want func(*kgo.Record) checker.Want, events ...checker.Event) {
	f.Helper()
	// Who was answered may have committed before the receiver notes the end of it. One that hangs is no matter: it is judged as it is.
	ended, cancel := context.WithTimeout(f.Context(), time.Second)
	_ = f.api.Wait(ended, f.api.Len())
	cancel()
	h := checker.History{Attempts: f.api.Attempts(), Commits: f.watches[cfg.Group].Stop(f), Events: events, Timeout: cfg.Sink.Timeout,
		DeadLetters: f.cluster.DeadLetters(f, cfg.DeadLetterTopic)}
	for _, r := range f.cluster.ReadAll(f, topic, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		row := checker.Row{Position: checker.Position{Topic: topic, Partition: r.Partition, Offset: r.Offset}, Lane: string(r.Key)}
		switch cfg.Order.By {
		case OrderNone:
			row.Lane = ""
		case OrderPartition:
			row.Lane = "the partition"
		}
		if want != nil {
			row.Want = want(r)
		}
		h.Rows = append(h.Rows, row)
	}
	checker.Check(h).Check(f)
}
