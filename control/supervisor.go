// Package control keeps the jobs of one instance running and shows how they are.
//
// A Supervisor gives every job its own runner, so that one that breaks takes no other with it. A Server answers /healthz, /readyz,
// /metrics and the API. What a job is stands in control/job, how it runs in consumer.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"streamer/consumer"
)

// stopMargin is what runners get to end after hard has ended, which they should do at once.
const stopMargin = 5 * time.Second

// reachTimeout bounds one question whether Kafka is there.
const reachTimeout = 10 * time.Second

// Supervisor runs the jobs of one instance. It is made by NewSupervisor and runs once.
type Supervisor struct {
	options Options
	jobs    []*supervised
	asked   chan struct{} // capacity 1: what was decided is to be decided again
	me      Self          // set when Run begins; under mu for whoever may come before

	mu       sync.Mutex
	begun    bool
	stopping bool
	reached  bool
	unreach  string // why Kafka was not reached yet
	refused  bool   // and that waiting will not help
}

// supervised is one job with what became of it.
type supervised struct {
	Job
	log *slog.Logger

	news chan struct{} // capacity 1: there is another decision
	kept time.Time     // when its offsets were renewed last; of renew

	moving sync.Mutex // held by who commits its offsets from outside the group; taken before mu

	mu       sync.Mutex
	runner   Runner // nil before the first run and between two
	state    State
	cause    string
	since    time.Time
	left     int64 // rows that the last runner left unfinished
	decision decision
	extent   *extent // nil: not asked for yet
	// resetNote is what a reset that is carried out here waits for.
	resetNote string
}

// NewSupervisor registers the jobs and their metric. Nothing runs before Run.
func NewSupervisor(o Options) *Supervisor {
	if o.Backoff <= 0 {
		o.Backoff = time.Second
	}
	if o.KeepEvery <= 0 {
		o.KeepEvery = 24 * time.Hour
	}
	s := &Supervisor{options: o, asked: make(chan struct{}, 1)}
	for _, j := range o.Jobs {
		job := &supervised{Job: j, log: o.Log.With("job", j.ID), state: Starting, since: time.Now(), news: make(chan struct{}, 1)}
		job.decision.run = o.Store == nil
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
	share, endShare := context.WithCancel(context.WithoutCancel(soft))
	var all, sharing sync.WaitGroup
	defer sharing.Wait()
	defer endShare()
	all.Go(func() { s.reach(soft) })
	if s.options.Store != nil {
		me := s.options.Self()
		s.mu.Lock()
		s.me = me
		s.mu.Unlock()
		all.Go(func() { s.measure(soft) })
		all.Go(func() { s.decide(soft) })
		all.Go(func() { s.renew(soft) })
		all.Go(func() { s.carryOutResets(soft) })
		sharing.Go(func() { s.share(soft, share) })
		limited := s.limited()
		sharing.Go(func() { s.divide(share, limited) })
	}
	for _, j := range s.jobs {
		if j.Broken != "" {
			j.log.Error("job failed", "file", j.File, "cause", j.Broken)
			continue
		}
		all.Go(func() { s.supervise(j, soft, hard) })
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

// Unfinished is the number of rows that the jobs' last runners left undelivered; they may be delivered again.
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
		err := s.options.Kafka.Reach(asked)
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
		s.reached, s.unreach, s.refused = err == nil, cause, errors.As(err, new(*consumer.RefusedError))
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

// supervise runs the job whenever it is to run here, until soft ends. A runner that is refused leaves the job failed, and is still
// tried again, less and less often: what the cluster refuses today (a password, another member in the group) may be mended there.
func (s *Supervisor) supervise(j *supervised, soft, hard context.Context) {
	wait, idle := s.options.Backoff, false
	for soft.Err() == nil {
		if d := j.decided(); !d.run {
			if j.become(d.state, d.cause) {
				d.log(j.log)
			}
			idle = true
			select {
			case <-j.news:
			case <-soft.Done():
			}
			continue
		}
		if idle {
			j.become(Starting, "")
			idle = false
		}
		begun := time.Now()
		moved, err := s.once(j, soft, hard)
		if soft.Err() != nil {
			if err != nil {
				j.log.Error("job did not stop cleanly", "cause", err)
			}
			return
		}
		if moved {
			if err != nil {
				j.log.Error("job did not stop cleanly", "cause", err)
			}
			if err := s.options.Kafka.RemoveMember(soft, j.Config); err != nil {
				j.log.Warn("the group waits for this instance's member until its session ends", "cause", err)
			}
			continue
		}
		if err == nil {
			err = errors.New("the runner ended by itself")
		}
		if time.Since(begun) > 64*s.options.Backoff {
			wait = s.options.Backoff // it ran for a while: this is a new trouble
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
		j.backOff(soft, wait/2+rand.N(wait/2+1))
		wait = min(2*wait, 64*s.options.Backoff)
	}
}

// backOff waits before the next runner, until the time is over, ctx ends, or there is to be none.
func (j *supervised) backOff(ctx context.Context, d time.Duration) {
	over := time.NewTimer(d)
	defer over.Stop()
	for j.decided().run {
		select {
		case <-j.news:
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// once runs one runner until it ends, soft ends, or the job is not to run here any more: then it stops in good order, and moved is true.
func (s *Supervisor) once(j *supervised, soft, hard context.Context) (moved bool, err error) {
	r := s.options.NewRunner(j.Config)
	j.set(r)
	defer j.ended(r)
	life, end := context.WithCancel(soft)
	var watching sync.WaitGroup
	watching.Go(func() { // ends with life
		for known := (consumer.Memory{}); ; {
			d := j.decided()
			if !d.run {
				moved = true
				end()
				return
			}
			if !reflect.DeepEqual(d.memory, known) {
				known = d.memory
				r.Recall(known)
			}
			select {
			case <-j.news:
			case <-life.Done():
				return
			}
		}
	})
	err = run(r, life, hard)
	end()
	watching.Wait()
	return moved, err
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
	j.left = left // what the runner before it left was taken up by this one
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
	if present && (next.member() || next == Starting && j.state.member()) && j.state.mayBecome(next) {
		j.state, j.cause, j.since = next, "", rs.Since
	}
	out := JobStatus{ID: j.ID, Owner: j.Owner, File: j.File, State: j.state, Cause: j.cause, Since: j.since,
		Reset: resetStatus(j.decision.memory.Reset, j.resetNote)}
	if !present {
		return out, consumer.Status{}
	}
	if out.Cause == "" {
		out.Cause = rs.Cause
	}
	out.fill(rs)
	return out, rs
}
