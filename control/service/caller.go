// Package service is the one table of what can be asked of streamer: each method with its name, route, arguments, the permission it needs
// and the argument that permission is checked on. REST, the call by name, the OpenAPI document, the clients and the command line follow
// from it.
//
// To add a method: write it in the Go interface of its service, func(ctx, service.Caller, In) (Out, error), with In and Out plain structs
// whose fields have json names and tags (doc, minimum, enum, default, mend); then one line in the table,
//
//	service.New(service.Method{Service: "jobs", Name: "start", Verb: http.MethodPost, Route: "/jobs/{job}/start", Permission: service.Operate,
//		On: "job", Summary: "lets a job run"}, s.Start)
//
// and a fixture in the test that calls every method every way. What it refuses is a *Problem; what takes long streams (NewStream). The
// caller is who the credential says, and his name is what goes to the audit.
package service

import (
	"net/http"
	"slices"
)

// Permission is what a caller may do. Each includes those before it.
type Permission string

// The permissions. The first three are on jobs, by their owner; Admin is on the system, and includes the others for every owner.
const (
	// View sees jobs, their state and offsets, but no contents of records.
	View Permission = "view"
	// Operate starts, stops and pauses jobs, resets offsets, redrives dead letters, decides about rows, and sees contents.
	Operate Permission = "operate"
	// Edit creates, changes and deletes jobs.
	Edit Permission = "edit"
	// Admin manages tokens, reads the whole audit, rotates keys.
	Admin Permission = "admin"
)

// permissions are all, the least first.
var permissions = []Permission{View, Operate, Edit, Admin}

// Valid says that p is one of the permissions.
func (p Permission) Valid() bool { return slices.Contains(permissions, p) }

// Includes says that whoever has p may do what needs q.
func (p Permission) Includes(q Permission) bool {
	return p.Valid() && q.Valid() && slices.Index(permissions, p) >= slices.Index(permissions, q)
}

// Everyone is Grant.Owner of a grant on the jobs of every owner.
const Everyone = "*"

// Grant is a permission on the jobs of an owner.
type Grant struct {
	Permission Permission `json:"permission"`
	// Owner is the owner of jobs it holds for, or Everyone.
	Owner string `json:"owner"`
}

// Caller is who calls, as the credential says and nothing else does.
type Caller struct {
	// Name is what the audit says, with the kind of credential before it: "basic:admin", "token:deploy", "oidc:ada".
	Name   string  `json:"name"`
	Grants []Grant `json:"grants"`

	hopped bool
	lend   func(http.Header) // a func, so that no print of a caller shows a credential
}

// HopHeader marks a call that another instance has passed on. It is answered by this instance or not at all, so that two instances with
// different news cannot send a call round and round.
const HopHeader = "Streamer-Hop"

// by gives the caller with what he sent the request with.
func (c Caller) by(req *http.Request) Caller {
	credential := req.Header.Values("Authorization")
	c.hopped = req.Header.Get(HopHeader) != ""
	c.lend = func(to http.Header) { to["Authorization"] = credential }
	return c
}

// Hopped says that another instance has passed the call on.
func (c Caller) Hopped() bool { return c.hopped }

// Lend marks a request to another instance as passed on, and puts the caller's own credential on it: that instance asks who he is again.
func (c Caller) Lend(to http.Header) {
	to.Set(HopHeader, "1")
	if c.lend != nil {
		c.lend(to)
	}
}

// May says that the caller has a permission on the jobs of an owner. An empty owner is the system itself, on which only grants for
// Everyone hold. So it is with what is for Everyone (a connection), but that whoever may view something may view that.
func (c Caller) May(p Permission, owner string) bool {
	return slices.ContainsFunc(c.Grants, func(g Grant) bool {
		return g.Permission.Includes(p) && (g.Owner == Everyone || g.Owner == owner && owner != "" || owner == Everyone && p == View)
	})
}

// MayAnywhere says that the caller has a permission on some owner's jobs.
func (c Caller) MayAnywhere(p Permission) bool {
	return slices.ContainsFunc(c.Grants, func(g Grant) bool { return g.Permission.Includes(p) })
}

// Authenticator finds out who sends a request.
type Authenticator interface {
	// Authenticate gives the caller of a request by its credential. The error is a *Problem: 401 without a valid credential, 429 when
	// too many were wrong lately.
	Authenticate(*http.Request) (Caller, error)
}
