package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"streamer/consumer/consumertest"
	"streamer/control/job"
	"streamer/control/service"
)

// asker asks a program everything there is, and keeps all that it says.
type asker struct {
	t   *testing.T
	p   *program
	out *seen
	// login is set on every request; nil: the admin's.
	login func(*http.Request)
	// tokens are those of the API that were made.
	tokens []string
}

// answerOf asks the program as nobody, and keeps the whole answer.
func answerOf(t *testing.T, p *program, method, path, body string, out *seen) string {
	t.Helper()
	status, text := (&asker{t: t, p: p, out: out, login: func(*http.Request) {}}).ask(method, path, body)
	if status >= 500 && path != "/readyz" || status == http.StatusNotFound || status == http.StatusBadRequest {
		t.Errorf("%s %s: %d %s", method, path, status, text)
	}
	return text
}

// waitAnswer asks until the answer has a part.
func waitAnswer(t *testing.T, p *program, path, part string, out *seen) {
	t.Helper()
	consumertest.WaitFor(t, 2*time.Minute, part+" at "+path, func() (any, bool) {
		answer := answerOf(t, p, http.MethodGet, path, "", out)
		return answer, strings.Contains(answer, part)
	})
}

func (a *asker) ask(method, path, body string) (status int, text string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, "http://"+a.p.Addr()+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.login != nil {
		a.login(req)
	} else {
		req.SetBasicAuth("admin", adminPassword)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	where, _, _ := strings.Cut(path, "?")
	a.out.add(method+" "+where, fmt.Sprint(resp.Status, resp.Header)+string(all))
	return resp.StatusCode, string(all)
}

func (a *asker) wait(path, part string) {
	a.t.Helper()
	consumertest.WaitFor(a.t, 2*time.Minute, part+" at "+path, func() (any, bool) {
		_, answer := a.ask(http.MethodGet, path, "")
		return answer, strings.Contains(answer, part)
	})
}

// final waits for the rows of a planted job. All are final, in one way or another, but one: what is denied may hold its job, if nothing is
// delivered after it.
func (a *asker) final(id, topic string) {
	a.t.Helper()
	at := func(offset string) string {
		if topic == "" {
			topic = "Person"
		}
		return "/api/v1/jobs/" + id + "/deliveries?topic=" + topic + "&partition=0&offset=" + offset
	}
	switch {
	case id == "oauth2-refused":
		a.wait("/api/v1/jobs/"+id, "answered 401 Unauthorized: invalid_client")
	case id == "oauth2-a-page":
		a.wait("/api/v1/jobs/"+id, "that holds no access token")
	case id == "token-storage-lost":
		a.wait(at("7"), `"dead-lettered"`)
	case id == "told-by-a-step":
		a.wait(at("0"), `"dead-lettered"`)
		a.wait("/api/v1/jobs/"+id+"/dead-letters", "answered ********")
	case topic == "Events":
		a.wait(at("1"), "delivered")
	case id == "routes", id == "steps", id == "entity":
		a.wait(at("0"), "delivered")
		a.wait(at("4"), `"dead-lettered"`)
	default:
		for _, offset := range []string{"1", "2", "4", "5", "6"} {
			a.wait(at(offset), `"dead-lettered"`)
		}
		a.wait(at("7"), `1 delivered`)
	}
}

// everything asks all that there is: routes, methods, commands; planted are the texts of jobs and connections, by their ids, and stand in dir.
func (a *asker) everything(planted map[string]string, dir string, environ []string) {
	a.t.Helper()
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/healthcheck", "/api/v1/jobs", "/api/v1/audit", "/api/v1/openapi.json", "/api/v1/login", "/nothing"} {
		a.ask(http.MethodGet, path, "")
	}
	a.strangers()
	ids := slices.Sorted(maps.Keys(planted))
	for i := 0; i < len(ids); i += 3 {
		a.aether(ids[i], planted[ids[i]])
	}
	a.tokens = append(a.tokens, a.token("watcher"))
	a.methods(ids, planted)
	a.wrong(ids, planted)
	a.commands(planted, dir, append(environ, "STREAMER_URL=http://"+a.p.Addr()))
	for _, path := range []string{"/metrics", "/readyz", "/api/v1/audit?limit=1000"} {
		a.ask(http.MethodGet, path, "")
	}
}

// token makes a token of the API, whose answer is the one place where it is shown.
func (a *asker) token(name string) string {
	a.t.Helper()
	var made struct{ Secret string }
	quiet := asker{t: a.t, p: a.p, out: &seen{}}
	_, text := quiet.ask(http.MethodPost, "/api/v1/tokens", `{"name": "`+name+`", "grants": [{"permission": "view", "owner": "demo"}]}`)
	if err := json.Unmarshal([]byte(text), &made); err != nil || len(made.Secret) < 20 {
		a.t.Fatalf("%v: %.20s", err, text)
	}
	return made.Secret
}

// strangers come with credentials that are wrong.
func (a *asker) strangers() {
	for _, login := range []func(*http.Request){
		func(r *http.Request) { r.SetBasicAuth("admin", wrongPassword) },
		func(r *http.Request) { r.SetBasicAuth(wrongPassword, wrongPassword) },
		func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+personsToken) },
		func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+unknownToken) },
		func(r *http.Request) { r.Header.Set("Authorization", wrongPassword) },
		func(r *http.Request) { r.Header.Set("Authorization", "Digest "+wrongPassword) },
		func(r *http.Request) { r.Header.Set("Cookie", "session="+wrongPassword) },
		func(r *http.Request) { r.Header.Set("X-Api-Key", wrongPassword) },
	} {
		stranger := &asker{t: a.t, p: a.p, out: a.out, login: login}
		for _, path := range []string{"/api/v1/jobs", "/jobs/list", "/api/v1/services"} {
			if status, text := stranger.ask(http.MethodGet, path, ""); status < 400 {
				a.t.Errorf("%s: %d %s", path, status, text)
			}
		}
	}
}

// aether asks the routes of Aether's consumer.
func (a *asker) aether(id, text string) {
	document := inJSON(a.t, text)
	for _, path := range []string{"/jobs/get?id=" + id, "/jobs/list", "/jobs/schema", "/jobs/status?id=" + id, "/jobs/logs?id=" + id, "/jobs/demo", "/job/" + id, "/job/" + id + "/set_offset/-1", "/jobs/validate?id=" + id} {
		a.ask(http.MethodGet, path, "")
	}
	a.ask(http.MethodPost, "/jobs/validate", document)
	a.ask(http.MethodPost, "/jobs/validate", strings.Replace(document, `"owner"`, `"owner_"`, 1))
	a.ask(http.MethodPost, "/job/"+id, strings.Replace(document, "demo", "other", 1)) // refused or not
	a.ask(http.MethodPost, "/jobs/add", document)
}

// inJSON is a planted document as a client would send it.
func inJSON(t *testing.T, text string) string {
	t.Helper()
	defs, broken := job.ParseFile("job.yaml", []byte(text))
	if len(defs) != 1 {
		t.Fatalf("%v in %s", broken, text)
	}
	return string(defs[0].Canonical())
}

// methods calls every method by its name and by its route, each about some of the jobs or connections. What ends something comes in wrong.
func (a *asker) methods(ids []string, planted map[string]string) {
	_, listed := a.ask(http.MethodGet, "/api/v1/services", "")
	var list service.List
	if err := json.Unmarshal([]byte(listed), &list); err != nil {
		a.t.Fatal(err)
	}
	var jobs, connections []string
	for _, id := range ids {
		if strings.HasPrefix(planted[id], "id:") {
			jobs = append(jobs, id)
		} else {
			connections = append(connections, id)
		}
	}
	n := 0
	for _, s := range list.Services {
		for _, m := range s.Methods {
			if s.Name+"."+m.Name == "tokens.create" { // its answer shows one
				continue
			}
			about := jobs
			if s.Name == "connections" {
				about = connections
			}
			for i := range 2 {
				if s.Name == "system" && i > 0 { // it is about none
					break
				}
				n++
				a.method(s.Name, m, about[n%len(about)], planted)
			}
		}
	}
}

func (a *asker) method(of string, m service.ListedMethod, id string, planted map[string]string) {
	args := maps.Clone(asked[of+"."+m.Name])
	given := func(name string, value any) {
		if _, ok := args[name]; ok {
			args[name] = value
		}
	}
	given("job", id)
	given("connection", id)
	given("document", json.RawMessage(inJSON(a.t, planted[id])))
	given("topic", "Person")
	given("offset", 2)
	delete(args, "row")
	switch m.Name {
	case "delete":
		args["if_match"] = "999999"
	case "redrive":
		args["dry_run"] = true
	}
	body, err := json.Marshal(args)
	if err != nil {
		a.t.Fatal(err)
	}
	if status, answer := a.ask(http.MethodPost, "/api/v1/services/"+of+"/"+m.Name, string(body)); status >= 500 {
		a.t.Errorf("%s.%s of %s: %d %s", of, m.Name, id, status, answer)
	}
	a.out.add("REST "+of+"."+m.Name, fmt.Sprint(rest("http://"+a.p.Addr(), a.tokens[0])(a.t, m, args)))
}

// wrong sends secrets in documents that are wrong, each in another way.
func (a *asker) wrong(ids []string, planted map[string]string) {
	for i, id := range ids {
		document, kind := inJSON(a.t, planted[id]), "jobs"
		if !strings.HasPrefix(planted[id], "id:") {
			kind = "connections"
		}
		bodies := []string{`{"document": ` + document[:len(document)-2], `{"document": [` + document + `]}`, `{"documents": ` + document + `}`, document,
			`{"document": ` + strings.ReplaceAll(document, `"owner":"demo"`, `"owner":7`) + `}`, `{"document": ` + strings.ReplaceAll(document, `"owner"`, `"ownr"`) + `}`}
		for n, path := range []string{"/api/v1/" + kind, "/api/v1/services/" + kind + "/create", "/api/v1/services/jobs/validate", "/jobs/validate"} {
			if status, answer := a.ask(http.MethodPost, path, bodies[(i+n)%len(bodies)]); status >= 500 || status == http.StatusCreated {
				a.t.Errorf("%s of %s: %d %s", path, id, status, answer)
			}
		}
		a.ask(http.MethodPut, "/api/v1/"+kind+"/"+id, bodies[i%len(bodies)])
	}
}
