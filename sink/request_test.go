package sink

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

func TestRefusedAddressWaitsWithoutAnAttempt(t *testing.T) {
	w := &world{t: t, start: time.Now(), finals: map[string]Outcome{}}
	told := make(chan Outcome, 1)
	s, err := New(Config{Breaker: Breaker{Failures: 1}}, nil, waitingFunc(func(o Outcome) { told <- o }))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w.sink, w.scope = s, s.NewScope()
	w.send("a", "http://user:geheim@127.0.0.1:9/private?token=geheim")
	o := <-told
	if o.Class != Address || o.Attempts != 0 || !o.First.IsZero() || !strings.Contains(o.Reason, "127.0.0.1") || !strings.Contains(o.Reason, "STREAMER_ALLOW_CIDRS") || strings.Contains(o.Reason, "geheim") {
		t.Errorf("outcome is %+v", o)
	}
	if st := s.Stats(); st.Targets[0].Open {
		t.Error("the breaker opened")
	}
}

type waitingFunc func(Outcome)

func (waitingFunc) Attempt(Class, int, time.Duration)             {}
func (f waitingFunc) Waiting(_ *Delivery, o Outcome, _ time.Time) { f(o) }
func (waitingFunc) BreakerOpen(string, bool)                      {}
func (waitingFunc) Held(string, Hold, bool)                       {}

func TestAllowedLoopbackIsDialled(t *testing.T) {
	api, err := sinktest.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	s, err := New(Config{Guard: Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	done := make(chan Outcome, 1)
	s.NewScope().Deliver(&Delivery{Request: Request{Method: "GET", URL: api.URL()}, Final: func(_ *Delivery, o Outcome) { done <- o }})
	if o := <-done; o.Class != Delivered {
		t.Errorf("outcome is %+v", o)
	}
}

// The guard judges what the name resolves to, and the setting may allow the name.
func TestGuardJudgesTheResolvedAddress(t *testing.T) {
	api, err := sinktest.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	url := strings.Replace(api.URL(), "127.0.0.1", "LocalHost", 1)
	for _, hosts := range [][]string{nil, {"localhost"}} {
		told := make(chan Outcome, 1)
		s, err := New(Config{Guard: Guard{Hosts: hosts}}, nil, waitingFunc(func(o Outcome) { told <- o }))
		if err != nil {
			t.Fatal(err)
		}
		s.NewScope().Deliver(&Delivery{Request: Request{Method: "GET", URL: url}, Final: func(_ *Delivery, o Outcome) {
			if o.Class == Delivered {
				told <- o
			}
		}})
		o := <-told
		if hosts != nil && o.Class != Delivered || hosts == nil && (o.Class != Address || !strings.Contains(o.Reason, "localhost") || !strings.Contains(o.Reason, "STREAMER_ALLOW_HOSTS")) {
			t.Errorf("with hosts %v: %+v", hosts, o)
		}
		s.Close()
	}
}

func TestDeliversOverTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201) }))
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	s, err := New(Config{Guard: loopback, RootCAs: roots}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	done := make(chan Outcome, 1)
	s.NewScope().Deliver(&Delivery{Request: Request{Method: "PUT", URL: srv.URL}, Final: func(_ *Delivery, o Outcome) { done <- o }})
	if o := <-done; o.Class != Delivered || o.Status != 201 {
		t.Errorf("outcome is %+v", o)
	}
}

func TestRequestThatCannotBeSentIsFinalAsPayloadWithoutAnAttempt(t *testing.T) {
	for name, r := range map[string]Request{
		"no host":                {Method: "GET", URL: "http:///x"},
		"relative URL":           {Method: "GET", URL: "/x"},
		"empty URL":              {Method: "GET"},
		"another scheme":         {Method: "GET", URL: "ftp://api.test/"},
		"port too high":          {Method: "GET", URL: "http://api.test:99999/"},
		"no method":              {URL: "http://api.test/"},
		"line break in method":   {Method: "GET\r\nX: y", URL: "http://api.test/"},
		"line break in URL":      {Method: "GET", URL: "http://api.test/\r\nX: y"},
		"line break in value":    {Method: "GET", URL: "http://api.test/", Header: []Header{{"X", "geheim\r\nY: z"}}},
		"zero byte in value":     {Method: "GET", URL: "http://api.test/", Header: []Header{{"X", "a\x00"}}},
		"blank in a header name": {Method: "GET", URL: "http://api.test/", Header: []Header{{"X Y", "a"}}},
		"nameless header":        {Method: "GET", URL: "http://api.test/", Header: []Header{{"", "a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Config{Concurrency: 1}, nil, func(w *world) {
				d := &Delivery{Request: r, Row: "bad", Final: w.final}
				w.scope.Deliver(d)
				w.row("good", "/")
				w.pass(0)
				if o := w.outcome("bad"); o.Class != Payload || o.Status != 0 || o.Attempts != 0 || !o.First.IsZero() || len(w.tries) != 1 || o.Reason == "" || strings.Contains(o.Reason, "geheim") {
					t.Errorf("outcome is %+v", o)
				}
				w.outcome("good")
				if n := w.api.Len(); n != 1 {
					t.Errorf("%d requests arrived", n)
				}
			})
		})
	}
}
