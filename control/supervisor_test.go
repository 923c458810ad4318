package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"streamer/consumer"
)

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
		begun(s)

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
			for _, state := range []State{Failed, Held, Paused, Resetting, Running, Starting, Stopped} {
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
		begun(s)
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
		begun(s)
		shown := func(state State, cause string) {
			t.Helper()
			time.Sleep(time.Minute)
			synctest.Wait()
			j := s.Readiness().Jobs[0]
			if j.State != state || j.Cause != cause || time.Since(j.Since) != time.Minute {
				t.Errorf("shown as %s with the cause %q since %v, want %s with %q for a minute", j.State, j.Cause, j.Since, state, cause)
			}
			want := fmt.Sprintf("# HELP streamer_job_state 1 for the state that the job is in on this instance, 0 for the others.\n"+
				"# TYPE streamer_job_state gauge\nstreamer_job_state{job=\"a\",state=\"failed\"} 0\nstreamer_job_state{job=\"a\",state=\"held\"} 0\nstreamer_job_state{job=\"a\",state=\"paused\"} 0\nstreamer_job_state{job=\"a\",state=\"resetting\"} 0\nstreamer_job_state{job=\"a\",state=\"running\"} %d\n"+
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
			ended := make(chan error, 1)
			go func() { ended <- s.Run(soft, hard) }()
			begun(s)
			stop()
			synctest.Wait()
			select {
			case err := <-ended:
				t.Errorf("ended while a runner drains: %v", err)
				return
			default:
			}
			if err := <-ended; err != nil {
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
		begun(s)
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
	var ran atomic.Int32
	for range 50 {
		synctest.Test(t, func(t *testing.T) { storm(t, &ran) })
	}
	if ran.Load() < 50 {
		t.Errorf("%d runs in 50 storms", ran.Load())
	}
}

func storm(t *testing.T, ran *atomic.Int32) {
	var running atomic.Int32
	run := func(soft, hard context.Context, r *fakeRunner) error {
		ran.Add(1)
		running.Add(1)
		defer running.Add(-1)
		r.show(consumer.Status{State: consumer.Running, Since: time.Now()})
		wait := time.NewTimer(rand.N(2 * time.Second))
		defer wait.Stop()
		select {
		case <-wait.C:
			return errors.New("ended by itself")
		case <-soft.Done():
		}
		return nil
	}
	s, reg := setup(t, run, run, nil, run, run)
	s.options.Backoff = 100 * time.Millisecond
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
			time.Sleep(rand.N(time.Second))
		}
	})
	all.Go(func() {
		timer := time.NewTimer(rand.N(10 * time.Second))
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
