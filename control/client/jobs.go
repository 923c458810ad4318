package client

import (
	"context"
	"net/http"
	"net/url"

	"streamer/control"
)

// Jobs gives every job, by id.
func (c *Client) Jobs(ctx context.Context) ([]control.JobSummary, error) {
	var all []control.JobSummary
	query := url.Values{"limit": {pageSize}}
	for {
		var page control.JobPage
		if err := c.call(ctx, http.MethodGet, []string{"jobs"}, query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Jobs...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("cursor", page.Next)
	}
}

// pageSize is how much is asked for at once: the most that a page has.
const pageSize = "1000"

// Job gives one job with its partitions and instances.
func (c *Client) Job(ctx context.Context, id string) (control.JobView, error) {
	var v control.JobView
	err := c.call(ctx, http.MethodGet, []string{"jobs", id}, nil, nil, &v)
	return v, err
}
