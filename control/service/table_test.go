package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everyone is the caller of these tests; who lets him be another one by a header.
type everyone struct{}

func (everyone) Authenticate(req *http.Request) (Caller, error) {
	switch req.Header.Get("Authorization") {
	case "none":
		return Caller{}, Refuse(http.StatusUnauthorized, "", "who are you?", "")
	case "view":
		return Caller{Name: "v", Grants: []Grant{{View, "health"}}}, nil
	}
	return Caller{Name: "a", Grants: []Grant{{Admin, Everyone}}}, nil
}

type someOwners struct{}

func (someOwners) OwnerOf(job string) (string, bool) {
	return map[string]string{"visits": "health", "taxes": "money"}[job], job == "visits" || job == "taxes"
}

func (someOwners) IDs() []string { return []string{"visits", "taxes"} }

func (someOwners) Wait(context.Context) error { return nil }

// Thing is what the methods are about.
type Thing struct {
	ID       string `json:"id"`
	Revision string `json:"revision"`
}

// put is a thing that was made, or changed.
type put struct {
	Thing
	made bool
}

func (p put) Status() int {
	if p.made {
		return http.StatusCreated
	}
	return http.StatusOK
}

// ThingIn names a thing.
type ThingIn struct {
	ID string `json:"id"`
}

type putIn struct {
	ThingIn
	IfMatch string `json:"if_match,omitempty"`
	Size    int32  `json:"size,omitempty" minimum:"1" mend:"say how large"`
	Note    *struct {
		Text string   `json:"text"`
		Tags []string `json:"tags,omitempty"`
	} `json:"note,omitempty"`
}

type findIn struct {
	Job   string    `json:"job"`
	Kind  []string  `json:"kind,omitempty" enum:"big,small"`
	From  *int64    `json:"from,omitempty" minimum:"0"`
	Part  float64   `json:"part,omitempty"`
	Since time.Time `json:"since,omitzero"`
	Exact bool      `json:"exact,omitempty"`
	Page
}

// things is a table with a method of every kind.
func things() []Method {
	return []Method{
		New(Method{Service: "things", Name: "show", Verb: http.MethodGet, Route: "/things/{id}", Permission: View, On: Any, Summary: "shows a thing"},
			func(_ context.Context, _ Caller, in ThingIn) (Thing, error) { return Thing{in.ID, "7"}, nil }),
		New(Method{Service: "things", Name: "put", Verb: http.MethodPut, Route: "/things/{id}", Permission: Admin, Summary: "makes or changes a thing",
			Also: []int{http.StatusCreated}, Location: "/things/{id}"},
			func(_ context.Context, _ Caller, in putIn) (put, error) {
				switch in.IfMatch {
				case "6":
					return put{}, Refuse(http.StatusPreconditionFailed, "if_match", "it is at 7", "read it again")
				case "0":
					return put{Thing{in.ID, "1"}, true}, nil
				}
				return put{Thing{in.ID, "8"}, false}, nil
			}),
		New(Method{Service: "things", Name: "delete", Verb: http.MethodDelete, Route: "/things/{id}", Permission: Admin, Summary: "deletes a thing", Status: http.StatusNoContent},
			func(context.Context, Caller, ThingIn) (struct{}, error) { return struct{}{}, nil }),
		New(Method{Service: "jobs", Name: "find", Verb: http.MethodGet, Route: "/jobs/{job}/found", Permission: Operate, On: "job", Summary: "finds"},
			func(_ context.Context, by Caller, in findIn) (string, error) {
				from := int64(-1)
				if in.From != nil {
					from = *in.From
				}
				return fmt.Sprint(by.Name, by.Hopped(), in.Job, in.Kind, from, in.Part, in.Since.Unix(), in.Exact, in.Limit, in.Cursor), nil
			}),
		NewStream(Method{Service: "things", Name: "count", Verb: http.MethodPost, Route: "/count", Permission: View, On: Any, Summary: "counts"},
			func(_ context.Context, _ Caller, in struct {
				To int `json:"to"`
			}, emit func(int) error) error {
				for i := range in.To {
					if i == 3 {
						return errors.New("a secret")
					}
					if err := emit(i); err != nil {
						return err
					}
				}
				if in.To < 0 {
					return Refuse(http.StatusConflict, "to", "is behind", "")
				}
				return nil
			}),
	}
}

func serve(t *testing.T, methods ...Method) string {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e := echo.New()
	e.HTTPErrorHandler = ErrorHandler(log)
	NewTable(Options{Authenticator: everyone{}, Owners: someOwners{}, Version: "1", Log: log}, methods...).Mount(e)
	s := httptest.NewServer(e)
	t.Cleanup(s.Close)
	return s.URL + "/api/v1"
}

// Calls as they are made, and what comes back.
func TestCalls(t *testing.T) {
	t.Parallel()
	base := serve(t, things()...)
	cases := []struct {
		name, verb, path, body string
		header                 []string
		status                 int
		says                   string
	}{
		{"arguments of a query", "GET", "/jobs/visits/found?kind=big,small&from=9007199254740991&part=1.5&since=2026-01-31T12:00:00Z&exact=true&limit=7&cursor=x", "", nil, 200,
			`"afalsevisits[big small] 9007199254740991 1.5 1769860800 true 7x"`},
		{"what is left out", "GET", "/jobs/visits/found", "", nil, 200, `"afalsevisits[] -1 0 -62135596800 false 100"`},
		{"passed on", "GET", "/jobs/visits/found", "", []string{HopHeader, "1"}, 200, `"atruevisits`},
		{"all faults at once", "GET", "/jobs/visits/found?kind=big,tiny&from=-1&part=x&since=now&exact=yes&limit=0&lmit=1&cursor=a&cursor=b", "", nil, 400,
			`"errors":[{"field":"cursor","detail":"stands twice","mend":"give it once"},{"field":"exact","detail":"\"yes\" is neither true nor false"},` +
				`{"field":"lmit","detail":"unknown argument","mend":"did you mean limit?"},{"field":"part","detail":"\"x\" is no number"},` +
				`{"field":"kind","detail":"unknown word \"tiny\"","mend":"it is one of big, small"},{"field":"from","detail":"\"-1\" is no number from 0 to 9007199254740991"},` +
				`{"field":"since","detail":"\"now\" is no time","mend":"write it as 2026-01-31T12:00:00Z"},{"field":"limit","detail":"\"0\" is no number from 1 to 1000"}]`},
		{"all faults at once, by name", "POST", "/services/jobs/find", `{"job":"visits","kind":["tiny","tiny"],"from":1.5,"part":"x","since":7,"exact":1,"limit":1e400,"x":{}}`, nil, 400,
			`"errors":[{"field":"x","detail":"unknown argument","mend":"known are job, kind, from, part, since, exact, limit, cursor"},{"field":"kind","detail":"unknown word \"tiny\"","mend":"it is one of big, small"},` +
				`{"field":"from","detail":"1.5 is no whole number"},{"field":"part","detail":"is a string, not a number in its range"},{"field":"since","detail":"is a number, not a text"},` +
				`{"field":"exact","detail":"is a number, not true or false"},{"field":"limit","detail":"is a number that is too large"}]`},
		{"one fault has no list", "GET", "/jobs/visits/found?limit=0", "", nil, 400, `"detail":"\"0\" is no number from 1 to 1000","field":"limit"}`},
		{"faults inside", "PUT", "/things/a", `{"note":{"tags":[1],"txt":""}}`, nil, 400, `"note.txt"`},
		{"a number of another range", "PUT", "/things/a", `{"size":3000000000}`, nil, 400, "3000000000 is more than 2147483647"},
		{"a number below its range", "PUT", "/things/a", `{"size":0}`, nil, 400, `0 is less than 1","field":"size","mend":"say how large"`},
		{"a whole number with a point", "PUT", "/things/a", `{"size":7.0,"note":{"text":"1.0","tags":[]}}`, nil, 200, `"revision":"8"`},
		{"null is left out", "PUT", "/things/a", `{"size":null}`, nil, 200, `"revision":"8"`},
		{"a key twice", "PUT", "/things/a", `{"size":1,"size":2}`, nil, 400, `"detail":"stands twice","field":"size"`},
		{"a key twice, inside", "PUT", "/things/a", `{"note":{"tags":[{"text":1}],"text":"a","text":"b"}}`, nil, 400, `"detail":"stands twice","field":"note.text"`},
		{"another case", "PUT", "/things/a", `{"Size":1}`, nil, 400, "did you mean size?"},
		{"in the path and in the body", "PUT", "/things/a", `{"id":"b"}`, nil, 400, `"detail":"stands in the body","field":"id"`},
		{"in the query of a write", "PUT", "/things/a?size=1", ``, nil, 400, "arguments of PUT stand in the body"},
		{"in the query of a call by name", "POST", "/services/things/put?size=1", `{"id":"a"}`, nil, 400, "stand in the body"},
		{"a list for an object", "PUT", "/things/a", `[]`, nil, 400, "the body is no JSON object: it is of type array"},
		{"null for an object", "PUT", "/things/a", `null`, nil, 400, "the body is no JSON object"},
		{"two objects", "PUT", "/things/a", `{}{}`, nil, 400, "the body is no JSON object"},
		{"another type", "PUT", "/things/a", `{}`, []string{"Content-Type", "text/json"}, 415, "send it as application/json"},
		{"a type with its letters", "PUT", "/things/a", `{}`, []string{"Content-Type", "Application/JSON; charset=utf-8"}, 200, "revision"},
		{"too large", "PUT", "/things/a", strings.Repeat(" ", MaxBodyBytes+1), nil, 413, "larger than 1 MiB"},
		{"a path as it was written", "GET", "/things/a%2Fb%20c", "", nil, 200, `"id":"a/b c"`},
		{"a stream", "POST", "/count", `{"to":2}`, nil, 200, "0\n1\n"},
		{"an empty stream", "POST", "/count", `{"to":0}`, nil, 200, ""},
		{"a stream that breaks", "POST", "/count", `{"to":4}`, nil, 200, "2\n" + `{"problem":{"type":"about:blank","title":"Internal Server Error","status":500}}`},
		{"a stream that does not begin", "POST", "/count", `{"to":-1}`, nil, 409, "to"},
		{"no such service", "POST", "/services/thing/put", `{}`, nil, 404, "did you mean things?"},
		{"no such method", "POST", "/services/things/puts", `{}`, nil, 404, "did you mean put?"},
		{"no such route", "POST", "/thing", `{}`, nil, 404, "there is nothing at this path"},
		{"no such verb", "PATCH", "/things/a", `{}`, nil, 405, "this path does not take PATCH"},
		{"nobody", "GET", "/things/a", "", []string{"Authorization", "none"}, 401, "who are you?"},
		{"nobody, at nothing", "GET", "/none", "", []string{"Authorization", "none"}, 401, "who are you?"},
		{"denied on the system", "DELETE", "/things/a", "", []string{"Authorization", "view"}, 403, `v has not the permission admin on the system","mend":"ask an admin for admin for every owner"`},
		{"denied before faults are told", "GET", "/jobs/taxes/found?limit=0", "", []string{"Authorization", "view"}, 403, `v has not the permission operate on job \"taxes\" of money`},
		{"denied before a body is read", "PUT", "/things/a", "{", []string{"Authorization", "view"}, 403, "admin on the system"},
		{"no such job", "GET", "/jobs/visit/found", "", nil, 404, `there is no job \"visit\"","field":"job","mend":"did you mean visits?"`},
		{"no job", "POST", "/services/jobs/find", `{}`, nil, 400, `"detail":"is missing","field":"job"`},
		{"an empty job", "POST", "/services/jobs/find", `{"job":""}`, nil, 400, `"detail":"is empty","field":"job"`},
		{"a job that is no text", "POST", "/services/jobs/find", `{"job":["visits"]}`, nil, 400, `"detail":"is a list, not a text","field":"job"`},
		{"a page of another origin", "DELETE", "/things/a", "", []string{"Origin", "http://evil.example.org"}, 403, "another origin"},
		{"a page of another site", "POST", "/count", `{"to":1}`, []string{"Sec-Fetch-Site", "cross-site"}, 403, "another origin"},
		{"a page of this origin", "DELETE", "/things/a", "", []string{"Sec-Fetch-Site", "same-origin"}, 204, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, header, text := send(t, c.verb, base+c.path, c.body, c.header...)
			if status != c.status || !strings.Contains(text, c.says) {
				t.Errorf("got %d %s", status, text)
			}
			if header.Get("Cache-Control") != "no-store" {
				t.Error("it may be stored")
			}
			if want := c.status == 401; (header.Get("WWW-Authenticate") != "") != want {
				t.Errorf("WWW-Authenticate %q", header.Get("WWW-Authenticate"))
			}
		})
	}
}

// Names of jobs that a caller may not see are not told as what was meant.
func TestTheNearestJobIsOneThatMayBeSeen(t *testing.T) {
	t.Parallel()
	operator := Caller{Grants: []Grant{{Operate, "health"}}}
	if p := UnknownJob(someOwners{}, operator, "job", "taxe"); strings.Contains(p.Error(), "taxes") {
		t.Error(p)
	}
	if p := UnknownJob(someOwners{}, operator, "job", "visit"); !strings.Contains(p.Error(), "visits") {
		t.Error(p)
	}
}

// Revisions are ETags; conditions are an argument; what is made says where it is.
func TestRevisions(t *testing.T) {
	t.Parallel()
	base := serve(t, things()...)
	cases := []struct {
		name, verb, path, body string
		header                 []string
		status                 int
		tag, location          string
	}{
		{"read", "GET", "/things/a", "", nil, 200, `"7"`, ""},
		{"head", "HEAD", "/things/a", "", nil, 200, `"7"`, ""},
		{"read by name", "POST", "/services/things/show", `{"id":"a"}`, []string{"If-None-Match", `"7"`}, 200, `"7"`, ""},
		{"not changed since", "GET", "/things/a", "", []string{"If-None-Match", `"6", W/"7"`}, 304, `"7"`, ""},
		{"changed since", "GET", "/things/a", "", []string{"If-None-Match", `"6"`}, 200, `"7"`, ""},
		{"changed", "PUT", "/things/a", "", []string{"If-Match", `"7"`}, 200, `"8"`, ""},
		{"changed by another one", "PUT", "/things/a", "", []string{"If-Match", `"6"`}, 412, "", ""},
		{"made", "PUT", "/things/a%20b", "", []string{"If-None-Match", "*"}, 201, `"1"`, "/api/v1/things/a%20b"},
		{"made, by name", "POST", "/services/things/put", `{"id":"a","if_match":"0"}`, nil, 201, `"1"`, "/api/v1/things/a"},
		{"a condition that is none", "PUT", "/things/a", "", []string{"If-None-Match", `"7"`}, 400, "", ""},
		{"a condition twice", "PUT", "/things/a", `{"if_match":"7"}`, []string{"If-Match", `"7"`}, 400, "", ""},
		{"deleted", "DELETE", "/things/a", "", nil, 204, "", ""},
	}
	for _, c := range cases {
		status, header, text := send(t, c.verb, base+c.path, c.body, c.header...)
		if status != c.status || header.Get("ETag") != c.tag || header.Get("Location") != c.location {
			t.Errorf("%s: got %d, tag %s, location %s: %s", c.name, status, header.Get("ETag"), header.Get("Location"), text)
		}
		if (c.verb == "HEAD" || c.status == 304 || c.status == 204) && text != "" {
			t.Errorf("%s: has a body: %s", c.name, text)
		}
	}
}

// A line that is wrong is found when the table is made.
func TestWrongLines(t *testing.T) {
	t.Parallel()
	fine := func(context.Context, Caller, ThingIn) (Thing, error) { return Thing{}, nil }
	line := func(change func(*Method)) Method {
		m := Method{Service: "things", Name: "show", Verb: http.MethodGet, Route: "/things/{id}", Permission: View, Summary: "shows"}
		change(&m)
		return New(m, fine)
	}
	cases := map[string][]Method{
		"calls nothing":                            {{Service: "a", Name: "b"}},
		"is no name of a method":                   {line(func(m *Method) { m.Name = "Show" })},
		"has no summary":                           {line(func(m *Method) { m.Summary = "" })},
		"is no route":                              {line(func(m *Method) { m.Verb = "LIST" })},
		"there is no permission":                   {line(func(m *Method) { m.Permission = "root" })},
		"is in the route and no argument":          {line(func(m *Method) { m.Route = "/things/{name}" })},
		"which is no text that is needed":          {line(func(m *Method) { m.On = "job" })},
		"things.show stands twice":                 {line(func(*Method) {}), line(func(m *Method) { m.Route = "/other/{id}" })},
		"GET /things/{} stands twice in the table": {line(func(*Method) {}), line(func(m *Method) { m.Name = "get" })},
		"arguments are a struct": {New(Method{Service: "a", Name: "b", Verb: "GET", Route: "/a", Summary: "x"},
			func(context.Context, Caller, string) (string, error) { return "", nil })},
	}
	for says, methods := range cases {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if err := fmt.Sprint(recover()); !strings.Contains(err, says) {
					t.Errorf("says %q", err)
				}
			}()
			NewTable(Options{}, methods...)
		})
	}
}

// What a caller has shown is not in what is printed of him.
func TestCallersAreLentNotPrinted(t *testing.T) {
	t.Parallel()
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set("Authorization", "Bearer s3cret")
	by := Caller{Name: "a"}.by(req)
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("called", "by", by)
	if text := fmt.Sprintf("%v %+v %#v %s", by, by, by, b.String()); strings.Contains(text, "s3cret") {
		t.Error(text)
	}
	to := http.Header{}
	by.Lend(to)
	if to.Get("Authorization") != "Bearer s3cret" || to.Get(HopHeader) == "" {
		t.Errorf("lent %v", to)
	}
}

func send(t *testing.T, verb, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), verb, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// A stream whose first line, or refusal, takes longer than the server lets answers take is not cut off.
func TestAStreamMayBeginLate(t *testing.T) {
	t.Parallel()
	late := NewStream(Method{Service: "things", Name: "wait", Verb: http.MethodPost, Route: "/wait", Permission: View, On: Any, Summary: "waits"},
		func(_ context.Context, _ Caller, in struct {
			Lines int `json:"lines"`
		}, emit func(int) error) error {
			<-time.After(200 * time.Millisecond) // longer than WriteTimeout: that it passes is what is tested
			if in.Lines == 0 {
				return Refuse(http.StatusConflict, "lines", "are none", "")
			}
			return emit(1)
		})
	log := slog.New(slog.DiscardHandler)
	e := echo.New()
	e.HTTPErrorHandler = ErrorHandler(log)
	NewTable(Options{Authenticator: everyone{}, Owners: someOwners{}, Version: "1", Log: log}, late).Mount(e)
	s := httptest.NewUnstartedServer(e)
	s.Config.WriteTimeout = 50 * time.Millisecond
	s.Start()
	t.Cleanup(s.Close)
	for body, want := range map[string]int{`{"lines":1}`: 200, `{"lines":0}`: 409} {
		if status, _, text := send(t, "POST", s.URL+"/api/v1/wait", body); status != want || text == "" {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
}

// A broker hangs, and with it what asks it, whatever its context says: the caller has an answer all the same, which does not say that nothing
// was done. What gives one in time, or panics, is as it was.
func TestCallsThatHangAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		for _, writes := range []bool{false, true} {
			begun := time.Now()
			out, err := inTime(callTimeout, writes, func() (any, error) {
				<-hangs
				return "late", nil
			})
			var p *Problem
			if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || p.RetryAfter == 0 || out != nil || strings.Contains(p.Detail, "is not known") != writes {
				t.Errorf("%v, %v", out, err)
			}
			if took := time.Since(begun); took != callTimeout {
				t.Errorf("after %v", took)
			}
		}
		close(hangs)
		refused := errors.New("refused")
		out, err := inTime(callTimeout, true, func() (any, error) {
			time.Sleep(callTimeout - time.Second)
			return "in time", refused
		})
		if out != "in time" || !errors.Is(err, refused) {
			t.Errorf("%v, %v", out, err)
		}
		defer func() {
			if cause := fmt.Sprint(recover()); !strings.HasPrefix(cause, "broken\n") {
				t.Errorf("panics with %q", cause)
			}
		}()
		_, _ = inTime(callTimeout, true, func() (any, error) { panic("broken") })
	})
}
