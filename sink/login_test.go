package sink

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

const tokenURL = "http://idp.test/token"

// listed lets the tests' own addresses be asked without TLS.
var listed = Guard{Hosts: []string{"idp.test", "storage.test"}, CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

func authorizationOf(a *sinktest.Attempt) string {
	for _, h := range a.Header {
		if strings.EqualFold(h.Name, "Authorization") {
			return h.Value
		}
	}
	return ""
}

// inIssuer is inWorld with a token endpoint at /token; everything else wants a good token.
func inIssuer(t *testing.T, c Config, e *sinktest.TokenEndpoint, test func(w *world)) {
	t.Helper()
	c.Guard = listed
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		switch {
		case a.Path == "/token":
			return e.Answer(a)
		case !e.Good(authorizationOf(a)):
			return sinktest.Answer{Status: 401}
		}
		return sinktest.Answer{}
	}
	inWorld(t, c, answer, func(w *world) {
		w.api.KeepHeaders = true
		test(w)
	})
}

func clientCredentials(e *sinktest.TokenEndpoint) Config {
	return Config{Concurrency: 200, Auth: Auth{OAuth2: &OAuth2{TokenURL: tokenURL, ClientID: e.Client, ClientSecret: Secret(e.Secret), Scopes: []string{"read", "write"}, Audience: "crm"}}}
}

// rows delivers n of them at once.
func (w *world) rows(prefix string, n int) {
	for i := range n {
		w.send(fmt.Sprint(prefix, i), "http://api.test/")
	}
}

// delivered says that all rows are, each by one attempt.
func (w *world) delivered(t *testing.T, n int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.finals) != n {
		t.Errorf("%d rows are final, want %d", len(w.finals), n)
	}
	for name, o := range w.finals {
		if o.Class != Delivered || o.Attempts != 1 {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestOneRenewalForManyRows(t *testing.T) {
	e := &sinktest.TokenEndpoint{Client: "streamer", Secret: "geheim", Life: time.Hour, Delay: time.Second}
	inIssuer(t, clientCredentials(e), e, func(w *world) {
		w.rows("a", 100)
		w.pass(2 * time.Second)
		w.delivered(t, 100)
		forms, most := e.Renewals()
		if len(forms) != 1 || most != 1 || forms[0].Encode() != "audience=crm&grant_type=client_credentials&scope=read+write" {
			t.Errorf("%d renewals, %d at once: %v", len(forms), most, forms)
		}
	})
}

// The token is renewed before it ends, while rows go on with the one there is.
func TestRenewalAheadOfTheEnd(t *testing.T) {
	e := &sinktest.TokenEndpoint{Client: "streamer", Secret: "geheim", Life: 10 * time.Minute, Delay: 2 * time.Second}
	inIssuer(t, clientCredentials(e), e, func(w *world) {
		w.rows("a", 1)
		w.pass(9*time.Minute + 10*time.Second)
		w.rows("b", 50)
		w.pass(time.Second)
		if final := len(w.done()); final != 50 { // all but the one that renews
			t.Errorf("%d rows are final while the token is renewed", final)
		}
		w.pass(2 * time.Second)
		w.rows("c", 50)
		w.pass(time.Second)
		w.delivered(t, 101)
		if forms, most := e.Renewals(); len(forms) != 2 || most != 1 {
			t.Errorf("%d renewals, %d at once", len(forms), most)
		}
		for _, a := range w.api.Attempts() {
			if a.Status == 401 {
				t.Error("a row was refused")
			}
		}
	})
}

// All tokens are withdrawn while a hundred rows are on their way: one renewal, and no row counts it.
func TestStormOfRefusalsRenewsOnce(t *testing.T) {
	e := &sinktest.TokenEndpoint{Client: "streamer", Secret: "geheim"}
	inIssuer(t, clientCredentials(e), e, func(w *world) {
		w.rows("a", 1)
		w.pass(time.Second)
		e.Withdraw()
		w.rows("b", 100)
		w.pass(time.Second)
		w.delivered(t, 101)
		if forms, _ := e.Renewals(); len(forms) != 2 {
			t.Errorf("%d renewals", len(forms))
		}
		if len(w.heldSaid()) != 0 || len(w.breakers()) != 0 {
			t.Errorf("told %v %v", w.heldSaid(), w.breakers())
		}
		for _, a := range w.api.Attempts() {
			if a.Path == "/" && a.Attempt > 1 {
				t.Errorf("a row was told its attempt %d", a.Attempt)
			}
		}
	})
}

// The API refuses a new token too: the rows wait, held, and are not rejected; the endpoint is not asked for every row.
func TestRefusedNewTokenHolds(t *testing.T) {
	e := &sinktest.TokenEndpoint{Client: "streamer", Secret: "geheim"}
	var refuse atomic.Bool
	refuse.Store(true)
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		switch {
		case a.Path == "/token":
			return e.Answer(a)
		case refuse.Load():
			return sinktest.Answer{Status: 401}
		}
		return sinktest.Answer{}
	}
	c := clientCredentials(e)
	c.Guard, c.Retry.Max = listed, time.Minute
	inWorld(t, c, answer, func(w *world) {
		w.api.KeepHeaders = true
		w.rows("a", 100)
		w.pass(10 * time.Minute)
		if len(w.done()) != 0 || len(w.sink.Stats().Holds) != 1 {
			t.Fatalf("%d are final; %+v", len(w.done()), w.sink.Stats().Holds)
		}
		if forms, most := e.Renewals(); len(forms) > 25 || most != 1 {
			t.Errorf("%d renewals, %d at once", len(forms), most)
		}
		refuse.Store(false)
		w.pass(2 * time.Minute)
		if len(w.done()) != 100 {
			t.Errorf("%d are final", len(w.done()))
		}
	})
}

// What the endpoint answers decides whether rows wait for it or an operator has to mend the login; no row is given up, and nothing secret
// is in what is told.
func TestTokenEndpointInTrouble(t *testing.T) {
	page := sinktest.Answer{Header: []sinktest.Header{{Name: "Content-Type", Value: "text/html; charset=utf-8"}}, Body: []byte("<html>geheim")}
	broken := page
	broken.Status = 502
	for name, test := range map[string]struct {
		secret string
		answer *sinktest.Answer
		class  Class
		want   string
	}{
		"a wrong secret":       {"wrong-geheim", nil, Credentials, "the token endpoint http://idp.test:80 answered 401 Unauthorized: invalid_client; client_id or client_secret is wrong"},
		"an error with 200":    {"", &sinktest.Answer{Body: []byte(`{"error":"invalid_client","error_description":"geheim"}`)}, Credentials, "answered 200 OK: invalid_client"},
		"no name of an error":  {"", &sinktest.Answer{Status: 400, Body: []byte(`{"error":"geheim leaks Here"}`)}, Credentials, "answered 400 Bad Request: no error code"},
		"a page":               {"", &page, Target, "answered 200 OK with text/html that holds no access token"},
		"a page of a proxy":    {"", &broken, Target, "answered 502 Bad Gateway"},
		"JSON without a token": {"", &sinktest.Answer{Header: []sinktest.Header{{Name: "Content-Type", Value: "application/json"}}, Body: []byte(`{"geheim":1}`)}, Target, "answered 200 OK with application/json that holds no access token"},
		"a token with a line":  {"", &sinktest.Answer{Body: []byte(`{"access_token":"geheim\nX: y"}`)}, Target, "cannot stand in a header"},
		"elsewhere":            {"", &sinktest.Answer{Status: 302, Header: []sinktest.Header{{Name: "Location", Value: "http://evil.test/geheim"}}}, Target, "answered 302 Found"},
		"not there":            {"", &sinktest.Answer{Status: 404, Body: []byte("geheim")}, Target, "answered 404 Not Found"},
		"down":                 {"", &sinktest.Answer{Fault: sinktest.Reset}, Target, "the token endpoint http://idp.test:80: the c"},
		"silent":               {"", &sinktest.Answer{Fault: sinktest.Hang}, Target, "the token endpoint http://idp.test:80: no whole answer in time"},
		"for a moment":         {"", &sinktest.Answer{Status: 400, Body: []byte(`{"error":"temporarily_unavailable"}`)}, Target, "temporarily_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &sinktest.TokenEndpoint{Client: "streamer", Secret: "geheim"}
			c := clientCredentials(e)
			if test.secret != "" {
				c.Auth.OAuth2.ClientSecret = Secret(test.secret)
			}
			c.Retry = Retry{Attempts: 1, GiveUpUnproven: true}
			e.Instead(test.answer)
			inIssuer(t, c, e, func(w *world) {
				w.rows("a", 10)
				w.pass(5 * time.Minute)
				if len(w.done()) != 0 {
					t.Fatalf("final: %v", w.done())
				}
				w.mu.Lock()
				if len(w.tries) != 0 {
					t.Errorf("attempts are told: %v", w.tries)
				}
				told := fmt.Sprintf("%+v", w.waits)
				var o Outcome
				if len(w.waits) > 0 {
					o = w.waits[0].outcome
				}
				w.mu.Unlock()
				st := w.sink.Stats()
				told += fmt.Sprintf("%+v", st)
				if !strings.Contains(told, test.want) || strings.Contains(told, "geheim") || o.Class != test.class || o.Attempts != 0 {
					t.Errorf("%s\nwant %s: %s", told, test.class, test.want)
				}
				if held := len(st.Holds) == 1; held != (test.class == Credentials) || st.Targets[0].Open == held {
					t.Errorf("stats %+v", st)
				}
				for _, a := range w.api.Attempts() {
					if a.Path != "/token" {
						t.Errorf("a request without a token: %s", a.Path)
					}
				}
				e.Instead(nil)
				if test.secret == "" {
					w.pass(5 * time.Minute)
					w.delivered(t, 10)
				}
			})
		})
	}
}

// While the old token is good, an endpoint that fails stops nobody.
func TestEndpointFailsAheadOfTheEnd(t *testing.T) {
	e := &sinktest.TokenEndpoint{Client: "streamer", Secret: "geheim", Life: 10 * time.Minute}
	inIssuer(t, clientCredentials(e), e, func(w *world) {
		w.rows("a", 1)
		w.pass(9*time.Minute + 10*time.Second)
		e.Instead(&sinktest.Answer{Status: 503})
		for i := range 30 {
			w.rows(fmt.Sprint("b", i, "."), 3)
			w.pass(time.Second)
		}
		w.delivered(t, 91)
		if forms, _ := e.Renewals(); len(forms) > 9 {
			t.Errorf("%d renewals", len(forms))
		}
	})
}

// The row that renews is taken away in the middle: another one that waits renews in its place.
func TestRenewalIsTakenOver(t *testing.T) {
	e := &sinktest.TokenEndpoint{Client: "streamer", Secret: "geheim", Delay: 10 * time.Second}
	inIssuer(t, clientCredentials(e), e, func(w *world) {
		other := w.sink.NewScope()
		other.Deliver(&Delivery{Request: Request{Method: "GET", URL: "http://api.test/"}, Row: "first", Final: w.final})
		w.pass(time.Second)
		w.rows("a", 20)
		w.pass(time.Second)
		other.Cancel()
		w.pass(time.Minute)
		if o := w.outcome("first"); o.Class != Interrupted {
			t.Errorf("first: %+v", o)
		}
		w.mu.Lock()
		delete(w.finals, "first")
		w.mu.Unlock()
		w.delivered(t, 20)
		if forms, most := e.Renewals(); len(forms) != 2 || most != 2 { // the receiver goes on with the first
			t.Errorf("%d renewals, %d at once", len(forms), most)
		}
	})
}

func TestRefreshToken(t *testing.T) {
	e := &sinktest.TokenEndpoint{Client: "streamer", Secret: "geheim", Refresh: "geheim-refresh-0", Rotates: true, Life: time.Minute}
	c := clientCredentials(e)
	c.Auth.OAuth2.RefreshToken = "geheim-refresh-0"
	inIssuer(t, c, e, func(w *world) {
		for i := range 5 {
			w.rows(fmt.Sprint("a", i, "."), 10)
			w.pass(2 * time.Minute)
		}
		w.delivered(t, 50)
		forms, _ := e.Renewals()
		var used []string
		for _, f := range forms {
			used = append(used, f.Get("refresh_token"))
			if f.Get("grant_type") != "refresh_token" {
				t.Errorf("grant %v", f)
			}
		}
		want := []string{"geheim-refresh-0", "geheim-refresh-1", "geheim-refresh-2", "geheim-refresh-3", "geheim-refresh-4"}
		if !slices.Equal(used, want) {
			t.Errorf("used %v", used)
		}
	})
	// Begun anew, it has the first one only, which is good no more.
	inIssuer(t, c, e, func(w *world) {
		w.rows("a", 2)
		w.pass(time.Minute)
		holds := w.sink.Stats().Holds
		if len(holds) != 1 || !strings.Contains(holds[0].Cause, "invalid_grant; the refresh token has ended, was used before") || len(w.done()) != 0 {
			t.Errorf("holds %+v", holds)
		}
	})
}

// Sinks of one login in one process renew it once, and know of each other's refresh token.
func TestSinksOfOneLoginRenewOnce(t *testing.T) {
	e := &sinktest.TokenEndpoint{Client: "streamer", Secret: "geheim", Refresh: "geheim-refresh-0", Rotates: true, Delay: 50 * time.Millisecond}
	api, err := sinktest.Listen(e.Answer)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	api.KeepHeaders = true
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !e.Good(r.Header.Get("Authorization")) {
			w.WriteHeader(401)
		}
	}))
	defer target.Close()
	c := Config{Guard: listed, Auth: Auth{OAuth2: &OAuth2{TokenURL: api.URL() + "/token", ClientID: "streamer", ClientSecret: "geheim", RefreshToken: "geheim-refresh-0"}}}
	var done sync.WaitGroup
	for range 2 { // at once, and again
		for range 3 {
			c.Guard.Narrowed = &Narrowed{Owner: "demo", CIDRs: listed.CIDRs} // as each compilation of the job makes one
			s, err := New(c, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			scope := s.NewScope()
			for range 20 {
				done.Add(1)
				scope.Deliver(&Delivery{Request: Request{Method: "GET", URL: target.URL}, Final: func(_ *Delivery, o Outcome) {
					if o.Class != Delivered {
						t.Errorf("outcome %+v", o)
					}
					done.Done()
				}})
			}
		}
		done.Wait()
	}
	if forms, _ := e.Renewals(); len(forms) != 1 {
		t.Errorf("%d renewals", len(forms))
	}
}

// The guard judges where tokens are asked for too, and credentials do not go to public addresses without TLS.
func TestTokenURLUnderTheGuard(t *testing.T) {
	for name, test := range map[string]struct {
		guard Guard
		url   string
		want  string
	}{
		"private":         {Guard{Hosts: []string{"idp.test"}}, "https://127.0.0.1:9/token", "the token endpoint https://127.0.0.1:9: 127.0.0.1 is a private address; STREAMER_ALLOW_CIDRS can allow its range"},
		"a name":          {Guard{Hosts: []string{"idp.test"}}, "http://localhost:9/token", "STREAMER_ALLOW_HOSTS can allow the name"},
		"never":           {listed, "https://169.254.169.254/token", "never dialled"},
		"another owner's": {Guard{Hosts: []string{"localhost"}, Narrowed: &Narrowed{Owner: "demo"}}, "http://localhost:9/token", "that demo is not granted"},
	} {
		told := make(chan Outcome, 10)
		s, err := New(Config{Guard: test.guard, Auth: Auth{OAuth2: &OAuth2{TokenURL: test.url, ClientID: "c", ClientSecret: "geheim"}}}, nil, waitingFunc(func(o Outcome) { told <- o }))
		if err != nil {
			t.Fatal(err)
		}
		s.NewScope().Deliver(&Delivery{Request: Request{Method: "GET", URL: "http://api.test/"}, Final: func(*Delivery, Outcome) {}})
		if o := <-told; o.Class != Address || o.Attempts != 0 || !strings.Contains(o.Reason, test.want) {
			t.Errorf("%s: %+v", name, o)
		}
		s.Close()
	}
	if err := (&AddressError{Host: "idp.example.org", IP: netip.MustParseAddr("9.9.9.9"), Plain: true}).Error(); err != "idp.example.org is 9.9.9.9, a public address, and credentials go there by https only" {
		t.Error(err)
	}
}

func TestLoginsAreValidated(t *testing.T) {
	oauth := func(url, id, secret, refresh string) Auth {
		return Auth{OAuth2: &OAuth2{TokenURL: url, ClientID: id, ClientSecret: Secret(secret), RefreshToken: Secret(refresh)}}
	}
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"client credentials":         {Config{Auth: oauth("https://idp.test/token", "a", "b", "")}, ""},
		"a public client":            {Config{Auth: oauth("https://idp.test/token?a=b", "a", "", "r")}, ""},
		"nothing":                    {Config{Auth: oauth("", "", "", "")}, "auth.oauth2.token_url auth.oauth2.client_id auth.oauth2.client_secret"},
		"no URL":                     {Config{Auth: oauth("idp.test/token", "a", "b", "")}, "auth.oauth2.token_url"},
		"a user in it":               {Config{Auth: oauth("https://u:geheim@idp.test/token", "a", "b", "")}, "auth.oauth2.token_url"},
		"a placeholder in it":        {Config{Auth: oauth("https://idp.test/{$.geheim}", "a", "b", "")}, "auth.oauth2.token_url"},
		"without TLS":                {Config{Auth: oauth("http://idp.test/token", "a", "b", "")}, "auth.oauth2.token_url"},
		"public and without TLS":     {Config{Guard: listed, Auth: oauth("http://9.9.9.9/token", "a", "b", "")}, "auth.oauth2.token_url"},
		"private and without TLS":    {Config{Guard: listed, Auth: oauth("http://127.0.0.1/token", "a", "b", "")}, ""},
		"a listed name, without TLS": {Config{Guard: listed, Auth: oauth("http://idp.test/token", "a", "b", "")}, ""},
		"a storage":                  {Config{Auth: Auth{TokenStorage: &TokenStorage{URL: "https://storage.test/api", Service: "port-x"}}}, ""},
		"an empty storage":           {Config{Auth: Auth{TokenStorage: &TokenStorage{}}}, "auth.token_storage.url auth.token_storage.service"},
		"places":                     {Config{Places: []Place{{Origin: "https://a.test:443"}, {Origin: "https://b.test:443", Auth: Auth{Bearer: "b"}}}}, ""},
		"places, wrong":              {Config{Origin: "https://a.test:443", Places: []Place{{Origin: "https://a.test:443"}, {Origin: "https://b.test"}, {Origin: "https://c.test:443", Auth: Auth{Bearer: "geheim\n"}, TLS: TLS{Cert: "x"}}}}, "places[0].origin places[1].origin places[2].auth.bearer places[2].tls.cert"},
	} {
		var paths []string
		for _, f := range test.config.Validate() {
			paths = append(paths, f.Path)
			if strings.Contains(f.Error(), "geheim") {
				t.Errorf("%s: %v", name, f)
			}
		}
		if got := strings.Join(paths, " "); got != test.want {
			t.Errorf("%s: faults at %q, want %q", name, got, test.want)
		}
	}
}

// inStorage is inWorld with a token storage; everything else wants a good token of it.
func inStorage(t *testing.T, st *sinktest.TokenStorage, test func(w *world)) {
	t.Helper()
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		switch {
		case strings.HasPrefix(a.Path, "/user/"):
			return st.Answer(a)
		case !st.Good(authorizationOf(a)):
			return sinktest.Answer{Status: 401}
		}
		return sinktest.Answer{}
	}
	c := Config{Guard: listed, Concurrency: 200, Auth: Auth{TokenStorage: &TokenStorage{URL: "http://storage.test/", Service: "port-x"}}}
	inWorld(t, c, answer, func(w *world) {
		w.api.KeepHeaders = true
		test(w)
	})
}

func (w *world) sendAs(name, user string) {
	w.scope.Deliver(&Delivery{Request: Request{Method: "POST", URL: "http://api.test/", User: user}, Row: name, Final: w.final})
}

// A user's token is read once, kept to its end, and renewed there by PUT.
func TestTokenStorage(t *testing.T) {
	st := sinktest.NewTokenStorage()
	inStorage(t, st, func(w *world) {
		st.Grant("ann", "port-x", time.Hour)
		st.Grant("a/b ü", "port-x", 0)
		for i := range 50 {
			w.sendAs(fmt.Sprint("ann", i), "ann")
			w.sendAs(fmt.Sprint("other", i), "a/b ü")
		}
		w.pass(time.Second)
		w.delivered(t, 100)
		calls := st.Calls()
		slices.Sort(calls)
		if got := strings.Join(calls, ", "); got != "GET /user/a%2Fb%20%C3%BC/token/port-x, GET /user/ann/token/port-x" {
			t.Errorf("calls %s", got)
		}
		w.pass(2 * time.Hour)
		w.sendAs("later", "ann")
		w.sendAs("later, another", "a/b ü")
		w.pass(time.Second)
		w.delivered(t, 102)
		calls = st.Calls()[2:]
		slices.Sort(calls)
		if got := strings.Join(calls, ", "); got != "GET /user/a%2Fb%20%C3%BC/token/port-x, GET /user/ann/token/port-x, PUT /user/ann/token/port-x" {
			t.Errorf("calls later %s", got)
		}
	})
}

func TestTokenStorageRenewsWhatWasRefused(t *testing.T) {
	st := sinktest.NewTokenStorage()
	inStorage(t, st, func(w *world) {
		st.Grant("ann", "port-x", 0)
		st.Grant("bob", "port-x", time.Hour)
		w.sendAs("first", "ann")
		w.sendAs("bob", "bob")
		w.pass(time.Second)
		st.Withdraw("ann", "port-x")
		for i := range 100 {
			w.sendAs(fmt.Sprint("ann", i), "ann")
		}
		w.pass(time.Second)
		w.delivered(t, 102)
		if got := strings.Join(st.Calls()[2:], ", "); got != "PUT /user/ann/token/port-x, GET /user/ann/token/port-x" {
			t.Errorf("calls %s", got)
		}
	})
}

// One who was stored long ago has ended when it is read.
func TestTokenStorageGivesOneThatHasEnded(t *testing.T) {
	st := sinktest.NewTokenStorage()
	inStorage(t, st, func(w *world) {
		st.Grant("ann", "port-x", time.Minute)
		w.pass(time.Hour)
		w.sendAs("a", "ann")
		w.pass(time.Second)
		w.delivered(t, 1)
	})
}

// A user whom it does not know is that row's matter, and nobody else's; what the storage says then is told to nobody.
func TestTokenStorageInTrouble(t *testing.T) {
	st := sinktest.NewTokenStorage()
	inStorage(t, st, func(w *world) {
		st.Grant("ann", "port-x", time.Hour)
		w.sendAs("unknown", "eve")
		w.sendAs("nobody", "")
		w.sendAs("dots", "..")
		w.sendAs("ann", "ann")
		w.pass(time.Second)
		for name, want := range map[string]Outcome{
			"unknown": {Class: Rejected, Reason: "the token storage http://storage.test:80 answered 404 Not Found: it has no token of the row's user for the service port-x"},
			"nobody":  {Class: Payload, Reason: "the row names no user for the token storage"},
			"dots":    {Class: Payload, Reason: "the row's user for the token storage is no name"},
		} {
			if o := w.outcome(name); o.Class != want.Class || o.Reason != want.Reason || o.Attempts != 0 {
				t.Errorf("%s: %+v", name, o)
			}
		}
		if o := w.outcome("ann"); o.Class != Delivered || len(w.heldSaid()) != 0 {
			t.Errorf("ann: %+v, %v", o, w.heldSaid())
		}
		st.Refuse("geheim: Redis is down")
		st.Grant("bob", "port-x", time.Hour)
		w.sendAs("bob", "bob")
		w.pass(time.Minute)
		if o := w.lastWait().outcome; w.isFinal("bob") || o.Class != Target || o.Reason != "the token storage http://storage.test:80 answered 200 OK without an access token" {
			t.Errorf("bob waits for %+v", o)
		}
		st.Refuse("")
		w.pass(5 * time.Minute)
		if o := w.outcome("bob"); o.Class != Delivered {
			t.Errorf("bob: %+v", o)
		}
		var all bytes.Buffer
		w.mu.Lock()
		fmt.Fprintf(&all, "%+v %+v", w.finals, w.waits)
		w.mu.Unlock()
		fmt.Fprintf(&all, "%+v", w.sink.Stats())
		if strings.Contains(all.String(), "geheim") {
			t.Errorf("told: %s", all.String())
		}
	})
}
