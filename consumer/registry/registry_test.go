package registry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"go.uber.org/goleak"

	"streamer/schemas"
	"streamer/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = sink.Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

func open(t *testing.T, o Options) *Registry {
	t.Helper()
	if o.Guard.CIDRs == nil && o.Guard.Hosts == nil {
		o.Guard = loopback
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// settled asks until the registry has answered.
func settled(t *testing.T, r *Registry, id int) (schemas.Registered, error) {
	t.Helper()
	s, err := r.Schema(id)
	for range 2 {
		var wait *schemas.UnavailableError
		if !errors.As(err, &wait) {
			break
		}
		<-wait.Again
		s, err = r.Schema(id)
	}
	return s, err
}

func TestSchemasWithWhatTheyReferTo(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	fake.SeedSchema("name", 1, 1, sr.Schema{Schema: `{"type":"record","name":"Name","fields":[]}`})
	fake.SeedSchema("place", 3, 2, sr.Schema{Schema: `{"type":"record","name":"Place","fields":[{"name":"n","type":"Name"}]}`,
		References: []sr.SchemaReference{{Name: "Name", Subject: "name", Version: 1}}})
	fake.SeedSchema("trip", 1, 3, sr.Schema{Schema: `{"type":"record","name":"Trip","fields":[]}`,
		References: []sr.SchemaReference{{Name: "Place", Subject: "place", Version: 3}, {Name: "Name", Subject: "name", Version: 1}}})
	fake.SeedSchema("form", 1, 4, sr.Schema{Schema: `{"type":"object"}`, Type: sr.TypeJSON})
	fake.SeedSchema("wire", 1, 5, sr.Schema{Schema: `syntax = "proto3";`, Type: sr.TypeProtobuf})
	fake.Intercept(func(w http.ResponseWriter, req *http.Request) bool { // what it refers to was deleted for good
		if req.URL.Path == "/schemas/ids/6" {
			_, _ = w.Write([]byte(`{"schema":"\"Gone\"","references":[{"name":"Gone","subject":"gone","version":2}]}`))
			return true
		}
		return false
	})
	r := open(t, Options{URL: fake.URL() + "/"})
	for id, want := range map[int]struct {
		kind, text string
		refs       int
	}{1: {"AVRO", "Name", 0}, 2: {"AVRO", "Place", 1}, 3: {"AVRO", "Trip", 2}, 4: {"JSON", "object", 0}, 5: {"PROTOBUF", "proto3", 0}} {
		s, err := settled(t, r, id)
		if err != nil || s.Type != want.kind || !strings.Contains(s.Text, want.text) || len(s.References) != want.refs {
			t.Errorf("%d: %+v, %v; want %+v", id, s, err, want)
		}
	}
	if s, _ := r.Schema(3); !strings.Contains(s.References[0], `"name":"Name"`) || !strings.Contains(s.References[1], `"name":"Place"`) {
		t.Errorf("references in the wrong order: %q", s.References)
	}
	if _, err := settled(t, r, 9); err == nil || err.Error() != "the registry knows none" {
		t.Errorf("an unknown id: %v", err)
	}
	if _, err := settled(t, r, 6); err == nil || err.Error() != `it refers to version 2 of "gone", which the registry does not have` {
		t.Errorf("an unknown reference: %v", err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		says   string
	}{
		"unavailable":       {503, "secret", "answers 503"},
		"not logged in":     {401, `{"error_code":401,"message":"secret"}`, "answers 401: mend STREAMER_SCHEMA_REGISTRY_USER"},
		"a wrong URL":       {404, "<html>secret</html>", "answers 404 and no error code of a registry; is STREAMER_SCHEMA_REGISTRY_URL right?"},
		"a wrong path":      {404, `{"error_code":404,"message":"HTTP 404 Not Found"}`, "answers 404 and no error code of a registry"},
		"a redirect":        {302, "", "answers 302"},
		"HTML":              {200, "<html>secret</html>", "does not answer"},
		"JSON of its own":   {200, `{"a":1}`, "answers without a schema; is its URL right?"},
		"a schema too long": {200, `{"schema":"` + strings.Repeat("x", answerBytes) + `"}`, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer srv.Close()
			r := open(t, Options{URL: srv.URL})
			_, err := r.Schema(1)
			var wait *schemas.UnavailableError
			if !errors.As(err, &wait) || wait.Cause != "the schema registry is asked for the schema with id 1" {
				t.Fatal(err)
			}
			<-wait.Again
			_, err = r.Schema(1)
			if !errors.As(err, &wait) || !strings.Contains(wait.Cause, c.says) || strings.Contains(wait.Cause, "secret") {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// Once the registry has given a schema, its 404 is about an id, whatever stands in it.
func TestABareNotFoundOfARegistry(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, _ := req.BasicAuth(); user != "me" || password != "mine" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if req.URL.Path != "/base/schemas/ids/1" {
			http.NotFound(w, req)
			return
		}
		_, _ = w.Write([]byte(`{"schema":"\"int\""}`))
	}))
	defer srv.Close()
	r := open(t, Options{URL: srv.URL + "/base", User: "me", Password: "mine"})
	if s, err := settled(t, r, 1); err != nil || s.Text != `"int"` {
		t.Fatal(s, err)
	}
	if _, err := settled(t, r, 2); err == nil || err.Error() != "the registry knows none" {
		t.Error(err)
	}
}

func TestTheGuardHolds(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	r := open(t, Options{URL: fake.URL(), Guard: sink.Guard{Hosts: []string{"other.test"}}})
	_, err := r.Schema(1)
	var wait *schemas.UnavailableError
	if !errors.As(err, &wait) {
		t.Fatal(err)
	}
	<-wait.Again
	if _, err := r.Schema(1); err == nil || !strings.Contains(err.Error(), "the schema registry: 127.0.0.1 is a private address; STREAMER_ALLOW_CIDRS can allow its range") {
		t.Error(err)
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{URL: "registry:8081"}, {URL: "ftp://a"}, {URL: "http://"}, {URL: "http://me:secret@a"}, {URL: "http://a?secret=b"},
		{URL: "http://a", CAFile: empty + "2"}, {URL: "http://a", CAFile: empty}} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// asked counts requests by id, and answers them as it is told.
type asked struct {
	mu     sync.Mutex
	ids    []int
	answer func(id int) (schemas.Registered, error)
	gate   chan struct{} // nil: answers come at once
}

func (a *asked) ask(ctx context.Context, id int) (schemas.Registered, error) {
	a.mu.Lock()
	a.ids = append(a.ids, id)
	a.mu.Unlock()
	if a.gate != nil {
		select {
		case <-a.gate:
		case <-ctx.Done():
			return schemas.Registered{}, ctx.Err()
		}
	}
	return a.answer(id)
}

func (a *asked) took() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := slices.Clone(a.ids)
	a.ids = nil
	return out
}

// All who ask for an id share one request; what it gives is kept, that there is none for a while.
func TestOneRequestForAnID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{gate: make(chan struct{}), answer: func(id int) (schemas.Registered, error) {
			if id == 1 {
				return schemas.Registered{Text: `"int"`}, nil
			}
			return schemas.Registered{}, &unknownError{"none"}
		}}
		r := newRegistry(a.ask, time.Now)
		defer r.Close()
		for range 3 {
			_, _ = r.Schema(1)
			_, _ = r.Schema(2)
		}
		synctest.Wait()
		if ids := a.took(); len(ids) != 2 {
			t.Errorf("asked for %v", ids)
		}
		close(a.gate)
		synctest.Wait()
		for range 3 {
			if s, err := r.Schema(1); err != nil || s.Text != `"int"` {
				t.Error(s, err)
			}
			if _, err := r.Schema(2); err == nil || err.Error() != "none" {
				t.Error(err)
			}
		}
		time.Sleep(unknownFor)
		_, err := r.Schema(2)
		var wait *schemas.UnavailableError
		if !errors.As(err, &wait) {
			t.Error(err)
		}
		time.Sleep(24 * time.Hour)
		_, _ = r.Schema(1)
		if ids := a.took(); len(ids) != 1 || ids[0] != 2 {
			t.Errorf("asked again for %v", ids)
		}
	})
}

// While the registry is away there is one request at a time, whatever is asked for, and ever later.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		a := &asked{answer: func(int) (schemas.Registered, error) {
			if up.Load() {
				return schemas.Registered{Text: `"int"`}, nil
			}
			return schemas.Registered{}, errors.New("away")
		}}
		r := newRegistry(a.ask, time.Now)
		defer r.Close()
		began := time.Now()
		requests := 0
		var waiters sync.WaitGroup
		for id := range 20 {
			waiters.Go(func() {
				for {
					_, err := r.Schema(id)
					var wait *schemas.UnavailableError
					if !errors.As(err, &wait) {
						return
					}
					<-wait.Again
				}
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if requests = len(a.took()); requests > 20+12 {
			t.Errorf("%d requests in a minute", requests)
		}
		up.Store(true)
		waiters.Wait()
		if took := time.Since(began); took > time.Minute+backOffMost+time.Second {
			t.Errorf("it was seen only after %v that the registry is back", took)
		}
		if ids := a.took(); len(ids) != 20 {
			t.Errorf("asked for %v", ids)
		}
	})
}

// Close ends what is in flight, and who waits is told to try again.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{gate: make(chan struct{})}
		r := newRegistry(a.ask, time.Now)
		_, err := r.Schema(1)
		synctest.Wait()
		r.Close()
		r.Close()
		var wait *schemas.UnavailableError
		if !errors.As(err, &wait) {
			t.Fatal(err)
		}
		<-wait.Again
		if _, err := r.Schema(2); !errors.As(err, &wait) || len(a.took()) != 1 {
			t.Error(err)
		}
	})
}

// What strangers ask for does not stay.
func TestUnknownIDsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{answer: func(int) (schemas.Registered, error) { return schemas.Registered{}, &unknownError{"none"} }}
		r := newRegistry(a.ask, time.Now)
		defer r.Close()
		for id := range 10_000 {
			_, _ = r.Schema(id)
			time.Sleep(time.Second)
		}
		if n := len(r.entries); n > 1024 {
			t.Errorf("%d ids are kept", n)
		}
	})
}
