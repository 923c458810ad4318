// Package aether keeps the HTTP API of the Aether REST consumer callable, and of the library it is made with: /jobs/add and the rest. A
// route is a call of methods of the service table in other words, so what holds for the method holds for it: who may call it, what is
// checked, what the audit says. It does nothing by itself.
//
// The original's routes write on GET. A page can make a browser send a GET with the login that it remembers, so a GET that writes is refused
// when a browser has sent it.
package aether

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"streamer/control/service"
)

// route is one of the original, for some verbs. Several may have the same path.
type route struct {
	path  string
	verbs []string
	// writes says that it changes something, which decides who may send it by GET.
	writes bool
	answer func(call) (any, error)
}

// Short names, so that the table fits on a page.
const (
	get   = http.MethodGet
	post  = http.MethodPost
	put   = http.MethodPut
	erase = http.MethodDelete
)

// routes are all. The verbs are the original's; those that it lacked, and that say what happens, stand behind.
var routes = []route{
	{"/jobs/add", []string{post}, true, upsert},
	{"/jobs/update", []string{get, post, put}, true, upsert},
	{"/jobs/delete", []string{get, post, erase}, true, remove},
	{"/jobs/get", []string{get, post}, false, definition},
	{"/jobs/list", []string{get}, false, statuses},
	{"/jobs/validate", []string{get, post}, false, validate},
	{"/jobs/schema", []string{get, post}, false, schema},
	{"/jobs/pause", []string{get, post}, true, desire("jobs.pause")},
	{"/jobs/resume", []string{get, post}, true, desire("jobs.resume")},
	{"/jobs/status", []string{get, post}, false, status},
	{"/jobs/logs", []string{get, post}, false, logs},
	{"/jobs/:owner", []string{get}, false, ofOwner},
	{"/job/:id", []string{get}, false, definition},
	{"/job/:id", []string{post, put}, true, upsert},
	{"/job/:id", []string{erase}, true, remove},
	{"/job/:id/start", []string{get, post}, true, desire("jobs.start")},
	{"/job/:id/stop", []string{get, post}, true, desire("jobs.stop")},
	{"/job/:id/set_offset/:offset", []string{get, post}, true, setOffset},
}

// Mount registers the routes beside those of the table, which finds out who calls before they are asked. /healthcheck needs nobody.
func Mount(e *echo.Echo, t *service.Table) {
	e.Match([]string{get, http.MethodHead}, "/healthcheck", func(c echo.Context) error {
		return c.JSON(http.StatusOK, map[string]bool{"healthy": true})
	})
	for _, path := range paths() {
		e.Any(path, func(c echo.Context) error { return serve(c, t, path) })
	}
}

// paths are those of the routes, each once.
func paths() []string {
	var all []string
	for _, r := range routes {
		if !slices.Contains(all, r.path) {
			all = append(all, r.path)
		}
	}
	return all
}

// serve answers a request for a path by the route that takes its verb.
func serve(c echo.Context, t *service.Table, path string) error {
	req := c.Request()
	var taken []string
	for _, r := range routes {
		if r.path != path {
			continue
		}
		if !r.takes(req.Method) {
			taken = append(taken, r.verbs...)
			continue
		}
		if r.writes && req.Method == get {
			if header := ofBrowser(req); header != "" {
				return service.Refuse(http.StatusForbidden, "", "a browser has sent this request (header "+header+"), and a link must not change jobs",
					"send it by POST, or from a program")
			}
		}
		answer, err := r.answer(call{c, t})
		if err != nil {
			return inWords(err)
		}
		return c.JSON(http.StatusOK, answer)
	}
	c.Response().Header().Set(echo.HeaderAllow, strings.Join(taken, ", "))
	return service.Refuse(http.StatusMethodNotAllowed, "", "this path does not take "+req.Method, "it takes "+strings.Join(taken, ", "))
}

// takes says whether a route takes a verb: HEAD as GET, where nothing is written.
func (r route) takes(verb string) bool {
	if verb == http.MethodHead && !r.writes {
		verb = get
	}
	return slices.Contains(r.verbs, verb)
}

// ofBrowser is service.FromBrowser, and knows browsers by what they send over plain HTTP too: there they leave Sec-Fetch-* out, and a page
// can keep them from sending a Referer, but not from saying which languages are read.
func ofBrowser(req *http.Request) string {
	if header := service.FromBrowser(req); header != "" {
		return header
	}
	const language = "Accept-Language"
	if req.Header.Get(language) != "" {
		return language
	}
	return ""
}

// call is a request that is being answered.
type call struct {
	echo.Context
	table *service.Table
}

// args are arguments of a method.
type args map[string]any

// ask calls a method of the table, and reads what is needed of its answer into out (nil: nothing).
func (c call) ask(method string, a args, out any) error {
	answer, err := c.table.Call(c.Context, method, a)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s answers %w", method, err)
	}
	return nil
}

// words are the arguments of methods that have other names here.
var words = map[string]string{"job": "id", "to": "offset"}

// inWords makes a refusal name the arguments as they are called here.
func inWords(err error) error {
	var p *service.Problem
	if !errors.As(err, &p) {
		return err
	}
	told := *p
	told.Field = inWord(told.Field)
	told.Errors = slices.Clone(told.Errors)
	for i := range told.Errors {
		told.Errors[i].Field = inWord(told.Errors[i].Field)
	}
	return &told
}

func inWord(field string) string {
	if word, other := words[field]; other {
		return word
	}
	return field
}
