package sinktest

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// TokenEndpoint is an OAuth2 token endpoint for a Receiver with KeepHeaders: client credentials, and refresh tokens if Refresh is set. Set
// its fields before the first request. Its methods may be called from any goroutine.
type TokenEndpoint struct {
	Client, Secret string
	// Refresh is the refresh token that is good; each use replaces it if Rotates is set.
	Refresh string
	Rotates bool
	// Life of an access token, told in whole seconds; 0: it is not told, and has no end.
	Life time.Duration
	// Delay is how long an answer takes.
	Delay time.Duration

	mu       sync.Mutex
	renewals []url.Values
	running  int
	most     int
	good     map[string]time.Time // access tokens, with their ends
	answer   func() (Answer, bool)
}

// Answer answers a request for a token.
func (e *TokenEndpoint) Answer(a *Attempt) Answer {
	form, _ := url.ParseQuery(string(a.Body))
	e.mu.Lock()
	e.renewals = append(e.renewals, form)
	e.running++
	e.most = max(e.most, e.running)
	e.mu.Unlock()
	if e.Delay > 0 {
		time.Sleep(e.Delay) // the answer's own Delay begins when it is known
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running--
	if e.answer != nil {
		if answer, instead := e.answer(); instead {
			return answer
		}
	}
	client, secret := form.Get("client_id"), form.Get("client_secret")
	for _, h := range a.Header {
		if text, ok := strings.CutPrefix(h.Value, "Basic "); ok && strings.EqualFold(h.Name, "Authorization") {
			pair, _ := base64.StdEncoding.DecodeString(text)
			user, password, _ := strings.Cut(string(pair), ":")
			client, _ = url.QueryUnescape(user)
			secret, _ = url.QueryUnescape(password)
		}
	}
	switch {
	case client != e.Client || secret != e.Secret:
		return refusal(401, "invalid_client")
	case form.Get("grant_type") == "refresh_token" && (e.Refresh == "" || form.Get("refresh_token") != e.Refresh):
		return refusal(400, "invalid_grant")
	}
	n := len(e.good) + 1
	access := fmt.Sprintf("geheim-access-%d", n)
	if e.good == nil {
		e.good = map[string]time.Time{}
	}
	body := fmt.Sprintf(`{"access_token": %q, "token_type": "bearer"`, access)
	e.good[access] = time.Now().Add(100 * 365 * 24 * time.Hour)
	if e.Life > 0 {
		e.good[access] = time.Now().Add(e.Life)
		body += fmt.Sprintf(`, "expires_in": %d`, int(e.Life.Seconds()))
	}
	if e.Refresh != "" {
		if e.Rotates {
			e.Refresh = fmt.Sprintf("geheim-refresh-%d", n)
		}
		body += fmt.Sprintf(`, "refresh_token": %q`, e.Refresh)
	}
	return Answer{Header: []Header{{"Content-Type", "application/json"}}, Body: []byte(body + "}")}
}

func refusal(status int, word string) Answer {
	return Answer{Status: status, Header: []Header{{"Content-Type", "application/json"}}, Body: fmt.Appendf(nil, `{"error": %q, "error_description": "geheim was sent"}`, word)}
}

// Instead has every request answered so from now on; nil ends that.
func (e *TokenEndpoint) Instead(a *Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.answer = nil; a != nil {
		e.answer = func() (Answer, bool) { return *a, true }
	}
}

// Withdraw makes all access tokens bad that there are.
func (e *TokenEndpoint) Withdraw() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for t := range e.good {
		e.good[t] = time.Time{}
	}
}

// Good says that an Authorization has a token that is good now.
func (e *TokenEndpoint) Good(authorization string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Now().Before(e.good[strings.TrimPrefix(authorization, "Bearer ")])
}

// Renewals gives the forms of all requests, and how many of them were under way at once at most.
func (e *TokenEndpoint) Renewals() (forms []url.Values, atOnce int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append(forms, e.renewals...), e.most
}
