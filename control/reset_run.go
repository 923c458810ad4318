package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"streamer/consumer"
)

// How a reset is carried out. The job's first live instance does it (place); if that dies the next one does, from where the log says
// the reset is:
//
//  1. The reset is pending in the log: every instance stops the job (decideOne). Nobody starts it while it is.
//  2. Once no instance runs it and its group is empty, what was asked for becomes a table of offsets, in the log. Whoever comes later
//     takes the table that is there, so all of them commit the same.
//  3. The table is committed and read back. A crash before or after repeats it, which changes nothing: nobody reads meanwhile.
//  4. The reset leaves the log, in one step with the audit line that undo reads. The instances start the job, if it is wanted.
//
// One that was slow and comes to step 3 when all is over is refused by Kafka while the job is a member of its group again.

const (
	// resetRetry is how often a reset that waits looks again.
	resetRetry = 500 * time.Millisecond
	// resetPatience is how long Kafka may refuse or not answer what belongs to a reset until it is given up, beside what its members
	// get to leave.
	resetPatience = 5 * time.Minute
	// resetStep bounds one look and what follows from it.
	resetStep = 30 * time.Second
)

// carrier carries one reset out.
type carrier struct {
	reset string
	end   context.CancelFunc
	done  chan struct{}
}

func (c *carrier) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// carryOutResets carries the resets out that fall to this instance, side by side, until ctx ends.
func (s *Supervisor) carryOutResets(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	carriers := map[string]*carrier{} // by job
	for {
		changed := s.options.Bulletin.Changed()
		live := s.liveIDs()
		for _, j := range s.all() {
			p, c := j.reset(), carriers[j.ID]
			mine := p != nil && s.first(j.ID, live)
			switch {
			case c != nil && c.ended():
				delete(carriers, j.ID) // begun anew, if it is pending still
			case c != nil && (!mine || c.reset != p.ID):
				c.end()
			case c == nil && mine:
				life, end := context.WithCancel(ctx)
				c = &carrier{p.ID, end, make(chan struct{})}
				carriers[j.ID] = c
				all.Go(func() { // ends with the reset, or life
					defer close(c.done)
					defer end()
					s.carryOut(life, j, c.reset)
				})
			}
		}
		select {
		case <-changed:
		case <-time.After(decideEvery):
		case <-ctx.Done():
			return
		}
		if !sleep(ctx, decideMost) {
			return
		}
	}
}

// reset is the reset that is pending; nil: none.
func (j *supervised) reset() *consumer.PendingReset {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.decision.memory.Reset
}

// carryOut carries one reset out, until it has ended or ctx does.
func (s *Supervisor) carryOut(ctx context.Context, j *supervised, id string) {
	defer j.noteReset("")
	r := &resetting{s: s, j: j, id: id, begun: time.Now()}
	for {
		step, cancel := context.WithTimeout(ctx, resetStep)
		ended, err := r.step(step)
		cancel()
		if ended || ctx.Err() != nil {
			return
		}
		if j.noteReset(err.Error()) {
			j.log.Info("reset waits", "reset", id, "cause", err)
			s.redecide(j.ID)
		}
		if !sleep(ctx, resetRetry) {
			return
		}
	}
}

// noteReset says what the job's reset waits for, and reports whether that is new.
func (j *supervised) noteReset(note string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	news := j.resetNote != note
	j.resetNote = note
	return news
}

// resetWaits is what the job's reset waits for.
func (j *supervised) resetWaits() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.resetNote
}

// resetting is one reset that is carried out here.
type resetting struct {
	s     *Supervisor
	j     *supervised
	id    string
	begun time.Time // on this instance: clocks differ

	config consumer.Config // as it is in this step
}

// step does what can be done now. The error says what the reset waits for.
func (r *resetting) step(ctx context.Context) (ended bool, err error) {
	r.j.moving.Lock()
	defer r.j.moving.Unlock()
	config, ok := r.j.config()
	if !ok {
		return false, errors.New("its definition cannot run on the instance that is to carry it out")
	}
	r.config = config
	m, err := r.s.options.Store.Memory(ctx, r.j.ID)
	if err != nil {
		return false, err
	}
	if m.Reset == nil || m.Reset.ID != r.id {
		return true, nil
	}
	if m.Reset.Table == nil {
		if m, err = r.makeTable(ctx, m); err != nil {
			return r.judge(ctx, m.Reset, err)
		}
		if m.Reset == nil || m.Reset.ID != r.id { // another instance was faster
			return true, nil
		}
	}
	if err := r.s.options.Kafka.CommitReset(ctx, r.config, m.Reset.Table); err != nil {
		return r.judge(ctx, m.Reset, err)
	}
	return r.end(ctx, m.Reset, "")
}

// busyError says who is to leave first, and how long that may take.
type busyError struct {
	who   string
	bound time.Duration
}

func (e *busyError) Error() string { return "waiting for " + e.who + " to leave the group" }

// makeTable writes the table to the log once nobody runs the job.
func (r *resetting) makeTable(ctx context.Context, m consumer.Memory) (consumer.Memory, error) {
	view, err := r.s.options.Kafka.GroupMembers(ctx, r.config)
	if err != nil {
		return m, err
	}
	who := r.s.runningOn(r.j)
	for _, member := range view.Members {
		who = append(who, member.String())
	}
	if len(who) > 0 {
		return m, &busyError{strings.Join(who, " and "), r.config.Defaults().Drain + 2*view.Session}
	}
	plan, err := r.s.options.Kafka.PlanReset(ctx, r.config, m.Reset.Spec, m)
	if err != nil {
		return m, err
	}
	a := consumer.Audit{By: consumer.BySelf, Action: auditResetTable, Detail: map[string]any{"reset": r.id}}
	after, err := r.s.options.Store.Remember(ctx, r.j.ID, a, func(m *consumer.Memory) error {
		if m.Reset != nil && m.Reset.ID == r.id && m.Reset.Table == nil {
			m.Reset.Table = plan.Table
		}
		return nil
	})
	if err != nil {
		return m, err
	}
	return after, nil
}

// runningOn names the instances that run the job, as far as they say so.
func (s *Supervisor) runningOn(j *supervised) (who []string) {
	j.mu.Lock()
	if j.runner != nil {
		who = append(who, "instance "+s.me.ID)
	}
	j.mu.Unlock()
	for _, r := range s.Reports(j.ID) {
		if r.Instance != s.me.ID && (r.State == Starting || r.State.member()) {
			who = append(who, fmt.Sprintf("instance %s (%s)", r.Instance, r.State))
		}
	}
	return who
}

// judge gives a reset up that cannot be done, or that has waited too long.
func (r *resetting) judge(ctx context.Context, p *consumer.PendingReset, cause error) (ended bool, err error) {
	waited := time.Since(r.begun)
	var wrong *consumer.ResetError
	var busy *busyError
	switch {
	case ctx.Err() != nil:
	case errors.As(cause, &wrong):
		return r.end(ctx, p, wrong.Error())
	case errors.As(cause, &busy) && waited > busy.bound:
		return r.end(ctx, p, fmt.Sprintf("%s did not leave the group within %v, the job's drain and two session timeouts", busy.who, busy.bound))
	case waited > resetPatience+r.config.Defaults().Drain:
		return r.end(ctx, p, fmt.Sprintf("given up after %v: %v", waited.Round(time.Second), cause))
	}
	return false, cause
}

// end takes the reset out of the log. With a reason it was given up.
func (r *resetting) end(ctx context.Context, p *consumer.PendingReset, refused string) (ended bool, err error) {
	d := resetDetail{ID: p.ID, To: p.Spec.String(), Group: r.config.Group, Undoes: p.Undoes, Refused: refused, Table: p.Table}
	a := consumer.Audit{By: p.By, Action: auditReset, Detail: d.detail()}
	if refused != "" {
		a.By, a.Action = consumer.BySelf, auditResetGivenUp
		if p.Table != nil {
			d.Refused += "; offsets may have been set in part"
			a.Detail = d.detail()
		}
	}
	over := errors.New("it has ended")
	_, err = r.s.options.Store.Remember(ctx, r.j.ID, a, func(m *consumer.Memory) error {
		if m.Reset == nil || m.Reset.ID != p.ID {
			return over
		}
		m.EndReset(r.config.Group, refused)
		return nil
	})
	switch {
	case errors.Is(err, over):
	case err != nil:
		return false, err
	case refused != "":
		r.j.log.Error("reset given up", "reset", p.ID, "by", p.By, "to", p.Spec.String(), "cause", refused)
	default:
		r.j.log.Warn("offsets were reset", "reset", p.ID, "by", p.By, "to", p.Spec.String())
	}
	return true, nil
}
