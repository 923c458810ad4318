package sink

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
)

// A real provider: its userinfo is the target, which knows of each token whether it is good. Client credentials and refresh tokens get
// some, a token that was revoked is renewed once, and what is wrong is said in the provider's own words.
func TestRealKeycloakGivesTokens(t *testing.T) {
	issuer, secret, password := os.Getenv("OIDC_ISSUER"), os.Getenv("OIDC_CLIENT_SECRET"), os.Getenv("OIDC_USER_PASSWORD")
	if issuer == "" {
		t.Skip("OIDC_ISSUER is not set: make oidc runs this test, and CI runs make oidc")
	}
	const client = "streamer-api"
	endpoint := issuer + "/protocol/openid-connect/"
	ask := func(path string, form url.Values) (answer struct {
		Refresh string `json:"refresh_token"`
	}) {
		t.Helper()
		form.Set("client_id", client)
		form.Set("client_secret", secret)
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := c.PostForm(endpoint+path, form)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, resp.Status)
		}
		_ = json.NewDecoder(resp.Body).Decode(&answer) // a revocation is answered without a body
		return answer
	}
	refresh := ask("token", url.Values{"grant_type": {"password"}, "username": {"viewer"}, "password": {password}, "scope": {"openid"}}).Refresh
	for name, o := range map[string]OAuth2{
		"client credentials": {ClientSecret: Secret(secret), Scopes: []string{"openid"}},
		"refresh token":      {ClientSecret: Secret(secret), RefreshToken: Secret(refresh), Scopes: []string{"openid"}},
	} {
		o.TokenURL, o.ClientID = endpoint+"token", client
		s, err := New(Config{Guard: Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Auth: Auth{OAuth2: &o}}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		scope := s.NewScope()
		current := func() string {
			kept := s.own.login.(*tokens)
			kept.mu.Lock()
			defer kept.mu.Unlock()
			return strings.TrimPrefix(kept.of("").token.value, "Bearer ")
		}
		deliver := func() {
			t.Helper()
			var all sync.WaitGroup
			for range 50 {
				all.Add(1)
				scope.Deliver(&Delivery{Request: Request{Method: "GET", URL: endpoint + "userinfo"}, Final: func(_ *Delivery, o Outcome) {
					if o.Class != Delivered || o.Attempts != 1 {
						t.Errorf("%s: %+v", name, o)
					}
					all.Done()
				}})
			}
			all.Wait()
		}
		deliver()
		first := current()
		ask("revoke", url.Values{"token": {first}})
		deliver()
		if second := current(); second == first || second == "" {
			t.Errorf("%s: the token that was revoked was not renewed", name)
		}
		s.Close()
	}
	for name, test := range map[string]struct {
		o    OAuth2
		want string
	}{
		"a wrong secret":        {OAuth2{ClientSecret: "wrong-geheim"}, "answered 401 Unauthorized: unauthorized_client"},
		"a wrong refresh token": {OAuth2{ClientSecret: Secret(secret), RefreshToken: "wrong-geheim"}, "answered 400 Bad Request: invalid_grant"},
		"another page":          {OAuth2{ClientSecret: Secret(secret), TokenURL: issuer + "/account"}, "answered 405 Method Not Allowed"},
	} {
		if test.o.TokenURL == "" {
			test.o.TokenURL = endpoint + "token"
		}
		test.o.ClientID = client
		told := make(chan Outcome, 10)
		s, err := New(Config{Guard: Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Auth: Auth{OAuth2: &test.o}}, nil, waitingFunc(func(o Outcome) { told <- o }))
		if err != nil {
			t.Fatal(err)
		}
		s.NewScope().Deliver(&Delivery{Request: Request{Method: "GET", URL: endpoint + "userinfo"}, Final: func(*Delivery, Outcome) {}})
		o := <-told
		t.Logf("%s: %s: %s", name, o.Class, o.Reason)
		if !strings.Contains(o.Reason, test.want) || strings.Contains(o.Reason, "geheim") || strings.Contains(o.Reason, secret) {
			t.Errorf("%s: %+v", name, o)
		}
		s.Close()
	}
}
