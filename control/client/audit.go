package client

import (
	"context"

	"streamer/control"
	"streamer/control/service"
)

// Audit gives one page of who did what, the newest first: of one job or (empty) of all, limit lines at most (0: the server's
// default), from cursor on.
func (c *Client) Audit(ctx context.Context, job, cursor string, limit int) (control.AuditPage, error) {
	var page control.AuditPage
	err := c.Call(ctx, "audit.list", control.AuditIn{Job: job, Page: service.Page{Limit: limit, Cursor: cursor}}, &page)
	return page, err
}
