package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"streamer/consumer"
	"streamer/control"
)

// FindRecord says where the rows of a record are; a row < 0 means all of them.
func (c *Client) FindRecord(ctx context.Context, job string, at consumer.Position) (control.FoundPage, error) {
	query := url.Values{"topic": {at.Topic}, "partition": {strconv.Itoa(int(at.Partition))}, "offset": {strconv.FormatInt(at.Offset, 10)}}
	if at.Row >= 0 {
		query.Set("row", strconv.Itoa(int(at.Row)))
	}
	var page control.FoundPage
	err := c.call(ctx, http.MethodGet, []string{"jobs", job, "deliveries"}, query, nil, &page)
	return page, err
}

// FindKey says where the rows of a key are that are not final, at most limit of them; 0 means 100.
func (c *Client) FindKey(ctx context.Context, job, key string, limit int) (control.FoundPage, error) {
	query := url.Values{"key": {key}}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	var page control.FoundPage
	err := c.call(ctx, http.MethodGet, []string{"jobs", job, "deliveries"}, query, nil, &page)
	return page, err
}

// Decide retries or gives up one row.
func (c *Client) Decide(ctx context.Context, job string, at consumer.Position, d consumer.Decision) (control.Decided, error) {
	var done control.Decided
	err := c.call(ctx, http.MethodPost, []string{"jobs", job, "deliveries", string(d)}, nil, at, &done)
	return done, err
}
