package control

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"streamer/control/service"
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

// AuditService is the service audit: who did what.
type AuditService interface {
	// List gives one page of it, the newest line first: of one job, whose owner the caller may view, or for admins of all.
	List(context.Context, service.Caller, AuditIn) (AuditPage, error)
}

func auditMethods(s AuditService) []service.Method {
	return []service.Method{
		service.New(service.Method{Service: "audit", Name: "list", Verb: http.MethodGet, Route: "/audit", Permission: service.View, On: service.Any,
			Summary: "lists who did what, the newest first: of a job, or for admins of all"}, s.List),
	}
}

// AuditIn says which lines.
type AuditIn struct {
	Job string `json:"job,omitempty" doc:"only lines of this job"`
	service.Page
}

type auditService struct{ API }

// List implements AuditService.
func (a auditService) List(ctx context.Context, by service.Caller, in AuditIn) (AuditPage, error) {
	if err := a.mayRead(by, in.Job); err != nil {
		return AuditPage{}, err
	}
	var before int64
	if in.Cursor != "" {
		var err error
		if before, err = strconv.ParseInt(in.Cursor, 10, 64); err != nil || before < 1 {
			return AuditPage{}, refuse(http.StatusBadRequest, "cursor", strconv.Quote(in.Cursor)+" is no number from 1 to "+strconv.FormatInt(math.MaxInt64, 10), "begin without a cursor, and take the next of each page")
		}
	}
	lines, next, err := a.Audits.Audit(ctx, in.Job, before, in.Limit)
	if err != nil {
		return AuditPage{}, refuse(http.StatusBadGateway, "", err.Error(), "look at /readyz, and try again")
	}
	page := AuditPage{Lines: append([]AuditLine{}, lines...)}
	if next > 0 {
		page.Next = strconv.FormatInt(next, 10)
	}
	return page, nil
}

// mayRead refuses lines of others. Those of a job that is gone are for admins.
func (a auditService) mayRead(by service.Caller, job string) error {
	if by.May(service.Admin, "") {
		return nil
	}
	owner, known := a.owners().OwnerOf(job)
	switch {
	case job == "":
		return service.Denied(by, service.Admin, "the audit of all jobs", "")
	case !known:
		return service.UnknownJob(a.owners(), by, "job", job)
	case !by.May(service.View, owner):
		return service.Denied(by, service.View, fmt.Sprintf("job %q", job), owner)
	}
	return nil
}
