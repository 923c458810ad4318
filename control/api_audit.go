package control

import (
	"context"
	"math"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
)

// Audits reads who did what. *Store does.
type Audits interface {
	// Audit gives at most limit lines, newest first, of one job or (empty) of all, from before a revision on (0: the newest). next is
	// the revision to go on with; 0: there are no more.
	Audit(ctx context.Context, job string, before int64, limit int) (lines []AuditLine, next int64, err error)
}

// AuditPage is part of the audit, the newest line first.
type AuditPage struct {
	Lines []AuditLine `json:"lines"`
	// Next is the cursor of the next page, which is older; absent on the last one.
	Next string `json:"next,omitempty"`
}

func (a API) audit(c echo.Context) error {
	q := queryOf(c, "job", "limit", "cursor")
	limit, _ := q.page()
	before := q.number("cursor", 1, math.MaxInt64, 0)
	if q.err != nil {
		return q.err
	}
	lines, next, err := a.Audits.Audit(c.Request().Context(), q.text("job"), before, limit)
	if err != nil {
		return refuse(http.StatusBadGateway, "", err.Error(), "look at /readyz, and try again")
	}
	page := AuditPage{Lines: append([]AuditLine{}, lines...)}
	if next > 0 {
		page.Next = strconv.FormatInt(next, 10)
	}
	return c.JSON(http.StatusOK, page)
}
