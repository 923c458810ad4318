package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"streamer/consumer"
)

// Gaps are what holds a job that runs, until somebody accepts it. *consumer.Runner has them.
type Gaps interface {
	// Accept lets held partitions go on somewhere. A *consumer.AcceptError says that nothing is held that a means.
	Accept(ctx context.Context, a consumer.Acceptance, by string) ([]consumer.Accepted, error)
}

// AcceptedPage says where partitions go on, or with DryRun where they would.
type AcceptedPage struct {
	Accepted []consumer.Accepted `json:"accepted"`
	DryRun   bool                `json:"dry_run"`
	// Unreached are instances that did not answer; what they have is still held.
	Unreached []Unreached `json:"unreached,omitempty"`
}

// accept asks one instance after the other, this one first.
func (a API) accept(c echo.Context) error {
	asked := consumer.Acceptance{Partition: -1}
	if err := bodyOf(c, &asked); err != nil {
		return err
	}
	switch {
	case asked.At == "":
		return refuse(http.StatusBadRequest, "at", "is missing", "say earliest, latest, committed, or an offset")
	case asked.Partition < -1:
		return refuse(http.StatusBadRequest, "partition", fmt.Sprintf("%d is less than 0", asked.Partition), "leave it out for all that are held")
	case asked.Partition >= 0 && asked.Topic == "":
		return refuse(http.StatusBadRequest, "topic", "is missing", "a partition needs its topic")
	}
	id, err := a.known(c)
	if err != nil {
		return err
	}
	page, whole := AcceptedPage{Accepted: []consumer.Accepted{}, DryRun: asked.DryRun}, a.lost(id)
	accepted, why, err := a.acceptHere(c.Request().Context(), id, asked)
	if err != nil {
		return err
	}
	page.Accepted = append(page.Accepted, accepted...)
	if !hopped(c) && (len(accepted) == 0 || !whole) {
		if there := a.acceptThere(c, id, asked, &page); there != nil {
			why = there
		}
	}
	if len(page.Accepted) == 0 && len(page.Unreached) == 0 {
		return why
	}
	slices.SortFunc(page.Accepted, func(a, b consumer.Accepted) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return c.JSON(http.StatusOK, page)
}

// acceptHere asks the runner on this instance. why says that there is nothing to accept here.
func (a API) acceptHere(ctx context.Context, id string, asked consumer.Acceptance) (accepted []consumer.Accepted, why *Problem, err error) {
	gaps, running := a.Jobs.Gaps(id)
	if !running {
		return nil, refuse(http.StatusConflict, "job", fmt.Sprintf("job %q does not run", id), "streamer jobs show "+id+" says why"), nil
	}
	accepted, err = gaps.Accept(ctx, asked, operator)
	var wrong *consumer.AcceptError
	switch {
	case err == nil:
		return accepted, nil, nil
	case errors.As(err, &wrong) && wrong.Field == "at":
		return nil, nil, refuse(http.StatusBadRequest, wrong.Field, wrong.Cause, "")
	case errors.As(err, &wrong):
		return nil, refuse(http.StatusConflict, wrong.Field, wrong.Cause, "streamer jobs show "+id+" says what is held"), nil
	case errors.Is(err, consumer.ErrNotRunning):
		return nil, refuse(http.StatusConflict, "job", err.Error(), "streamer jobs show "+id+" says why"), nil
	}
	return nil, nil, refuse(http.StatusServiceUnavailable, "", err.Error(), "what is still held can be accepted again")
}

// acceptThere asks the other instances, until what is meant is accepted. why says that there is nothing to accept on the last one.
func (a API) acceptThere(c echo.Context, id string, asked consumer.Acceptance, page *AcceptedPage) (why *Problem) {
	body, err := json.Marshal(asked)
	if err != nil {
		return nil
	}
	for _, p := range a.peers(id) {
		if enough(asked, page.Accepted) {
			return nil
		}
		var more AcceptedPage
		err := p.ask(c.Request().Context(), http.MethodPost, c.Request().URL.RequestURI(), string(body), &more)
		var told *Problem
		switch {
		case errors.As(err, &told) && told.Status == http.StatusConflict:
			why = told
		case err != nil:
			page.Unreached = append(page.Unreached, Unreached{Instance: p.ID, Cause: err.Error()})
		}
		page.Accepted = append(page.Accepted, more.Accepted...)
	}
	return why
}

// enough tells whether nothing is left to accept elsewhere: the one partition that was meant is accepted, or one instance spoke for
// all, as it does for a topic that was made anew. Asked again, another one would commit over what was read since.
func enough(asked consumer.Acceptance, accepted []consumer.Accepted) bool {
	return asked.Partition >= 0 && len(accepted) > 0 ||
		slices.ContainsFunc(accepted, func(x consumer.Accepted) bool { return x.Cause == consumer.HoldRecreated })
}

// lost tells whether the job is held as a whole on this instance, since its group has no offsets. Then no instance has joined the
// group, and one speaks for all.
func (a API) lost(id string) bool {
	return slices.ContainsFunc(a.Jobs.Here(), func(j JobHere) bool {
		return j.ID == id && slices.ContainsFunc(j.Holds, func(h consumer.Hold) bool { return h.Cause == consumer.HoldOffsetsLost })
	})
}
