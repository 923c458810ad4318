package client

import (
	"context"

	"streamer/consumer"
	"streamer/control"
)

// Accept lets held partitions of a job go on where a says.
func (c *Client) Accept(ctx context.Context, job string, a consumer.Acceptance) (control.AcceptedPage, error) {
	in := control.AcceptIn{JobIn: control.JobIn{Job: job}, Topic: a.Topic, At: a.At, DryRun: a.DryRun, Done: a.Done}
	if a.Partition >= 0 {
		in.Partition = &a.Partition
	}
	var page control.AcceptedPage
	err := c.Call(ctx, "offsets.accept", in, &page)
	return page, err
}

// Offsets gives the committed offsets of a job, their lag, and who is in its group.
func (c *Client) Offsets(ctx context.Context, job string) (control.OffsetsView, error) {
	var v control.OffsetsView
	err := c.Call(ctx, "offsets.show", control.JobIn{Job: job}, &v)
	return v, err
}

// ResetOffsets begins to set the offsets of a job anew, or with DryRun says what that would do.
func (c *Client) ResetOffsets(ctx context.Context, in control.ResetIn) (control.ResetAnswer, error) {
	var a control.ResetAnswer
	err := c.Call(ctx, "offsets.reset", in, &a)
	return a, err
}

// UndoReset begins to take the last reset of a job back, or with dryRun says what that would do.
func (c *Client) UndoReset(ctx context.Context, job string, dryRun bool) (control.ResetAnswer, error) {
	var a control.ResetAnswer
	err := c.Call(ctx, "offsets.undo", control.UndoIn{JobIn: control.JobIn{Job: job}, DryRun: dryRun}, &a)
	return a, err
}

// resetWait is how long one question about a reset waits, in seconds.
const resetWait = 20

// ResetOutcome waits until a reset has ended. tell, if not nil, gets what it waits for.
func (c *Client) ResetOutcome(ctx context.Context, job, id string, tell func(control.ResetStatus)) (consumer.ResetOutcome, error) {
	for wait := 2; ; wait = resetWait {
		var out control.OutcomeOut
		if err := c.Call(ctx, "offsets.outcome", control.OutcomeIn{JobIn: control.JobIn{Job: job}, Reset: id, Wait: wait}, &out); err != nil {
			return consumer.ResetOutcome{}, err
		}
		if out.Ended {
			return *out.Outcome, nil
		}
		if tell != nil && out.Reset != nil {
			tell(*out.Reset)
		}
	}
}
