package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/job"
)

// plan is a definition that was compiled here: what runs. It is not changed; another revision is another plan.
type plan struct {
	config consumer.Config
	need   int        // requests in flight, for which connections are needed
	watch  *job.Watch // of the secret files that it was compiled with
}

func newPlan(c consumer.Config) *plan {
	return &plan{config: c, need: min(c.Defaults().Sink.Concurrency, mostRequests)}
}

// supervised is one job with what became of it on this instance. A goroutine of its own (supervise) it has only while it is to run here.
type supervised struct {
	ID string

	log  *slog.Logger
	news chan struct{} // capacity 1: there is another decision
	kept time.Time     // when its offsets were renewed last; of renew

	moving sync.Mutex // held by who commits its offsets from outside the group; taken before mu

	mu          sync.Mutex
	owner       string
	file        string
	plan        *plan          // nil: there is nothing that could run
	object      kafkalog.Entry // its definition in the log
	revision    int64          // of it; 0: the log has none (yet)
	connection  string         // that its definition names for the job
	connections []string       // all that it names
	broken      string         // why there is no plan; with a plan: why the newest definition does not run, while an earlier one does
	deleting    *Deletion      // it is to leave its group everywhere, and then to be removed; nil: it is not
	gone        bool           // the log has it no more
	refused     bool           // broken is what the runner said of the plan: compiling it again does not help
	awake       bool           // supervise runs
	runner      Runner         // nil before the first run and between two
	state       State
	cause       string
	since       time.Time
	left        int64 // rows that the last runner left unfinished
	decision    decision
	extent      *extent // nil: not asked for yet
	// resetNote is what a reset that is carried out here waits for.
	resetNote string
}

func newSupervised(j Job, log *slog.Logger) *supervised {
	return &supervised{ID: j.ID, owner: j.Owner, file: j.File, log: log.With("job", j.ID), state: Starting, since: time.Now(), news: make(chan struct{}, 1)}
}

// config is what runs, if there is something that could.
func (j *supervised) config() (consumer.Config, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.plan == nil {
		return consumer.Config{}, false
	}
	return j.plan.config, true
}

// decided is what is to be done with the job now.
func (j *supervised) decided() decision {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.decision
}

// note makes d the job's decision, and sees to it that it is done: launch starts supervise, unless it runs and is told.
func (j *supervised) note(d decision, launch func(*supervised)) {
	j.mu.Lock()
	news := !d.same(j.decision)
	j.decision = d
	switch {
	case d.run && !j.awake:
		j.awake = true
		j.becomes(Starting, "")
		j.mu.Unlock()
		launch(j)
		return
	case !j.awake:
		changed := j.becomes(d.state, d.cause)
		j.mu.Unlock()
		if changed {
			d.log(j.log)
		}
		return
	}
	j.mu.Unlock()
	if !news {
		return
	}
	select {
	case j.news <- struct{}{}:
	default:
	}
}

// rest ends supervise, if the job is not to run here: from then on note starts it anew.
func (j *supervised) rest() bool {
	j.mu.Lock()
	d := j.decision
	if d.run {
		j.mu.Unlock()
		return false
	}
	j.awake = false
	changed := j.becomes(d.state, d.cause)
	j.mu.Unlock()
	if changed {
		d.log(j.log)
	}
	return true
}

// supervise runs the job as long as it is to run here, until soft ends. A runner that is refused leaves the job failed, and is still
// tried again, less and less often: what the cluster refuses today (a password, another member in the group) may be mended there.
func (s *Supervisor) supervise(j *supervised, soft, hard context.Context) {
	wait := s.options.Backoff
	for soft.Err() == nil {
		if j.rest() {
			s.drop(j)
			return
		}
		started, ok := s.starts.enter(soft, j)
		if !ok {
			continue
		}
		begun := time.Now()
		left, err := s.once(j, started, soft, hard)
		if soft.Err() != nil {
			if err != nil {
				j.log.Error("job did not stop cleanly", "cause", err)
			}
			return
		}
		if left != nil {
			if err != nil {
				j.log.Error("job did not stop cleanly", "cause", err)
			}
			if err := s.options.Kafka.RemoveMember(soft, left.config); err != nil {
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

// backOff waits before the next runner, until the time is over, ctx ends, there is to be none, or it is to be one of another definition.
func (j *supervised) backOff(ctx context.Context, d time.Duration) {
	over := time.NewTimer(d)
	defer over.Stop()
	for before := j.decided(); before.run && before.plan == j.decided().plan && j.decided().run; {
		select {
		case <-j.news:
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// once runs one runner until it ends or soft ends; started is called when it has started. If the job is not to run here any more, or
// as another one, the runner stops in good order, and left is the plan it had.
func (s *Supervisor) once(j *supervised, started func(), soft, hard context.Context) (left *plan, err error) {
	defer started()
	d := j.decided()
	if !d.run {
		return d.plan, nil
	}
	r := s.options.NewRunner(d.plan.config)
	j.set(r)
	defer j.ended(r)
	life, end := context.WithCancel(soft)
	var watching sync.WaitGroup
	watching.Go(func() { // ends with life
		awaitStart(life, r)
		started()
	})
	watching.Go(func() { // ends with life
		left = s.watch(life, j, r, d.plan)
		end()
	})
	err = run(r, life, hard)
	end()
	watching.Wait()
	return left, err
}

// watch hands on what is decided of a job to its runner, which has a plan, until life ends. It gives the plan that the runner had when
// the job is not to run here any more, or another runner has to take its place; else nil.
func (s *Supervisor) watch(life context.Context, j *supervised, r Runner, runs *plan) *plan {
	known, asked := consumer.Memory{}, runs
	var now *changing                // the change that is made; nil: none
	defer func() { _ = now.end() }() // nobody is there to be told
	for {
		d := j.decided()
		if !d.run {
			return runs
		}
		if !reflect.DeepEqual(d.memory, known) {
			known = d.memory
			r.Recall(known)
		}
		if d.plan != asked && now == nil {
			asked = d.plan
			now = change(life, r, asked.config)
		}
		select {
		case <-j.news:
		case <-now.ended():
			err := now.end()
			now = nil
			switch {
			case life.Err() != nil:
				return nil
			case errors.As(err, new(*consumer.RefusedError)):
				j.refuses(asked, err)
				continue
			case err != nil:
				j.log.Info("the job was changed, and begins anew", "cause", err)
				return runs
			}
			runs = asked
			j.log.Info("the job was changed")
		case <-life.Done():
			return nil
		}
	}
}

// refuses notes that a plan cannot run, while the one before goes on.
func (j *supervised) refuses(p *plan, cause error) {
	j.mu.Lock()
	if j.plan == p {
		j.refused = true
		j.broken = "its newest definition cannot run here, and the one before runs on: " + cause.Error()
	}
	j.mu.Unlock()
	j.log.Error("the job's definition cannot run here", "cause", cause)
}

// changing is a runner on its way to another definition.
type changing struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // good when done is closed
}

// change begins to give a runner another definition; one that cannot take any is to be replaced. It is to be ended.
func change(life context.Context, r Runner, config consumer.Config) *changing {
	ctx, cancel := context.WithCancel(life)
	c := &changing{cancel: cancel, done: make(chan struct{})}
	go func() { // ends with ctx, at the latest
		defer close(c.done)
		c.err = errors.New("this runner cannot be changed")
		if changer, ok := r.(Changer); ok {
			c.err = changer.Change(ctx, config)
		}
	}()
	return c
}

// ended is closed when the change is made, or refused; of none it never is.
func (c *changing) ended() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.done
}

// end cuts a change short and waits for it.
func (c *changing) end() error {
	if c == nil {
		return nil
	}
	c.cancel()
	<-c.done
	return c.err
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
	return j.becomes(next, cause)
}

// becomes is become for who holds mu.
func (j *supervised) becomes(next State, cause string) bool {
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
	out := JobStatus{ID: j.ID, Owner: j.owner, File: j.file, State: j.state, Cause: j.cause, Since: j.since,
		Reset: resetStatus(j.decision.memory.Reset, j.resetNote)}
	if !present {
		rs = consumer.Status{}
	} else {
		if out.State == Paused && j.decision.run {
			out.Cause = cmp.Or(j.decision.cause, out.Cause)
		}
		out.Cause = cmp.Or(out.Cause, rs.Cause)
		out.fill(rs)
	}
	if j.plan != nil && j.broken != "" {
		out.Cause = strings.TrimSuffix(j.broken+"; "+out.Cause, "; ")
	}
	return out, rs
}
