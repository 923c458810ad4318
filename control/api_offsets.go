package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"streamer/consumer"
	"streamer/control/service"
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

// OffsetsService is the service offsets: where jobs go on.
type OffsetsService interface {
	// Accept lets held partitions go on, after a gap in the log.
	Accept(context.Context, service.Caller, AcceptIn) (AcceptedPage, error)
}

func offsetsMethods(s OffsetsService) []service.Method {
	return []service.Method{
		service.New(service.Method{Service: "offsets", Name: "accept", Verb: http.MethodPost, Route: "/jobs/{job}/offsets/accept", Permission: service.Operate, On: "job",
			Summary: "lets held partitions go on, after a gap in the log"}, s.Accept),
	}
}

// AcceptIn says which partitions go on where.
type AcceptIn struct {
	JobIn
	Topic     string `json:"topic,omitempty" doc:"only partitions of this topic"`
	Partition *int32 `json:"partition,omitempty" minimum:"0" doc:"only this partition of the topic" mend:"leave it out for all that are held"`
	At        string `json:"at" minLength:"1" doc:"where to go on: earliest, latest, committed, or an offset" mend:"say earliest, latest, committed, or an offset"`
	DryRun    bool   `json:"dry_run,omitempty" doc:"say where they would go on, and change nothing"`
	// Done are consumer.Acceptance.Done.
	Done []consumer.TopicPartition `json:"done,omitempty" doc:"partitions that are not meant, since another instance has answered for them"`
}

type offsetsService struct{ API }

// Accept implements OffsetsService. It asks one instance after the other, this one first.
func (a offsetsService) Accept(ctx context.Context, by service.Caller, in AcceptIn) (AcceptedPage, error) {
	if in.Partition != nil && in.Topic == "" {
		return AcceptedPage{}, service.Refuse(http.StatusBadRequest, "topic", "is missing", "a partition needs its topic")
	}
	page := AcceptedPage{Accepted: []consumer.Accepted{}, DryRun: in.DryRun}
	accepted, why, err := a.acceptHere(ctx, by, in)
	if err != nil {
		return AcceptedPage{}, err
	}
	page.Accepted = append(page.Accepted, accepted...)
	if !by.Hopped() {
		if there := a.acceptThere(ctx, by, in, &page); there != nil {
			why = there
		}
	}
	if len(page.Accepted) == 0 && len(page.Unreached) == 0 {
		return AcceptedPage{}, why
	}
	slices.SortFunc(page.Accepted, func(a, b consumer.Accepted) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return page, nil
}

// acceptHere asks the runner on this instance. why says that there is nothing to accept here.
func (a API) acceptHere(ctx context.Context, by service.Caller, in AcceptIn) (accepted []consumer.Accepted, why *service.Problem, err error) {
	gaps, running := a.Jobs.Gaps(in.Job)
	if !running {
		return nil, service.Refuse(http.StatusConflict, "job", fmt.Sprintf("job %q does not run", in.Job), "streamer jobs show "+in.Job+" says why"), nil
	}
	asked := consumer.Acceptance{Topic: in.Topic, Partition: -1, At: in.At, DryRun: in.DryRun, Done: in.Done}
	if in.Partition != nil {
		asked.Partition = *in.Partition
	}
	accepted, err = gaps.Accept(ctx, asked, by.Name)
	var wrong *consumer.AcceptError
	switch {
	case err == nil:
		return accepted, nil, nil
	case errors.As(err, &wrong) && wrong.Field == "at":
		return nil, nil, service.Refuse(http.StatusBadRequest, wrong.Field, wrong.Cause, "")
	case errors.As(err, &wrong):
		return nil, service.Refuse(http.StatusConflict, wrong.Field, wrong.Cause, "streamer jobs show "+in.Job+" says what is held"), nil
	case errors.Is(err, consumer.ErrNotRunning):
		return nil, service.Refuse(http.StatusConflict, "job", err.Error(), "streamer jobs show "+in.Job+" says why"), nil
	}
	return nil, nil, kafkaProblem("what is held was not accepted, or in part", err)
}

// acceptTimeout bounds what one instance is waited for: it may be looking at its topics, and then asks Kafka what is to be accepted.
const acceptTimeout = 15 * time.Second

// acceptThere asks the other instances, each without what those before it have answered for. why says that there is nothing to accept
// on the last one.
func (a API) acceptThere(ctx context.Context, by service.Caller, in AcceptIn, page *AcceptedPage) (why *service.Problem) {
	for _, p := range a.peers(a.Fleet.Telling(in.Job)) {
		if in.Partition != nil && len(page.Accepted) > 0 { // the one that was meant
			return nil
		}
		in.Done = nil
		for _, x := range page.Accepted {
			in.Done = append(in.Done, consumer.TopicPartition{Topic: x.Topic, Partition: x.Partition})
		}
		waiting, cancel := context.WithTimeout(ctx, acceptTimeout)
		more, err := ask[AcceptedPage](waiting, a, by, p, "offsets.accept", in)
		cancel()
		var told *service.Problem
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
