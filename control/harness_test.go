package control

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"streamer/consumer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRunner does what its run function says and shows the status it was given.
type fakeRunner struct {
	run    func(soft, hard context.Context, r *fakeRunner) error
	mu     sync.Mutex
	status consumer.Status
}

func (r *fakeRunner) Run(soft, hard context.Context) error { return r.run(soft, hard, r) }

func (r *fakeRunner) Status() consumer.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *fakeRunner) Recall(m consumer.Memory) {
	state := consumer.Running
	if m.Desired == consumer.WantPaused {
		state = consumer.Paused
	}
	r.show(consumer.Status{State: state, Since: time.Now()})
}

// fakeKafka answers what a test wants.
type fakeKafka struct {
	reach   func(context.Context) error
	brokers int
	parts   map[string]int // by job
	renewed chan string
	fakeOffsets

	own       sync.Mutex
	purged    []string
	purging   error // what Purge gives
	forgotten []string
}

func (k *fakeKafka) Reach(ctx context.Context) error {
	if k.reach == nil {
		return nil
	}
	return k.reach(ctx)
}

func (k *fakeKafka) Extents(_ context.Context, jobs []consumer.Config) (brokers int, partitions []int, err error) {
	for _, c := range jobs {
		partitions = append(partitions, k.parts[c.Job])
	}
	return k.brokers, partitions, nil
}

func (k *fakeKafka) Purge(_ context.Context, c consumer.Config, offsets, letters bool) error {
	k.own.Lock()
	defer k.own.Unlock()
	k.purged = append(k.purged, fmt.Sprint(c.Group, " ", c.DeadLetterTopic, " ", offsets, " ", letters))
	return k.purging
}

func (k *fakeKafka) Forget(job string) {
	k.own.Lock()
	defer k.own.Unlock()
	k.forgotten = append(k.forgotten, job)
}

func (k *fakeKafka) RemoveMember(context.Context, consumer.Config) error { return nil }

func (k *fakeKafka) KeepOffsets(_ context.Context, c consumer.Config) (int, error) {
	if k.renewed != nil {
		k.renewed <- c.Job
	}
	return 1, nil
}

func (r *fakeRunner) show(s consumer.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = s
}

// begin shows that it runs, unless it heard of a pause before, as a runner may.
func (r *fakeRunner) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status.State != consumer.Paused {
		r.status = consumer.Status{State: consumer.Running, Since: time.Now()}
	}
}

// untilSoft runs until it is told to stop.
func untilSoft(soft, _ context.Context, r *fakeRunner) error {
	r.begin()
	<-soft.Done()
	r.show(consumer.Status{State: consumer.Stopped, Unfinished: 2})
	return nil
}

// setup gives a supervisor of jobs a, b, … whose runs are the given functions, and its registry.
func setup(t *testing.T, runs ...func(soft, hard context.Context, r *fakeRunner) error) (*Supervisor, *prometheus.Registry) {
	t.Helper()
	reg, log, kafka := prometheus.NewRegistry(), newMemoryLog(), &fakeKafka{brokers: 1, parts: map[string]int{}}
	o := Options{Definitions: NewDefinitions(log, testProcess(t)), Store: NewStore(log), Bulletin: log, Metrics: reg, Log: slog.New(slog.DiscardHandler),
		Backoff: time.Second, Kafka: kafka, Self: func() Self { return Self{ID: "i", Advertise: "http://i:9013"} }}
	byJob := map[string]func(soft, hard context.Context, r *fakeRunner) error{}
	for i, run := range runs {
		id := string(rune('a' + i))
		byJob[id] = run
		kafka.parts[id] = 1
		j := file(t, id, "")
		if run == nil {
			j.Definition, j.Broken = nil, id+".yaml:3: url: is missing"
		}
		o.Jobs = append(o.Jobs, j)
	}
	o.NewRunner = func(c consumer.Config) Runner {
		return &fakeRunner{run: byJob[c.Job], status: consumer.Status{State: consumer.Starting}}
	}
	return NewSupervisor(o), reg
}

// begun waits until it is decided what runs.
func begun(s *Supervisor) {
	for synctest.Wait(); strings.Contains(fmt.Sprint(s.Readiness().Jobs), "waiting for") || strings.Contains(fmt.Sprint(s.Readiness().Jobs), "asking Kafka"); synctest.Wait() {
		time.Sleep(10 * time.Millisecond)
	}
}

func states(s *Supervisor) string {
	var all []string
	for _, j := range s.Readiness().Jobs {
		all = append(all, j.ID+"="+string(j.State))
	}
	return strings.Join(all, " ")
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
