package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"streamer/consumer"
)

// Desires say what is wanted of a job. *Supervisor does. ErrNotNow says that it cannot be wanted of what the job is.
type Desires interface {
	Start(ctx context.Context, job, by string) error
	Stop(ctx context.Context, job, by string) error
	Pause(ctx context.Context, job, by string) error
	Resume(ctx context.Context, job, by string) error
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

// words is what an operator can want of a job, by the last part of the route.
var words = map[string]func(Desires, context.Context, string, string) error{
	"start": Desires.Start, "stop": Desires.Stop, "pause": Desires.Pause, "resume": Desires.Resume,
}

func (a API) desire(want func(Desires, context.Context, string, string) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		var none struct{}
		if err := bodyOf(c, &none); err != nil {
			return err
		}
		id, err := a.known(c)
		if err != nil {
			return err
		}
		ctx := c.Request().Context()
		before, err := a.Store.Memory(ctx, id)
		if err == nil {
			err = want(a.Desires, ctx, id, operator)
		}
		switch {
		case errors.Is(err, ErrNotNow):
			return refuse(http.StatusConflict, "job", fmt.Sprintf("job %q is stopped", id), "streamer jobs start "+id)
		case err != nil:
			return notRemembered(err)
		}
		after, err := a.Store.Memory(ctx, id)
		if err != nil {
			return notRemembered(err)
		}
		done := DesiredChange{Job: id, Before: desiredText(before.Desired), Desired: desiredText(after.Desired)}
		if after.Hold == nil {
			done.HoldEnded = before.Hold
		}
		return c.JSON(http.StatusOK, done)
	}
}

func desiredText(d consumer.Desired) string { return cmp.Or(string(d), "running") }

// notRemembered says that the log in Kafka cannot be used.
func notRemembered(err error) error {
	return refuse(http.StatusServiceUnavailable, "", "the log in Kafka cannot be read or written: "+err.Error(), "look at /readyz, and try again")
}
