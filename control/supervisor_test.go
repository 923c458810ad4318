package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"streamer/consumer"
	"streamer/sink"
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
}

func (k *fakeKafka) Reach(ctx context.Context) error {
	if k.reach == nil {
		return nil
	}
	return k.reach(ctx)
}

func (k *fakeKafka) Extent(_ context.Context, c consumer.Config) (brokers, partitions int, err error) {
	return k.brokers, k.parts[c.Job], nil
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

// untilSoft runs until it is told to stop.
func untilSoft(soft, _ context.Context, r *fakeRunner) error {
	r.show(consumer.Status{State: consumer.Running, Since: time.Now()})
	<-soft.Done()
	r.show(consumer.Status{State: consumer.Stopped, Unfinished: 2})
	return nil
}

// setup gives a supervisor of jobs a, b, … whose runs are the given functions, and its registry.
func setup(t *testing.T, runs ...func(soft, hard context.Context, r *fakeRunner) error) (*Supervisor, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	o := Options{Metrics: reg, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Backoff: time.Second, Kafka: &fakeKafka{}}
	byJob := map[string]func(soft, hard context.Context, r *fakeRunner) error{}
	for i, run := range runs {
		id := string(rune('a' + i))
		byJob[id] = run
		j := Job{ID: id, File: id + ".yaml", Config: consumer.Config{Job: id}}
		if run == nil {
			j.Broken = id + ".yaml:3: url: is missing"
		}
		o.Jobs = append(o.Jobs, j)
	}
	o.NewRunner = func(c consumer.Config) Runner {
		return &fakeRunner{run: byJob[c.Job], status: consumer.Status{State: consumer.Starting}}
	}
	return NewSupervisor(o), reg
}

func states(s *Supervisor) string {
	var all []string
	for _, j := range s.Readiness().Jobs {
		all = append(all, j.ID+"="+string(j.State))
	}
	return strings.Join(all, " ")
}

func TestBrokenJobDoesNotStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := func(context.Context, context.Context, *fakeRunner) error {
			return &consumer.RefusedError{Cause: errors.New("wrong password")}
		}
		panics := func(context.Context, context.Context, *fakeRunner) error { panic("a bug") }
		s, reg := setup(t, untilSoft, nil, refused, panics)
		soft, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(soft, t.Context()) }()
		synctest.Wait()

		if got := states(s); got != "a=running b=failed c=failed d=starting" {
			t.Errorf("states %s", got)
		}
		r := s.Readiness()
		if !r.Ready {
			t.Error("not ready")
		}
		if c := r.Jobs[1].Cause; c != "b.yaml:3: url: is missing" {
			t.Errorf("cause of b: %s", c)
		}
		if c := r.Jobs[2].Cause; c != "wrong password" {
			t.Errorf("cause of c: %s", c)
		}
		if c := r.Jobs[3].Cause; c != "the runner broke: a bug" {
			t.Errorf("cause of d: %s", c)
		}
		want := `# HELP streamer_job_state 1 for the state that the job is in on this instance, 0 for the others.
# TYPE streamer_job_state gauge
`
		for i, now := range []State{Running, Failed, Failed, Starting} {
			for _, state := range []State{Failed, Held, Paused, Running, Starting, Stopped} {
				value := 0
				if state == now {
					value = 1
				}
				want += fmt.Sprintf("streamer_job_state{job=%q,state=%q} %d\n", string(rune('a'+i)), state, value)
			}
		}
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "streamer_job_state"); err != nil {
			t.Error(err)
		}

		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := states(s); got != "a=stopped b=stopped c=stopped d=stopped" {
			t.Errorf("states after the stop: %s", got)
		}
		if r := s.Readiness(); r.Ready || !r.Stopping {
			t.Errorf("readiness after the stop: %+v", r)
		}
		if n := s.Unfinished(); n != 2 {
			t.Errorf("%d rows unfinished, want 2", n)
		}
		if err := s.Run(t.Context(), t.Context()); err == nil {
			t.Error("a second run was no error")
		}
	})
}

// A runner that ends with an error is run again, after waits that double; one that runs in between starts over with the first wait.
func TestRunAgainWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var at []time.Duration
		var mu sync.Mutex
		s, _ := setup(t, func(context.Context, context.Context, *fakeRunner) error {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Since(begun))
			return errors.New("coordinator lost")
		})
		soft, stop := context.WithTimeout(t.Context(), 5*time.Minute)
		defer stop()
		if err := s.Run(soft, t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(at) < 8 || len(at) > 15 {
			t.Fatalf("run %d times in 5m, at %v", len(at), at)
		}
		wait := time.Second
		for i := 1; i < len(at); i++ {
			if d := at[i] - at[i-1]; d < wait/2 || d > wait+time.Millisecond {
				t.Errorf("wait %d was %v, want %v to %v", i, d, wait/2, wait)
			}
			wait = min(2*wait, 64*time.Second)
		}
	})
}

// A job that was refused runs when the cluster lets it in.
func TestRefusedJobIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		s, _ := setup(t, func(soft, hard context.Context, r *fakeRunner) error {
			if tries.Add(1) < 3 {
				return &consumer.RefusedError{Cause: errors.New("group has a foreign member")}
			}
			return untilSoft(soft, hard, r)
		})
		soft, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(soft, t.Context()) }()
		synctest.Wait()
		if got := states(s); got != "a=failed" {
			t.Errorf("states %s", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := states(s); got != "a=running" {
			t.Errorf("states %s", got)
		}
		if c := s.Readiness().Jobs[0].Cause; c != "" {
			t.Errorf("a running job has the cause %q", c)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A runner that was put out of its group begins anew by itself, with the same runner: the job follows it there and back.
func TestRunnerBeginsAnewByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expel, back := make(chan struct{}), make(chan struct{})
		s, reg := setup(t, func(soft, hard context.Context, r *fakeRunner) error {
			r.show(consumer.Status{State: consumer.Running, Since: time.Now()})
			<-expel
			r.show(consumer.Status{State: consumer.Starting, Since: time.Now(), Cause: "kafka does not answer"})
			<-back
			return untilSoft(soft, hard, r)
		})
		soft, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(soft, t.Context()) }()
		synctest.Wait()
		shown := func(state State, cause string) {
			t.Helper()
			time.Sleep(time.Minute)
			synctest.Wait()
			j := s.Readiness().Jobs[0]
			if j.State != state || j.Cause != cause || time.Since(j.Since) != time.Minute {
				t.Errorf("shown as %s with the cause %q since %v, want %s with %q for a minute", j.State, j.Cause, j.Since, state, cause)
			}
			want := fmt.Sprintf("# HELP streamer_job_state 1 for the state that the job is in on this instance, 0 for the others.\n"+
				"# TYPE streamer_job_state gauge\nstreamer_job_state{job=\"a\",state=\"failed\"} 0\nstreamer_job_state{job=\"a\",state=\"held\"} 0\nstreamer_job_state{job=\"a\",state=\"paused\"} 0\nstreamer_job_state{job=\"a\",state=\"running\"} %d\n"+
				"streamer_job_state{job=\"a\",state=\"starting\"} %d\nstreamer_job_state{job=\"a\",state=\"stopped\"} 0\n", one(state == Running), one(state == Starting))
			if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "streamer_job_state"); err != nil {
				t.Error(err)
			}
		}
		shown(Running, "")
		close(expel)
		shown(Starting, "kafka does not answer")
		close(back)
		shown(Running, "")
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

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

func TestStopIsBounded(t *testing.T) {
	t.Run("hard ends a runner that drains", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := setup(t, func(_, hard context.Context, _ *fakeRunner) error {
				<-hard.Done()
				return hard.Err()
			})
			soft, stop := context.WithCancel(t.Context())
			hard, now := context.WithTimeout(t.Context(), time.Minute)
			defer now()
			stop()
			if err := s.Run(soft, hard); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("a runner that does not end is named", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			s, _ := setup(t, untilSoft, func(context.Context, context.Context, *fakeRunner) error {
				<-release
				return nil
			})
			hard, now := context.WithTimeout(t.Context(), time.Minute)
			defer now()
			begun := time.Now()
			err := s.Run(t.Context(), hard)
			if err == nil || !strings.Contains(err.Error(), "[b]") {
				t.Errorf("error %v", err)
			}
			if took := time.Since(begun); took != time.Minute+stopMargin {
				t.Errorf("took %v", took)
			}
			close(release)
			synctest.Wait()
		})
	})
}

func TestKafkaNotReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := setup(t, func(soft, _ context.Context, r *fakeRunner) error {
			r.show(consumer.Status{State: consumer.Starting, Cause: "kafka does not answer"})
			<-soft.Done()
			return nil
		})
		var up atomic.Bool
		s.options.Kafka = &fakeKafka{reach: func(context.Context) error {
			if !up.Load() {
				return errors.New("connection refused")
			}
			return nil
		}}
		if r := s.Readiness(); r.Ready || r.Kafka != "not reached yet" {
			t.Errorf("before the run: %+v", r)
		}
		soft, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(soft, t.Context()) }()
		synctest.Wait()
		if r := s.Readiness(); r.Ready || r.Kafka != "connection refused" || r.Jobs[0].Cause != "kafka does not answer" {
			t.Errorf("while Kafka is down: %+v", r)
		}
		up.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if r := s.Readiness(); !r.Ready || r.Kafka != "" {
			t.Errorf("when Kafka is there: %+v", r)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Starts and stops at any moment, with everything being read meanwhile, leave no runner behind.
func TestStartStopStorm(t *testing.T) {
	t.Parallel()
	for range 50 {
		var running atomic.Int32
		run := func(soft, hard context.Context, r *fakeRunner) error {
			running.Add(1)
			defer running.Add(-1)
			r.show(consumer.Status{State: consumer.Running, Since: time.Now()})
			wait := time.NewTimer(rand.N(2 * time.Millisecond))
			defer wait.Stop()
			select {
			case <-wait.C:
				return errors.New("ended by itself")
			case <-soft.Done():
			}
			return nil
		}
		s, reg := setup(t, run, run, nil, run, run)
		s.options.Backoff = 100 * time.Microsecond
		soft, stop := context.WithCancel(t.Context())
		hard, now := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if err := s.Run(soft, hard); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			for soft.Err() == nil {
				s.Readiness()
				if _, err := reg.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			timer := time.NewTimer(rand.N(10 * time.Millisecond))
			<-timer.C
			if rand.N(2) == 0 {
				now()
			}
			stop()
		})
		all.Wait()
		now()
		if n := running.Load(); n != 0 {
			t.Fatalf("%d runners left", n)
		}
		if got := states(s); got != "a=stopped b=stopped c=stopped d=stopped e=stopped" {
			t.Fatalf("states %s", got)
		}
	}
}

// Every step that the diagram does not have is not taken.
func TestIllegalSteps(t *testing.T) {
	t.Parallel()
	legal := map[State]string{
		Starting: "running paused held failed stopped", Running: "starting paused held failed stopped", Paused: "starting running held failed stopped",
		Held: "starting running paused failed stopped", Failed: "starting running paused held stopped", Stopped: "starting failed",
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
