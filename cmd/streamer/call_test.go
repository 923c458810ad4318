package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/spf13/cobra"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/job"
	"streamer/control/people"
	"streamer/control/people/peopletest"
	"streamer/control/service"
	"streamer/sink"
)

// night is when the scripts that call an instance are played.
var night = time.Date(2026, 1, 31, 3, 0, 0, 0, time.UTC)

// instance starts the API of an instance with jobs of all kinds, and stops the clock of the commands that follow. With the word people,
// they have to log in. AT is its address, too.
func instance(ts *testscript.TestScript, _ bool, args []string) {
	var people service.Authenticator
	if len(args) > 0 {
		people = persons{}
	}
	s, _ := nightServer(ts.MkAbs("sending"), people)
	ts.Check(s.Start())
	ts.Defer(func() { s.Stop(context.Background()) })
	ts.Setenv("STREAMER_URL", "http://"+s.Addr())
	ts.Setenv("AT", "http://"+s.Addr())
	ts.Setenv("CLOCK", night.Format(time.RFC3339))
}

// provided starts the API of an instance where people log in by a provider, whose first token has expired at once, and whose login ends after
// the second.
func provided(ts *testscript.TestScript, _ bool, _ []string) {
	p, end := peopletest.Start(peopletest.Answer{Error: "authorization_pending"}, peopletest.Answer{Access: "operate health", Refresh: "r1", Expires: 1},
		peopletest.Answer{Access: "edit health", Refresh: "r2", Expires: 20}, peopletest.Answer{Error: "invalid_grant"})
	ts.Defer(end)
	s, _ := nightServer(ts.MkAbs("sending"), persons{}, service.Login{Issuer: p.URL, ClientID: peopletest.ClientID, Scopes: []string{"openid"}})
	ts.Check(s.Start())
	ts.Defer(func() { s.Stop(context.Background()) })
	ts.Setenv("STREAMER_URL", "http://"+s.Addr())
	ts.Setenv("AT", "http://"+s.Addr())
}

// nightServer serves the API of that instance. sending is a file that is there once a redrive sends; callers says who calls.
func nightServer(sending string, callers service.Authenticator, login ...service.Login) (*control.Server, *nightStore) {
	store := &nightStore{jobs: map[string]consumer.Memory{"births": {Hold: &consumer.Hold{Cause: consumer.HoldGuard, Since: night.Add(-20 * time.Minute),
		Reason: "51 of the last 100 rows would have been given up: rejected: answered 422 Unprocessable Entity", Next: "streamer jobs resume births"}}}}
	var by service.Login
	if len(login) > 0 {
		by = login[0]
	}
	return control.NewServer(control.ServerOptions{
		Listen: "127.0.0.1:0", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Readiness: func() control.Readiness { return control.Readiness{Ready: true} },
		API: control.API{Login: by, Jobs: nightJobs{}, Store: store, Desires: store, Fleet: nightFleet{}, Audits: nightAudit{}, Connections: nightTargets{}, Tokens: nightTokens{}, Resets: nightResets{}, Authenticator: callers, Version: "1.2.3",
			Definitions: nightDefinitions{}, Lines: func(job string) []control.LogLine {
				return []control.LogLine{{At: night.Add(-time.Minute), Level: "WARN", Text: "a row waits for its next attempt job=" + job}}
			},
			Record: func(_ context.Context, c consumer.Config, topic string, partition int32, offset int64) (consumer.Record, error) {
				return consumer.Record{Topic: topic, Partition: partition, Offset: offset, Timestamp: night, Key: []byte("k-17"), Value: []byte(`{"id": "v 1", "name": "Ada"}`)}, nil
			},
			Letters: func(c consumer.Config) control.DeadLetters { return nightLetters{c.Job, sending} },
			Ledger:  func(consumer.Config) control.Ledger { return nightLedger{} }},
	}), store
}

// nightDefinitions are the definitions of births and visits, of which only visits can be changed: it becomes what it is.
type nightDefinitions struct{}

func (nightDefinitions) of(id string, documents bool) control.Definition {
	d := control.Definition{ID: id, Owner: "health", Revision: "41", Modified: night.Add(-30 * time.Hour), By: "oidc:ada", Hash: "3f7a"}
	if documents {
		d.Document = json.RawMessage(`{"id":"` + id + `","owner":"health","type":"POST","topic":["` + strings.TrimSuffix(id, "s") + `"],"url":"https://api.example.org/` + id + `","token":"********"}`)
	}
	return d
}

func (n nightDefinitions) Get(_ context.Context, id string) (control.Definition, error) {
	return n.of(id, true), nil
}

func (n nightDefinitions) List(_ context.Context, by service.Caller, after string, limit int, documents bool) (page control.DefinitionPage, _ error) {
	page.Definitions = []control.Definition{}
	for _, id := range []string{"births", "visits"} {
		switch {
		case id <= after || !by.May(service.View, "health"):
		case len(page.Definitions) == limit:
			page.Next = page.Definitions[limit-1].ID
			return page, nil
		default:
			page.Definitions = append(page.Definitions, n.of(id, documents))
		}
	}
	return page, nil
}

func (n nightDefinitions) Create(_ context.Context, by service.Caller, document []byte) (control.Definition, error) {
	if !by.May(service.Edit, "health") {
		return control.Definition{}, service.Denied(by, service.Edit, `job "visits"`, "health")
	}
	var job struct{ ID string }
	if err := json.Unmarshal(document, &job); err != nil || job.ID == "" {
		return control.Definition{}, service.Refuse(http.StatusUnprocessableEntity, "id", "is missing", "")
	}
	d := n.of(job.ID, true)
	d.Created = true
	return d, nil
}

func (n nightDefinitions) Replace(_ context.Context, _ service.Caller, id, revision string, _ []byte) (control.Definition, error) {
	if revision != "" && revision != "41" {
		return control.Definition{}, service.Refuse(http.StatusPreconditionFailed, "if_match", "the job has revision 41, not "+revision, "look at what has changed")
	}
	return n.of(id, true), nil
}

func (n nightDefinitions) Delete(_ context.Context, _ service.Caller, id, _ string, how control.Deletion) (control.Definition, error) {
	d := n.of(id, false)
	how.By, how.At = "oidc:ada", night
	d.Deleting = &how
	return d, nil
}

func (nightDefinitions) Diff(_ context.Context, _ service.Caller, id string, document []byte) (control.Difference, error) {
	if bytes.Contains(document, []byte(`"https://api.example.org/`+id+`"`)) {
		return control.Difference{Revision: "41", Changes: []control.Change{}}, nil
	}
	return control.Difference{Revision: "41", Effect: consumer.EffectNextAttempt, Changes: []control.Change{{Field: "url", Before: json.RawMessage(`"https://api.example.org/visits"`),
		After: json.RawMessage(`"https://api.example.org/v2/visits"`), Effect: consumer.EffectNextAttempt}}}, nil
}

func (nightDefinitions) Validate(_ context.Context, _ service.Caller, document []byte) ([]service.Fault, error) {
	if !bytes.Contains(document, []byte(`"url"`)) {
		return nil, service.Refuse(http.StatusUnprocessableEntity, "url", "is missing", "say where requests go")
	}
	return []service.Fault{{Field: "delivery.timeout", Detail: "is very long"}}, nil
}

// Try gives visits, whose body is fixed; a document that names v2 sends there, one that names owners asks for the owner first.
func (nightDefinitions) Try(_ context.Context, _ service.Caller, id string, document []byte) (consumer.Config, error) {
	url, steps := "https://api.example.org/visits/{id}", ""
	if bytes.Contains(document, []byte("/owners/")) {
		url += "-{$.steps.owner.body.name}"
		steps = `, "steps": [{"name": "owner", "url": "https://api.example.org/owners/{id}", "headers": {"traceparent": "00-1-2-00"}}]`
	}
	if bytes.Contains(document, []byte("/v2/")) {
		url = "https://api.example.org/v2/visits/{id}"
	}
	defs, broken := job.ParseFile("night.json", fmt.Appendf(nil, `{"id": %q, "owner": "health", "type": "PUT", "topic": ["visit"], "url": %q, "datamap": {"id": "$.msg.id"},
		"token": "${env:STREAMER_VALUE_TOKEN}", "headers": {"traceparent": "00-1-2-00"}%s}`, id, url, steps))
	if len(broken) > 0 {
		return consumer.Config{}, broken[0]
	}
	cfg, faults := defs[0].Compile(job.Process{Namespace: "streamer", Secrets: job.Secrets{Masked: true}})
	return cfg, faults.Err()
}

func (nightDefinitions) Rotate(context.Context, service.Caller) (control.Rotation, error) {
	return control.Rotation{Key: "bb543cd53e0b", Resealed: 1, Current: 1, Left: []service.Fault{{Field: "deaths", Detail: "token: is sealed with key 0a1b2c, which is not here"}}}, nil
}

func (nightDefinitions) OwnerOf(id string) (string, bool) {
	return "health", id == "births" || id == "visits"
}

// nightJobs are jobs as an operator may find them.
type nightJobs struct{}

func (n nightJobs) Names(from string) iter.Seq[control.JobName] {
	var names []control.JobName
	for _, j := range n.Here(from, "") {
		names = append(names, control.JobName{ID: j.ID, Owner: j.Owner, File: j.File})
	}
	return slices.Values(names)
}

func (n nightJobs) Here(from, to string) []control.JobHere {
	return slices.DeleteFunc(n.all(), func(j control.JobHere) bool { return j.ID < from || to != "" && j.ID > to })
}

func (nightJobs) all() []control.JobHere {
	number := func(n int64) *int64 { return &n }
	since := night.Add(-12 * time.Minute)
	return []control.JobHere{
		{JobStatus: control.JobStatus{ID: "births", Owner: "health", File: "/etc/streamer/jobs/births.yaml", State: control.Running, Since: night.Add(-50 * time.Hour),
			Lag: number(0)},
			Assigned: []control.PartitionView{{Topic: "birth", Partition: 0, Committed: number(120), HighWatermark: number(120), Lag: number(0)}}},
		{JobStatus: control.JobStatus{ID: "deaths", File: "/etc/streamer/jobs/deaths.yaml", State: control.Failed, Since: night.Add(-3 * time.Hour),
			Cause: "/etc/streamer/jobs/deaths.yaml:3: url: is missing"}},
		{JobStatus: control.JobStatus{ID: "visits", Owner: "health", File: "/etc/streamer/jobs/visits.yaml", State: control.Held, Since: night.Add(-5 * time.Hour),
			Cause: "rows wait: credentials: answered 401 Unauthorized", Lag: number(1207), InFlight: 8, OldestPendingSeconds: 751.3,
			BreakersOpen: []control.Breaker{{Target: "https://archive.example.org:443", Cause: "answered 503 Service Unavailable"}}},
			Unproven: 1,
			Rows:     []consumer.RowCount{{Outcome: "delivered", Rows: 993}, {Outcome: "unmatched", Rows: 7}},
			Holds: []consumer.Hold{{Cause: consumer.HoldCredentials, Reason: "https://api.example.org:443: answered 401 Unauthorized", Since: since,
				Next: "mend the credentials, or the rights they have; it is tried again at 03:00:25 UTC, and goes on by itself when that succeeds"}},
			Assigned: []control.PartitionView{
				{Topic: "visit", Partition: 0, Committed: number(1000), HighWatermark: number(2200), Lag: number(1200), Pending: 64, Full: true},
				{Topic: "visit", Partition: 1, Committed: number(7), HighWatermark: number(14), Lag: number(7), Cause: "records expired", Since: &since,
					Hold: &consumer.Hold{Cause: consumer.HoldExpired, Reason: "records expired: the job would go on at offset 7, the log begins at 12; of the 5 offsets between, 5 were not finished", Since: since,
						Next: "nothing more is read until the loss is accepted: streamer offsets accept visits --topic visit --partition 1 --at earliest goes on where the log begins; then raise the topic's retention"}},
				{Topic: "visit", Partition: 2, Cause: "fetch: LEADER_NOT_AVAILABLE", Since: &since,
					Stall: &consumer.Stall{Cause: consumer.StallBroker, Reason: "fetch: LEADER_NOT_AVAILABLE", Since: since}},
			}},
	}
}

// nightFleet has an instance that just died.
type nightFleet struct{}

func (nightFleet) Me() control.Self { return control.Self{ID: "streamer-0"} }

func (f nightFleet) Instances() []control.Self {
	return []control.Self{f.Me(), {ID: "streamer-1", Advertise: "http://127.0.0.1:1", Jobs: []string{"visits"}}}
}

func (f nightFleet) Telling(job string) []control.Self {
	return slices.DeleteFunc(f.Instances(), func(i control.Self) bool { return !slices.Contains(i.Jobs, job) })
}

func (nightFleet) OwnerOf(_, _ string, partition int32) (control.Self, bool) {
	return control.Self{ID: "streamer-1", Advertise: "http://127.0.0.1:1"}, partition == 3
}

// nightStore keeps what is wanted of jobs.
type nightStore struct {
	mu   sync.Mutex
	did  int // how often it was changed, or something was noted in it
	jobs map[string]consumer.Memory
}

func (s *nightStore) Memory(_ context.Context, job string) (consumer.Memory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[job], nil
}

func (s *nightStore) Desired(job string) (consumer.Desired, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[job].Desired, true
}

func (s *nightStore) Remember(_ context.Context, job string, _ consumer.Audit, change func(*consumer.Memory) error) (consumer.Memory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.jobs[job]
	if err := change(&m); err != nil {
		return consumer.Memory{}, err
	}
	s.did++
	s.jobs[job] = m
	return m, nil
}

func (s *nightStore) want(ctx context.Context, job string, d consumer.Desired, resumes bool) error {
	_, err := s.Remember(ctx, job, consumer.Audit{}, func(m *consumer.Memory) error {
		if resumes {
			m.Hold = nil
			if m.Desired == consumer.WantStopped {
				return control.ErrNotNow
			}
		}
		m.Desired = d
		return nil
	})
	return err
}

func (s *nightStore) Start(ctx context.Context, job string, _ service.Caller) error {
	return s.want(ctx, job, consumer.WantRunning, false)
}

func (s *nightStore) Stop(ctx context.Context, job string, _ service.Caller) error {
	return s.want(ctx, job, consumer.WantStopped, false)
}

func (s *nightStore) Pause(ctx context.Context, job string, _ service.Caller) error {
	return s.want(ctx, job, consumer.WantPaused, false)
}

func (s *nightStore) Resume(ctx context.Context, job string, _ service.Caller) error {
	return s.want(ctx, job, consumer.WantRunning, true)
}

// nightTokens are the API tokens of that night.
type nightTokens struct{}

func (nightTokens) Create(_ context.Context, by service.Caller, in people.Creation) (people.Created, error) {
	return people.Created{Token: people.Token{ID: "newtoken", Name: in.Name, Grants: in.Grants, Created: night, By: by.Name, Expires: night.Add(people.DefaultLife)}, Secret: "str_newtoken_s3cret"}, nil
}

func (nightTokens) List(context.Context, service.Caller, people.TokenList) (people.TokenPage, error) {
	grants := []service.Grant{{Permission: service.Operate, Owner: "health"}, {Permission: service.View, Owner: "*"}}
	return people.TokenPage{Next: "bbbbbbbb", Tokens: []people.Token{
		{ID: "aaaaaaaa", Name: "deploy", Grants: grants, Created: night.Add(-time.Hour), By: "basic:admin", Expires: night.Add(time.Hour)},
		{ID: "bbbbbbbb", Name: "old", Grants: grants[1:], Created: night.Add(-9 * time.Hour), By: "oidc:ada", Expires: night.Add(-time.Hour)}}}, nil
}

func (nightTokens) Revoke(_ context.Context, _ service.Caller, in people.TokenID) (people.Revoked, error) {
	return people.Revoked{ID: in.ID, Revoked: in.ID == "aaaaaaaa"}, nil
}

// nightAudit is what was done during the night.
type nightAudit struct{}

func (nightAudit) Audit(_ context.Context, about control.AuditSubject, before int64, limit int) (lines []control.AuditLine, next int64, err error) {
	all := []control.AuditLine{
		{Revision: 12, At: night.Add(-2 * time.Minute), Instance: "streamer-1", Job: "visits", By: "operator", Action: "give-up",
			Detail: map[string]any{"row": map[string]any{"topic": "visit", "partition": 0, "offset": 1000, "row": 2}}},
		{Revision: 10, At: night.Add(-20 * time.Minute), Instance: "streamer-0", Job: "births", By: consumer.BySelf, Action: "hold", Detail: map[string]any{"cause": "dead-letter guard"}},
		{Revision: 9, At: night.Add(-time.Hour), Instance: "streamer-1", Connection: "crm", By: "oidc:ada", Action: "pause"},
		{Revision: 8, At: night.Add(-3 * time.Hour), Job: "visits", By: "operator", Action: "pause"},
	}
	for _, l := range all {
		if len(lines) == limit {
			return lines, lines[limit-1].Revision, nil
		}
		if (about.Job == "" || l.Job == about.Job) && (about.Connection == "" || l.Connection == about.Connection) && (before == 0 || l.Revision < before) {
			lines = append(lines, l)
		}
	}
	return lines, 0, nil
}

func (nightJobs) Gaps(job string) (control.Gaps, bool) { return nightGaps{}, job == "visits" }

// nightGaps are records that expired.
type nightGaps struct{}

func (nightGaps) Accept(_ context.Context, a consumer.Acceptance, _ string) ([]consumer.Accepted, error) {
	switch {
	case a.At == "soon":
		return nil, &consumer.AcceptError{Field: "at", Cause: `"soon" says not where to go on; say earliest, latest, committed, or an offset`}
	case a.Topic == "birth":
		return nil, &consumer.AcceptError{Field: "topic", Cause: "no partition of topic birth is held on this instance"}
	}
	return []consumer.Accepted{{Topic: "visit", Partition: 1, Cause: consumer.HoldExpired, Before: 7, After: 12, Skipped: 5},
		{Topic: "visit", Partition: 4, Cause: consumer.HoldRecreated, Before: -1, After: 0}}, nil
}

func (nightJobs) Deliveries(job string) (control.Deliveries, bool) {
	return nightRows{}, job == "visits"
}

func (nightJobs) Config(job string) (consumer.Config, bool) {
	return consumer.Config{Job: job, DeadLetterTopic: "letters"}, job != "deaths"
}

// nightRows are the rows of visits.
type nightRows struct{}

func (nightRows) Find(_ context.Context, q consumer.Query) ([]consumer.Found, error) {
	at := func(offset int64, row int32) consumer.Position {
		return consumer.Position{Topic: "visit", Partition: q.Partition, Offset: offset, Row: row}
	}
	read, next, first := night.Add(-4*time.Minute), night.Add(25*time.Second), at(1000, 2)
	stuck := consumer.Found{Position: first, State: consumer.FoundBackOff, Reason: "it backs off after its last attempt", Polled: &read, Attempts: 7, Counted: 3,
		Last: "target: answered 500 Internal Server Error", Next: &next, Committed: 1000, HighWatermark: 2200}
	behind := consumer.Found{Position: at(1001, 0), State: consumer.FoundBehind, Polled: &read, Behind: &first, Committed: 1000, HighWatermark: 2200,
		Reason: "rows of a lane are delivered one after the other; ask for the row it waits behind"}
	switch {
	case q.Key != nil && *q.Key == "k-17":
		stuck.Partition, behind.Partition, behind.Behind.Partition = 0, 0, 0
		return []consumer.Found{stuck, behind}, nil
	case q.Key != nil:
		return nil, nil
	case q.Offset < 1000:
		return []consumer.Found{{Position: at(q.Offset, -1), State: consumer.FoundCommitted, Committed: 1000, HighWatermark: 2200,
			Reason: "rows: 7 delivered, 1 with a dead letter"}, {Position: at(q.Offset, 7), State: consumer.FoundDeadLettered, Committed: 1000, HighWatermark: 2200,
			Reason: "dead letter 0/6 was redriven: delivered", Letter: &consumer.FoundLetter{LetterAddress: consumer.LetterAddress{Offset: 6}, State: consumer.LetterRedriven,
				Outcome: "delivered", Class: sink.Target, Reason: "answered 500 Internal Server Error", At: night.Add(-10 * time.Minute)}}}, nil
	case q.Offset == 1000:
		return []consumer.Found{stuck}, nil
	}
	return []consumer.Found{{Position: at(q.Offset, -1), State: consumer.FoundNotRead, Committed: -1, HighWatermark: -1}}, nil
}

func (nightRows) Decide(_ context.Context, at consumer.Position, _ consumer.Decision, _ string) error {
	if at.Offset != 1000 {
		return errors.New("visit/0/7/0: the row is final")
	}
	return nil
}

// nightLedger is what Kafka tells of partitions that nobody reads, and of the key k-17.
type nightLedger struct{}

func (nightLedger) Find(_ context.Context, q consumer.Query, why string) ([]consumer.Found, error) {
	if q.Topic != "visit" {
		return nil, &consumer.NoPartitionError{Field: "topic", Cause: "job births does not read topic " + q.Topic}
	}
	return []consumer.Found{{Position: consumer.Position{Topic: q.Topic, Partition: q.Partition, Offset: q.Offset, Row: -1}, State: consumer.FoundNotRead,
		Reason: "the job would go on at offset 5; " + why, Committed: 5, HighWatermark: 40}}, nil
}

func (nightLedger) FindKey(_ context.Context, key string, _ int) ([]consumer.Found, string) {
	if key != "k-17" {
		return nil, ""
	}
	return []consumer.Found{{Position: consumer.Position{Topic: "visit", Partition: 1, Offset: 40}, State: consumer.FoundParked, Committed: -1, HighWatermark: -1,
			Reason: "it is sent when what is before it is: dead letter 0/9 is parked behind 0/3", BehindLetter: &consumer.LetterAddress{Offset: 3},
			Letter: &consumer.FoundLetter{LetterAddress: consumer.LetterAddress{Offset: 9}, State: consumer.LetterParked, Class: consumer.ClassParked,
				Reason: "its key has a dead letter before it that is neither redriven nor given up: 0/3", At: night.Add(-30 * time.Minute)}}},
		"100000 records were; streamer deadletters list goes on page by page"
}

// nightLetters are dead letters of visits; births has none, and keeps rows that cannot be delivered.
type nightLetters struct {
	job     string
	sending string // a file that is there once a redrive sends
}

func (l nightLetters) List(_ context.Context, f consumer.LetterFilter, cursor string, limit int) (page consumer.LetterPage, err error) {
	all := []consumer.Letter{
		{Partition: 0, Offset: 3, At: night.Add(-30 * time.Minute), Job: "visits", Class: sink.Rejected, Status: 422, Attempts: 1, Reason: "answered 422 Unprocessable Entity",
			Source: consumer.LetterSource{Topic: "visit", Partition: 1, Offset: 40}, State: consumer.LetterOpen, Key: []byte("k-1")},
		{Partition: 0, Offset: 5, At: night.Add(-20 * time.Minute), Job: "visits", Class: sink.Payload, Reason: "json: byte 6: no JSON",
			Source: consumer.LetterSource{Topic: "visit", Partition: 0, Offset: 41, Row: -1}, State: consumer.LetterOpen, Key: []byte{0xff, 0}},
		{Partition: 0, Offset: 6, At: night.Add(-10 * time.Minute), Job: "visits", Class: sink.Target, Status: 500, Attempts: 14, Reason: "answered 500 Internal Server Error",
			Source: consumer.LetterSource{Topic: "visit", Partition: 1, Offset: 44, Row: 7}, State: consumer.LetterRedriven, Outcome: "delivered",
			OutcomeAt: night.Add(-5 * time.Minute), OutcomeBy: "operator", FirstAttempt: night.Add(-40 * time.Minute), Key: []byte("k-2")},
	}
	switch {
	case l.job == "births":
		return page, consumer.ErrLettersOff
	case cursor == "bad":
		return page, &consumer.CursorError{Cursor: cursor}
	case len(f.Class) == 1 && f.Class[0] == sink.Target:
		return consumer.LetterPage{Counts: []consumer.LetterCount{}, Complete: true}, nil
	case !f.Since.IsZero():
		all = all[1:]
	}
	page = consumer.LetterPage{Letters: all, Complete: true, Foreign: 1, Scanned: 7,
		Counts: []consumer.LetterCount{{Class: sink.Payload, State: consumer.LetterOpen, Count: 1}, {Class: sink.Rejected, State: consumer.LetterOpen, Count: 1},
			{Class: sink.Target, State: consumer.LetterRedriven, Count: 1}}}
	if len(all) > limit {
		page.Letters, page.Next = all[:limit], "0-5"
	}
	return page, nil
}

func (l nightLetters) Show(ctx context.Context, partition int32, offset int64) (consumer.Letter, error) {
	page, err := l.List(ctx, consumer.LetterFilter{}, "", 1000)
	for _, letter := range page.Letters {
		if letter.Partition == partition && letter.Offset == offset {
			letter.Value = []byte("{\"id\": \"v-1\", \"bell\": \"\a\"}")
			letter.Headers = []consumer.RecordHeader{{Key: "trace", Value: []byte("abc")}}
			return letter, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("dead letter %d-%d of streamer.dead-letters.visits: %w", partition, offset, consumer.ErrNoRecord)
	}
	return consumer.Letter{}, err
}

// GiveUp takes both open ones.
func (l nightLetters) GiveUp(context.Context, consumer.LetterFilter, consumer.GiveUpOptions) (int, error) {
	return 2, nil
}

// Redrive sends two letters, one of which fails again. With a rate it waits after the first one until it is stopped; with --since a
// redrive runs already.
func (l nightLetters) Redrive(ctx context.Context, f consumer.LetterFilter, o consumer.RedriveOptions, progress func(consumer.RedriveProgress)) (consumer.RedriveReport, error) {
	p := consumer.RedriveProgress{Matching: 2, Classes: []consumer.LetterCount{{Class: sink.Payload, State: consumer.LetterOpen, Count: 1},
		{Class: sink.Rejected, State: consumer.LetterOpen, Count: 1}}, Refused: 1, Behind: 3, Newer: consumer.NewerRows{Letters: 1, Scanned: 9, Complete: true}}
	switch {
	case l.job == "births":
		return consumer.RedriveReport{}, consumer.ErrLettersOff
	case len(f.Class) > 0:
		p = consumer.RedriveProgress{Classes: []consumer.LetterCount{}, Newer: consumer.NewerRows{Complete: true}}
		return consumer.RedriveReport{RedriveProgress: p}, nil
	case o.DryRun:
		request := sink.Request{Method: "POST", URL: "https://api.example.org/v/1", Body: []byte(`{"a":1}`),
			Header: []sink.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "X-Secret", Value: "s3cret"}}}
		return consumer.RedriveReport{RedriveProgress: p, Left: 2, Samples: []consumer.RedriveSample{
			{Letter: consumer.LetterAddress{Offset: 3}, Source: consumer.LetterSource{Topic: "visit", Partition: 1, Offset: 40}, Rows: []consumer.Rendered{{Verdict: "send", Request: request}}},
			{Letter: consumer.LetterAddress{Offset: 5}, Source: consumer.LetterSource{Topic: "visit", Offset: 41, Row: -1}, Rows: []consumer.Rendered{{Row: -1, Verdict: "payload error", Problem: "json: byte 6: no JSON"}}},
		}}, nil
	case !f.Since.IsZero():
		return consumer.RedriveReport{}, consumer.ErrRedriving
	}
	progress(p)
	p.Redriven = 1
	progress(p)
	if o.Rate > 0 {
		if err := os.WriteFile(l.sending, []byte("now"), 0o600); err != nil {
			return consumer.RedriveReport{}, err
		}
		<-ctx.Done()
		return consumer.RedriveReport{RedriveProgress: p, Left: 1}, ctx.Err()
	}
	if !f.Until.IsZero() {
		return consumer.RedriveReport{RedriveProgress: p, Left: 1}, errors.New("broker 1 has gone away")
	}
	p.FailedAgain = 1
	progress(p)
	return consumer.RedriveReport{RedriveProgress: p}, nil
}

// changes is how often anything was changed.
func (s *nightStore) changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.did
}

// nightTargets have one connection, which somebody has paused.
type nightTargets struct{}

func (nightTargets) crm() control.Connection {
	return control.Connection{Name: "crm", Owner: "health", Revision: "7", Modified: night.Add(-72 * time.Hour), By: "basic:admin", Hash: "c0ffee",
		Paused: &control.Pause{By: "oidc:ada", At: night.Add(-12 * time.Minute)}, Jobs: []string{"births", "visits"},
		Document: []byte(`{"name": "crm", "owner": "health", "base_url": "https://crm.example.org", "auth": {"bearer": "********"}}`)}
}

func (t nightTargets) OwnerOf(name string) (string, bool) { return t.crm().Owner, name == t.crm().Name }
func (t nightTargets) IDs() []string                      { return []string{t.crm().Name} }

func (nightTargets) Wait(context.Context) error { return nil }

func (t nightTargets) Get(_ context.Context, _ service.Caller, name string) (control.Connection, error) {
	if name != t.crm().Name {
		return control.Connection{}, service.Refuse(http.StatusNotFound, "connection", "there is no connection "+name, "")
	}
	return t.crm(), nil
}

func (t nightTargets) List(context.Context, service.Caller, string, int) (control.ConnectionPage, error) {
	one := t.crm()
	one.Document = nil
	return control.ConnectionPage{Connections: []control.Connection{one}}, nil
}

func (t nightTargets) Create(_ context.Context, by service.Caller, _ []byte) (control.Connection, error) {
	if !by.May(service.Edit, "health") {
		return control.Connection{}, service.Denied(by, service.Edit, `connection "crm"`, "health")
	}
	made := t.crm()
	made.Created = true
	return made, nil
}

func (t nightTargets) Replace(_ context.Context, _ service.Caller, _, revision string, _ []byte) (control.Connection, error) {
	if revision != t.crm().Revision && revision != "" {
		return control.Connection{}, service.Refuse(http.StatusPreconditionFailed, "If-Match", "it has revision 7", "")
	}
	changed := t.crm()
	changed.Revision = "9"
	return changed, nil
}

func (t nightTargets) Diff(_ context.Context, _ service.Caller, _ string, document []byte) (control.Difference, error) {
	d := control.Difference{Revision: t.crm().Revision, Changes: []control.Change{}}
	if !bytes.Contains(document, []byte("https://crm.example.org")) {
		d.Effect = consumer.EffectRemap
		d.Changes = append(d.Changes, control.Change{Field: "base_url", Before: json.RawMessage(`"https://crm.example.org"`), After: json.RawMessage(`"https://new.example.org"`), Effect: d.Effect})
	}
	return d, nil
}

func (nightTargets) Delete(context.Context, service.Caller, string, string) error { return nil }

func (t nightTargets) Pause(context.Context, service.Caller, string) (control.Connection, error) {
	return t.crm(), nil
}

func (t nightTargets) Resume(context.Context, service.Caller, string) (control.Connection, error) {
	resumed := t.crm()
	resumed.Paused, resumed.Revision = nil, "8"
	return resumed, nil
}

// While the log cannot be read, what is shown is as old as it is said to be; while it can, nothing is said.
func TestHowOldItIs(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{0: "", 29.9: "", 30: "as of 30s ago: ", 153.4: "as of 2m33s ago: "} {
		var page, one strings.Builder
		ageText(&page, control.LogAge{LogAgeSeconds: seconds})
		jobText(&one, control.JobView{LogAge: control.LogAge{LogAgeSeconds: seconds}})
		if got := page.String(); !strings.HasPrefix(got, want) || (want == "") != (got == "") || !strings.HasSuffix(one.String(), got) {
			t.Errorf("%v seconds: %q, and of a job\n%s", seconds, got, one.String())
		}
	}
}

// Scripts go by exit codes: 2 is for what cannot go better until the command line or the file is another one. The page has all statuses
// of problems with the code of each, and a call by name is as any other.
func TestExitCodesOfProblems(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int]int{
		http.StatusBadRequest: exitMisuse, http.StatusRequestEntityTooLarge: exitMisuse, http.StatusUnsupportedMediaType: exitMisuse,
		http.StatusUnprocessableEntity: exitMisuse,
		http.StatusUnauthorized:        exitFailed, http.StatusForbidden: exitFailed, http.StatusNotFound: exitFailed, http.StatusMethodNotAllowed: exitFailed,
		http.StatusConflict: exitFailed, http.StatusPreconditionFailed: exitFailed, http.StatusTooManyRequests: exitFailed,
		http.StatusInternalServerError: exitFailed, http.StatusBadGateway: exitFailed, http.StatusServiceUnavailable: exitFailed,
	} {
		for name, say := range map[string]func(error) error{"told": func(err error) error { return told(new(cobra.Command), err) }, "plainProblem": plainProblem} {
			err := say(&service.Problem{Status: status, Detail: "it is so", Mend: "do this"})
			code := exitMisuse
			if errors.As(err, new(failure)) {
				code = exitFailed
			}
			if code != want || err.Error() != "it is so; do this" {
				t.Errorf("%s: a %d ends with %d and %q, want %d", name, status, code, err, want)
			}
		}
		line := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \|.*\b%d\b`, want, status))
		if !line.Match(page) {
			t.Errorf("docs/cli.md does not say that a %d ends with %d", status, want)
		}
	}
}

// What an instance says of a call is said in the words of this program: where to log in, and which flag was wrong.
func TestProblemsInTheWordsOfTheProgram(t *testing.T) {
	t.Parallel()
	c := new(cobra.Command)
	c.Flags().StringArray("grant", nil, "")
	c.Flags().String("expires-in", "", "")
	c.Flags().String("table", "", "")
	for _, o := range []struct {
		problem service.Problem
		want    string
		code    int
	}{
		{service.Problem{Status: http.StatusBadRequest, Field: "topic", Detail: "it is made anew"}, "topic: it is made anew", exitMisuse}, // no flag of the command's
		{service.Problem{Status: http.StatusBadRequest, Field: "job", Detail: "a job of that kind has none"}, "a job of that kind", exitMisuse},
		{service.Problem{Status: http.StatusBadRequest, Field: "table.a.0", Detail: "one", Errors: []service.Fault{{Field: "table.a.0", Detail: "one"},
			{Field: "expires_in", Detail: "two"}}}, "--table.a.0: one; also --expires-in: two", exitMisuse},
		{service.Problem{Status: http.StatusUnauthorized, Detail: people.NoLogin, Mend: "send a user and password"}, people.NoLogin + "; " + noLogin, exitFailed},
		{service.Problem{Status: http.StatusUnauthorized, Detail: "wrong password", Mend: "look"}, "wrong password; look", exitFailed},
		{service.Problem{Status: http.StatusBadRequest, Field: "grants[0].permission", Detail: "fly is none", Mend: "view"}, "--grant: fly is none; view", exitMisuse},
		{service.Problem{Status: http.StatusBadRequest, Field: "expires_in", Detail: "is too long"}, "--expires-in: is too long", exitMisuse},
	} {
		err := told(c, &o.problem)
		var wrong misuse
		code := exitFailed
		if errors.As(err, &wrong) {
			code = exitMisuse
		}
		if !strings.HasPrefix(err.Error(), o.want) || code != o.code {
			t.Errorf("got %q, exit %d; want %q, exit %d", err, code, o.want, o.code)
		}
	}
	_, line, _ := strings.Cut(noLogin, ": streamer ")
	line, _, _ = strings.Cut(line, ";")
	found, rest, err := newRoot(nil).Find(strings.Fields(line))
	if err == nil {
		err = found.ParseFlags(rest)
	}
	if err == nil {
		err = found.ValidateArgs(found.Flags().Args())
	}
	if err != nil || found.Name() != "login" {
		t.Errorf("%q cannot be written so: %v", line, err)
	}
}
