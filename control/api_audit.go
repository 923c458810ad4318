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
	// Audit gives at most limit lines, newest first, from before a revision on (0: the newest). next is the revision to go on with;
	// 0: there are no more.
	Audit(ctx context.Context, about AuditSubject, before int64, limit int) (lines []AuditLine, next int64, err error)
}

// AuditPage is part of the audit, the newest line first.
type AuditPage struct {
	Lines []AuditLine `json:"lines"`
	// Next is the cursor of the next page, which is older; absent on the last one.
	Next string `json:"next,omitempty"`
}

// AuditService is the service audit: who did what.
type AuditService interface {
	// List gives one page of it, the newest line first: of one job or connection, whose owner the caller may view, or for
	// admins of all.
	List(context.Context, service.Caller, AuditIn) (AuditPage, error)
}

func auditMethods(s AuditService) []service.Method {
	return []service.Method{
		service.New(service.Method{Service: "audit", Name: "list", Verb: http.MethodGet, Route: "/audit", Permission: service.View, On: service.Any,
			Summary: "lists who did what, the newest first: to a job or a connection, or for admins all of it"}, s.List),
	}
}

// AuditIn says which lines.
type AuditIn struct {
	Job        string `json:"job,omitempty" doc:"only lines of this job"`
	Connection string `json:"connection,omitempty" doc:"only lines of this connection"`
	service.Page
}

type auditService struct{ API }

// List implements AuditService.
func (a auditService) List(ctx context.Context, by service.Caller, in AuditIn) (AuditPage, error) {
	if err := a.mayRead(ctx, by, in); err != nil {
		return AuditPage{}, err
	}
	var before int64
	if in.Cursor != "" {
		var err error
		if before, err = strconv.ParseInt(in.Cursor, 10, 64); err != nil || before < 1 {
			return AuditPage{}, service.Refuse(http.StatusBadRequest, "cursor", strconv.Quote(in.Cursor)+" is no number from 1 to "+strconv.FormatInt(math.MaxInt64, 10), "begin without a cursor, and take the next of each page")
		}
	}
	lines, next, err := a.Audits.Audit(ctx, AuditSubject{in.Job, in.Connection}, before, in.Limit)
	if err != nil {
		return AuditPage{}, logProblem(err)
	}
	page := AuditPage{Lines: append([]AuditLine{}, lines...)}
	if next > 0 {
		page.Next = strconv.FormatInt(next, 10)
	}
	return page, nil
}

// mayRead refuses lines of others. Those of what is gone are for admins.
func (a auditService) mayRead(ctx context.Context, by service.Caller, in AuditIn) error {
	owners, kind, name := service.Owners(a.owners()), "job", in.Job
	switch {
	case in.Job != "" && in.Connection != "":
		return service.Wrong(service.Fault{Field: "connection", Detail: "stands beside job", Mend: "ask for one of them"})
	case by.May(service.Admin, ""):
		return nil
	case in.Connection != "" && a.Connections == nil:
		return service.Denied(by, service.Admin, "the audit of connections", "")
	case in.Connection != "":
		owners, kind, name = a.Connections, "connection", in.Connection
	case in.Job == "":
		denied := service.Denied(by, service.Admin, "the whole audit", "")
		denied.Mend += ", or name one job or connection"
		return denied
	}
	switch owner, known, err := service.OwnerOf(ctx, owners, name); {
	case err != nil:
		return err
	case !known:
		return service.Unknown(owners, by, kind, kind, name)
	case !by.May(service.View, owner):
		return service.Denied(by, service.View, fmt.Sprintf("%s %q", kind, name), owner)
	}
	return nil
}
