package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

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
	// Unreached are instances that did not answer in time; what they have may be held still.
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
	page := AcceptedPage{Accepted: []consumer.Accepted{}, DryRun: asked.DryRun}
	accepted, why, err := a.acceptHere(c.Request().Context(), id, asked)
	if err != nil {
		return err
	}
	page.Accepted = append(page.Accepted, accepted...)
	if !hopped(c) {
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

// acceptThere asks the other instances, each without what those before it have answered for. why says that there is nothing to accept
// on the last one.
func (a API) acceptThere(c echo.Context, id string, asked consumer.Acceptance, page *AcceptedPage) (why *Problem) {
	for _, p := range a.peers(id) {
		if asked.Partition >= 0 && len(page.Accepted) > 0 { // the one that was meant
			return nil
		}
		asked.Done = nil
		for _, x := range page.Accepted {
			asked.Done = append(asked.Done, consumer.TopicPartition{Topic: x.Topic, Partition: x.Partition})
		}
		more, err := p.accept(c, asked)
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

// acceptTimeout bounds what one instance is waited for: it may be looking at its topics, and then asks Kafka what is to be accepted.
const acceptTimeout = 15 * time.Second

func (p Peer) accept(c echo.Context, asked consumer.Acceptance) (page AcceptedPage, err error) {
	body, err := json.Marshal(asked)
	if err != nil {
		return page, err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), acceptTimeout)
	defer cancel()
	err = p.ask(ctx, http.MethodPost, c.Request().URL.RequestURI(), string(body), &page)
	return page, err
}
