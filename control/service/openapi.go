package service

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// List is the table, as system.services gives it.
type List struct {
	Services []ListedService `json:"services"`
	// Components are what schemas refer to.
	Components Components `json:"components"`
}

// Components are schemas by name.
type Components struct {
	Schemas map[string]json.RawMessage `json:"schemas"`
}

// ListedService is one service.
type ListedService struct {
	Name    string         `json:"name"`
	Methods []ListedMethod `json:"methods"`
}

// ListedMethod is one method.
type ListedMethod struct {
	Name string `json:"name"`
	// Verb and Route are its REST route; Route begins with /api.
	Verb  string `json:"verb"`
	Route string `json:"route"`
	// Permission is needed on the job that the argument On names; without On on the system, and where it is *any on some owner's jobs.
	Permission Permission `json:"permission,omitempty"`
	On         string     `json:"on,omitempty"`
	Summary    string     `json:"summary"`
	// Status is that of success. Stream says that the answer is a JSON value on each line.
	Status int  `json:"status"`
	Stream bool `json:"stream,omitempty"`
	// Arguments and Answer are JSON Schemas.
	Arguments json.RawMessage `json:"arguments"`
	Answer    json.RawMessage `json:"answer"`
}

// schemaName names types of other packages with their package: Position of consumer is no other Position.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	room := t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:]
	if room == "" || room == "control" || room == "service" {
		return name
	}
	return strings.ToUpper(room[:1]) + room[1:] + name
}

// problemStatuses are those of refusals. Any method may answer any of them.
var problemStatuses = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict,
	http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
	http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable}

// describe makes the OpenAPI document and the list.
func (t *Table) describe() {
	problem := t.registry.Schema(reflect.TypeFor[Problem](), true, "")
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "streamer", Version: t.options.Version,
			Description: "What can be asked of streamer. Every method can also be called by its name, with all arguments in one object: POST /api/v1/services/{service}/{method}."},
		Paths: map[string]*huma.PathItem{},
		Components: &huma.Components{
			Schemas: t.registry,
			Responses: map[string]*huma.Response{"Problem": {Description: "what was asked for could not be done",
				Content: map[string]*huma.MediaType{ProblemType: {Schema: problem}}}},
			SecuritySchemes: map[string]*huma.SecurityScheme{"basic": {Type: "http", Scheme: "basic"}, "bearer": {Type: "http", Scheme: "bearer"}},
		},
		Security: []map[string][]string{{"basic": {}}, {"bearer": {}}},
	}
	t.list.Services = []ListedService{}
	for _, m := range t.methods {
		answer := t.registry.Schema(m.out, true, m.ID())
		if m.stream {
			broke := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{"problem": problem}, Required: []string{"problem"}}
			answer = &huma.Schema{AnyOf: []*huma.Schema{answer, broke}}
		}
		setOperation(doc, m.Verb, prefix+m.Route, m.operation(answer))
		if n := len(t.list.Services); n == 0 || t.list.Services[n-1].Name != m.Service {
			t.list.Services = append(t.list.Services, ListedService{Name: m.Service})
		}
		s := &t.list.Services[len(t.list.Services)-1]
		s.Methods = append(s.Methods, ListedMethod{Name: m.Name, Verb: m.Verb, Route: prefix + m.Route, Permission: m.Permission, On: m.On, Summary: m.Summary,
			Status: m.Status, Stream: m.stream, Arguments: must(json.Marshal(m.schema)), Answer: must(json.Marshal(answer))})
	}
	setOperation(doc, http.MethodPost, prefix+"/services/{service}/{method}", t.anyOperation())
	t.list.Components.Schemas = map[string]json.RawMessage{}
	for name, s := range t.registry.Map() {
		t.list.Components.Schemas[name] = must(json.Marshal(s))
	}
	t.openapi = must(json.Marshal(doc))
}

func setOperation(doc *huma.OpenAPI, verb, path string, o *huma.Operation) {
	item := doc.Paths[path]
	if item == nil {
		item = &huma.PathItem{}
		doc.Paths[path] = item
	}
	switch verb {
	case http.MethodGet:
		item.Get = o
	case http.MethodPost:
		item.Post = o
	case http.MethodPut:
		item.Put = o
	case http.MethodPatch:
		item.Patch = o
	case http.MethodDelete:
		item.Delete = o
	}
}

// refusals are the responses that every operation has.
func refusals() map[string]*huma.Response {
	responses := map[string]*huma.Response{}
	for _, status := range problemStatuses {
		responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/Problem"}
	}
	return responses
}

// operation describes the REST route of a method.
func (m *bound) operation(answer *huma.Schema) *huma.Operation {
	o := &huma.Operation{OperationID: m.ID(), Tags: []string{m.Service}, Summary: m.Summary, Responses: refusals(), Description: m.need()}
	body := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}, AdditionalProperties: false}
	path := m.inPath()
	for _, name := range m.names {
		s := m.schema.Properties[name]
		needed := slices.Contains(m.schema.Required, name)
		off := false
		switch {
		case slices.Contains(path, name):
			o.Parameters = append(o.Parameters, &huma.Param{Name: name, In: "path", Required: true, Description: s.Description, Schema: s})
		case name == ifMatch:
			o.Parameters = append(o.Parameters, &huma.Param{Name: "If-Match", In: "header", Description: s.Description, Schema: &huma.Schema{Type: huma.TypeString}})
			if !m.inQuery() {
				body.Properties[name] = orNull(s)
			}
		case m.inQuery():
			o.Parameters = append(o.Parameters, &huma.Param{Name: name, In: "query", Required: needed, Description: s.Description, Schema: s, Explode: &off})
		default:
			body.Properties[name] = orNull(s)
			if needed {
				body.Properties[name] = s
				body.Required = append(body.Required, name)
			}
		}
	}
	if !m.inQuery() {
		o.RequestBody = &huma.RequestBody{Required: len(body.Required) > 0, Content: map[string]*huma.MediaType{"application/json": {Schema: body}}}
	}
	for _, status := range append([]int{m.Status}, m.Also...) {
		r := &huma.Response{Description: http.StatusText(status), Headers: map[string]*huma.Param{}}
		kind := "application/json"
		if m.stream {
			kind, r.Description = streamType, "a JSON value on each line"
		}
		if status != http.StatusNoContent {
			r.Content = map[string]*huma.MediaType{kind: {Schema: answer}}
		}
		if m.revision != nil {
			r.Headers["ETag"] = &huma.Param{Description: "the revision, for If-Match", Schema: &huma.Schema{Type: huma.TypeString}}
		}
		if status == http.StatusCreated && m.Location != "" {
			r.Headers["Location"] = &huma.Param{Description: "the path of what was made", Schema: &huma.Schema{Type: huma.TypeString}}
		}
		o.Responses[strconv.Itoa(status)] = r
	}
	if m.revision != nil && m.Verb == http.MethodGet {
		o.Responses[strconv.Itoa(http.StatusNotModified)] = &huma.Response{Description: "what If-None-Match names is what there is"}
	}
	return o
}

// orNull is the schema of an argument that may be left out, for which null is another way to say so.
func orNull(s *huma.Schema) *huma.Schema {
	if s.Type == "" && s.Ref == "" { // anything
		return s
	}
	return &huma.Schema{Description: s.Description, AnyOf: []*huma.Schema{s, {Type: "null"}}}
}

// need says what a caller needs.
func (m *bound) need() string {
	switch {
	case m.Permission == "":
		return "Everybody who may call at all may call this."
	case m.On == "":
		return "Needs " + string(m.Permission) + " on the system."
	case m.On == Any:
		return "Needs " + string(m.Permission) + " on some owner's jobs, and gives what the caller may see."
	}
	return "Needs " + string(m.Permission) + " on the owner of the " + cmp.Or(m.Kind, "job") + " that " + m.On + " names."
}

// anyOperation describes the call by name.
func (t *Table) anyOperation() *huma.Operation {
	name := &huma.Schema{Type: huma.TypeString}
	o := &huma.Operation{OperationID: "call", Summary: "calls any method by its name", Responses: refusals(),
		Description: "The body is the method's arguments, as one object; the answer is the method's.",
		Parameters:  []*huma.Param{{Name: "service", In: "path", Required: true, Schema: name}, {Name: "method", In: "path", Required: true, Schema: name}},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}}}},
	}
	statuses := map[int]bool{}
	for _, m := range t.methods {
		for _, status := range append([]int{m.Status}, m.Also...) {
			statuses[status] = true
		}
	}
	for _, status := range slices.Sorted(maps.Keys(statuses)) {
		r := &huma.Response{Description: http.StatusText(status)}
		if status != http.StatusNoContent {
			r.Content = map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{}}, streamType: {Schema: &huma.Schema{}}}
		}
		o.Responses[strconv.Itoa(status)] = r
	}
	return o
}
