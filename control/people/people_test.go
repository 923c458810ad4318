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
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"
	"go.uber.org/goleak"

	"streamer/consumer/consumertest"
	"streamer/consumer/kafkalog"
	"streamer/control/service"
	"streamer/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(consumertest.Main(m)) }

// fakeLog keeps objects in memory.
type fakeLog struct {
	mu      sync.Mutex
	objects map[string]kafkalog.Entry
	audit   []string
	next    int64
	unread  error // why nothing is known yet
	broken  error // why nothing can be written
}

func (l *fakeLog) Wait(context.Context) error { return l.unread }

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
	if l.broken != nil {
		return kafkalog.Entry{}, l.broken
	}
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

// keys are made once, as that is slow.
var keys = sync.OnceValue(func() (all [2]*rsa.PrivateKey) {
	for i := range all {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		all[i] = key
	}
	return all
})

// world is an instance where people log in.
type world struct {
	*People
	t      *testing.T
	log    *fakeLog
	tokens *Tokens
	lines  bytes.Buffer
	key    *rsa.PrivateKey
	issuer *httptest.Server
	// provider is behind issuer, unless it is down; asked counts the questions.
	provider *oidctest.Server
	down     atomic.Bool
	asked    atomic.Int64
	hangs    atomic.Pointer[hanging] // nil: it answers
}

// hanging is a provider that takes questions, saying so to begun, and answers when until is closed.
type hanging struct{ begun, until chan struct{} }

func setup(t *testing.T) *world {
	w := &world{t: t, log: &fakeLog{objects: map[string]kafkalog.Entry{}}}
	w.key = keys()[0]
	w.provider = &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: w.key.Public(), KeyID: "one", Algorithm: "RS256"}}}
	w.issuer = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		w.asked.Add(1)
		if h := w.hangs.Load(); h != nil {
			h.begun <- struct{}{}
			<-h.until
		}
		if w.down.Load() {
			http.Error(rw, "away", http.StatusBadGateway)
			return
		}
		w.provider.ServeHTTP(rw, req)
	}))
	t.Cleanup(w.issuer.Close)
	w.provider.SetIssuer(w.issuer.URL)
	w.tokens = NewTokens(w.log, line)
	var err error
	w.People, err = New(Options{
		Require: true, Admin: Admin{"root", sink.Secret("opensesame")}, Tokens: w.tokens, Log: slog.New(slog.NewTextHandler(&w.lines, nil)),
		OIDC: OIDC{Issuer: w.issuer.URL, Audience: "streamer", GroupsClaim: "realm_access.roles"},
		Grants: []GroupGrant{{"ops", service.Grant{Permission: service.Operate, Owner: "health"}},
			{"chiefs", service.Grant{Permission: service.Admin, Owner: service.Everyone}}},
	}, "0.0.0.0:9013")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.identity.provider.questions.Wait)
	return w
}

// signed is a token of the provider with claims put over the usual ones.
func (w *world) signed(key *rsa.PrivateKey, over map[string]any) string {
	return oidctest.SignIDToken(key, "one", "RS256", w.claims(over))
}

// by is a token that names a key which the provider has not said.
func (w *world) by(id string, over map[string]any) string {
	return oidctest.SignIDToken(keys()[1], id, "RS256", w.claims(over))
}

func (w *world) claims(over map[string]any) string {
	now := time.Now().Unix()
	claims := map[string]any{"iss": w.issuer.URL, "aud": "streamer", "sub": "u-1", "exp": now + 300, "iat": now, "preferred_username": "ada",
		"realm_access": map[string]any{"roles": []string{"ops", "users"}}}
	maps.Copy(claims, over)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(claims)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
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

// mistyped is a token with another letter in it.
func mistyped(token string) string {
	if token[20] == 'x' {
		return token[:20] + "y" + token[21:]
	}
	return token[:20] + "x" + token[21:]
}

func TestCredentials(t *testing.T) {
	w := setup(t)
	other := keys()[1]
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
		{"a mistyped token", "Bearer " + mistyped(good.Secret), 401, "mistyped"},
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
		{"nobody's token", "Bearer " + w.signed(w.key, map[string]any{"sub": "", "preferred_username": nil}), 401, "does not say whom"},
		{"another audience", "Bearer " + w.signed(w.key, map[string]any{"aud": []string{"grafana"}}), 401, `for ["grafana"], and not for "streamer"`},
		{"another issuer", "Bearer " + w.signed(w.key, map[string]any{"iss": "https://evil.test"}), 401, `of the issuer "https://evil.test"`},
		{"an expired person", "Bearer " + w.signed(w.key, map[string]any{"exp": time.Now().Add(-2 * skew).Unix()}), 401, "has expired"},
		{"one whose clock is a little late", "Bearer " + w.signed(w.key, map[string]any{"exp": time.Now().Add(-skew / 2).Unix()}), 0, "oidc:ada"},
		{"not yet valid", "Bearer " + w.signed(w.key, map[string]any{"nbf": time.Now().Add(2 * skew).Unix()}), 401, "not valid yet"},
		{"a beginning that is no time", "Bearer " + w.signed(w.key, map[string]any{"nbf": "tomorrow"}), 401, "claims of the bearer token cannot be read"},
		{"signed by somebody else", "Bearer " + w.signed(other, nil), 401, "signature of the bearer token is not one of"},
		{"not signed", "Bearer " + part(`{"alg":"none"}`) + "." + payload + ".", 401, "is not signed"},
		{"signed by a word", "Bearer " + part(`{"alg":"HS256","kid":"one"}`) + "." + payload + "." + part("x"), 401, `signed by "HS256"`},
		{"no token at all", "Bearer nonsense", 401, "neither an API token nor a JSON Web Token"},
		{"without an end", "Bearer " + w.signed(w.key, map[string]any{"exp": nil}), 401, "does not say when it expires"},
		{"a name that is no text to print", "Bearer " + w.signed(w.key, map[string]any{"preferred_username": "a\nb", "email": "ada@example.test"}), 0, "oidc:ada@example.test"},
		{"a key that nobody knows", "Bearer " + oidctest.SignIDToken(other, "two", "RS256", `{"iss":"`+w.issuer.URL+`","aud":"streamer","sub":"x","exp":9999999999}`), 401, "signature of the bearer token"},
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

// Before the log was read, and when it cannot be written, that is said, and no token called wrong.
func TestTokensNeedTheLog(t *testing.T) {
	w := setup(t)
	made := w.token(root, Creation{Name: "deploy", Grants: []service.Grant{{Permission: service.View, Owner: "*"}}})
	w.log.unread, w.log.broken = errors.New("not read"), errors.New("no broker")
	for range 2 * freeFrom {
		_, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+made.Secret))
		var p *service.Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "has not read them yet") {
			t.Fatalf("got %v", err)
		}
	}
	if page, err := w.tokens.List(t.Context(), root, TokenList{}); err == nil || !strings.Contains(err.Error(), "has not read them yet") {
		t.Errorf("listed %v, %v", page, err)
	}
	w.log.unread = nil
	if _, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+made.Secret)); err != nil {
		t.Error(err)
	}
	_, create := w.tokens.Create(t.Context(), root, Creation{Name: "a", Grants: made.Grants})
	_, revoke := w.tokens.Revoke(t.Context(), root, TokenID{made.ID})
	for _, err := range []error{create, revoke} {
		var p *service.Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "could not be kept: no broker") {
			t.Errorf("got %v", err)
		}
	}
	w.log.broken = fmt.Errorf("%w: the topic was deleted", kafkalog.ErrReadOnly)
	if _, err := w.tokens.Revoke(t.Context(), root, TokenID{made.ID}); err == nil || err.Error() != w.log.broken.Error()+"; then try again" {
		t.Errorf("a log that is lost: %v", err)
	}
}

// A right token gets through whatever others send from the same address; a wrong one waits. What cannot be guessed needs no more.
func TestRightTokensDoNotWait(t *testing.T) {
	w := setup(t)
	made := w.token(root, Creation{Name: "deploy", Grants: []service.Grant{{Permission: service.View, Owner: "*"}}})
	last := 0
	for range freeFrom + 1 {
		_, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+forged(made.ID)))
		var p *service.Problem
		if !errors.As(err, &p) {
			t.Fatal("let in")
		}
		last = p.Status
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the last forged one got %d", last)
	}
	for _, credential := range []string{made.Secret, w.signed(w.key, nil)} {
		if by, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+credential)); err != nil {
			t.Errorf("%v %v", by, err)
		}
	}
	if _, err := w.Authenticate(anyone("10.0.0.1", basic("root", "opensesame"))); err == nil {
		t.Error("a password is looked at while it has to wait")
	}
}

// A provider changes its keys: a new one is found when the first token names it, and one that was withdrawn ends. Tokens that name keys
// nobody knows do not make it be asked more often.
func TestProviderChangesItsKeys(t *testing.T) {
	w := setup(t)
	now := time.Now()
	w.identity.provider.now = func() time.Time { return now }
	if _, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+w.signed(w.key, nil))); err != nil {
		t.Fatal(err)
	}
	next := keys()[1]
	w.provider.PublicKeys = append(w.provider.PublicKeys, oidctest.PublicKey{PublicKey: next.Public(), KeyID: "two", Algorithm: "RS256"})
	claims := `{"iss":"` + w.issuer.URL + `","aud":"streamer","sub":"x","exp":9999999999}`
	second := oidctest.SignIDToken(next, "two", "RS256", claims)
	asked := w.asked.Load()
	for i := range 10 {
		_, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+oidctest.SignIDToken(next, fmt.Sprint("none", i), "RS256", claims)))
		if err == nil {
			t.Fatal("let in")
		}
	}
	if n := w.asked.Load(); n != asked {
		t.Errorf("the provider was asked %d times more", n-asked)
	}
	now = now.Add(askAgain)
	if _, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+second)); err != nil {
		t.Errorf("by the new key: %v", err)
	}
	w.provider.PublicKeys = w.provider.PublicKeys[1:]
	now = now.Add(keysLife + time.Second)
	_, _ = w.Authenticate(anyone("10.0.0.1", "Bearer "+second)) // begins to fetch them
	w.identity.provider.questions.Wait()
	if _, err := w.Authenticate(anyone("10.0.0.2", "Bearer "+w.signed(w.key, nil))); err == nil {
		t.Error("let in by a key that was withdrawn")
	}
	w.down.Store(true)
	now = now.Add(keysLife + time.Second)
	for range 3 {
		if _, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+second)); err != nil {
			t.Errorf("keys that are had do while it is away: %v", err)
		}
		w.identity.provider.questions.Wait()
	}
}

// Keys come only from where nobody can put others in their place.
func TestKeysOverPlainHTTPAreRefused(t *testing.T) {
	p := newProvider("http://keys.example.test")
	if _, err := p.keysFor(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "is not https") {
		t.Errorf("got %v", err)
	}
	for issuer, want := range map[string]string{"https://login.example.org/realms/main": "", "http://127.0.0.1:8080/x": "", "http://localhost": "",
		"http://login.example.org": "is not https", "ftp://127.0.0.1": "is not https", "login.example.org": "is no address", "https://a?b=c": "is no address",
		"https://u:p@a": "is no address", "": "is no address"} {
		err := CheckIssuer(issuer)
		if got := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}

// A provider that is away is no wrong credential: it is said so, nothing counts as wrong, and others log in.
func TestProviderIsAway(t *testing.T) {
	w := setup(t)
	w.down.Store(true)
	good := w.signed(w.key, nil)
	for range 2 * freeFrom {
		_, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+good))
		var p *service.Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || !strings.Contains(p.Error(), "cannot be asked") || p.RetryAfter == 0 {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := w.Authenticate(anyone("10.0.0.1", basic("root", "opensesame"))); err != nil {
		t.Error(err)
	}
	w.down.Store(false)
	w.identity.provider.now = func() time.Time { return time.Now().Add(askAgain) }
	if by, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+good)); err != nil || by.Name != "oidc:ada" {
		t.Errorf("when it is back: %v %v", by, err)
	}
	w.down.Store(true) // its keys are known
	w.identity.provider.now = func() time.Time { return time.Now().Add(2 * askAgain) }
	for range 2 { // nobody can say whose a key is that may be new
		_, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+w.by("new", nil)))
		var p *service.Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
			t.Errorf("by a key that may be new: %v", err)
		}
	}
	if _, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+good)); err != nil {
		t.Error(err)
	}
}

// A provider that does not answer is asked once at a time, however many tokens name keys that nobody knows and however soon who sends them
// hangs up; and whoever has a key that is known does not wait for it.
func TestProviderHangs(t *testing.T) {
	w := setup(t)
	good := "Bearer " + w.signed(w.key, nil)
	if _, err := w.Authenticate(anyone("10.0.0.1", good)); err != nil {
		t.Fatal(err)
	}
	begun, hangs := make(chan struct{}, 1), make(chan struct{})
	w.hangs.Store(&hanging{begun, hangs})
	asked := w.asked.Load()
	w.identity.provider.now = func() time.Time { return time.Now().Add(askAgain) }
	ctx, hangUp := context.WithCancel(t.Context())
	unknown := anyone("10.0.0.1", "Bearer "+w.by("new", nil)).WithContext(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() { _, _ = w.Authenticate(unknown) })
	<-begun
	hangUp()
	waiting.Wait()
	for i := range 2 * freeFrom {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.Authenticate(anyone("10.0.0.1", "Bearer "+w.by(fmt.Sprint("new", i), nil)).WithContext(gone)); err == nil {
			t.Fatal("let in")
		}
	}
	if by, err := w.Authenticate(anyone("10.0.0.1", good)); err != nil || by.Name != "oidc:ada" {
		t.Errorf("by a key that is known: %v %v", by, err)
	}
	if n := w.asked.Load() - asked; n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
	w.hangs.Store(nil)
	close(hangs)
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
		auth, err := New(c.o, c.listen)
		got := "local"
		if auth != nil {
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
