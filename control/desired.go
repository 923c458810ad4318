package control

import (
	"context"
	"errors"
	"fmt"

	"streamer/consumer"
	"streamer/control/service"
)

// ErrNoJob says that there is no job of that id.
var ErrNoJob = errors.New("there is no such job")

// ErrNotNow says that a job cannot become what was asked for from what it is.
var ErrNotNow = errors.New("not possible now")

// Start lets a job run that was stopped or paused, and ends a hold that only an operator ends. Every instance follows within
// seconds. by is written to the audit, and refused
// if the job is not his to operate by the time it is written. Errors: ErrNoJob, ErrNotNow, a *service.Problem, those of Store.Remember.
func (s *Supervisor) Start(ctx context.Context, job string, by service.Caller) error {
	return s.want(ctx, job, by, consumer.Audit{By: by.Name, Action: "start"}, func(m *consumer.Memory) error {
		m.Desired, m.Hold = consumer.WantRunning, nil
		return nil
	})
}

// Stop ends a job on every instance in good order: it drains, commits and leaves its group. Its offsets are kept.
func (s *Supervisor) Stop(ctx context.Context, job string, by service.Caller) error {
	return s.want(ctx, job, by, consumer.Audit{By: by.Name, Action: "stop"}, func(m *consumer.Memory) error {
		m.Desired = consumer.WantStopped
		return nil
	})
}

// Pause lets a job start no attempts until it is resumed. It stays a member of its group and keeps its partitions.
func (s *Supervisor) Pause(ctx context.Context, job string, by service.Caller) error {
	return s.want(ctx, job, by, consumer.Audit{By: by.Name, Action: "pause"}, func(m *consumer.Memory) error {
		if m.Desired == consumer.WantStopped {
			return fmt.Errorf("%w: job %s is stopped; start it first", ErrNotNow, job)
		}
		m.Desired = consumer.WantPaused
		return nil
	})
}

// Resume ends a pause, and a hold that only an operator ends.
func (s *Supervisor) Resume(ctx context.Context, job string, by service.Caller) error {
	return s.want(ctx, job, by, consumer.Audit{By: by.Name, Action: "resume"}, func(m *consumer.Memory) error {
		if m.Desired == consumer.WantStopped {
			return fmt.Errorf("%w: job %s is stopped; start it", ErrNotNow, job)
		}
		m.Desired, m.Hold = consumer.WantRunning, nil
		return nil
	})
}

func (s *Supervisor) want(ctx context.Context, job string, by service.Caller, a consumer.Audit, change func(*consumer.Memory) error) error {
	if s.job(job) == nil {
		return fmt.Errorf("%w: %s", ErrNoJob, job)
	}
	_, err := s.options.Store.Remember(ctx, job, a, func(m *consumer.Memory) error {
		if err := permits(s.options.Definitions, by, job); err != nil {
			return err
		}
		return change(m)
	})
	return err
}
