package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"streamer/control/client"
	"streamer/control/service"
)

// asked are arguments for every method of the table, which the instance of the scripts can answer. A method that is added needs a line.
var asked = map[string]map[string]any{
	"audit.list":          {"job": "visits", "limit": 1},
	"connections.create":  {"document": map[string]any{"name": "crm", "owner": "health"}},
	"connections.delete":  {"connection": "crm", "if_match": "*"},
	"connections.diff":    {"connection": "crm", "document": map[string]any{"name": "crm", "owner": "health"}},
	"connections.get":     {"connection": "crm"},
	"connections.list":    {"limit": 2},
	"connections.pause":   {"connection": "crm"},
	"connections.replace": {"connection": "crm", "if_match": "7", "document": map[string]any{"name": "crm", "owner": "health"}},
	"connections.resume":  {"connection": "crm"},
	"deadletters.give-up": {"job": "visits", "class": []string{"rejected"}, "dry_run": true},
	"deadletters.list":    {"job": "visits", "since": "2026-01-31T02:00:00Z", "class": []string{"rejected", "payload"}, "limit": 1},
	"deadletters.redrive": {"job": "visits"},
	"deadletters.show":    {"job": "visits", "partition": 0, "offset": 5},
	"deliveries.find":     {"job": "visits", "topic": "visit", "partition": 0, "offset": 1000},
	"deliveries.give-up":  {"job": "visits", "topic": "visit", "partition": 0, "offset": 1000, "row": 2},
	"deliveries.retry":    {"job": "visits", "topic": "visit", "partition": 0, "offset": 1000, "row": 2},
	"jobs.create":         {"document": map[string]any{"id": "visits", "url": "https://api.example.org/visits"}},
	"jobs.definition":     {"job": "visits"},
	"jobs.definitions":    {"limit": 1, "documents": true},
	"jobs.delete":         {"job": "visits", "letters": true, "if_match": "*"},
	"jobs.diff":           {"job": "visits", "document": map[string]any{"id": "visits"}},
	"jobs.list":           {"limit": 2},
	"jobs.logs":           {"job": "visits", "limit": 1},
	"jobs.pause":          {"job": "visits"},
	"jobs.resume":         {"job": "visits"},
	"jobs.replace":        {"job": "visits", "document": map[string]any{"id": "visits"}, "if_match": "41"},
	"jobs.schema":         {},
	"jobs.show":           {"job": "visits"},
	"jobs.start":          {"job": "visits"},
	"jobs.stop":           {"job": "visits"},
	"jobs.test": {"job": "visits", "topic": "visit", "partition": 0, "offset": 5, "limit": 2, "document": map[string]any{"id": "visits", "steps": []any{map[string]any{"name": "owner", "url": "https://api.example.org/owners/7"}}},
		"answers": map[string]any{"owner": map[string]any{"status": 404}}},
	"jobs.validate":    {"document": map[string]any{"id": "visits", "url": "https://api.example.org/visits"}},
	"offsets.accept":   {"job": "visits", "at": "earliest", "dry_run": true},
	"offsets.outcome":  {"job": "visits", "reset": "R"},
	"offsets.reset":    {"job": "visits", "to": "-100", "dry_run": true},
	"offsets.show":     {"job": "visits"},
	"offsets.undo":     {"job": "visits", "dry_run": true},
	"system.instances": {},
	"system.jobs":      {"from": "births", "to": "visits"},
	"system.openapi":   {},
	"system.readiness": {},
	"system.services":  {},
	"system.version":   {},
	"tokens.create":    {"name": "deploy", "grants": []service.Grant{{Permission: service.Operate, Owner: "health"}}},
	"tokens.list":      {"limit": 2},
	"tokens.revoke":    {"id": "aaaaaaaa"},

	"system.rotate-secrets": {},
}

// persons are people whose token is what they may: "operate health edit births", or nobody; the token wrong is refused. The admin ada has a
// password.
type persons struct{}

func (persons) Authenticate(req *http.Request) (service.Caller, error) {
	if name, password, ok := req.BasicAuth(); ok && name == "ada" && password == "twelve letters" {
		return service.Caller{Name: "basic:ada", Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}, nil
	}
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "wrong" {
		return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", "there is no credential", "log in")
	}
	by := service.Caller{Name: "token:" + token}
	for words := strings.Fields(token); len(words) > 1; words = words[2:] {
		by.Grants = append(by.Grants, service.Grant{Permission: service.Permission(words[0]), Owner: words[1]})
	}
	return by, nil
}

// openNight starts the instance of the scripts, and gives its address and its table.
func openNight(t *testing.T, people service.Authenticator) (base string, store *nightStore, list service.List) {
	t.Helper()
	s, store := nightServer(filepath.Join(t.TempDir(), "sending"), people)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Stop(context.Background())
	})
	base = "http://" + s.Addr()
	api := dial(t, base)
	list, err := api.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return base, store, list
}

func dial(t *testing.T, base string) *client.Client {
	t.Helper()
	api, err := client.New(base, client.WithBearer("admin *"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

// way calls a method and gives the answer: one JSON value, or one on each line.
type way func(t *testing.T, service string, m service.ListedMethod, args map[string]any) string

// rest is the way over a method's own route.
func rest(base, token string) func(*testing.T, service.ListedMethod, map[string]any) (int, string) {
	return func(t *testing.T, m service.ListedMethod, args map[string]any) (int, string) {
		left := map[string]any{}
		for name, value := range args {
			left[name] = value
		}
		route := regexp.MustCompile(`{[a-z_]+}`).ReplaceAllStringFunc(m.Route, func(name string) string {
			name = strings.Trim(name, "{}")
			defer delete(left, name)
			return url.PathEscape(fmt.Sprint(left[name]))
		})
		if m.Verb == http.MethodGet || m.Verb == http.MethodDelete {
			query, header := url.Values{}, http.Header{}
			for name, value := range left {
				if name == "if_match" { // of what a query says the revision stands in a header
					header.Set("If-Match", strconv.Quote(written(t, value)))
					continue
				}
				query.Set(name, written(t, value))
			}
			return exchangeWith(t, m.Verb, base+route+"?"+query.Encode(), token, nil, header)
		}
		return exchange(t, m.Verb, base+route, token, left)
	}
}

// written is an argument as it stands in a query or on a command line.
func written(t *testing.T, value any) string {
	t.Helper()
	switch v := value.(type) {
	case []string:
		return strings.Join(v, ",")
	case map[string]any, []service.Grant:
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	return fmt.Sprint(value)
}

func exchange(t *testing.T, verb, url, token string, body any) (int, string) {
	t.Helper()
	return exchangeWith(t, verb, url, token, body, http.Header{})
}

func exchangeWith(t *testing.T, verb, url, token string, body any, header http.Header) (int, string) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), verb, url, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

// same makes answers comparable: JSON values, one on each line.
func same(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	for lines := json.NewDecoder(strings.NewReader(text)); ; {
		var v any
		switch err := lines.Decode(&v); {
		case err == io.EOF:
			return b.String()
		case err != nil:
			t.Fatalf("%v: %s", err, text)
		}
		line, _ := json.Marshal(v)
		b.Write(append(line, '\n'))
	}
}

// Every method answers the same, whichever way it is called: over its own route, by its name, from Go, from JavaScript, and from the
// command line. Each way has an instance of its own, so that all find the same.
func TestEveryMethodEveryWay(t *testing.T) {
	t.Parallel()
	all := func(base string, list service.List, call way) map[string]string {
		answers := map[string]string{}
		for _, s := range list.Services {
			for _, m := range s.Methods {
				args, known := asked[s.Name+"."+m.Name]
				if !known {
					t.Errorf("%s.%s has no arguments in this test", s.Name, m.Name)
					continue
				}
				answers[s.Name+"."+m.Name] = same(t, call(t, s.Name, m, args))
			}
		}
		return answers
	}

	base, _, list := openNight(t, persons{})
	byRoute := rest(base, "admin *")
	want := all(base, list, func(t *testing.T, _ string, m service.ListedMethod, args map[string]any) string {
		status, text := byRoute(t, m, args)
		if status != m.Status {
			t.Errorf("%s %s: answered %d, not %d: %s", m.Verb, m.Route, status, m.Status, text)
		}
		return text
	})
	if len(want) < 21 {
		t.Errorf("only %d methods", len(want))
	}
	fits(t, base, list, want)

	compare := func(how string, got map[string]string) {
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s %s:\n%s\nover its route:\n%s", name, how, got[name], want[name])
			}
		}
	}
	base, _, list = openNight(t, persons{})
	compare("by name", all(base, list, func(t *testing.T, s string, m service.ListedMethod, args map[string]any) string {
		_, text := exchange(t, http.MethodPost, base+"/api/v1/services/"+s+"/"+m.Name, "admin *", args)
		return text
	}))
	base, _, list = openNight(t, persons{})
	api := dial(t, base)
	compare("from Go", all(base, list, func(t *testing.T, s string, m service.ListedMethod, args map[string]any) string {
		if m.Stream {
			var lines []byte
			if err := api.Stream(t.Context(), s+"."+m.Name, args, func(line json.RawMessage) error { lines = append(lines, line...); return nil }); err != nil {
				t.Error(err)
			}
			return string(lines)
		}
		var out json.RawMessage
		if err := api.Call(t.Context(), s+"."+m.Name, args, &out); err != nil {
			t.Error(err)
		}
		return string(out)
	}))
	base, _, list = openNight(t, persons{})
	compare("from the command line", all(base, list, func(t *testing.T, s string, m service.ListedMethod, args map[string]any) string {
		line := []string{"services", "call", s, m.Name}
		for name, value := range args {
			line = append(line, name+"="+written(t, value))
		}
		var out, errOut bytes.Buffer
		if code := execute(line, []string{"STREAMER_URL=" + base, "STREAMER_TOKEN=admin *"}, strings.NewReader(""), &out, &errOut); code != exitFine {
			t.Errorf("%v ended with %d: %s", line, code, errOut.String())
		}
		return out.String()
	}))
	base, _, list = openNight(t, persons{})
	compare("from JavaScript", fromJavaScript(t, base, list))
}

// fromJavaScript calls every method with the script that the instance serves.
func fromJavaScript(t *testing.T, base string, list service.List) map[string]string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no node to try the JavaScript client with")
		}
		t.Skip("there is no node to try the JavaScript client with")
	}
	dir := t.TempDir()
	_, script := exchange(t, http.MethodGet, base+"/api/v1/client.js", "", nil)
	program := `import { connect, Problem } from "./client.mjs";
const { url, calls } = JSON.parse(process.argv[2]);
const api = await connect(url, { credential: "admin *" });
const answers = {};
for (const [service, method, args] of calls) {
  const call = api[service][method.replace(/-(.)/g, (_, letter) => letter.toUpperCase())];
  let answer = call(args);
  if (answer[Symbol.asyncIterator]) {
    const lines = [];
    for await (const line of answer) lines.push(JSON.stringify(line));
    answers[service + "." + method] = lines.join("\n");
  } else {
    answers[service + "." + method] = JSON.stringify(await answer);
  }
}
const refusals = [];
for (const refused of [() => api.jobs.start({ job: "visit" }), () => api.jobs.list({ limit: 0, cursor: 1 }), () => api.deadletters.redrive({ job: "births" }).next(),
  () => connect(url, {}), () => connect(url, { credential: { name: "ä", password: "x" } })]) {
  try {
    await refused();
    refusals.push("none");
  } catch (e) {
    refusals.push([e instanceof Problem && e instanceof Error, e.status, e.message, e.errors.length].join(" "));
  }
}
console.log(JSON.stringify({ answers, refusals }));`
	for name, text := range map[string]string{"client.mjs": script, "all.mjs": program} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var calls [][]any
	for _, s := range list.Services {
		for _, m := range s.Methods {
			calls = append(calls, []any{s.Name, m.Name, asked[s.Name+"."+m.Name]})
		}
	}
	in, err := json.Marshal(map[string]any{"url": base, "calls": calls})
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), node, filepath.Join(dir, "all.mjs"), string(in))
	var errOut bytes.Buffer
	c.Stderr = &errOut
	text, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	var out struct {
		Answers  map[string]string
		Refusals []string
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	for name, answer := range out.Answers {
		out.Answers[name] = same(t, answer)
	}
	want := []string{`true 404 job: there is no job "visit"; did you mean visits? 1`,
		"true 400 limit: 0 is less than 1; also cursor: is a number, not a text 2",
		"true 409 job: dead letters of this job are off; rows that cannot be delivered keep their lanes waiting: streamer deliveries decides about them 1",
		"true 401 there is no credential; log in 0", "true 401 there is no credential; log in 0"}
	for i := range want {
		if i >= len(out.Refusals) || !sameStart(out.Refusals[i], want[i]) {
			t.Errorf("refusals in JavaScript: %q", out.Refusals)
			break
		}
	}
	return out.Answers
}

// sameStart leaves out that JavaScript names only the first of several faults.
func sameStart(got, want string) bool {
	before, after, several := strings.Cut(want, "; also ")
	if !several {
		return got == want
	}
	return got == before+after[strings.LastIndex(after, " "):]
}

// fits holds the OpenAPI document against the table, and the answers against the document: every route stands in it, every schema is one,
// and what is answered is what it says.
func fits(t *testing.T, base string, list service.List, answers map[string]string) {
	t.Helper()
	_, text := exchange(t, http.MethodGet, base+"/api/v1/openapi.json", "admin *", nil)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("http://openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	at := func(path ...string) string {
		for i, p := range path {
			path[i] = strings.NewReplacer("~", "~0", "/", "~1").Replace(p)
		}
		return "http://openapi.json#/" + strings.Join(path, "/")
	}
	top := doc.(map[string]any)
	if top["openapi"] != "3.1.0" {
		t.Errorf("openapi is %v", top["openapi"])
	}
	for name := range top["components"].(map[string]any)["schemas"].(map[string]any) {
		if _, err := compiler.Compile(at("components", "schemas", name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	operations := 0
	for _, item := range top["paths"].(map[string]any) {
		operations += len(item.(map[string]any))
	}
	methods := 0
	for _, s := range list.Services {
		for _, m := range s.Methods {
			methods++
			kind := "application/json"
			if m.Stream {
				kind = "application/x-ndjson"
			}
			schema, err := compiler.Compile(at("paths", m.Route, strings.ToLower(m.Verb), "responses", fmt.Sprint(m.Status), "content", kind, "schema"))
			if err != nil {
				t.Errorf("%s %s: %v", m.Verb, m.Route, err)
				continue
			}
			for line := range strings.Lines(answers[s.Name+"."+m.Name]) {
				v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
				if err == nil {
					err = schema.Validate(v)
				}
				if err != nil {
					t.Errorf("%s %s: %v", m.Verb, m.Route, err)
				}
			}
			for _, status := range []string{"400", "401", "403", "404", "409", "412", "413", "415", "422", "429", "503"} {
				if _, err := compiler.Compile(at("paths", m.Route, strings.ToLower(m.Verb), "responses", status)); err != nil {
					t.Errorf("%s %s: %v", m.Verb, m.Route, err)
				}
			}
		}
	}
	if operations != methods+1 { // the call by name
		t.Errorf("%d operations of %d methods", operations, methods)
	}
}

// Every route, over REST and by name: nobody, who has everything on other jobs, and each permission on the jobs of the owner or on all.
// Who is denied is told what he lacks, and nothing has been done.
func TestEveryRouteAndPerson(t *testing.T) {
	t.Parallel()
	base, store, list := openNight(t, persons{})
	may := func(token string, m service.ListedMethod) bool {
		words := strings.Fields(token)
		owner := words[1]
		had, needed := service.Permission(words[0]), m.Permission
		switch {
		case needed == "":
			return true
		case m.On == "":
			return had.Includes(needed) && owner == "*"
		case m.On == service.Any:
			return had.Includes(needed)
		}
		return had.Includes(needed) && (owner == "*" || owner == "health")
	}
	tokens := []string{"edit births", "admin births", "view health", "operate health", "edit health", "admin health", "view *", "operate *", "edit *", "admin *"}
	for _, s := range list.Services {
		for _, m := range s.Methods {
			name := s.Name + "." + m.Name
			args := asked[name]
			for i, token := range append([]string{""}, tokens...) {
				before := store.changes()
				overRoute, text := rest(base, token)(t, m, args)
				byName, byNameText := exchange(t, http.MethodPost, base+"/api/v1/services/"+s.Name+"/"+m.Name, token, args)
				want := http.StatusForbidden
				switch {
				case i == 0:
					want = http.StatusUnauthorized
				case (name == "audit.list" || name == "jobs.create" || name == "connections.create") && strings.HasSuffix(token, "births"): // it looks at the job itself
				case may(token, m):
					want = m.Status
					if overRoute == http.StatusConflict { // as it stands in the order of this test
						want = overRoute
					}
				}
				if overRoute != want || byName != want {
					t.Errorf("%s as %q: %d over its route, %d by name, not %d: %s", name, token, overRoute, byName, want, text)
				}
				if want != http.StatusForbidden {
					continue
				}
				var p service.Problem
				if err := json.Unmarshal([]byte(text), &p); err != nil || !strings.Contains(p.Detail, "token:"+token+" has not the permission "+string(m.Permission)) || p.Mend == "" {
					t.Errorf("%s as %q is told %s", name, token, text)
				}
				if byNameText != text || store.changes() != before {
					t.Errorf("%s as %q: %s; %d changes", name, token, byNameText, store.changes()-before)
				}
			}
		}
	}
	for _, path := range []string{"/api", "/api/v1/none", "/api/v1/jobs/none/none"} {
		if status, text := exchange(t, http.MethodGet, base+path, "", nil); status != http.StatusUnauthorized {
			t.Errorf("%s is answered to nobody: %d %s", path, status, text)
		}
	}
	public := []string{"/healthz", "/readyz", "/metrics", "/api/v1/client.js", "/api/v1/login"}
	for _, path := range public {
		if status, text := exchange(t, http.MethodGet, base+path, "", nil); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

// The page about the API has every method, with its route and permission.
func TestServicesAreDocumented(t *testing.T) {
	t.Parallel()
	_, _, list := openNight(t, nil)
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range list.Services {
		for _, m := range s.Methods {
			need := string(m.Permission)
			switch {
			case need == "":
				need = "-"
			case m.On == "":
				need += " on the system"
			case m.On == service.Any:
				need += " on any job"
			default:
				need += " on `" + m.On + "`"
			}
			lines = append(lines, fmt.Sprintf("| `%s.%s` | `%s %s` | %s | %s |", s.Name, m.Name, m.Verb, m.Route, need, m.Summary))
		}
	}
	for _, line := range lines {
		if !bytes.Contains(page, []byte(line+"\n")) {
			t.Errorf("docs/api.md lacks\n%s", line)
		}
	}
	documented := regexp.MustCompile("(?m)^\\| `[a-z-]+\\.[a-z-]+` .*\\|$").FindAllString(string(page), -1)
	for _, line := range documented {
		if !slices.Contains(lines, line) {
			t.Errorf("docs/api.md has what is not so:\n%s", line)
		}
	}
}
