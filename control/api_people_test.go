package control

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"streamer/consumer"
	"streamer/control/service"
)

// callers are people, known by their token: ada may operate the jobs of health, eda edit them, vera view them, and root everything. They note who asked.
type callers struct {
	mu    sync.Mutex
	asked []string
}

func (p *callers) Authenticate(req *http.Request) (service.Caller, error) {
	token := req.Header.Get("Authorization")
	p.mu.Lock()
	p.asked = append(p.asked, token+" "+req.Header.Get(service.HopHeader))
	p.mu.Unlock()
	grants := map[string]service.Grant{"Bearer ada": {Permission: service.Operate, Owner: "health"}, "Bearer vera": {Permission: service.View, Owner: "health"},
		"Bearer eda": {Permission: service.Edit, Owner: "health"}, "Bearer root": {Permission: service.Admin, Owner: service.Everyone}}
	g, known := grants[token]
	if !known {
		return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", "nobody is known by this", "log in")
	}
	return service.Caller{Name: "token:" + strings.TrimPrefix(token, "Bearer "), Grants: []service.Grant{g}}, nil
}

// owned is runs with an owner.
type owned struct{ runs }

func (o owned) Names(from string) iter.Seq[JobName] { return namesOf(o.Here(from, "")) }

func (o owned) Here(from, to string) []JobHere {
	jobs := o.runs.Here(from, to)
	for i := range jobs {
		jobs[i].Owner = "health"
	}
	return jobs
}

// An instance that passes a call on does so in the caller's name: the other one asks who he is, and looks at what he may do, again. With
// people to log in, that is allowed to other machines too.
func TestCallsArePassedOnInTheCallersName(t *testing.T) {
	t.Parallel()
	var decided []string
	here, there := &callers{}, &callers{}
	two := startAPI(t, "127.0.0.1:0", API{Authenticator: there, Jobs: owned{runs{[]int32{1}, &decided}}, Fleet: fleet{me: "two"}})
	base := startAPI(t, "127.0.0.1:0", API{Authenticator: here, Jobs: owned{runs{[]int32{0}, &decided}}, Fleet: fleet{me: "one", owners: map[int32]Peer{
		1: {ID: "two", Advertise: two}}, peers: []Peer{{ID: "two", Advertise: two}}}, Store: &fakeStore{}})
	body := `{"topic":"visit","partition":1,"offset":3,"row":0}`
	for _, c := range []struct {
		who    string
		status int
	}{{"ada", 200}, {"vera", 403}, {"eve", 401}} {
		if status, text, _ := request(t, http.MethodPost, base+"/api/v1/jobs/visits/deliveries/retry", body, "Authorization", "Bearer "+c.who); status != c.status {
			t.Errorf("%s: got %d %s", c.who, status, text)
		}
	}
	if len(decided) != 1 || decided[0] != "retry visit/1/3/0 by token:ada" {
		t.Errorf("decided %q", decided)
	}
	if !slices.Equal(there.asked, []string{"Bearer ada 1"}) {
		t.Errorf("the other instance was asked by %q", there.asked)
	}
	if status, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs", "", "Authorization", "Bearer vera"); status != 200 || strings.Contains(text, `{"instance":"two","cause"`) {
		t.Errorf("the list: %d %s", status, text)
	}
}

// Who may only view a job sees neither keys nor values of its dead letters, and cannot find them out by asking either.
func TestContentsAreForWhoMayOperate(t *testing.T) {
	t.Parallel()
	var asked []string
	jobs := fakeJobs{{JobStatus: JobStatus{ID: "visits", Owner: "health"}}}
	base := startAPI(t, "127.0.0.1:0", API{Authenticator: &callers{}, Jobs: jobs, Letters: func(c consumer.Config) DeadLetters { return letters{job: c.Job, asked: &asked} }})
	for _, c := range []struct {
		who, path string
		status    int
		says      string
	}{
		{"ada", "", 200, `"key":"k"}`},
		{"vera", "", 200, `"key":null,"key_hidden":true}`},
		{"vera", "", 200, `"key":null}]`}, // of the one that has no key
		{"vera", "?key=k", 403, "token:vera has not the permission operate on job"},
		{"vera", "?where=$.msg.a", 403, "contents of records"},
		{"vera", "/0/3", 403, "has not the permission operate"},
		{"ada", "/0/3", 200, `"value"`},
	} {
		status, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs/visits/dead-letters"+c.path, "", "Authorization", "Bearer "+c.who)
		if status != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s %s: got %d %s", c.who, c.path, status, text)
		}
	}
}

// healthConnections are one of health, which the callers may view, and one of money.
type healthConnections struct{ Targets }

func (healthConnections) OwnerOf(name string) (string, bool) {
	return map[string]string{"crm": "health", "tax": "money"}[name], name == "crm" || name == "tax"
}
func (healthConnections) IDs() []string { return []string{"crm", "tax"} }

func (healthConnections) Wait(context.Context) error { return nil }

// The audit of a job or a connection is for who may view it; all of it, and that of what is gone, is for admins.
func TestWhoReadsTheAudit(t *testing.T) {
	t.Parallel()
	jobs := fakeJobs{{JobStatus: JobStatus{ID: "visits", Owner: "health"}}, {JobStatus: JobStatus{ID: "taxes", Owner: "money"}}}
	base := startAPI(t, "127.0.0.1:0", API{Authenticator: &callers{}, Jobs: jobs, Audits: audits{}, Connections: healthConnections{}})
	for _, c := range []struct {
		who, query string
		status     int
	}{
		{"vera", "?job=visits", 200}, {"vera", "?job=taxes", 403}, {"vera", "?job=old", 404}, {"vera", "", 403},
		{"vera", "?connection=crm", 200}, {"vera", "?connection=tax", 403}, {"vera", "?connection=old", 404}, {"vera", "?connection=crm&job=visits", 400},
		{"root", "?connection=tax", 200}, {"root", "?connection=old", 200}, {"root", "?connection=tax&job=visits", 400},
		{"root", "?job=taxes", 200}, {"root", "?job=old", 200}, {"root", "", 200},
	} {
		status, text, _ := request(t, http.MethodGet, base+"/api/v1/audit"+c.query, "", "Authorization", "Bearer "+c.who)
		if status != c.status || c.query == "" && status == 403 && !strings.Contains(text, "or name one job or connection") {
			t.Errorf("%s %s: got %d %s", c.who, c.query, status, text)
		}
	}
}

// What the enums of arguments name is what consumer knows.
func TestWordsOfDeadLetters(t *testing.T) {
	t.Parallel()
	for _, word := range []consumer.LetterState{consumer.LetterOpen, consumer.LetterParked, consumer.LetterRedriven, consumer.LetterGivenUp, consumer.LetterFailedAgain,
		consumer.LetterVoid, consumer.LetterForeign} {
		var asked []string
		base := startAPI(t, "127.0.0.1:0", API{Jobs: fakeJobs{{JobStatus: JobStatus{ID: "visits"}}}, Letters: func(c consumer.Config) DeadLetters { return letters{job: c.Job, asked: &asked} }})
		if status, text, _ := request(t, http.MethodPost, base+"/api/v1/services/deadletters/list", `{"job":"visits","state":["`+string(word)+`"]}`); status != 200 || !strings.Contains(asked[0], string(word)) {
			t.Errorf("%s: %d %s", word, status, text)
		}
	}
}
