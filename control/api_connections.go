package control

import (
	"context"
	"encoding/json"
	"net/http"

	"streamer/control/service"
)

// Targets are the connections. *Connections are.
type Targets interface {
	service.Owners
	Get(ctx context.Context, by service.Caller, name string) (Connection, error)
	List(ctx context.Context, by service.Caller, after string, limit int) (ConnectionPage, error)
	Create(ctx context.Context, by service.Caller, document []byte) (Connection, error)
	Replace(ctx context.Context, by service.Caller, name, revision string, document []byte) (Connection, error)
	Delete(ctx context.Context, by service.Caller, name, revision string) error
	Diff(ctx context.Context, by service.Caller, name string, document []byte) (Difference, error)
	Pause(ctx context.Context, by service.Caller, name string) (Connection, error)
	Resume(ctx context.Context, by service.Caller, name string) (Connection, error)
}

// ConnectionPage is one page of connections, by name.
type ConnectionPage struct {
	Connections []Connection `json:"connections"`
	// Next is the cursor of the next page; absent on the last one.
	Next string `json:"next,omitempty"`
	LogAge
}

// ConnectionsService is the service connections: targets that several jobs share.
type ConnectionsService interface {
	// List gives one page of the connections that the caller may view, by name, without their documents.
	List(context.Context, service.Caller, service.Page) (ConnectionPage, error)
	// Get gives one connection, its secrets masked.
	Get(context.Context, service.Caller, ConnectionIn) (Connection, error)
	// Create adds a connection; the same once more is no error.
	Create(context.Context, service.Caller, ConnectionCreate) (ConnectionMade, error)
	// Replace changes one. Its jobs follow with their next request.
	Replace(context.Context, service.Caller, ConnectionReplace) (Connection, error)
	// Delete removes one that no job names.
	Delete(context.Context, service.Caller, ConnectionDelete) (ConnectionIn, error)
	// Diff tells what a document would change of one, and what that does to its jobs. Nothing is written.
	Diff(context.Context, service.Caller, ConnectionDiff) (Difference, error)
	// Pause stops every delivery to it, on all instances, within two seconds.
	Pause(context.Context, service.Caller, ConnectionIn) (Connection, error)
	// Resume ends that.
	Resume(context.Context, service.Caller, ConnectionIn) (Connection, error)
}

func connectionsMethods(s ConnectionsService) []service.Method {
	method := func(name, verb, route string, p service.Permission, on, summary string) service.Method {
		m := service.Method{Service: "connections", Name: name, Verb: verb, Route: "/connections" + route, Permission: p, On: on, Summary: summary}
		if on != service.Any {
			m.Kind = "connection"
		}
		return m
	}
	create := method("create", http.MethodPost, "", service.Edit, service.Any, "adds a shared target")
	create.Status, create.Also, create.Location = http.StatusCreated, []int{http.StatusOK}, "/connections/{name}"
	return []service.Method{
		service.New(method("list", http.MethodGet, "", service.View, service.Any, "lists the shared targets"), s.List),
		service.New(method("get", http.MethodGet, "/{connection}", service.View, "connection", "gives a shared target, its secrets masked"), s.Get),
		service.New(create, s.Create),
		service.New(method("replace", http.MethodPut, "/{connection}", service.Edit, "connection", "changes a shared target; its jobs follow with their next request"), s.Replace),
		service.New(method("delete", http.MethodDelete, "/{connection}", service.Edit, "connection", "removes a shared target that no job names"), s.Delete),
		service.New(method("diff", http.MethodPost, "/{connection}/diff", service.Edit, "connection", "tells what a document would change of a shared target"), s.Diff),
		service.New(method("pause", http.MethodPost, "/{connection}/pause", service.Operate, "connection", "stops every delivery to a shared target, on all instances"), s.Pause),
		service.New(method("resume", http.MethodPost, "/{connection}/resume", service.Operate, "connection", "lets deliveries to a shared target go on"), s.Resume),
	}
}

// ConnectionIn names a connection.
type ConnectionIn struct {
	Connection string `json:"connection" doc:"name of the connection"`
}

// ConnectionCreate is a connection that is to be.
type ConnectionCreate struct {
	Document json.RawMessage `json:"document" doc:"the connection: name, owner, base_url, auth, tls, limits; a text is read as YAML or JSON"`
}

// ConnectionReplace is what a connection is to be.
type ConnectionReplace struct {
	ConnectionIn
	ConnectionCreate
	IfMatch string `json:"if_match,omitempty" doc:"revision that the connection must have, * for any; also as the header If-Match"`
}

// ConnectionDiff is what a connection would be.
type ConnectionDiff struct {
	ConnectionIn
	ConnectionCreate
}

// ConnectionDelete names a connection that is to go.
type ConnectionDelete struct {
	ConnectionIn
	IfMatch string `json:"if_match,omitempty" doc:"revision that the connection must have, * for any; also as the header If-Match"`
}

// ConnectionMade is a connection that this call has made, or that was there.
type ConnectionMade struct{ Connection }

// Status implements service.WithStatus.
func (m ConnectionMade) Status() int {
	if m.Created {
		return http.StatusCreated
	}
	return http.StatusOK
}

type connectionsService struct{ API }

// List implements ConnectionsService.
func (a connectionsService) List(ctx context.Context, by service.Caller, in service.Page) (ConnectionPage, error) {
	page, err := a.Connections.List(ctx, by, in.Cursor, in.Limit)
	return page, logProblem(err)
}

// Get implements ConnectionsService.
func (a connectionsService) Get(ctx context.Context, by service.Caller, in ConnectionIn) (Connection, error) {
	found, err := a.Connections.Get(ctx, by, in.Connection)
	return found, logProblem(err)
}

// Create implements ConnectionsService.
func (a connectionsService) Create(ctx context.Context, by service.Caller, in ConnectionCreate) (ConnectionMade, error) {
	ctx, end := lasting(ctx)
	defer end()
	made, err := a.Connections.Create(ctx, by, DocumentIn(in).text())
	return ConnectionMade{made}, a.written(ctx, err)
}

// Replace implements ConnectionsService.
func (a connectionsService) Replace(ctx context.Context, by service.Caller, in ConnectionReplace) (Connection, error) {
	seen, err := revision(in.IfMatch)
	if err != nil {
		return Connection{}, err
	}
	ctx, end := lasting(ctx)
	defer end()
	changed, err := a.Connections.Replace(ctx, by, in.Connection, seen, DocumentIn(in.ConnectionCreate).text())
	return changed, a.written(ctx, err)
}

// Delete implements ConnectionsService.
func (a connectionsService) Delete(ctx context.Context, by service.Caller, in ConnectionDelete) (ConnectionIn, error) {
	seen, err := revision(in.IfMatch)
	if err != nil {
		return ConnectionIn{}, err
	}
	ctx, end := lasting(ctx)
	defer end()
	return in.ConnectionIn, a.written(ctx, a.Connections.Delete(ctx, by, in.Connection, seen))
}

// Diff implements ConnectionsService.
func (a connectionsService) Diff(ctx context.Context, by service.Caller, in ConnectionDiff) (Difference, error) {
	d, err := a.Connections.Diff(ctx, by, in.Connection, DocumentIn(in.ConnectionCreate).text())
	return d, logProblem(err)
}

// Pause implements ConnectionsService.
func (a connectionsService) Pause(ctx context.Context, by service.Caller, in ConnectionIn) (Connection, error) {
	ctx, end := lasting(ctx)
	defer end()
	paused, err := a.Connections.Pause(ctx, by, in.Connection)
	return paused, a.written(ctx, err)
}

// Resume implements ConnectionsService.
func (a connectionsService) Resume(ctx context.Context, by service.Caller, in ConnectionIn) (Connection, error) {
	ctx, end := lasting(ctx)
	defer end()
	resumed, err := a.Connections.Resume(ctx, by, in.Connection)
	return resumed, a.written(ctx, err)
}
