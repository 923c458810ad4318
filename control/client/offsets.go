package client

import (
	"context"
	"net/http"

	"streamer/consumer"
	"streamer/control"
)

// Accept lets held partitions of a job go on where a says.
func (c *Client) Accept(ctx context.Context, job string, a consumer.Acceptance) (control.AcceptedPage, error) {
	var page control.AcceptedPage
	err := c.call(ctx, http.MethodPost, []string{"jobs", job, "offsets", "accept"}, nil, a, &page)
	return page, err
}
