package client

import (
	"context"
	"encoding/json"

	"streamer/control"
	"streamer/control/service"
)

// Definition gives a job as it was defined, its secrets masked, with its revision.
func (c *Client) Definition(ctx context.Context, id string) (control.Definition, error) {
	var d control.Definition
	err := c.Call(ctx, "jobs.definition", control.JobIn{Job: id}, &d)
	return d, err
}

// Definitions gives the definitions of all jobs that the caller may view, by id and without their documents: all pages in one.
func (c *Client) Definitions(ctx context.Context) ([]control.Definition, error) {
	var all []control.Definition
	in := control.DefinitionsIn{Page: service.Page{Limit: service.MaxPage}}
	for {
		var page control.DefinitionPage
		if err := c.Call(ctx, "jobs.definitions", in, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Definitions...)
		if page.Next == "" {
			return all, nil
		}
		in.Cursor = page.Next
	}
}

// CreateJob adds a job. document is the job as JSON.
func (c *Client) CreateJob(ctx context.Context, document json.RawMessage) (control.Definition, error) {
	var d control.Definition
	err := c.Call(ctx, "jobs.create", control.DocumentIn{Document: document}, &d)
	return d, err
}

// ReplaceJob changes a job that still has the given revision, * for any.
func (c *Client) ReplaceJob(ctx context.Context, id, revision string, document json.RawMessage) (control.Definition, error) {
	var d control.Definition
	err := c.Call(ctx, "jobs.replace", control.ReplaceIn{JobIn: control.JobIn{Job: id}, DocumentIn: control.DocumentIn{Document: document}, IfMatch: revision}, &d)
	return d, err
}

// DeleteJob lets every instance leave a job that still has the given revision, * for any, after which it is removed. The answer comes when
// that is decided; Definition says when it is done, with 404. offsets and letters say what goes with it.
func (c *Client) DeleteJob(ctx context.Context, id, revision string, offsets, letters bool) (control.Definition, error) {
	var d control.Definition
	err := c.Call(ctx, "jobs.delete", control.DeleteIn{JobIn: control.JobIn{Job: id}, Offsets: offsets, Letters: letters, IfMatch: revision}, &d)
	return d, err
}

// DiffJob tells what a document would change of a job, and what that does. Nothing is written.
func (c *Client) DiffJob(ctx context.Context, id string, document json.RawMessage) (control.Difference, error) {
	var d control.Difference
	err := c.Call(ctx, "jobs.diff", control.DiffIn{JobIn: control.JobIn{Job: id}, DocumentIn: control.DocumentIn{Document: document}}, &d)
	return d, err
}

// ValidateJob tells what is wrong with a document. Nothing is written.
func (c *Client) ValidateJob(ctx context.Context, document json.RawMessage) (control.Validation, error) {
	var v control.Validation
	err := c.Call(ctx, "jobs.validate", control.DocumentIn{Document: document}, &v)
	return v, err
}

// TestJob shows the requests that a job would make of a record, and makes none: of the job as it is, or as in.Document has it.
func (c *Client) TestJob(ctx context.Context, in control.TestIn) (control.Tested, error) {
	var t control.Tested
	err := c.Call(ctx, "jobs.test", in, &t)
	return t, err
}

// JobLog gives the last lines of the log about a job, of all instances, the oldest first; limit of them at most (0: the server's default).
func (c *Client) JobLog(ctx context.Context, id string, limit int) (control.LogPage, error) {
	var page control.LogPage
	err := c.Call(ctx, "jobs.logs", control.LogsIn{JobIn: control.JobIn{Job: id}, Limit: limit}, &page)
	return page, err
}
