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
