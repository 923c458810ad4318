package people

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"
	"go.uber.org/goleak"

	"streamer/consumer/kafkalog"
	"streamer/control/service"
	"streamer/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLog keeps objects in memory.
type fakeLog struct {
	mu      sync.Mutex
	objects map[string]kafkalog.Entry
	audit   []string
	next    int64
}

func (l *fakeLog) Get(key string) (kafkalog.Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.objects[key]
	return e, ok
}

func (l *fakeLog) List(prefix string) (out []kafkalog.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(l.objects)) {
		if strings.HasPrefix(key, prefix) {
			out = append(out, l.objects[key])
		}
	}
	return out
}

func (l *fakeLog) Update(_ context.Context, key string, change func(kafkalog.Entry, bool) (value, audit []byte, err error)) (kafkalog.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.objects[key]
	value, audit, err := change(e, ok)
	if err != nil {
		return e, err
	}
	if audit != nil {
		l.audit = append(l.audit, string(audit))
	}
	l.next++
	if value == nil {
		delete(l.objects, key)
		return kafkalog.Entry{}, nil
	}
	e = kafkalog.Entry{Key: key, Value: value, Revision: l.next}
	l.objects[key] = e
	return e, nil
}

func line(by, action string, detail map[string]any) ([]byte, error) {
	return json.Marshal(map[string]any{"by": by, "action": action, "detail": detail})
}

// anyone is a request of somebody at an address.
func anyone(from, authorization string) *http.Request {
	req := httptest.NewRequest(http.MethodGet, "http://streamer.test/api/v1/jobs", nil)
	req.RemoteAddr = from + ":40000"
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return req
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// world is an instance where people log in.
type world struct {
	*People
	t      *testing.T
	log    *fakeLog
	tokens *Tokens
	lines  bytes.Buffer
	key    *rsa.PrivateKey
	issuer *httptest.Server
	down   bool
}

func setup(t *testing.T) *world {
	w := &world{t: t, log: &fakeLog{objects: map[string]kafkalog.Entry{}}}
	var err error
	if w.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	provider := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: w.key.Public(), KeyID: "one", Algorithm: "RS256"}}}
	w.issuer = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if w.down {
			http.Error(rw, "away", http.StatusBadGateway)
			return
		}
		provider.ServeHTTP(rw, req)
	}))
	t.Cleanup(w.issuer.Close)
	provider.SetIssuer(w.issuer.URL)
	w.tokens = NewTokens(w.log, line)
	auth, err := New(Options{
		Require: true, Admin: Admin{"root", sink.Secret("opensesame")}, Tokens: w.tokens, Log: slog.New(slog.NewTextHandler(&w.lines, nil)),
		OIDC: OIDC{Issuer: w.issuer.URL, Audience: "streamer", GroupsClaim: "realm_access.roles"},
		Grants: []GroupGrant{{"ops", service.Grant{Permission: service.Operate, Owner: "health"}},
			{"chiefs", service.Grant{Permission: service.Admin, Owner: service.Everyone}}},
	}, "0.0.0.0:9013", func() string { return "0.0.0.0:9013" })
	if err != nil {
		t.Fatal(err)
	}
	w.People = auth.(*People)
	t.Cleanup(w.provider.http.CloseIdleConnections)
	return w
}

// signed is a token of the provider with claims put over the usual ones.
func (w *world) signed(key *rsa.PrivateKey, over map[string]any) string {
	now := time.Now().Unix()
	claims := map[string]any{"iss": w.issuer.URL, "aud": "streamer", "sub": "u-1", "exp": now + 300, "iat": now, "preferred_username": "ada",
		"realm_access": map[string]any{"roles": []string{"ops", "users"}}}
	maps.Copy(claims, over)
	text, err := json.Marshal(claims)
	if err != nil {
		w.t.Fatal(err)
	}
	return oidctest.SignIDToken(key, "one", "RS256", string(text))
}

func (w *world) token(caller service.Caller, in Creation) Created {
	w.t.Helper()
	made, err := w.tokens.Create(w.t.Context(), caller, in)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

var root = service.Caller{Name: "basic:root", Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}

func TestCredentials(t *testing.T) {
	w := setup(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	operate := []service.Grant{{Permission: service.Operate, Owner: "health"}}
	good := w.token(root, Creation{Name: "deploy", Grants: operate})
	revoked := w.token(root, Creation{Name: "old", Grants: operate})
	if r, err := w.tokens.Revoke(t.Context(), root, TokenID{revoked.ID}); err != nil || !r.Revoked {
		t.Fatal(r, err)
	}
	expired := w.token(root, Creation{Name: "past", Grants: operate, ExpiresIn: "1h"})
	e, _ := w.log.Get(keyPrefix + expired.ID)
	past := expired.Expires.Format(time.RFC3339)
	w.log.objects[keyPrefix+expired.ID] = kafkalog.Entry{Key: e.Key, Value: bytes.ReplaceAll(e.Value, []byte(past), []byte("2020-01-01T00:00:00Z"))}
	newer := w.token(root, Creation{Name: "newer", Grants: operate})
	e, _ = w.log.Get(keyPrefix + newer.ID)
	w.log.objects[keyPrefix+newer.ID] = kafkalog.Entry{Key: e.Key, Value: bytes.Replace(e.Value, []byte(`"version":1`), []byte(`"version":2`), 1)}
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	payload := strings.Split(w.signed(w.key, nil), ".")[1]

	for _, c := range []struct {
		name, authorization string
		status              int
		says                string // of the caller, or of the refusal
	}{
		{"nobody", "", 401, "needs a login"},
		{"the admin", basic("root", "opensesame"), 0, "basic:root [{admin *}]"},
		{"a wrong password", basic("root", "opensesamE"), 401, "user or password are wrong"},
		{"a longer password", basic("root", "opensesame1"), 401, "user or password are wrong"},
		{"another user", basic("toor", "opensesame"), 401, "user or password are wrong"},
		{"no user at all", basic("", ""), 401, "user or password are wrong"},
		{"no base64", "Basic §", 401, "cannot be read"},
		{"another scheme", "Digest x", 401, "neither basic nor bearer"},
		{"a token", "Bearer " + good.Secret, 0, "token:deploy [{operate health}]"},
		{"a token, small letters", "bearer " + good.Secret, 0, "token:deploy [{operate health}]"},
		{"a mistyped token", "Bearer " + good.Secret[:20] + "x" + good.Secret[21:], 401, "mistyped"},
		{"half a token", "Bearer " + good.Secret[:20], 401, "not complete"},
		{"the beginning of a token", "Bearer " + tokenPrefix, 401, "not complete"},
		{"a forged token", "Bearer " + forged(good.ID), 401, "not known"},
		{"a revoked token", "Bearer " + revoked.Secret, 401, "revoked"},
		{"an expired token", "Bearer " + expired.Secret, 401, "(past) has expired at 2020-01-01T00:00:00Z"},
		{"a token of a newer version", "Bearer " + newer.Secret, 503, "has version 2, and this streamer reads 1; update this instance"},
		{"a person", "Bearer " + w.signed(w.key, nil), 0, "oidc:ada [{operate health}]"},
		{"a person without a name", "Bearer " + w.signed(w.key, map[string]any{"preferred_username": nil}), 0, "oidc:u-1 [{operate health}]"},
		{"a person of no group", "Bearer " + w.signed(w.key, map[string]any{"realm_access": nil}), 0, "oidc:ada []"},
		{"groups that are no texts", "Bearer " + w.signed(w.key, map[string]any{"realm_access": map[string]any{"roles": []any{1, "chiefs"}}}), 0, "oidc:ada [{admin *}]"},
		{"nobody's token", "Bearer " + w.signed(w.key, map[string]any{"sub": "", "preferred_username": nil}), 401, "says of nobody"},
		{"another audience", "Bearer " + w.signed(w.key, map[string]any{"aud": []string{"grafana"}}), 401, `for ["grafana"], and not for "streamer"`},
		{"another issuer", "Bearer " + w.signed(w.key, map[string]any{"iss": "https://evil.test"}), 401, `of the issuer "https://evil.test"`},
		{"an expired person", "Bearer " + w.signed(w.key, map[string]any{"exp": time.Now().Add(-2 * skew).Unix()}), 401, "has expired"},
		{"one whose clock is a little late", "Bearer " + w.signed(w.key, map[string]any{"exp": time.Now().Add(-skew / 2).Unix()}), 0, "oidc:ada"},
		{"not yet valid", "Bearer " + w.signed(w.key, map[string]any{"nbf": time.Now().Add(2 * skew).Unix()}), 401, "not valid yet"},
		{"a beginning that is no time", "Bearer " + w.signed(w.key, map[string]any{"nbf": "tomorrow"}), 401, ""},
		{"signed by somebody else", "Bearer " + w.signed(other, nil), 401, "not signed by"},
		{"not signed", "Bearer " + part(`{"alg":"none"}`) + "." + payload + ".", 401, "not signed by"},
		{"signed by a word", "Bearer " + part(`{"alg":"HS256","kid":"one"}`) + "." + payload + "." + part("x"), 401, "not signed by"},
		{"no token at all", "Bearer nonsense", 401, "not signed by"},
	} {
		t.Run(c.name, func(t *testing.T) {
			by, err := w.Authenticate(anyone("10.0.0.1", c.authorization))
			var p *service.Problem
			switch {
			case c.status == 0 && err != nil:
				t.Fatal(err)
			case c.status == 0:
				if got := fmt.Sprint(by.Name, " ", by.Grants); !strings.HasPrefix(got, c.says) {
					t.Errorf("is %s", got)
				}
			case !errors.As(err, &p) || p.Status != c.status || !strings.Contains(p.Error(), c.says):
				t.Errorf("got %v %v", by, err)
			}
			w.attempts.seen = map[origin]*wrongs{} // each case stands alone
			for _, secret := range []string{"opensesame", good.Secret, revoked.Secret} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Error("the refusal shows a credential")
				}
			}
		})
	}
	for _, text := range append(w.log.audit, w.lines.String(), fmt.Sprintf("%+v %#v", w.options.Admin, w.options.Admin)) {
		if strings.Contains(text, "opensesame") || strings.Contains(text, good.Secret) || strings.Contains(text, hash(good.Secret)) {
			t.Errorf("shows a credential: %s", text)
		}
	}
}

// forged is a token with a right checksum, of an id that is there.
func forged(id string) string {
	text := tokenPrefix + id + "_" + letters.EncodeToString(random(secretBytes))
	return text + check(text)
}

// A provider that is away is no wrong credential: it is said so, nothing counts as wrong, and others log in.
func TestProviderIsAway(t *testing.T) {
	w := setup(t)
	w.down = true
	good := w.signed(w.key, nil)
	for range 2 * freeFrom {
		_, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+good))
		var p *service.Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || !strings.Contains(p.Error(), "cannot be asked") {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := w.Authenticate(anyone("10.0.0.1", basic("root", "opensesame"))); err != nil {
		t.Error(err)
	}
	w.down = false
	w.provider.now = func() time.Time { return time.Now().Add(askAgain) }
	if by, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+good)); err != nil || by.Name != "oidc:ada" {
		t.Errorf("when it is back: %v %v", by, err)
	}
	w.down = true // its keys are known
	if _, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+good)); err != nil {
		t.Error(err)
	}
}

// Wrong passwords make the next one wait, longer and longer, but only from there.
func TestWrongCredentialsHaveToWait(t *testing.T) {
	w := setup(t)
	now := time.Now()
	w.attempts.now = func() time.Time { return now }
	try := func(from, authorization string) (int, time.Duration) {
		_, err := w.Authenticate(anyone(from, authorization))
		var p *service.Problem
		if errors.As(err, &p) {
			return p.Status, p.RetryAfter
		}
		return 0, 0
	}
	for range freeWrong {
		if status, _ := try("10.0.0.1", basic("root", "guess")); status != 401 {
			t.Fatalf("got %d", status)
		}
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		if status, wait := try("10.0.0.1", basic("root", "opensesame")); status != 429 || wait != want*time.Second {
			t.Errorf("try %d: got %d, wait %v, want %v", i, status, wait, want*time.Second)
		}
		now = now.Add(want * time.Second)
		if status, _ := try("10.0.0.1", basic("root", "guess")); status != 401 {
			t.Errorf("try %d: got %d after the wait", i, status)
		}
	}
	if status, _ := try("10.0.0.2", basic("root", "opensesame")); status != 0 {
		t.Errorf("the admin is kept out at another address: %d", status)
	}
	if status, _ := try("10.0.0.1", basic("other", "x")); status != 401 {
		t.Errorf("another user at the address gets %d", status)
	}
	now = now.Add(mostWait)
	if status, _ := try("10.0.0.1", basic("root", "opensesame")); status != 0 {
		t.Errorf("the right password after the wait: %d", status)
	}
	if status, _ := try("10.0.0.1", basic("root", "guess")); status != 401 {
		t.Errorf("a success did not forget what was wrong: %d", status)
	}
	if n := strings.Count(w.lines.String(), "many wrong logins"); n != 1 {
		t.Errorf("said %d times:\n%s", n, w.lines.String())
	}
}

// Many names from one address come to an end too, and what is remembered is bounded. Of IPv6 the network counts.
func TestManyNamesFromOneAddress(t *testing.T) {
	w := setup(t)
	now := time.Now()
	w.attempts.now = func() time.Time { return now }
	last := 0
	for i := range freeFrom + 1 {
		_, err := w.Authenticate(anyone(fmt.Sprintf("[2001:db8::%x]", i), basic(fmt.Sprint("user", i), "x")))
		var p *service.Problem
		if !errors.As(err, &p) {
			t.Fatal("let in")
		}
		last = p.Status
	}
	if last != 429 {
		t.Errorf("the last one got %d", last)
	}
	for i := range maxRemembered + 100 {
		w.attempts.wrong(fmt.Sprintf("10.%d.%d.1", i/250, i%250), "root")
	}
	if n := len(w.attempts.seen); n > maxRemembered {
		t.Errorf("%d are remembered", n)
	}
}

func TestTokensAreMade(t *testing.T) {
	w := setup(t)
	editor := service.Caller{Name: "oidc:eve", Grants: []service.Grant{{Permission: service.Edit, Owner: "health"}}}
	grant := func(p service.Permission, owner string) []service.Grant {
		return []service.Grant{{Permission: p, Owner: owner}}
	}
	for name, c := range map[string]struct {
		by   service.Caller
		in   Creation
		want string
	}{
		"no name":                      {root, Creation{Grants: grant("view", "*")}, `name: "" is no name`},
		"no grants":                    {root, Creation{Name: "a"}, "grants: is empty"},
		"no permission":                {root, Creation{Name: "a", Grants: grant("root", "*")}, `grants[0].permission: "root" is no permission`},
		"no owner":                     {root, Creation{Name: "a", Grants: grant("view", "")}, "grants[0].owner: is missing"},
		"no time":                      {root, Creation{Name: "a", Grants: grant("view", "*"), ExpiresIn: "soon"}, `expires_in: "soon"`},
		"for ever":                     {root, Creation{Name: "a", Grants: grant("view", "*"), ExpiresIn: "100000h"}, "expires_in"},
		"more than its maker":          {editor, Creation{Name: "a", Grants: grant("admin", "health")}, "oidc:eve may not admin"},
		"elsewhere than its maker":     {editor, Creation{Name: "a", Grants: grant("view", "other")}, "oidc:eve may not view what is other's"},
		"everywhere, unlike its maker": {editor, Creation{Name: "a", Grants: grant("view", "*")}, "oidc:eve may not view what is *'s"},
	} {
		if _, err := w.tokens.Create(t.Context(), c.by, c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var ids []string
	for i := range 5 {
		made := w.token(root, Creation{Name: fmt.Sprint("t", i), Grants: grant("view", "*")})
		ids = append(ids, made.ID)
		if life := made.Expires.Sub(made.Created); life != DefaultLife {
			t.Errorf("lives %v", life)
		}
	}
	slices.Sort(ids)
	var listed []string
	for cursor := ""; ; {
		page, err := w.tokens.List(t.Context(), root, TokenList{service.Page{Limit: 2, Cursor: cursor}})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Tokens {
			listed = append(listed, k.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if !slices.Equal(listed, ids) {
		t.Errorf("listed %v, want %v", listed, ids)
	}
	if r, err := w.tokens.Revoke(t.Context(), root, TokenID{ids[0]}); err != nil || !r.Revoked {
		t.Error(r, err)
	}
	if r, err := w.tokens.Revoke(t.Context(), root, TokenID{ids[0]}); err != nil || r.Revoked {
		t.Error(r, err)
	}
	if last := w.log.audit[len(w.log.audit)-1]; !strings.Contains(last, `"tokens.revoke"`) || !strings.Contains(last, `"by":"basic:root"`) {
		t.Errorf("the audit says %s", last)
	}
}

func TestWhoLogsIn(t *testing.T) {
	admin := Admin{"root", sink.Secret("x")}
	for name, c := range map[string]struct {
		o      Options
		listen string
		want   string // local, people, or of the error
	}{
		"nothing is set, loopback":           {Options{Require: true}, "127.0.0.1:9013", "local"},
		"nothing is set, everywhere":         {Options{Require: true}, "0.0.0.0:9013", "nobody could log in"},
		"nothing is set, every address":      {Options{Require: true}, ":9013", "nobody could log in"},
		"not needed, loopback":               {Options{Admin: admin}, "[::1]:9013", "local"},
		"not needed, everywhere":             {Options{Admin: admin}, "0.0.0.0:9013", "STREAMER_REQUIRE_AUTH=false is for"},
		"an admin, loopback":                 {Options{Require: true, Admin: admin}, "127.0.0.1:9013", "people"},
		"an admin, everywhere":               {Options{Require: true, Admin: admin}, "0.0.0.0:9013", "people"},
		"a provider, everywhere":             {Options{Require: true, OIDC: OIDC{Issuer: "https://login.test"}}, "10.1.2.3:9013", "people"},
		"a user without password everywhere": {Options{Require: true}, "example.org:9013", "nobody could log in"},
	} {
		auth, err := New(c.o, c.listen, func() string { return c.listen })
		got := "local"
		if _, ok := auth.(*People); ok {
			got = "people"
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
