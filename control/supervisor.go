// Package control keeps the jobs of one instance running and shows how they are.
//
// A Supervisor gives every job its own runner, so that one that breaks takes no other with it. A Server answers /healthz, /readyz
// and /metrics. What a job is stands in control/job, how it runs in consumer.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/consumer"
)

// Runner runs a job once. *consumer.Runner is one.
type Runner interface {
	// Run blocks until soft ends and the job has stopped in good order, or hard ends. A *consumer.RefusedError says that the job
	// cannot run as it is defined.
	Run(soft, hard context.Context) error
	// Status may be called at any time, from any goroutine.
	Status() consumer.Status
}

// Job is one job as the files have it.
type Job struct {
	ID, Owner, File string
	// Config is what runs, unless Broken says why it cannot.
	Config consumer.Config
	Broken string
}

// Options are what a Supervisor needs.
type Options struct {
	Jobs []Job
	// Files says which job files could not be read; they are shown beside the jobs.
	Files []string
	// NewRunner makes a fresh runner for each time a job is run.
	NewRunner func(consumer.Config) Runner
	// Reach asks Kafka for a sign of life.
	Reach func(context.Context) error
	// Metrics gets streamer_job_state.
	Metrics prometheus.Registerer
	Log     *slog.Logger
	// Backoff is the first wait before an ended runner is run again; it doubles up to 64 times as much. Default 1s.
	Backoff time.Duration
}

// stopMargin is what runners get to end after hard has ended, which they should do at once.
const stopMargin = 5 * time.Second

// reachTimeout bounds one question whether Kafka is there.
const reachTimeout = 10 * time.Second

// Supervisor runs the jobs of one instance. It is made by NewSupervisor and runs once.
type Supervisor struct {
	options Options
	jobs    []*supervised

	mu       sync.Mutex
	begun    bool
	stopping bool
	reached  bool
	unreach  string // why Kafka was not reached yet
}

// supervised is one job with what became of it.
type supervised struct {
	Job
	log *slog.Logger

	mu     sync.Mutex
	runner Runner // nil before the first run and between two
	state  State
	cause  string
	since  time.Time
	left   int64 // rows that ended runners left unfinished
}

// NewSupervisor registers the jobs and their metric. Nothing runs before Run.
func NewSupervisor(o Options) *Supervisor {
	if o.Backoff <= 0 {
		o.Backoff = time.Second
	}
	s := &Supervisor{options: o}
	for _, j := range o.Jobs {
		job := &supervised{Job: j, log: o.Log.With("job", j.ID), state: Starting, since: time.Now()}
		if j.Broken != "" {
			job.state, job.cause = Failed, j.Broken
		}
		s.jobs = append(s.jobs, job)
	}
	o.Metrics.MustRegister(stateMetric{s})
	return s
}

// Run starts every job and blocks until soft has ended and all have stopped, in parallel. It gives up on runners that have not
// ended some time after hard has; the error names them. A second call is an error.
func (s *Supervisor) Run(soft, hard context.Context) error {
	s.mu.Lock()
	again := s.begun
	s.begun = true
	s.mu.Unlock()
	if again {
		return errors.New("the supervisor runs once")
	}
	soft, cancel := context.WithCancel(soft)
	defer cancel()
	defer context.AfterFunc(hard, cancel)()
	var all sync.WaitGroup
	all.Go(func() { s.reach(soft) })
	for _, j := range s.jobs {
		if j.Broken != "" {
			j.log.Error("job failed", "file", j.File, "cause", j.Broken)
			continue
		}
		all.Go(func() { j.supervise(soft, hard, s.options.NewRunner, s.options.Backoff) })
	}
	ended := make(chan struct{})
	go func() { // ends with the runners
		all.Wait()
		close(ended)
	}()
	<-soft.Done()
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	select {
	case <-ended:
	case <-hard.Done():
		margin := time.NewTimer(stopMargin)
		defer margin.Stop()
		select {
		case <-ended:
		case <-margin.C:
			return s.stuck()
		}
	}
	for _, j := range s.jobs {
		j.become(Stopped, "")
	}
	return nil
}

// stuck names the jobs whose runners have not ended.
func (s *Supervisor) stuck() error {
	var ids []string
	for _, j := range s.jobs {
		j.mu.Lock()
		if j.runner != nil {
			ids = append(ids, j.ID)
		}
		j.mu.Unlock()
	}
	return fmt.Errorf("jobs %v have not stopped in time; rows in flight may be delivered again", ids)
}

// Unfinished is the number of rows that runners which have ended left undelivered; they may be delivered again.
func (s *Supervisor) Unfinished() int64 {
	var n int64
	for _, j := range s.jobs {
		j.mu.Lock()
		n += j.left
		j.mu.Unlock()
	}
	return n
}

// reach asks for Kafka until it answers once or ctx ends. Whether it stays there is each job's to say.
func (s *Supervisor) reach(ctx context.Context) {
	for wait := s.options.Backoff; ; wait = min(2*wait, 30*s.options.Backoff) {
		asked, cancel := context.WithTimeout(ctx, reachTimeout)
		err := s.options.Reach(asked)
		cancel()
		if ctx.Err() != nil {
			return
		}
		cause := ""
		if err != nil {
			cause = err.Error()
		}
		s.mu.Lock()
		news := cause != s.unreach || err == nil
		s.reached, s.unreach = err == nil, cause
		s.mu.Unlock()
		if err == nil {
			s.options.Log.Info("kafka reached")
			return
		}
		if news {
			s.options.Log.Error("kafka not reached; trying on", "cause", cause)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// supervise runs the job again and again until soft ends. A runner that is refused leaves the job failed, and is still tried again,
// less and less often: what the cluster refuses today (a password, another member in the group) may be mended there.
func (j *supervised) supervise(soft, hard context.Context, newRunner func(consumer.Config) Runner, backoff time.Duration) {
	wait := backoff
	for soft.Err() == nil {
		r := newRunner(j.Config)
		j.set(r)
		begun := time.Now()
		err := run(r, soft, hard)
		j.ended(r)
		if soft.Err() != nil {
			if err != nil {
				j.log.Error("job did not stop cleanly", "cause", err)
			}
			return
		}
		if err == nil {
			err = errors.New("the runner ended by itself")
		}
		if time.Since(begun) > 64*backoff {
			wait = backoff // it ran for a while: this is a new trouble
		}
		next := Starting
		var refused *consumer.RefusedError
		if errors.As(err, &refused) {
			next = Failed
		}
		if j.become(next, err.Error()) {
			j.log.Error("job "+string(next), "cause", err)
		}
		// Jitter, so that the jobs of many instances do not come back at one time.
		if !sleep(soft, wait/2+rand.N(wait/2+1)) {
			return
		}
		wait = min(2*wait, 64*backoff)
	}
}

// run turns a panic of a runner into an error: one job must not end the others.
func run(r Runner, soft, hard context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the runner broke: %v", p)
		}
	}()
	return r.Run(soft, hard)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (j *supervised) set(r Runner) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.runner = r
}

func (j *supervised) ended(r Runner) {
	left := r.Status().Unfinished
	j.mu.Lock()
	defer j.mu.Unlock()
	j.runner = nil
	j.left += left
}

// become goes to the next state and reports whether state or cause are new. A step that the diagram does not have is not taken.
func (j *supervised) become(next State, cause string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.state.mayBecome(next) || j.state == next && j.cause == cause {
		return false
	}
	if j.state != next {
		j.since = time.Now()
	}
	j.state, j.cause = next, cause
	return true
}

// status is the job as it is now. While a runner is there, it knows better than what was noted after the last one, but for its
// start: a refused job stays failed until a runner runs again. A runner that ran and was put out of its group begins anew by itself:
// the job is starting then, without another runner.
func (j *supervised) status() JobStatus {
	s, _ := j.look()
	return s
}

// look is status with what the runner says of its partitions; nothing while there is none.
func (j *supervised) look() (JobStatus, consumer.Status) {
	j.mu.Lock()
	r := j.runner
	j.mu.Unlock()
	var rs consumer.Status
	if r != nil {
		rs = r.Status() // not under the lock: it is another room's
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	present := r != nil && j.runner == r
	next := ofRunner(rs.State)
	if present && (next == Running || next == Starting && j.state == Running) && j.state.mayBecome(next) {
		j.state, j.cause, j.since = next, "", rs.Since
	}
	out := JobStatus{ID: j.ID, Owner: j.Owner, File: j.File, State: j.state, Cause: j.cause, Since: j.since}
	if !present {
		return out, consumer.Status{}
	}
	if out.Cause == "" {
		out.Cause = rs.Cause
	}
	out.fill(rs)
	return out, rs
}
