package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/people"
	"streamer/control/service"
)

// errAway is what Kafka's client gives when no broker answers.
var errAway = errors.New("unable to dial: connection refused")

// awayKafka answers nothing.
type awayKafka struct{ fakeKafka }

func (*awayKafka) ShowOffsets(context.Context, consumer.Config, consumer.Memory) (consumer.OffsetsView, error) {
	return consumer.OffsetsView{}, errAway
}

func (*awayKafka) PreviewReset(context.Context, consumer.Config, consumer.ResetSpec, consumer.Memory) (consumer.ResetPlan, error) {
	return consumer.ResetPlan{}, fmt.Errorf("ask: %w", context.DeadlineExceeded)
}

// awayLetters cannot be read, nor can the ledger.
type awayLetters struct{}

func (awayLetters) List(context.Context, consumer.LetterFilter, string, int) (consumer.LetterPage, error) {
	return consumer.LetterPage{}, errAway
}

func (awayLetters) Show(context.Context, int32, int64) (consumer.Letter, error) {
	return consumer.Letter{}, context.DeadlineExceeded
}

func (awayLetters) Redrive(context.Context, consumer.LetterFilter, consumer.RedriveOptions, func(consumer.RedriveProgress)) (consumer.RedriveReport, error) {
	return consumer.RedriveReport{}, errAway
}

func (awayLetters) GiveUp(context.Context, consumer.LetterFilter, consumer.GiveUpOptions) (int, error) {
	return 0, errAway
}

func (awayLetters) Find(context.Context, consumer.Query, string) ([]consumer.Found, error) {
	return nil, errAway
}

func (awayLetters) FindKey(context.Context, string, int) ([]consumer.Found, string) { return nil, "" }

// argumentsAway are arguments by their names, for every method of the table.
var argumentsAway = map[string]any{
	"job": "visits", "connection": "crm", "if_match": "*", "topic": "t", "partition": 0, "offset": 3, "row": 0, "at": "latest", "reset": "R", "to": "earliest",
	"name": "deploy", "id": "aaaaaaaa", "grants": []service.Grant{{Permission: service.View, Owner: "health"}},
}

// awayDocuments are what methods that take one are given.
var awayDocuments = map[string]json.RawMessage{
	"jobs": document("visits", "health", `, "order": "none"`), "connections": json.RawMessage(`{"name": "crm", "owner": "health", "base_url": "https://b.test"}`),
}

// deadlined is a recorder that takes deadlines.
type deadlined struct{ *httptest.ResponseRecorder }

func (deadlined) SetReadDeadline(time.Time) error  { return nil }
func (deadlined) SetWriteDeadline(time.Time) error { return nil }

// instanceAway is an instance with a job of a file, and the answers that it gives.
type instanceAway struct {
	*Supervisor
	log   *memoryLog
	serve http.Handler
	list  service.List
}

func newInstanceAway(t *testing.T) *instanceAway {
	t.Helper()
	log := newMemoryLog()
	return newInstanceOn(t, log, log, &awayKafka{})
}

// newInstanceOn is newInstanceAway on a log that the instance sees in its own way.
func newInstanceOn(t *testing.T, memory *memoryLog, log Log, kafka Kafka) *instanceAway {
	t.Helper()
	d := NewDefinitions(log, testProcess(t))
	store := NewStore(log)
	s := NewSupervisor(Options{Definitions: d, Kafka: kafka, Store: store, Bulletin: log, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Self:      func() Self { return Self{ID: "one"} },
		NewRunner: func(consumer.Config) Runner { return &fakeRunner{run: untilSoft} }})
	api := API{Jobs: s, Store: store, Desires: s, Connections: d.Connections(), Fleet: s, Audits: store, Definitions: d, Lines: func(string) []LogLine { return nil }, Age: log.Age,
		Read: d.Wait, CatchUp: s.CatchUp, Resets: s.Resets(), Tokens: people.NewTokens(Prompt(log), AuditOf), Authenticator: users{},
		Record: func(context.Context, consumer.Config, string, int32, int64) (consumer.Record, error) {
			return consumer.Record{}, errAway
		},
		Letters: func(consumer.Config) DeadLetters { return awayLetters{} }, Ledger: func(consumer.Config) Ledger { return awayLetters{} }}
	i := &instanceAway{Supervisor: s, log: memory}
	i.serve = handler(ServerOptions{Readiness: s.Readiness, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), API: api}, func() string { return "127.0.0.1:1" })
	if text, status, _ := i.call(t, "system.services", nil); status != http.StatusOK || json.Unmarshal([]byte(text), &i.list) != nil {
		t.Fatalf("the methods: %d %s", status, text)
	}
	soft, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(soft, soft) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return i
}

// call calls a method as an admin.
func (i *instanceAway) call(t *testing.T, method string, args map[string]any) (text string, status int, header http.Header) {
	t.Helper()
	return i.callAs(t, "admin@*", method, args)
}

func (i *instanceAway) callAs(t *testing.T, user, method string, args map[string]any) (text string, status int, header http.Header) {
	t.Helper()
	body, err := json.Marshal(args)
	if err != nil || args == nil {
		body = []byte("{}")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/api/v1/services/"+strings.Replace(method, ".", "/", 1), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", as(user))
	w := deadlined{httptest.NewRecorder()}
	i.serve.ServeHTTP(w, req)
	return w.Body.String(), w.Code, w.Header()
}

// all calls every method, and gives what each answered.
func (i *instanceAway) all(t *testing.T) map[string]string {
	t.Helper()
	answers := map[string]string{}
	for _, s := range i.list.Services {
		for _, m := range s.Methods {
			answers[s.Name+"."+m.Name] = i.one(t, s.Name, m)
		}
	}
	return answers
}

// one calls a method with the arguments that it knows.
func (i *instanceAway) one(t *testing.T, svc string, m service.ListedMethod) string {
	t.Helper()
	method, args := svc+"."+m.Name, map[string]any{}
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(m.Arguments, &schema); err != nil {
		t.Fatal(err)
	}
	for name := range schema.Properties {
		if value, ok := argumentsAway[name]; ok {
			args[name] = value
		}
		if name == "document" && method != "jobs.test" {
			args[name] = awayDocuments[svc]
		}
	}
	switch method {
	case "audit.list":
		delete(args, "connection")
	case "offsets.reset":
		delete(args, "topic")
	}
	text, status, header := i.call(t, method, args)
	if status == http.StatusOK || status == http.StatusServiceUnavailable && header.Get("Retry-After") == "5" {
		return fmt.Sprint(status)
	}
	return fmt.Sprint(status, " ", text)
}

// hold fails unless every method answers 503, but for those that are fine, and those that need a job which runs.
func (i *instanceAway) hold(t *testing.T, fine, needRun string) {
	t.Helper()
	for method, answer := range i.all(t) {
		want := "503"
		switch {
		case slices.Contains(strings.Fields(fine), method):
			want = "200"
		case slices.Contains(strings.Fields(needRun), method):
			want = "409 "
		}
		if answer != want && (want != "409 " || !strings.HasPrefix(answer, want)) {
			t.Errorf("%s answers %s, want %s", method, answer, want)
		}
	}
}

// While Kafka is away, what an instance has in memory is answered, and everything else is a 503 that says when to come again: never that
// there is no such job, that a job is not valid, or that the fault is another server's.
func TestKafkaIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstanceAway(t)
		for _, make := range []string{"connections.create", "jobs.create"} {
			service, _, _ := strings.Cut(make, ".")
			document := document("visits", "health", "")
			if service == "connections" {
				document = []byte(`{"name": "crm", "owner": "health", "base_url": "https://a.test"}`)
			}
			if text, status, _ := i.call(t, make, map[string]any{"document": json.RawMessage(document)}); status != http.StatusCreated {
				t.Fatalf("%s: %d %s", make, status, text)
			}
		}
		time.Sleep(time.Second)
		i.log.failing, i.log.auditing = kafkalog.ErrUnavailable, errAway
		i.hold(t, "connections.diff connections.get connections.list jobs.definition jobs.definitions jobs.diff jobs.list jobs.logs jobs.schema jobs.show jobs.validate "+
			"system.instances system.jobs system.openapi system.readiness system.services system.version tokens.list", "deliveries.retry deliveries.give-up offsets.accept")
	})
}

// Before the log was read nobody knows what there is.
func TestTheLogWasNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog()
		log.unread = make(chan struct{})
		log.failing, log.auditing = kafkalog.ErrUnavailable, errAway
		i := newInstanceOn(t, log, log, &awayKafka{})
		i.hold(t, "jobs.schema jobs.validate system.instances system.jobs system.openapi system.readiness system.services system.version", "")
	})
}

func TestKafkaProblem(t *testing.T) {
	t.Parallel()
	refused := service.Refuse(http.StatusPreconditionFailed, "if_match", "changed", "")
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "<nil>"},
		{fmt.Errorf("wrapped: %w", refused), "412 if_match: changed"},
		{fmt.Errorf("wrapped: %w", &UnreadableError{"connection a", "it has version 9"}), "409 connection a cannot be read: it has version 9; the job is left alone; use an instance of that version"},
		{&consumer.RefusedError{Cause: errors.New("no")}, "409 no"},
		{fmt.Errorf("%w: a has 9 bytes", kafkalog.ErrTooLarge), "413 too large for the log in Kafka: a has 9 bytes"},
		{kafkalog.ErrReadOnly, "503 the log in Kafka cannot be written; then try again"},
		{kafkalog.ErrUnavailable, "503 doing: the log in Kafka cannot be reached"},
		{fmt.Errorf("%w: %w", kafkalog.ErrUnknown, context.DeadlineExceeded), "503 doing: the log in Kafka did not answer; whether it was written is not known"},
		{context.DeadlineExceeded, "503 doing: Kafka did not answer in time"},
		{errAway, "503 doing: unable to dial"},
	} {
		got := fmt.Sprint(kafkaProblem("doing", c.err))
		var p *service.Problem
		if errors.As(kafkaProblem("doing", c.err), &p) {
			got = fmt.Sprint(p.Status, " ", p.Error())
			if (p.Status == http.StatusServiceUnavailable) != (p.RetryAfter > 0) {
				t.Errorf("%v: asks to come again after %v", c.err, p.RetryAfter)
			}
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

// lagging is a log of which an instance hears nothing new until it writes, when it is read up to its end.
type lagging struct {
	*memoryLog
	lags atomic.Bool
}

func (l *lagging) Since(mark kafkalog.Mark) ([]kafkalog.Entry, bool, kafkalog.Mark) {
	if l.lags.Load() {
		return nil, false, mark
	}
	return l.memoryLog.Since(mark)
}

func (l *lagging) Transact(ctx context.Context, change func(func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error)) ([]kafkalog.Entry, error) {
	l.lags.Store(false)
	return l.memoryLog.Transact(ctx, change)
}

// A job went to another owner, and an instance has not heard of it. Whoever operated it until then called that instance, was let through,
// and stopped a job that was not his any more.
func TestAJobOfAnotherOwnerByNow(t *testing.T) {
	for method, args := range map[string]map[string]any{
		"jobs.start": {}, "jobs.stop": {}, "jobs.pause": {}, "jobs.resume": {}, "offsets.reset": {"to": "earliest"}, "deadletters.redrive": {}, "deadletters.give-up": {},
	} {
		args["job"] = "visits"
		synctest.Test(t, func(t *testing.T) {
			log := &lagging{memoryLog: newMemoryLog()}
			i := newInstanceOn(t, log.memoryLog, log, &fakeKafka{})
			elsewhere := NewDefinitions(log.memoryLog, testProcess(t))
			must[Definition](t)(elsewhere.Create(t.Context(), admin, document("visits", "health", "")))
			time.Sleep(time.Second)
			log.lags.Store(true)
			must[Definition](t)(elsewhere.Replace(t.Context(), admin, "visits", "", document("visits", "tax", "")))
			lines := len(log.audit)
			text, status, _ := i.callAs(t, "operate@health", method, args)
			if status != http.StatusForbidden || !strings.Contains(text, `has not the permission operate on job \"visits\" of tax`) {
				t.Errorf("%s: %d %s", method, status, text)
			}
			if len(log.audit) != lines {
				t.Errorf("%s is in the audit: %s", method, log.audit[lines].Value)
			}
		})
	}
}
