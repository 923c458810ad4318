package control

import (
	"context"
	"errors"
	"net/http"
	"time"

	"streamer/consumer"
	"streamer/control/service"
)

// Resetter shows and sets offsets. *Resets does.
type Resetter interface {
	Show(ctx context.Context, job string) (OffsetsView, error)
	Preview(ctx context.Context, job string, spec consumer.ResetSpec) (ResetAnswer, error)
	Reset(ctx context.Context, job string, spec consumer.ResetSpec, by service.Caller) (ResetAnswer, error)
	Undo(ctx context.Context, job string, by service.Caller, dryRun bool) (ResetAnswer, error)
	Wait(ctx context.Context, job, id string) (consumer.ResetOutcome, error)
}

// ResetsService is the part of the service offsets that sets them.
type ResetsService interface {
	// Show gives the offsets of a job.
	Show(context.Context, service.Caller, JobIn) (OffsetsView, error)
	// Reset sets them anew.
	Reset(context.Context, service.Caller, ResetIn) (ResetAnswer, error)
	// Undo takes the last reset back.
	Undo(context.Context, service.Caller, UndoIn) (ResetAnswer, error)
	// Outcome waits for a reset.
	Outcome(context.Context, service.Caller, OutcomeIn) (OutcomeOut, error)
}

func resetsMethods(s ResetsService) []service.Method {
	return []service.Method{
		service.New(service.Method{Service: "offsets", Name: "show", Verb: http.MethodGet, Route: "/jobs/{job}/offsets", Permission: service.View, On: "job",
			Summary: "shows committed offsets, lag and the members of the group"}, s.Show),
		service.New(service.Method{Service: "offsets", Name: "reset", Verb: http.MethodPost, Route: "/jobs/{job}/offsets", Permission: service.Operate, On: "job",
			Also: []int{http.StatusAccepted}, Summary: "sets offsets anew: the job leaves its group, is set, and goes on"}, s.Reset),
		service.New(service.Method{Service: "offsets", Name: "undo", Verb: http.MethodPost, Route: "/jobs/{job}/offsets/undo", Permission: service.Operate, On: "job",
			Also: []int{http.StatusAccepted}, Summary: "sets offsets back to what was committed before the last reset"}, s.Undo),
		service.New(service.Method{Service: "offsets", Name: "outcome", Verb: http.MethodGet, Route: "/jobs/{job}/offsets/resets/{reset}", Permission: service.View, On: "job",
			Summary: "waits a while for a reset to end, and says what has become of it"}, s.Outcome),
	}
}

// ResetIn says where the partitions of a job are to be set.
type ResetIn struct {
	JobIn
	To       string                     `json:"to,omitempty" doc:"where to set all partitions that are not named otherwise: earliest, latest, an offset, +n or -n, a time (RFC 3339), or how long ago (-2h)" mend:"say earliest, latest, an offset, +n or -n, a time, or how long ago"`
	Parts    []consumer.ResetPart       `json:"parts,omitempty" maxItems:"100000" doc:"topics, or single partitions, with where to set them"`
	Table    map[string]map[int32]int64 `json:"table,omitempty" doc:"offsets by topic and partition"`
	TopicIDs map[string]string          `json:"topic_ids,omitempty" doc:"Kafka's ids of topics: a topic that has another one now is refused"`
	KeepKeys bool                       `json:"keep_keys,omitempty" doc:"send the idempotency keys of before, so that an API that remembers them does nothing twice"`
	DryRun   bool                       `json:"dry_run,omitempty" doc:"say what it would do, and change nothing"`
}

// UndoIn says whose last reset is taken back.
type UndoIn struct {
	JobIn
	DryRun bool `json:"dry_run,omitempty" doc:"say what it would do, and change nothing"`
}

// OutcomeIn names a reset.
type OutcomeIn struct {
	JobIn
	Reset string `json:"reset" doc:"id of the reset"`
	Wait  int    `json:"wait,omitempty" minimum:"0" maximum:"30" doc:"seconds to wait for its end"`
}

// OutcomeOut is what has become of a reset, or how far it is.
type OutcomeOut struct {
	Ended   bool                   `json:"ended"`
	Outcome *consumer.ResetOutcome `json:"outcome,omitempty"`
	Reset   *ResetStatus           `json:"reset,omitempty"`
}

// Status implements service.WithStatus: a reset that was begun goes on after the answer.
func (a ResetAnswer) Status() int {
	if a.ID != "" {
		return http.StatusAccepted
	}
	return http.StatusOK
}

type resetsService struct{ API }

// Show implements ResetsService.
func (a resetsService) Show(ctx context.Context, _ service.Caller, in JobIn) (OffsetsView, error) {
	return a.Resets.Show(ctx, in.Job)
}

// Reset implements ResetsService.
func (a resetsService) Reset(ctx context.Context, by service.Caller, in ResetIn) (ResetAnswer, error) {
	spec := consumer.ResetSpec{To: in.To, Parts: in.Parts, Table: in.Table, TopicIDs: in.TopicIDs, KeepKeys: in.KeepKeys}
	if in.DryRun {
		return a.Resets.Preview(ctx, in.Job, spec)
	}
	return a.Resets.Reset(ctx, in.Job, spec, by)
}

// Undo implements ResetsService.
func (a resetsService) Undo(ctx context.Context, by service.Caller, in UndoIn) (ResetAnswer, error) {
	return a.Resets.Undo(ctx, in.Job, by, in.DryRun)
}

// Outcome implements ResetsService.
func (a resetsService) Outcome(ctx context.Context, _ service.Caller, in OutcomeIn) (OutcomeOut, error) {
	waiting, cancel := context.WithTimeout(ctx, time.Duration(in.Wait)*time.Second)
	defer cancel()
	o, err := a.Resets.Wait(waiting, in.Job, in.Reset)
	var going *ResetGoesOnError
	switch {
	case errors.As(err, &going):
		return OutcomeOut{Reset: going.Reset}, nil
	case err != nil:
		return OutcomeOut{}, err
	}
	return OutcomeOut{Ended: true, Outcome: &o}, nil
}
