package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Method is one line of the table. New or NewStream complete it.
type Method struct {
	// Service and Name are what it is called by: jobs, start.
	Service, Name string
	// Verb and Route are its REST route, below /api/v1: POST, /jobs/{job}/start. Names in braces are arguments.
	Verb, Route string
	// Permission is what a caller needs; empty: nothing but to be somebody.
	Permission Permission
	// On is the argument that names the job, or what Kind says, it is needed on. Empty: the system, on which only grants for Everyone hold. Any: some owner's
	// jobs; the method looks at the caller itself then, and gives only what he may see.
	On string
	// Kind is what On names: a job, unless it is set to what Options.Others has, such as connection.
	Kind string
	// Summary says in a line what it does: lets a job run.
	Summary string
	// Status is that of success, 200 unless set; 204 has no body. Also are others, of an Out that is a WithStatus.
	Status int
	Also   []int
	// Location is the route of what was made, for 201: /jobs/{id}. Names in braces are fields of the answer, or arguments.
	Location string

	in, out reflect.Type
	stream  bool
	call    func(ctx context.Context, by Caller, args []byte, emit func(any) error) (any, error)
}

// Any is the On of methods that look at what the caller may do themselves.
const Any = "*any"

// WithStatus is an answer that knows its status: a PUT that has made something, or changed it.
type WithStatus interface{ Status() int }

// MaxPage is the most that one page of a list has.
const MaxPage = 1000

// Page are the arguments of a list; embed it. Limit is within its bounds when a method is called, and at most MaxPage.
type Page struct {
	Limit  int    `json:"limit,omitempty" minimum:"1" maximum:"1000" default:"100" doc:"the most that one page has"`
	Cursor string `json:"cursor,omitempty" doc:"where to go on: next of the page before"`
}

// New completes a line with what it calls. In is a struct whose fields are the arguments; those without omitempty are needed. Out is what
// it answers; a field revision of it, a string, becomes the ETag.
func New[In, Out any](m Method, call func(context.Context, Caller, In) (Out, error)) Method {
	m.in, m.out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	m.call = func(ctx context.Context, by Caller, args []byte, _ func(any) error) (any, error) {
		var in In
		if err := read(args, &in); err != nil {
			return nil, err
		}
		return call(ctx, by, in)
	}
	return m
}

// NewStream is New for a method that answers line by line as it goes, as long as it takes. An error after the first line becomes a last
// one, {"problem": …}.
func NewStream[In, Line any](m Method, call func(ctx context.Context, by Caller, in In, emit func(Line) error) error) Method {
	m.in, m.out, m.stream = reflect.TypeFor[In](), reflect.TypeFor[Line](), true
	m.call = func(ctx context.Context, by Caller, args []byte, emit func(any) error) (any, error) {
		var in In
		if err := read(args, &in); err != nil {
			return nil, err
		}
		return nil, call(ctx, by, in, func(l Line) error { return emit(l) })
	}
	return m
}

// read makes arguments that were checked into a struct. What the check has let through and does not fit is the caller's fault all the same.
func read(args []byte, in any) error {
	if err := json.Unmarshal(args, in); err != nil {
		return Refuse(http.StatusBadRequest, "", err.Error(), "")
	}
	return nil
}

// ID is service.method.
func (m Method) ID() string { return m.Service + "." + m.Name }

var braces = regexp.MustCompile(`{([a-z_]+)}`)

// inPath are the arguments that stand in the route.
func (m Method) inPath() []string {
	var names []string
	for _, found := range braces.FindAllStringSubmatch(m.Route, -1) {
		names = append(names, found[1])
	}
	return names
}

// inQuery says that arguments that are not in the path are in the query, not in a body.
func (m Method) inQuery() bool { return m.Verb == http.MethodGet || m.Verb == http.MethodDelete }

// fault says what is wrong with a line, which is a fault of the program.
func (m Method) fault() error {
	word := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	verbs := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	switch {
	case m.call == nil:
		return fmt.Errorf("%s: calls nothing; make it with New or NewStream", m.ID())
	case !word.MatchString(m.Service) || !word.MatchString(m.Name):
		return fmt.Errorf("%q: is no name of a method", m.ID())
	case m.Summary == "":
		return fmt.Errorf("%s: has no summary", m.ID())
	case !slices.Contains(verbs, m.Verb) || !strings.HasPrefix(m.Route, "/"):
		return fmt.Errorf("%s: %s %s is no route", m.ID(), m.Verb, m.Route)
	case m.Permission != "" && !m.Permission.Valid():
		return fmt.Errorf("%s: there is no permission %q", m.ID(), m.Permission)
	case m.in.Kind() != reflect.Struct:
		return fmt.Errorf("%s: arguments are a struct, not %s", m.ID(), m.in)
	}
	fields := fieldsOf(m.in)
	for _, name := range m.inPath() {
		if f, ok := fields[name]; !ok || optional(f) {
			return fmt.Errorf("%s: %s is in the route and no argument that is needed", m.ID(), name)
		}
	}
	if m.On != "" && m.On != Any {
		if f, ok := fields[m.On]; !ok || optional(f) || f.Type.Kind() != reflect.String {
			return fmt.Errorf("%s: its permission is on %s, which is no text that is needed", m.ID(), m.On)
		}
	}
	return nil
}

// fieldsOf gives the fields of a struct by their json names.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(t) {
		if name := jsonName(f); name != "" {
			if _, outer := fields[name]; !outer {
				fields[name] = f
			}
		}
	}
	return fields
}

// namesOf gives the json names of a struct in its order.
func namesOf(t reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if name := jsonName(f); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || !f.IsExported() {
		return ""
	}
	return name
}

func optional(f reflect.StructField) bool {
	_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
}
