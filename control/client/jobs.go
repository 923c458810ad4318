package client

import (
	"context"
	"net/http"
	"net/url"

	"streamer/control"
)

// Jobs gives every job, by id: all pages in one.
func (c *Client) Jobs(ctx context.Context) (control.JobPage, error) {
	all := control.JobPage{Jobs: []control.JobSummary{}}
	query := url.Values{"limit": {pageSize}}
	for {
		var page control.JobPage
		if err := c.call(ctx, http.MethodGet, []string{"jobs"}, query, nil, &page); err != nil {
			return control.JobPage{}, err
		}
		all.Jobs, all.Unreached = append(all.Jobs, page.Jobs...), page.Unreached
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

// Desire says what is wanted of a job: start, stop, pause or resume.
func (c *Client) Desire(ctx context.Context, id, word string) (control.DesiredChange, error) {
	var d control.DesiredChange
	err := c.call(ctx, http.MethodPost, []string{"jobs", id, word}, nil, nil, &d)
	return d, err
}
