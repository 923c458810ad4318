package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"streamer/internal/nearest"
)

// Limits of the API.
const (
	// MaxBodyBytes bounds the body of a call.
	MaxBodyBytes = 1 << 20
	// callTimeout bounds what a method does, and callMargin what its answer may take then.
	callTimeout = 40 * time.Second
	callMargin  = 10 * time.Second
	// lineTimeout is how long a caller may take to read a line of a stream.
	lineTimeout = 30 * time.Second
)

// prefix is where the API is.
const prefix = "/api/v1"

// guarded is what needs a caller: the API, and the routes that package aether has beside it.
var guarded = []string{"/api", "/jobs", "/job"}

// Owners knows whose the jobs are, or other things that have an owner.
type Owners interface {
	// OwnerOf gives the owner of a job, empty if it has none.
	OwnerOf(job string) (owner string, known bool)
	// IDs are those of all jobs, to name the one that was meant.
	IDs() []string
	// Wait returns when it is known what there is; the error says why it is not known after a while.
	Wait(context.Context) error
}

// Options are what a Table needs.
type Options struct {
	// Authenticator says who calls.
	Authenticator Authenticator
	Owners        Owners
	// Others know whose the things are that are no jobs, by what they are called: connection.
	Others map[string]Owners
	// Login is told to everybody.
	Login Login
	// Version is that of the program, for the OpenAPI document.
	Version string
	Log     *slog.Logger
}

// Table has every method, and answers calls of them. It is not changed any more, so its methods may be called from any goroutine.
type Table struct {
	options  Options
	methods  []*bound
	registry huma.Registry
	openapi  json.RawMessage
	list     List
}

// bound is a method with what is known of its arguments.
type bound struct {
	Method
	registry huma.Registry
	// schema is that of the arguments, names their names in order.
	schema  *huma.Schema
	names   []string
	mends   map[string]string
	ifMatch bool
	// revision is the field of the answer that is its ETag, nil: none.
	revision []int
}

// NewTable makes a table of methods, and adds system.services and system.openapi, which tell of it. It panics when a line is wrong: that
// is a fault of the program, and seen by every test.
func NewTable(o Options, methods ...Method) *Table {
	t := &Table{options: o, registry: huma.NewMapRegistry("#/components/schemas/", schemaName)}
	methods = append(methods,
		New(Method{Service: "system", Name: "services", Verb: http.MethodGet, Route: "/services", Summary: "lists every method with its route, permission and arguments"},
			func(context.Context, Caller, struct{}) (List, error) { return t.list, nil }),
		New(Method{Service: "system", Name: "openapi", Verb: http.MethodGet, Route: "/openapi.json", Summary: "gives the OpenAPI document of the REST routes"},
			func(context.Context, Caller, struct{}) (json.RawMessage, error) { return t.openapi, nil }))
	seen := map[string]bool{}
	for _, m := range methods {
		if err := m.fault(); err != nil {
			panic(err)
		}
		if m.Kind != "" && o.Others[m.Kind] == nil {
			panic(fmt.Errorf("%s: nobody knows whose a %s is", m.ID(), m.Kind))
		}
		for _, key := range []string{m.ID(), m.Verb + " " + braces.ReplaceAllString(m.Route, "{}")} {
			if seen[key] {
				panic(fmt.Errorf("%s stands twice in the table", key))
			}
			seen[key] = true
		}
		t.methods = append(t.methods, t.bind(m))
	}
	slices.SortStableFunc(t.methods, func(a, b *bound) int { return strings.Compare(a.Service, b.Service) })
	t.describe()
	return t
}

func (t *Table) bind(m Method) *bound {
	if m.Status == 0 {
		m.Status = http.StatusOK
	}
	b := &bound{Method: m, registry: t.registry, schema: huma.SchemaFromType(t.registry, m.in), names: namesOf(m.in), mends: map[string]string{}}
	for name, f := range fieldsOf(m.in) {
		b.mends[name] = f.Tag.Get("mend")
		property := b.schema.Properties[name]
		if property == nil {
			panic(fmt.Errorf("%s: argument %s has no schema; structs that are embedded are exported ones", m.ID(), name))
		}
		limit(property)
	}
	slices.SortFunc(b.schema.Required, func(x, y string) int { return slices.Index(b.names, x) - slices.Index(b.names, y) })
	b.ifMatch = slices.Contains(b.names, ifMatch)
	if m.out.Kind() == reflect.Struct {
		if f, ok := fieldsOf(m.out)["revision"]; ok && f.Type.Kind() == reflect.String {
			b.revision = f.Index
		}
	}
	return b
}

// exact is the largest number that every reader of JSON takes exactly.
const exact = 1<<53 - 1

// limit gives whole numbers the range that their type has.
func limit(s *huma.Schema) {
	if s.Items != nil {
		limit(s.Items)
	}
	if s.Type != huma.TypeInteger {
		return
	}
	low, high := float64(-exact), float64(exact)
	if s.Format == "int32" {
		low, high = -1<<31, 1<<31-1
	}
	if s.Minimum == nil {
		s.Minimum = &low
	}
	if s.Maximum == nil {
		s.Maximum = &high
	}
	s.PrecomputeMessages()
}

func (m *bound) property(name string) *huma.Schema { return m.resolved(m.schema.Properties[name]) }

func (m *bound) resolved(s *huma.Schema) *huma.Schema {
	for s.Ref != "" {
		s = m.registry.SchemaFromRef(s.Ref)
	}
	return s
}

// Mount registers the routes. Every path under /api, /jobs and /job needs a caller, also one that no route takes, but for what is public.
func (t *Table) Mount(e *echo.Echo) {
	e.Use(t.who, bounded)
	for _, m := range t.methods {
		verbs := []string{m.Verb}
		if m.Verb == http.MethodGet {
			verbs = append(verbs, http.MethodHead)
		}
		e.Match(verbs, prefix+braces.ReplaceAllString(m.Route, ":$1"), func(c echo.Context) error {
			args, err := m.arguments(c)
			return t.answer(c, m, args, err)
		})
	}
	e.POST(prefix+"/services/:service/:method", t.byName)
	e.Match([]string{http.MethodGet, http.MethodHead}, scriptPath, serveScript)
	e.Match([]string{http.MethodGet, http.MethodHead}, loginPath, t.serveLogin)
}

// ofAPI tells whether a request is for the API, also one that no route takes.
func ofAPI(req *http.Request) bool {
	return slices.ContainsFunc(guarded, func(p string) bool { return req.URL.Path == p || strings.HasPrefix(req.URL.Path, p+"/") })
}

const callerKey = "caller"

// who finds out who calls, before anything else is looked at.
func (t *Table) who(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		req := c.Request()
		if !ofAPI(req) || slices.Contains(public, req.URL.Path) {
			return next(c)
		}
		c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
		if p := CrossOrigin(req); p != nil { // first, or a page could make logins wrong until people have to wait
			return p
		}
		by, err := t.options.Authenticator.Authenticate(req)
		if err != nil {
			return err
		}
		c.Set(callerKey, by.by(req))
		return next(c)
	}
}

// bounded reads the body of a request to the API up to its limit. From then on the time to read is not limited any more: the
// connection is only watched for the caller going away, which ends the request's context.
func bounded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		req := c.Request()
		if !ofAPI(req) {
			return next(c)
		}
		body, err := io.ReadAll(http.MaxBytesReader(c.Response(), req.Body, MaxBodyBytes))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			return Refuse(http.StatusRequestEntityTooLarge, "", "the body is larger than 1 MiB", "")
		case err != nil:
			return Refuse(http.StatusBadRequest, "", "the body could not be read", "send it within ten seconds")
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		if err := http.NewResponseController(c.Response()).SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		return next(c)
	}
}

// byName calls any method with its arguments as one JSON object.
func (t *Table) byName(c echo.Context) error {
	service, name := c.Param("service"), c.Param("method")
	var services, names []string
	for _, m := range t.methods {
		switch {
		case m.Service == service && m.Name == name:
			body, err := object(c.Request())
			args := &arguments{values: body, known: m.names}
			if body == nil {
				args.values = map[string]json.RawMessage{}
			}
			for _, parameter := range sorted(c.QueryParams()) {
				args.fail(parameter, "stands in the query", "arguments of a call by name stand in the body")
			}
			return t.answer(c, m, args, err)
		case m.Service == service:
			names = append(names, m.Name)
		case !slices.Contains(services, m.Service):
			services = append(services, m.Service)
		}
	}
	if len(names) > 0 {
		return Refuse(http.StatusNotFound, "method", fmt.Sprintf("%s has no method %q", service, name), meant(name, names, "it has "))
	}
	return Refuse(http.StatusNotFound, "service", fmt.Sprintf("there is no service %q", service), meant(service, services, "there are "))
}

// answer calls a method, and sends what it gave.
func (t *Table) answer(c echo.Context, m *bound, args *arguments, unread error) error {
	out, err := t.invoke(c, m, args, unread)
	if err != nil || m.stream {
		return err
	}
	return m.render(c, args, out)
}

// invoke calls a method, after everything was looked at that speaks against it: first the caller, then the arguments. unread says that the
// body cannot be read. A stream is sent as it goes.
func (t *Table) invoke(c echo.Context, m *bound, args *arguments, unread error) (out any, err error) {
	by := c.Get(callerKey).(Caller)
	if err := t.permit(c.Request().Context(), by, m, args, unread); err != nil {
		return nil, err
	}
	if unread != nil {
		return nil, unread
	}
	if faults := m.complete(args); len(faults) > 0 {
		p := Wrong(faults...)
		if args.unfit {
			p.Status = http.StatusNotFound
		}
		return nil, p
	}
	text := must(json.Marshal(args.values))
	if m.stream {
		return nil, t.stream(c, m, by, text)
	}
	if err := http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(callTimeout + callMargin)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), callTimeout)
	defer cancel()
	return inTime(callTimeout+callMargin/2, m.Verb != http.MethodGet, func() (any, error) { return m.call(ctx, by, text, nil) })
}

// permit says why a caller may not call a method, before anything of it runs.
func (t *Table) permit(ctx context.Context, by Caller, m *bound, args *arguments, unread error) error {
	switch m.On {
	case "":
		if m.Permission != "" && !by.May(m.Permission, "") {
			return Denied(by, m.Permission, "the system", "")
		}
		return nil
	case Any:
		if m.Permission != "" && !by.MayAnywhere(m.Permission) {
			return Denied(by, m.Permission, "any job", "")
		}
		return nil
	}
	owners, kind := t.options.Owners, "job"
	if m.Kind != "" {
		owners, kind = t.options.Others[m.Kind], m.Kind
	}
	var id string
	if err := json.Unmarshal(args.values[m.On], &id); err != nil || id == "" {
		if unread == nil { // it is named as missing, or as no text, and the method is not called
			if !by.MayAnywhere(m.Permission) {
				return Denied(by, m.Permission, "any "+kind, "")
			}
			if faults := m.complete(args); len(faults) == 0 {
				return Wrong(Fault{m.On, "is empty", m.mends[m.On]})
			}
		}
		return unread
	}
	owner, known, err := OwnerOf(ctx, owners, id)
	switch {
	case err != nil:
		return err
	case known && by.May(m.Permission, owner):
		return nil
	case known:
		return Denied(by, m.Permission, fmt.Sprintf("%s %q", kind, id), owner)
	case !by.MayAnywhere(m.Permission):
		return Denied(by, m.Permission, "any "+kind, "")
	}
	return Unknown(owners, by, kind, m.On, id)
}

// OwnerOf gives the owner of a thing. Nothing is unknown before it is known what there is: the error is a *Problem then.
func OwnerOf(ctx context.Context, owners Owners, name string) (owner string, known bool, err error) {
	if owner, known = owners.OwnerOf(name); known {
		return owner, true, nil
	}
	if err := owners.Wait(ctx); err != nil {
		return "", false, Unavailable(err.Error())
	}
	owner, known = owners.OwnerOf(name)
	return owner, known, nil
}

// UnknownJob names the job that a misspelt one is near to, of those that the caller may see. field is the argument it was given as.
func (t *Table) UnknownJob(by Caller, field, job string) *Problem {
	return UnknownJob(t.options.Owners, by, field, job)
}

// UnknownJob is Table.UnknownJob, for who has no table.
func UnknownJob(owners Owners, by Caller, field, job string) *Problem {
	return Unknown(owners, by, "job", field, job)
}

// Unknown is UnknownJob for whatever has an owner; kind is what it is called.
func Unknown(owners Owners, by Caller, kind, field, name string) *Problem {
	var seen []string
	for _, id := range owners.IDs() {
		if owner, known := owners.OwnerOf(id); known && by.May(View, owner) {
			seen = append(seen, id)
		}
	}
	mend := fmt.Sprintf("streamer %ss list shows all", kind)
	if near := nearest.Name(name, seen); near != "" {
		mend = fmt.Sprintf("did you mean %s?", near)
	}
	return Refuse(http.StatusNotFound, field, fmt.Sprintf("there is no %s %q", kind, name), mend)
}
