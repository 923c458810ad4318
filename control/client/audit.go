package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"streamer/control"
)

// Audit gives one page of who did what, the newest first: of one job or (empty) of all, limit lines at most (0: the server's
// default), from cursor on.
func (c *Client) Audit(ctx context.Context, job, cursor string, limit int) (control.AuditPage, error) {
	query := url.Values{}
	if job != "" {
		query.Set("job", job)
	}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	var page control.AuditPage
	err := c.call(ctx, http.MethodGet, []string{"audit"}, query, nil, &page)
	return page, err
}
