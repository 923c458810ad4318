package sink

import (
	"strings"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

// sentTo gives what went along as Authorization (and X-Key) with each path.
func sentTo(w *world) map[string]string {
	sent := map[string]string{}
	for _, a := range w.api.Attempts() {
		for _, h := range a.Header {
			if strings.EqualFold(h.Name, "Authorization") || h.Name == "X-Key" {
				sent[a.Path] += h.Value
			}
		}
	}
	return sent
}

// Each origin gets the login of its place. That of the job goes to no place, though that has none.
func TestPlacesHaveTheirOwnLogin(t *testing.T) {
	c := Config{
		Auth: Auth{Bearer: "own", APIKey: &APIKey{Header: "X-Key", Value: "own-key"}},
		Places: []Place{
			{Origin: "http://crm.test:80", Auth: Auth{Basic: &Basic{User: "u", Password: "p"}}, Target: "crm"},
			{Origin: "http://open.test:80"},
		},
	}
	inWorld(t, c, nil, func(w *world) {
		w.api.KeepHeaders = true
		for name, url := range map[string]string{"a": "http://api.test/own", "b": "http://CRM.test:80/crm", "c": "http://open.test/open", "d": "http://other.test/other"} {
			w.send(name, url)
		}
		w.pass(time.Second)
		want := map[string]string{"/own": "Bearer ownown-key", "/crm": "Basic dTpw", "/other": "Bearer ownown-key"}
		got := sentTo(w)
		for path := range map[string]int{"/own": 0, "/crm": 0, "/open": 0, "/other": 0} {
			if got[path] != want[path] {
				t.Errorf("%s got %q, want %q", path, got[path], want[path])
			}
		}
		names := ""
		for _, target := range w.sink.Stats().Targets {
			names += target.Target + " "
		}
		if names != "crm http://api.test:80 http://open.test:80 http://other.test:80 " {
			t.Errorf("targets %s", names)
		}
	})
}

// A connection is all that a job may go to, but for its places.
func TestPlacesBesideAConnection(t *testing.T) {
	c := Config{Origin: "http://api.test:80", Target: "api", Auth: Auth{Bearer: "own"}, Places: []Place{{Origin: "http://crm.test:80"}}}
	inWorld(t, c, nil, func(w *world) {
		w.api.KeepHeaders = true
		w.send("own", "http://api.test/own")
		w.send("place", "http://crm.test/crm")
		w.send("elsewhere", "http://other.test/other")
		w.pass(time.Second)
		if got := sentTo(w); got["/own"] != "Bearer own" || got["/crm"] != "" || w.api.Len() != 2 {
			t.Errorf("sent %v, %d attempts", got, w.api.Len())
		}
		if o := w.outcome("elsewhere"); o.Class != Payload || !strings.Contains(o.Reason, "is not at http://api.test:80") {
			t.Errorf("outcome %+v", o)
		}
	})
}

// The pause and the limits of a connection hold for what goes to it as a place, and for nothing else.
func TestPlaceIsPausedByItself(t *testing.T) {
	shared, own := NewShared(), NewShared()
	c := Config{Shared: own, Places: []Place{{Origin: "http://crm.test:80", Shared: shared}}}
	inWorld(t, c, nil, func(w *world) {
		shared.Pause(true)
		w.send("crm", "http://crm.test/crm")
		for _, name := range []string{"a", "b", "c"} {
			w.send(name, "http://api.test/own")
		}
		w.pass(time.Minute)
		if w.isFinal("crm") || !w.isFinal("a") || !w.isFinal("c") {
			t.Fatalf("finals %v", w.done())
		}
		if st := w.sink.Stats(); st.Waiting != 1 || st.Ready != 0 {
			t.Errorf("stats %+v", st)
		}
		shared.Pause(false)
		own.Pause(true)
		w.send("d", "http://api.test/own")
		w.pass(time.Minute)
		if !w.isFinal("crm") || w.isFinal("d") {
			t.Fatalf("finals %v", w.done())
		}
		own.Pause(false)
		w.pass(0)
		w.outcome("d")
	})
}

// A place that is paused while its rows are ready stops none of those of others, also with one worker.
func TestPlaceWithoutRoomBlocksNobody(t *testing.T) {
	shared := NewShared()
	c := Config{Concurrency: 1, Places: []Place{{Origin: "http://crm.test:80", Shared: shared}}}
	inWorld(t, c, nil, func(w *world) {
		shared.Set(SharedLimits{Rate: Rate{Count: 1, Per: time.Minute}}) // by the clock in here
		for i := range 20 {
			w.send("crm"+string(rune('a'+i)), "http://crm.test/")
			w.send("own"+string(rune('a'+i)), "http://api.test/")
		}
		w.pass(time.Second)
		own, crm := 0, 0
		for _, name := range w.done() {
			if strings.HasPrefix(name, "own") {
				own++
			} else {
				crm++
			}
		}
		if own != 20 || crm != 1 {
			t.Errorf("%d of its own and %d of the place are final", own, crm)
		}
		w.pass(19 * time.Minute)
		if len(w.done()) != 40 {
			t.Errorf("%d are final", len(w.done()))
		}
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.running != 0 || len(shared.line) != 0 {
			t.Errorf("%d places are taken, %d stand in line", shared.running, len(shared.line))
		}
	})
}

// The health URL is that of the job's own target: it neither opens nor closes the breaker of a place, nor says who is to blame there.
func TestHealthIsNotThatOfAPlace(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/crm" {
			return sinktest.Answer{Status: 500}
		}
		return sinktest.Answer{}
	}
	c := Config{Breaker: Breaker{Health: "http://api.test/health", Failures: 2}, Retry: Retry{Attempts: 2, Max: time.Second}, Places: []Place{{Origin: "http://crm.test:80"}}}
	inWorld(t, c, answer, func(w *world) {
		w.send("a", "http://crm.test/crm")
		w.send("b", "http://crm.test/crm")
		w.pass(10 * time.Minute)
		if w.isFinal("a") || w.isFinal("b") {
			t.Errorf("given up: %v", w.done())
		}
		for _, a := range w.api.Attempts() {
			if a.Path == "/health" {
				t.Fatal("the job's health URL was asked")
			}
		}
	})
}

// success judges answers that look well by their status, with as much of the body as is read.
func TestSuccess(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		other  Class
		accept []int
		want   Class
		reason string
	}{
		"is one":                {status: 200, body: "yes", other: Rejected, want: Delivered},
		"is none":               {status: 200, body: "no geheim", other: Rejected, want: Rejected, reason: "answered 200 OK, which success of the connection does not take for one"},
		"is none, cut":          {status: 200, body: strings.Repeat("x", 300), other: Rejected, want: Rejected, reason: "response_bytes"},
		"is none for now":       {status: 201, body: "no", other: Target, want: ""},
		"failed by status":      {status: 409, body: "yes", other: Rejected, want: Rejected, reason: "answered 409 Conflict"},
		"accepted all the same": {status: 404, body: "no", other: Rejected, accept: []int{404}, want: Delivered},
	} {
		t.Run(name, func(t *testing.T) {
			answer := func(*sinktest.Attempt) sinktest.Answer {
				return sinktest.Answer{Status: test.status, Body: []byte(test.body)}
			}
			inWorld(t, Config{ResponseBytes: 200, Success: &Success{Of: yes{}, Else: test.other}}, answer, func(w *world) {
				w.scope.Deliver(&Delivery{Request: Request{Method: "GET", URL: w.api.URL()}, Accept: test.accept, Row: "a", Final: w.final})
				w.pass(time.Minute)
				if test.want == "" {
					if w.isFinal("a") || w.lastWait().outcome.Class != Target {
						t.Errorf("final: %v", w.done())
					}
					return
				}
				if o := w.outcome("a"); o.Class != test.want || !strings.Contains(o.Reason, test.reason) || strings.Contains(o.Reason, "geheim") || o.Response != nil {
					t.Errorf("outcome %+v", o)
				}
			})
		})
	}
}

// yes is a judge.
type yes struct{}

func (yes) Success(r *Response) bool { return string(r.Body) == "yes" }

// Who shows a request shows the login of where it goes to.
func TestAuthOf(t *testing.T) {
	t.Parallel()
	c := Config{Auth: Auth{Bearer: "own"}, Places: []Place{{Origin: "https://crm.test:443", Auth: Auth{Token: "crm"}}, {Origin: "https://open.test:443"}}}
	for url, want := range map[string]Auth{"https://api.test/a": {Bearer: "own"}, "https://CRM.test/b?c": {Token: "crm"}, "https://crm.test:444/": {Bearer: "own"}, "https://open.test/": {}, "no url": {}} {
		if got := c.AuthOf(url); got != want {
			t.Errorf("%s: %+v", url, got)
		}
	}
}
