package client

import (
	"context"

	"streamer/consumer"
	"streamer/control"
)

// FindRecord says where the rows of a record are; a row < 0 means all of them, an empty route all of the job's.
func (c *Client) FindRecord(ctx context.Context, job string, at consumer.Position) (control.FoundPage, error) {
	in := control.FindIn{JobIn: control.JobIn{Job: job}, Topic: at.Topic, Partition: &at.Partition, Offset: &at.Offset, Route: at.Route}
	if at.Row >= 0 {
		in.Row = &at.Row
	}
	var page control.FoundPage
	err := c.Call(ctx, "deliveries.find", in, &page)
	return page, err
}

// FindKey says where the rows of a key are that are not final, at most limit of them; 0 means 100.
func (c *Client) FindKey(ctx context.Context, job, key string, limit int) (control.FoundPage, error) {
	var page control.FoundPage
	err := c.Call(ctx, "deliveries.find", control.FindIn{JobIn: control.JobIn{Job: job}, Key: &key, Limit: limit}, &page)
	return page, err
}

// Decide retries or gives up one row.
func (c *Client) Decide(ctx context.Context, job string, at consumer.Position, d consumer.Decision) (control.Decided, error) {
	in := control.RowIn{JobIn: control.JobIn{Job: job}, Topic: at.Topic, Partition: at.Partition, Offset: at.Offset, Row: at.Row, Route: at.Route}
	var done control.Decided
	err := c.Call(ctx, "deliveries."+string(d), in, &done)
	return done, err
}
