// Package control keeps the jobs of one instance running and shows how they are.
//
// A Supervisor gives every job its own runner, so that one that breaks takes no other with it. A Server answers /healthz, /readyz,
// /metrics and the API. What a job is stands in control/job, how it runs in consumer.
package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"streamer/consumer"
	"streamer/sink"
)

// stopMargin is what runners get to end after hard has ended, which they should do at once.
const stopMargin = 5 * time.Second

// reachTimeout bounds one question whether Kafka is there.
const reachTimeout = 10 * time.Second

// Supervisor runs the jobs of one instance. It is made by NewSupervisor and runs once.
type Supervisor struct {
	options       Options
	asked         chan struct{} // capacity 1: what was decided is to be decided again
	unsized       chan struct{} // capacity 1: there are jobs whose extent is not known
	starts        *gate
	roll          roll
	pass          passes         // of follow
	runs          sync.WaitGroup // of supervise
	registrations registrations
	me            Self // set when Run begins; under mu for whoever may come before

	mu       sync.Mutex
	jobs     map[string]*supervised
	strays   []*supervised // broken ones of files, which may share ids
	unsown   []string      // why the log cannot have connections of files
	sorted   []*supervised // jobs by id; nil: to be sorted again
	dirty    map[string]bool
	changes  int // counts what was added, changed and removed
	begun    bool
	stopping bool
	reached  bool
	unreach  string // why Kafka was not reached yet
	refused  bool   // and that waiting will not help
}

// NewSupervisor registers the jobs of files and the metric of all. Nothing runs before Run.
func NewSupervisor(o Options) *Supervisor {
	if o.Backoff <= 0 {
		o.Backoff = time.Second
	}
	if o.KeepEvery <= 0 {
		o.KeepEvery = 24 * time.Hour
	}
	if o.Register == nil {
		o.Register = func(ctx context.Context, r sink.Registration) (string, error) { return r.Post(ctx) }
	}
	s := &Supervisor{options: o, asked: make(chan struct{}, 1), pass: passes{asked: make(chan struct{}, 1)}, unsized: make(chan struct{}, 1), starts: newGate(mostStarts),
		jobs: map[string]*supervised{}, dirty: map[string]bool{}}
	for _, j := range o.Jobs {
		job := newSupervised(j, o.Log)
		if j.Broken != "" {
			job.state, job.cause, job.broken = Failed, j.Broken, j.Broken
			s.strays = append(s.strays, job)
			continue
		}
		s.jobs[j.ID] = job
	}
	o.Metrics.MustRegister(stateMetric{s})
	return s
}

// all gives the jobs by id. Broken ones of files are among them as long as there is no job of their id in the log.
func (s *Supervisor) all() []*supervised {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sorted == nil {
		s.sorted = make([]*supervised, 0, len(s.jobs)+len(s.strays))
		for _, j := range s.jobs {
			s.sorted = append(s.sorted, j)
		}
		for _, j := range s.strays {
			if s.jobs[j.ID] == nil {
				s.sorted = append(s.sorted, j)
			}
		}
		slices.SortStableFunc(s.sorted, func(a, b *supervised) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.file, b.file)) })
	}
	return s.sorted
}

// altered notes that a job was added, changed or removed, and lets decide look.
func (s *Supervisor) altered(id string) {
	s.mu.Lock()
	s.sorted = nil
	s.changes++
	s.mu.Unlock()
	s.redecide(id)
}

// redecide lets decide look at a job anew, now.
func (s *Supervisor) redecide(id string) {
	s.mu.Lock()
	s.dirty[id] = true
	s.mu.Unlock()
	select {
	case s.asked <- struct{}{}:
	default:
	}
}

// drop forgets a job that the log has no more and that does not run here any more.
func (s *Supervisor) drop(j *supervised) {
	s.mu.Lock()
	j.mu.Lock()
	over := j.gone && !j.awake && s.jobs[j.ID] == j
	j.mu.Unlock()
	if over {
		delete(s.jobs, j.ID)
	}
	s.mu.Unlock()
	if over {
		s.altered(j.ID)
		s.options.Kafka.Forget(j.ID)
		s.options.Lines.Forget(j.ID)
	}
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
	launch := func(j *supervised) { s.runs.Go(func() { s.supervise(j, soft, hard) }) }
	for _, j := range s.strays {
		j.log.Error("job failed", "file", j.file, "cause", j.cause)
	}
	all.Go(func() { s.reach(soft) })
	me := s.options.Self()
	me.Proof = prove(s.options.Keys, me, time.Now())
	s.mu.Lock()
	s.me = me
	s.mu.Unlock()
	if s.options.Bulletin != nil {
		s.options.Bulletin.Sign(me.ID)
	}
	all.Go(func() { s.seed(soft) })
	all.Go(func() { s.follow(soft) })
	all.Go(func() { s.bury(soft) })
	all.Go(func() { s.register(soft) })
	all.Go(func() { s.measure(soft) })
	all.Go(func() { s.decide(soft, launch) })
	all.Go(func() { s.renew(soft) })
	all.Go(func() { s.carryOutResets(soft) })
	sharing.Go(func() { s.share(soft, share) })
	sharing.Go(func() { s.divide(share) })
	ended := make(chan struct{})
	go func() { // ends with the runners
		all.Wait() // who starts some
		s.runs.Wait()
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
	for _, j := range s.all() {
		j.become(Stopped, "")
	}
	return nil
}

// stuck names the jobs whose runners have not ended.
func (s *Supervisor) stuck() error {
	var ids []string
	for _, j := range s.all() {
		j.mu.Lock()
		if j.runner != nil {
			ids = append(ids, j.ID)
		}
		j.mu.Unlock()
	}
	return fmt.Errorf("jobs %v have not stopped in time; rows in flight may be delivered again", ids)
}

// Drain is the longest time that a job which runs here may take to let its requests end.
func (s *Supervisor) Drain() (most time.Duration) {
	for _, j := range s.all() {
		j.mu.Lock()
		if j.awake && j.plan != nil {
			most = max(most, j.plan.config.Defaults().Drain)
		}
		j.mu.Unlock()
	}
	return most
}

// Unfinished is the number of rows that the jobs' last runners left undelivered; they may be delivered again.
func (s *Supervisor) Unfinished() int64 {
	var n int64
	for _, j := range s.all() {
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
