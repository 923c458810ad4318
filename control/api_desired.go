package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"streamer/consumer"
	"streamer/control/service"
)

// Desires say what is wanted of a job. *Supervisor does. ErrNotNow says that it cannot be wanted of what the job is.
type Desires interface {
	Start(ctx context.Context, job string, by service.Caller) error
	Stop(ctx context.Context, job string, by service.Caller) error
	Pause(ctx context.Context, job string, by service.Caller) error
	Resume(ctx context.Context, job string, by service.Caller) error
}

// DesiredChange says what an operator's word has changed.
type DesiredChange struct {
	Job string `json:"job"`
	// Before and Desired are what was and what is wanted of the job: running, paused or stopped.
	Before  string `json:"before"`
	Desired string `json:"desired"`
	// HoldEnded is the hold that it has ended, if there was one.
	HoldEnded *consumer.Hold `json:"hold_ended,omitempty"`
}

// Start implements JobsService.
func (a jobsService) Start(ctx context.Context, by service.Caller, in JobIn) (DesiredChange, error) {
	return a.desire(ctx, by, in.Job, a.Desires.Start)
}

// Stop implements JobsService.
func (a jobsService) Stop(ctx context.Context, by service.Caller, in JobIn) (DesiredChange, error) {
	return a.desire(ctx, by, in.Job, a.Desires.Stop)
}

// Pause implements JobsService.
func (a jobsService) Pause(ctx context.Context, by service.Caller, in JobIn) (DesiredChange, error) {
	return a.desire(ctx, by, in.Job, a.Desires.Pause)
}

// Resume implements JobsService.
func (a jobsService) Resume(ctx context.Context, by service.Caller, in JobIn) (DesiredChange, error) {
	return a.desire(ctx, by, in.Job, a.Desires.Resume)
}

func (a jobsService) desire(ctx context.Context, by service.Caller, id string, want func(ctx context.Context, job string, by service.Caller) error) (DesiredChange, error) {
	before, err := a.Store.Memory(ctx, id)
	if err == nil {
		err = want(ctx, id, by)
	}
	switch {
	case errors.Is(err, ErrNotNow):
		return DesiredChange{}, service.Refuse(http.StatusConflict, "job", fmt.Sprintf("job %q is stopped", id), "streamer jobs start "+id)
	case err != nil:
		return DesiredChange{}, logProblem(err)
	}
	after, err := a.Store.Memory(ctx, id)
	if err != nil {
		return DesiredChange{}, logProblem(err)
	}
	done := DesiredChange{Job: id, Before: desiredText(before.Desired), Desired: desiredText(after.Desired)}
	if after.Hold == nil {
		done.HoldEnded = before.Hold
	}
	return done, nil
}

func desiredText(d consumer.Desired) string { return cmp.Or(string(d), "running") }
