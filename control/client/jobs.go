package client

import (
	"context"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/service"
)

// Jobs gives every job, by id: all pages in one.
func (c *Client) Jobs(ctx context.Context) (control.JobPage, error) {
	all := control.JobPage{Jobs: []control.JobSummary{}}
	in := service.Page{Limit: consumer.MaxPage}
	for {
		page := control.JobPage{Jobs: make([]control.JobSummary, 0, in.Limit)} // as many as come, so that they are not moved while they are read
		if err := c.Call(ctx, "jobs.list", in, &page); err != nil {
			return control.JobPage{}, err
		}
		all.Jobs, all.Unreached, all.LogAge = append(all.Jobs, page.Jobs...), page.Unreached, page.LogAge
		if page.Next == "" {
			return all, nil
		}
		in.Cursor = page.Next
	}
}

// Job gives one job with its partitions and instances.
func (c *Client) Job(ctx context.Context, id string) (control.JobView, error) {
	var v control.JobView
	err := c.Call(ctx, "jobs.show", control.JobIn{Job: id}, &v)
	return v, err
}

// Desire says what is wanted of a job: start, stop, pause or resume.
func (c *Client) Desire(ctx context.Context, id, word string) (control.DesiredChange, error) {
	var d control.DesiredChange
	err := c.Call(ctx, "jobs."+word, control.JobIn{Job: id}, &d)
	return d, err
}
