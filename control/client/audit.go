package client

import (
	"context"

	"streamer/control"
	"streamer/control/service"
)

// Audit gives one page of who did what, the newest first: to one job, or one connection, or all, limit lines at most (0: the server's
// default), from cursor on.
func (c *Client) Audit(ctx context.Context, about control.AuditSubject, cursor string, limit int) (control.AuditPage, error) {
	var page control.AuditPage
	err := c.Call(ctx, "audit.list", control.AuditIn{Job: about.Job, Connection: about.Connection, Page: service.Page{Limit: limit, Cursor: cursor}}, &page)
	return page, err
}
