package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"streamer/consumer"
	"streamer/control/service"
)

// users log in by a basic credential, as scripts for the original do: their name is what they may do, as in edit@health.
type users struct{}

func (users) Authenticate(req *http.Request) (service.Caller, error) {
	name, password, _ := req.BasicAuth()
	permission, owner, ok := strings.Cut(name, "@")
	if !ok || password != "password" {
		return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", "user or password are wrong", "")
	}
	return service.Caller{Name: "basic:" + name, Grants: []service.Grant{{Permission: service.Permission(permission), Owner: owner}}}, nil
}

// as is the login of a user; nobody's is empty.
func as(user string) string {
	if user == "" {
		return ""
	}
	req := http.Request{Header: http.Header{}}
	req.SetBasicAuth(user, "password")
	return req.Header.Get("Authorization")
}

// setOffsets notes what offsets are to be.
type setOffsets struct {
	Resetter
	mu  sync.Mutex
	did []string
}

func (r *setOffsets) Reset(_ context.Context, job string, spec consumer.ResetSpec, by service.Caller) (ResetAnswer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.did = append(r.did, by.Name+" "+job+" to "+spec.String())
	return ResetAnswer{ID: fmt.Sprintf("%s-%d", job, len(r.did))}, nil
}

// aetherFixture serves an instance with jobs of two owners, and a running one: visits.
type aetherFixture struct {
	base  string
	log   *memoryLog
	store *fakeStore
	set   *setOffsets
}

func newAether(t *testing.T) *aetherFixture {
	t.Helper()
	f := &aetherFixture{log: newMemoryLog(), store: &fakeStore{}, set: &setOffsets{}}
	d := NewDefinitions(f.log, testProcess(t))
	for id, owner := range map[string]string{"visits": "health", "births": "health", "taxes": "money", "secret": "money"} {
		must[Definition](t)(d.Create(t.Context(), admin, document(id, owner, `, "token": "geheim"`)))
	}
	f.removes(t, d)
	f.base = startAPI(t, "127.0.0.1:0", API{Authenticator: users{}, Definitions: d, Store: f.store, Desires: f.store, Resets: f.set, Fleet: lonely{"one"},
		Jobs: fakeJobs{{JobStatus: JobStatus{ID: "visits", Owner: "health", State: Running, Since: morning}}, {JobStatus: JobStatus{ID: "births", Owner: "health", State: Held, Since: morning}},
			{JobStatus: JobStatus{ID: "taxes", Owner: "money", State: Failed, Since: morning}}},
		Lines: func(job string) []LogLine {
			return []LogLine{{At: morning, Level: "WARN", Text: "a row waits job=" + job}, {At: morning.Add(time.Second), Level: "INFO", Text: "it goes on"}}
		}})
	return f
}

// removes takes jobs out that are being deleted, as a supervisor does.
func (f *aetherFixture) removes(t *testing.T, d *Definitions) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() { // ends with the test
		defer close(ended)
		for {
			changed := f.log.Changed()
			page, err := d.List(ctx, admin, "", service.MaxPage, false)
			for _, j := range page.Definitions {
				if j.Deleting != nil && err == nil {
					err = d.remove(ctx, j.ID)
				}
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// changes is how often something was changed.
func (f *aetherFixture) changes() int {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	return f.log.writes + len(f.store.did) + len(f.set.did)
}

// legacyCall is a call as a script makes it, and what it is answered; one who has not the permission on the jobs of health is denied.
type legacyCall struct {
	verb, path, kind, body string
	needs                  service.Permission
	writes                 bool
	answer                 string
}

func legacyCalls() []legacyCall {
	const asJSON, asForm = "application/json", "application/x-www-form-urlencoded"
	job := func(id, more string) string { return string(document(id, "health", more)) }
	lines := `[["2026-01-31T06:00:00Z","WARN","a row waits job=visits"],["2026-01-31T06:00:01Z","INFO","it goes on"]]`
	return []legacyCall{
		{"POST", "/jobs/add", asJSON, job("new", ""), service.Edit, true, `true`},
		{"POST", "/jobs/add", asJSON, job("new", `, "order": "key"`), service.Edit, true, `true`}, // the original takes what there is already for an update
		{"GET", "/jobs/update", asJSON, job("new", `, "order": "partition"`), service.Edit, true, `true`},
		{"POST", "/jobs/update", asJSON, job("new", `, "order": "none"`), service.Edit, true, `true`},
		{"PUT", "/jobs/update", asJSON + "; charset=utf-8", job("other", ""), service.Edit, true, `true`},
		{"POST", "/job/new", asJSON, job("new", `, "order": "key"`), service.Edit, true, `true`},
		{"PUT", "/job/new", "", job("new", ""), service.Edit, true, `true`},
		{"GET", "/jobs/validate", asJSON, job("new", ""), service.Edit, false, `{"valid":true}`},
		{"POST", "/jobs/validate", asJSON, job("new", ""), service.Edit, false, `{"valid":true}`},
		{"POST", "/jobs/validate", asJSON, `{"id": "x", "owner": "health"}`, service.Edit, false, `{"valid":false,"validation_errors":[` +
			`"topic: is missing; list the topics to read"`},
		{"GET", "/jobs/get?id=visits", "", "", service.View, false, `{"id":"visits","owner":"health","type":"PUT"`},
		{"POST", "/jobs/get?id=visits", "", "", service.View, false, `{"id":"visits"`},
		{"POST", "/jobs/get", asForm, "id=visits", service.View, false, `{"id":"visits"`},
		{"GET", "/job/visits", "", "", service.View, false, `{"id":"visits"`},
		{"GET", "/jobs/list", "", "", service.View, false, `{"births":"WorkerStatus.ERR_DELIVERY","visits":"WorkerStatus.RUNNING"}`},
		{"GET", "/jobs/health", "", "", service.View, false, `["births","new","other","visits"]`},
		{"GET", "/jobs/money", "", "", service.View, false, `[]`},
		{"GET", "/jobs/schema", "", "", "", false, `{"$schema":"https://json-schema.org/draft/2020-12/schema"`},
		{"POST", "/jobs/schema?id=visits", "", "", "", false, `{"$schema":`},
		{"GET", "/jobs/status?id=visits", "", "", service.View, false, `"JobStatus.NORMAL"`},
		{"POST", "/jobs/status?id=births", "", "", service.View, false, `"JobStatus.PAUSED"`},
		{"GET", "/jobs/logs?id=visits", "", "", service.View, false, lines},
		{"POST", "/jobs/logs", asForm, "id=visits", service.View, false, lines},
		{"GET", "/jobs/pause?id=visits", "", "", service.Operate, true, `true`},
		{"POST", "/jobs/pause?id=visits", asJSON, "{}", service.Operate, true, `true`},
		{"GET", "/jobs/status?id=visits", "", "", service.View, false, `"JobStatus.PAUSED"`}, // no instance has followed yet
		{"GET", "/jobs/list", "", "", service.View, false, `{"births":"WorkerStatus.ERR_DELIVERY","visits":"WorkerStatus.PAUSED"}`},
		{"GET", "/jobs/resume?id=visits", "", "", service.Operate, true, `true`},
		{"POST", "/jobs/resume", asForm, "id=visits", service.Operate, true, `true`},
		{"GET", "/job/visits/stop", "", "", service.Operate, true, `true`},
		{"POST", "/job/visits/stop", "", "", service.Operate, true, `true`},
		{"GET", "/jobs/status?id=visits", "", "", service.View, false, `"JobStatus.STOPPED"`},
		{"GET", "/job/visits/start", "", "", service.Operate, true, `true`},
		{"POST", "/job/visits/start", "", "", service.Operate, true, `true`},
		{"GET", "/job/visits/set_offset/0", "", "", service.Operate, true, `{"id":"visits-1","group":`},
		{"POST", "/job/visits/set_offset/9223372036854775807", "", "", service.Operate, true, `{"id":"visits-2","group":`},
		{"GET", "/jobs/delete?id=new", "", "", service.Edit, true, `true`},
		{"POST", "/jobs/delete", asForm, "id=visits", service.Edit, true, `true`},
		{"DELETE", "/jobs/delete?id=other", "", "", service.Edit, true, `true`},
		{"DELETE", "/job/births", "", "", service.Edit, true, `true`},
		{"GET", "/jobs/delete?id=none", "", "", service.Edit, false, `false`},
	}
}

// Each route as a script calls it, and before that as nobody, as who may do everything but that, as somebody who may do it for another owner,
// and as each browser does: what is refused has changed nothing.
func TestRoutesOfAether(t *testing.T) {
	t.Parallel()
	f := newAether(t)
	browsers := map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "image", "Origin": f.base, "Referer": f.base + "/console",
		"Accept-Language": "de,en;q=0.5"}
	less := map[service.Permission]string{service.Edit: "operate@health", service.Operate: "view@health"}
	for _, c := range legacyCalls() {
		send := func(user string, header ...string) (int, string, service.Problem) {
			if c.kind != "" {
				header = append(header, "Content-Type", c.kind)
			}
			if login := as(user); login != "" {
				header = append(header, "Authorization", login)
			}
			return request(t, c.verb, f.base+c.path, c.body, header...)
		}
		name, before := c.verb+" "+c.path, f.changes()
		if status, text, _ := send(""); status != http.StatusUnauthorized {
			t.Errorf("%s of nobody: %d %s", name, status, text)
		}
		if user := less[c.needs]; user != "" && !strings.Contains(c.path, "none") {
			if status, text, p := send(user); status != http.StatusForbidden || !strings.Contains(p.Detail, "has not the permission "+string(c.needs)) {
				t.Errorf("%s of %s: %d %s", name, user, status, text)
			}
		}
		if c.needs != "" {
			// Of lists he gets his own, and a job can be checked by who may make others.
			status, text, _ := send("admin@another")
			of := strings.TrimSpace(text)
			if status != http.StatusForbidden && (c.writes || of != "{}" && of != "[]" && of != "false" && !strings.HasPrefix(of, `{"valid"`)) {
				t.Errorf("%s of another owner's admin: %d %s", name, status, text)
			}
		}
		for header, value := range browsers {
			if !c.writes || c.verb != http.MethodGet {
				break
			}
			if status, text, p := send("admin@*", header, value); status != http.StatusForbidden || !strings.Contains(p.Detail, "a browser has sent this request (header "+header+")") {
				t.Errorf("%s with %s: %d %s", name, header, status, text)
			}
		}
		if c.writes && c.verb != http.MethodGet {
			if status, text, _ := send("admin@*", "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
				t.Errorf("%s of another page: %d %s", name, status, text)
			}
		}
		if f.changes() != before {
			t.Errorf("%s has changed something for whom it was refused", name)
		}
		status, text, _ := send("edit@health")
		if text = strings.TrimSuffix(text, "\n"); status != http.StatusOK || text != c.answer && (len(c.answer) < 10 || !strings.HasPrefix(text, c.answer)) {
			t.Errorf("%s: %d %s, not %s", name, status, text, c.answer)
		}
		if wrote := f.changes() > before; wrote != c.writes {
			t.Errorf("%s has changed something: %v", name, wrote)
		}
		if strings.Contains(text, "geheim") || strings.Contains(text, "sealed:") {
			t.Errorf("%s shows a secret: %s", name, text)
		}
	}
	lines, _, err := NewStore(f.log).Audit(t.Context(), AuditSubject{Job: "new"}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, l := range lines {
		did = append(did, l.By+" "+l.Action)
	}
	if want := "basic:edit@health deleted, basic:edit@health delete, basic:edit@health change, basic:edit@health change, basic:edit@health change, basic:edit@health change, basic:edit@health change, basic:edit@health create"; strings.Join(did, ", ") != want {
		t.Errorf("the audit says %s", strings.Join(did, ", "))
	}
	if want := "basic:edit@health pause visits, basic:edit@health pause visits, basic:edit@health resume visits, basic:edit@health resume visits, " +
		"basic:edit@health stop visits, basic:edit@health stop visits, basic:edit@health start visits, basic:edit@health start visits"; strings.Join(f.store.did, ", ") != want {
		t.Errorf("was wanted: %s", strings.Join(f.store.did, ", "))
	}
	if want := "basic:edit@health visits to 0, basic:edit@health visits to 9223372036854775807"; strings.Join(f.set.did, ", ") != want {
		t.Errorf("was set: %s", strings.Join(f.set.did, ", "))
	}
}

// A job that is read, changed and sent back keeps its secrets; what the original generates is not taken for a part of it.
func TestAetherJobThereAndBack(t *testing.T) {
	t.Parallel()
	f := newAether(t)
	login := []string{"Authorization", as("edit@health"), "Content-Type", "application/json"}
	_, text, _ := request(t, http.MethodGet, f.base+"/jobs/get?id=visits", "", login...)
	var job struct{ Token, Modified, Hash string }
	if err := json.Unmarshal([]byte(text), &job); err != nil || job.Token != "********" || len(job.Hash) != 64 {
		t.Fatalf("%v: %s", err, text)
	}
	if at, err := time.Parse(time.RFC3339, job.Modified); err != nil || time.Since(at) > time.Minute {
		t.Errorf("modified at %s: %v", job.Modified, err)
	}
	before := f.changes()
	if status, answer, _ := request(t, http.MethodPost, f.base+"/jobs/update", text, login...); status != http.StatusOK || answer != "true\n" || f.changes() != before {
		t.Errorf("sent back: %d %s, %d changes", status, answer, f.changes()-before)
	}
	changed := strings.Replace(text, `"type":"PUT"`, `"type":"POST"`, 1)
	if status, answer, _ := request(t, http.MethodPost, f.base+"/job/visits", changed, login...); status != http.StatusOK || answer != "true\n" {
		t.Errorf("changed: %d %s", status, answer)
	}
	if _, text, _ = request(t, http.MethodGet, f.base+"/job/visits", "", login...); !strings.Contains(text, `"type":"POST"`) || !strings.Contains(text, `"token":"********"`) {
		t.Errorf("is now %s", text)
	}
}

func TestAetherRefuses(t *testing.T) {
	t.Parallel()
	f := newAether(t)
	job := string(document("visits", "health", ""))
	big := strings.Repeat(" ", service.MaxBodyBytes)
	cases := []struct {
		verb, path, kind, body string
		status                 int
		says                   string
	}{
		{"GET", "/jobs/get", "", "", 400, "id: is missing; add ?id="},
		{"GET", "/jobs/pause?id=", "", "", 400, "id: is missing"},
		{"GET", "/jobs/delete?id=visits&id=births", "", "", 400, "id: stands twice"},
		{"POST", "/jobs/delete?id=visits", "application/x-www-form-urlencoded", "id=births", 400, "id: stands twice"},
		{"POST", "/jobs/pause", "application/x-www-form-urlencoded", "id=%zz", 400, "the form cannot be read"},
		{"GET", "/jobs/get?id=visit", "", "", 404, `id: there is no job "visit"; did you mean visits?`},
		{"GET", "/jobs/pause?id=visit", "", "", 404, `id: there is no job "visit"`},
		{"GET", "/jobs/status?id=" + url.QueryEscape("../visits"), "", "", 404, `id: there is no job "../visits"`},
		{"GET", "/job/..%2Fvisits", "", "", 404, `id: there is no job "../visits"`},
		{"GET", "/job/visits%2Fstop", "", "", 404, `id: there is no job "visits/stop"`},
		{"GET", "/job/%2e%2e/stop", "", "", 404, `id: there is no job ".."`},
		{"GET", "/job//stop", "", "", 400, "id: is empty"},
		{"POST", "/job/visits/set_offset/-1", "", "", 400, `offset: "-1" is no offset`},
		{"POST", "/job/visits/set_offset/earliest", "", "", 400, `offset: "earliest" is no offset`},
		{"POST", "/job/visits/set_offset/%2B5", "", "", 400, `offset: "+5" is no offset`},
		{"POST", "/job/visits/set_offset/9223372036854775808", "", "", 400, `offset: "9223372036854775808" is no offset`},
		{"POST", "/job/visit/set_offset/5", "", "", 404, `id: there is no job "visit"`},
		{"GET", "/jobs/", "", "", 404, "there is nothing at this path"},
		{"GET", "/job/visits/", "", "", 404, "there is nothing at this path"},
		{"GET", "/job/visits/delete", "", "", 404, "there is nothing at this path"},
		{"GET", "/jobs%2Flist", "", "", 404, "there is nothing at this path"},
		{"GET", "/jobs/add", "", "", 405, "this path does not take GET; it takes POST"},
		{"PATCH", "/job/visits", "", "", 405, "this path does not take PATCH; it takes GET, POST, PUT, DELETE"},
		{"OPTIONS", "/jobs/delete?id=visits", "", "", 405, "does not take OPTIONS"},
		{"POST", "/jobs/add", "application/x-www-form-urlencoded", job, 415, "the body is application/x-www-form-urlencoded, not JSON"},
		{"POST", "/jobs/add", "text/plain", job, 415, "the body is text/plain"},
		{"POST", "/jobs/add", "application/json", "", 400, "the body is no job"},
		{"POST", "/jobs/add", "application/json", "null", 400, "the body is no job"},
		{"POST", "/jobs/add", "application/json", "[" + job + "]", 400, "the body is no job"},
		{"POST", "/jobs/add", "application/json", `"id: x"`, 400, "the body is no job"},
		{"POST", "/jobs/add", "application/json", job + big, 413, "larger than 1 MiB"},
		{"POST", "/jobs/add", "application/json", `{"id": 7, "owner": "health"}`, 422, "id: "},
		{"POST", "/jobs/add", "application/json", `{"id": "../x", "owner": "health"}`, 422, "id: "},
		{"POST", "/jobs/add", "application/json", strings.Replace(job, `"id"`, `"id": "births", "id"`, 1), 422, "twice"},
		{"POST", "/jobs/add", "application/json", strings.Replace(job, `"topic"`, `"topik"`, 1), 422, "topic: is missing"},
		{"POST", "/jobs/update", "application/json", string(document("taxes", "health", "")), 403, `has not the permission edit on job "taxes"`},
		{"POST", "/job/births", "application/json", job, 422, `id: the document is that of job "visits", not of "births"`},
		{"POST", "/job/births", "application/json", `{"owner": "health"}`, 422, `id: the document is that of job "", not of "births"`},
	}
	for _, c := range cases {
		before := f.changes()
		header := []string{"Authorization", as("edit@health")}
		if c.kind != "" {
			header = append(header, "Content-Type", c.kind)
		}
		status, text, p := request(t, c.verb, f.base+c.path, c.body, header...)
		if status != c.status || c.says != "" && !strings.Contains(p.Error(), c.says) || f.changes() != before {
			t.Errorf("%s %s: %d %s", c.verb, c.path, status, text)
		}
	}
	for path, want := range map[string]int{"/job/visits": 200, "/jobs/list": 200, "/jobs/pause?id=visits": 405, "/job/visits/stop": 405} { // HEAD is a GET, which writes nothing
		if status := head(t, f.base+path, as("edit@health")); status != want {
			t.Errorf("HEAD %s: %d", path, status)
		}
	}
	if f.changes() != f.log.writes {
		t.Error("HEAD has changed something")
	}
	for _, path := range []string{"/jobs", "/job", "/jobs/list/more", "/job/a/b/c/d"} {
		if status, text, _ := request(t, http.MethodGet, f.base+path, ""); status != http.StatusUnauthorized {
			t.Errorf("%s of nobody: %d %s", path, status, text)
		}
	}
	for _, login := range []string{"", as("edit@health")} {
		if status, text, _ := request(t, http.MethodGet, f.base+"/healthcheck", "", "Authorization", login); status != http.StatusOK || text != `{"healthy":true}`+"\n" {
			t.Errorf("healthcheck: %d %s", status, text)
		}
	}
}

func head(t *testing.T, url, login string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", login)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// More jobs than a page has are all listed.
func TestAetherListsAll(t *testing.T) {
	t.Parallel()
	log, jobs := newMemoryLog(), fakeJobs{}
	d := NewDefinitions(log, testProcess(t))
	for i := range 1003 {
		id := fmt.Sprintf("job-%04d", i)
		must[Definition](t)(d.Create(t.Context(), admin, document(id, "health", "")))
		jobs = append(jobs, JobHere{JobStatus: JobStatus{ID: id, Owner: "health", State: State([]string{"running", "new"}[i%2])}})
	}
	base := startAPI(t, "127.0.0.1:0", API{Authenticator: users{}, Definitions: d, Store: &fakeStore{}, Fleet: lonely{"one"}, Jobs: jobs})
	var ids []string
	states := map[string]string{}
	for path, into := range map[string]any{"/jobs/health": &ids, "/jobs/list": &states} {
		if _, text, _ := request(t, http.MethodGet, base+path, "", "Authorization", as("view@health")); json.Unmarshal([]byte(text), into) != nil {
			t.Errorf("%s: %s", path, text)
		}
	}
	if len(ids) != 1003 || ids[1002] != "job-1002" || len(states) != 1003 || states["job-1002"] != "WorkerStatus.RUNNING" || states["job-1001"] != "unknown" {
		t.Errorf("%d ids, %d states", len(ids), len(states))
	}
}

// unreadable are the definitions of an instance that cannot read the log.
type unreadable struct{ *Definitions }

func (unreadable) List(context.Context, service.Caller, string, int, bool) (DefinitionPage, error) {
	return DefinitionPage{}, errors.New("kafka not reached")
}

// Such an instance does not say that there are no jobs.
func TestAetherWithoutTheLog(t *testing.T) {
	t.Parallel()
	d := unreadable{NewDefinitions(newMemoryLog(), testProcess(t))}
	base := startAPI(t, "127.0.0.1:0", API{Authenticator: users{}, Definitions: d, Store: &fakeStore{}, Fleet: lonely{"one"}, Jobs: fakeJobs{}})
	for _, path := range []string{"/jobs/delete?id=visits", "/jobs/health"} {
		status, text, p := request(t, http.MethodGet, base+path, "", "Authorization", as("edit@health"))
		if status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "kafka not reached") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}
