package control

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"streamer/consumer"
	"streamer/control/service"
)

// Resets show and set the offsets of jobs. Its methods may be called from any goroutine, on any instance: what was asked for is in the
// log, and whichever instance it falls to carries it out. Errors are a *service.Problem, or Kafka's.
type Resets struct{ s *Supervisor }

// Resets gives those of the supervisor's jobs.
func (s *Supervisor) Resets() *Resets { return &Resets{s} }

// ResetStatus is a reset that is under way.
type ResetStatus struct {
	ID string    `json:"id"`
	By string    `json:"by"`
	At time.Time `json:"at"`
	// To is what was asked for.
	To    string `json:"to"`
	Phase string `json:"phase"`
	// Cause says what it waits for, on the instance that carries it out.
	Cause string `json:"cause,omitempty"`
}

func resetStatus(p *consumer.PendingReset, note string) *ResetStatus {
	if p == nil {
		return nil
	}
	return &ResetStatus{ID: p.ID, By: p.By, At: p.At, To: p.Spec.String(), Phase: p.Phase(), Cause: note}
}

// resetCause is the cause of the state Resetting.
func resetCause(p *consumer.PendingReset, note string) string {
	text := fmt.Sprintf("%s resets its offsets (%s) since %s: %s", p.By, p.Spec, p.At.Format(time.RFC3339), p.Phase())
	if note != "" {
		text += "; " + note
	}
	return text
}

// OffsetsView is what Kafka and the log know of a job's offsets.
type OffsetsView struct {
	consumer.OffsetsView
	// Reset is one that is under way, LastReset what became of the one before.
	Reset     *ResetStatus           `json:"reset,omitempty"`
	LastReset *consumer.ResetOutcome `json:"last_reset,omitempty"`
}

// ResetAnswer is what a reset will do, or would.
type ResetAnswer struct {
	// ID names the reset, for Wait; empty: nothing was begun.
	ID string `json:"id,omitempty"`
	// Undoes is the id of the reset that is taken back.
	Undoes string `json:"undoes,omitempty"`
	// Fixed is what was asked for with times in place of what counts from now, for whoever wants what he was shown; absent if nothing does.
	// Notes say by whose clock.
	Fixed *consumer.ResetSpec `json:"fixed,omitempty"`
	consumer.ResetPlan
}

// fix reckons what counts from now, by this instance's clock, and says so in answer.
func (r *Resets) fix(spec consumer.ResetSpec, now time.Time) (consumer.ResetSpec, ResetAnswer, error) {
	var answer ResetAnswer
	fixed, err := spec.Fixed(now)
	reckoned := spec.Reckoned(now)
	if err != nil || len(reckoned) == 0 {
		return fixed, answer, err
	}
	answer.Fixed = &fixed
	answer.Notes = []string{strings.Join(reckoned, ", ") + " by the clock of instance " + r.s.Me().ID}
	for _, i := range r.s.Instances() {
		if i.Apart {
			answer.Notes = append(answer.Notes, fmt.Sprintf("that may be wrong: this clock and the one of instance %s are more than %v apart; set the clocks of all machines, or say a point in time", i.ID, proofHolds))
		}
	}
	return fixed, answer, nil
}

// Show gives the offsets of a job, whether it runs or not.
func (r *Resets) Show(ctx context.Context, job string) (OffsetsView, error) {
	j, m, err := r.job(ctx, job)
	if err != nil {
		return OffsetsView{}, err
	}
	view, err := r.s.options.Kafka.ShowOffsets(ctx, j.Config, m)
	return OffsetsView{OffsetsView: view, Reset: resetStatus(m.Reset, j.resetWaits()), LastReset: m.LastReset}, resetProblem(err)
}

// Preview says what a reset would do now, and does nothing. While the job runs, what is counted from committed offsets moves on.
func (r *Resets) Preview(ctx context.Context, job string, spec consumer.ResetSpec) (ResetAnswer, error) {
	j, m, err := r.job(ctx, job)
	if err != nil {
		return ResetAnswer{}, err
	}
	fixed, answer, err := r.fix(spec, time.Now())
	if err != nil {
		return ResetAnswer{}, resetProblem(err)
	}
	plan, err := r.s.options.Kafka.PreviewReset(ctx, j.Config, fixed, m)
	return answer.with(plan), resetProblem(err)
}

// with is a with a plan, whose notes stand behind its own.
func (a ResetAnswer) with(plan consumer.ResetPlan) ResetAnswer {
	plan.Notes = append(a.Notes, plan.Notes...)
	a.ResetPlan = plan
	return a
}

// Reset begins a reset in the name of by, and answers with its preview when it is in the log: from then on it is carried out, by one
// instance after the other if need be. The job leaves its group everywhere, its offsets are set, and it goes on as it was wanted; a
// stopped job stays stopped. Words that count from committed offsets, and latest, count when the job has left its group.
func (r *Resets) Reset(ctx context.Context, job string, spec consumer.ResetSpec, by service.Caller) (ResetAnswer, error) {
	return r.begin(ctx, job, spec, by, "")
}

func (r *Resets) begin(ctx context.Context, job string, spec consumer.ResetSpec, by service.Caller, undoes string) (ResetAnswer, error) {
	j, m, err := r.job(ctx, job)
	if err != nil {
		return ResetAnswer{}, err
	}
	if m.Reset != nil {
		return ResetAnswer{}, pendingProblem(m.Reset)
	}
	p := consumer.PendingReset{ID: rand.Text()[:12], By: by.Name, At: time.Now().UTC(), Undoes: undoes}
	fixed, answer, err := r.fix(spec, p.At)
	if err != nil {
		return ResetAnswer{}, resetProblem(err)
	}
	p.Spec = fixed
	plan, err := r.s.options.Kafka.PreviewReset(ctx, j.Config, p.Spec, m)
	if err != nil {
		return ResetAnswer{}, resetProblem(err)
	}
	for _, member := range plan.Members {
		if member.Foreign {
			return ResetAnswer{}, service.Refuse(http.StatusConflict, "job", fmt.Sprintf("group %s has a member that is not of this job: %s", plan.Group, member), "stop it first")
		}
	}
	a := consumer.Audit{By: by.Name, Action: auditResetBegun, Detail: map[string]any{"reset": p.ID, "to": p.Spec.String(), "group": plan.Group}}
	if undoes != "" {
		a.Detail["undoes"] = undoes
	}
	_, err = r.s.options.Store.Remember(ctx, job, a, func(m *consumer.Memory) error {
		if err := permits(r.s.options.Definitions, by, job); err != nil {
			return err
		}
		if m.Reset != nil {
			return pendingProblem(m.Reset)
		}
		m.Reset = &p
		return nil
	})
	if err != nil {
		return ResetAnswer{}, logProblem(err)
	}
	answer.ID, answer.Undoes = p.ID, undoes
	return answer.with(plan), nil
}

// Undo sets the offsets back to what was committed before the last reset of the job that was done: a reset of its own, so that undoing
// it does the first one again. With dryRun it says what that would do.
func (r *Resets) Undo(ctx context.Context, job string, by service.Caller, dryRun bool) (ResetAnswer, error) {
	if _, _, err := r.job(ctx, job); err != nil {
		return ResetAnswer{}, err
	}
	last, err := r.last(ctx, job, func(d resetDetail, action string) bool { return action == auditReset })
	if err != nil {
		return ResetAnswer{}, err
	}
	if last == nil {
		return ResetAnswer{}, service.Refuse(http.StatusConflict, "job", fmt.Sprintf("no reset of job %s is in the audit", job), "lines are kept for 90 days; reset to the offsets that you know")
	}
	spec, left := last.Table.Back()
	if len(spec.Table) == 0 {
		return ResetAnswer{}, service.Refuse(http.StatusConflict, "job", "no partition had a committed offset before the last reset", "reset to where it is to be read from")
	}
	var answer ResetAnswer
	if dryRun {
		answer, err = r.Preview(ctx, job, spec)
		answer.Undoes = last.ID
	} else {
		answer, err = r.begin(ctx, job, spec, by, last.ID)
	}
	var p *service.Problem
	switch {
	case errors.As(err, &p) && p.Status == http.StatusBadRequest: // the caller has named the job only: it is the table of before that does not fit any more
		return answer, service.Refuse(http.StatusConflict, "job", "the last reset cannot be taken back: "+p.Detail, p.Mend)
	case err == nil && len(left) > 0:
		answer.Notes = append(answer.Notes, fmt.Sprintf("%v had no committed offset before the reset, and stay where they are", left))
	}
	return answer, err
}

// ResetGoesOnError says that a reset had not ended when nobody waited any more.
type ResetGoesOnError struct{ Reset *ResetStatus }

func (e *ResetGoesOnError) Error() string {
	return fmt.Sprintf("reset %s goes on: %s", e.Reset.ID, e.Reset.Phase)
}

// Wait returns when a reset has ended: its outcome says whether it was done. When ctx ends before, the error is a *ResetGoesOnError. One
// that is neither under way nor the last one is looked up in Kafka, for which ctx does not count: it says how long to wait for the end.
func (r *Resets) Wait(ctx context.Context, job, id string) (consumer.ResetOutcome, error) {
	asking, end := lasting(ctx)
	defer end()
	for looked := false; ; {
		changed := r.s.options.Bulletin.Changed()
		j, m, err := r.job(context.WithoutCancel(ctx), job) // it is in memory
		switch {
		case err != nil:
			return consumer.ResetOutcome{}, err
		case m.LastReset != nil && m.LastReset.ID == id:
			return *m.LastReset, nil
		case (m.Reset == nil || m.Reset.ID != id) && !looked:
			// It may have begun on another instance a moment ago: the log is read up to its end, as for a write.
			looked = true
			if _, err := r.s.options.Store.Remember(asking, job, consumer.Audit{By: consumer.BySelf, Action: "look"}, func(*consumer.Memory) error { return nil }); err != nil {
				return consumer.ResetOutcome{}, logProblem(err)
			}
			continue
		case m.Reset == nil || m.Reset.ID != id:
			return r.ended(asking, job, id)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return consumer.ResetOutcome{}, &ResetGoesOnError{Reset: resetStatus(m.Reset, j.resetWaits())}
		}
	}
}

// ended looks an outcome up that is not the last one.
func (r *Resets) ended(ctx context.Context, job, id string) (consumer.ResetOutcome, error) {
	d, err := r.last(ctx, job, func(d resetDetail, action string) bool {
		return d.ID == id && (action == auditReset || action == auditResetGivenUp)
	})
	if err != nil {
		return consumer.ResetOutcome{}, err
	}
	if d == nil {
		return consumer.ResetOutcome{}, service.Refuse(http.StatusNotFound, "id", fmt.Sprintf("job %s has no reset %s", job, id), "streamer audit lists them")
	}
	return consumer.ResetOutcome{ID: id, By: d.by, At: d.at, Refused: d.Refused}, nil
}

// What the audit calls the steps of a reset.
const (
	auditResetBegun   = "reset-begin"
	auditResetTable   = "reset-table"
	auditReset        = "reset" // it was done
	auditResetGivenUp = "reset-give-up"
)

// resetDetail is AuditLine.Detail of a reset that has ended.
type resetDetail struct {
	ID      string              `json:"reset"`
	To      string              `json:"to"`
	Group   string              `json:"group"`
	Undoes  string              `json:"undoes,omitempty"`
	Refused string              `json:"refused,omitempty"`
	Table   consumer.ResetTable `json:"table,omitempty"`

	by string
	at time.Time
}

// detail is d as a line of the audit has it.
func (d resetDetail) detail() map[string]any {
	out := map[string]any{"reset": d.ID, "to": d.To, "group": d.Group}
	if d.Undoes != "" {
		out["undoes"] = d.Undoes
	}
	if d.Refused != "" {
		out["refused"] = d.Refused
	}
	if d.Table != nil {
		out["table"] = d.Table
	}
	return out
}

// auditPage is how many lines of the audit are read at once.
const auditPage = 100

// last gives the newest line about a reset that is wanted; nil: there is none.
func (r *Resets) last(ctx context.Context, job string, want func(d resetDetail, action string) bool) (*resetDetail, error) {
	for before := int64(0); ; {
		lines, next, err := r.s.options.Store.Audit(ctx, AuditSubject{Job: job}, before, auditPage)
		if err != nil {
			return nil, resetProblem(fmt.Errorf("read the audit: %w", err))
		}
		for _, line := range lines {
			if !strings.HasPrefix(line.Action, auditReset) {
				continue
			}
			text, err := json.Marshal(line.Detail)
			if err != nil {
				return nil, err
			}
			d := resetDetail{by: line.By, at: line.At}
			if json.Unmarshal(text, &d) == nil && want(d, line.Action) {
				return &d, nil
			}
		}
		if before = next; next == 0 {
			return nil, nil
		}
	}
}

// resettable is a job that can be reset, with what it runs as.
type resettable struct {
	*supervised
	Config consumer.Config
}

// job gives a job that can be reset, and what is remembered of it.
func (r *Resets) job(ctx context.Context, id string) (resettable, consumer.Memory, error) {
	none := func(err error) (resettable, consumer.Memory, error) { return resettable{}, consumer.Memory{}, err }
	j := r.s.job(id)
	if j == nil {
		return none(service.Refuse(http.StatusNotFound, "job", fmt.Sprintf("there is no job %s", id), "streamer jobs list lists them"))
	}
	m, err := r.s.options.Store.Memory(ctx, id) // first: before the log was read, nobody knows how a job is defined
	if err != nil {
		return none(logProblem(err))
	}
	config, ok := j.config()
	if !ok {
		return none(service.Refuse(http.StatusConflict, "job", fmt.Sprintf("job %s cannot run as it is defined: %s", id, j.status().Cause), "mend it first"))
	}
	return resettable{j, config}, m, nil
}

func pendingProblem(p *consumer.PendingReset) *service.Problem {
	return service.Refuse(http.StatusConflict, "job", fmt.Sprintf("%s resets the offsets (%s) since %s: %s", p.By, p.Spec, p.At.Format(time.RFC3339), p.Phase()),
		"wait until that has ended; undo takes it back")
}

// resetProblem makes what is wrong with what was asked for a problem.
func resetProblem(err error) error {
	var wrong *consumer.ResetError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Field != "":
		var faults []service.Fault
		for _, e := range append([]*consumer.ResetError{wrong}, wrong.Also...) {
			faults = append(faults, service.Fault{Field: e.Field, Detail: e.Cause, Mend: e.Mend})
		}
		return service.Wrong(faults...)
	case errors.As(err, &wrong):
		return service.Refuse(http.StatusConflict, "", wrong.Cause, wrong.Mend)
	}
	return kafkaProblem("the offsets cannot be read", err)
}
