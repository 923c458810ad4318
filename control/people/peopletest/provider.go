// Package peopletest has an OpenID Connect provider that logs people in as a test says.
package peopletest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
)

// ClientID is the public client that a Provider knows.
const ClientID = "streamer-cli"

// Provider is discovery, the device authorization and the token endpoint of a provider, on loopback.
type Provider struct {
	// URL is the issuer.
	URL string
	// Discovery and Code change what it says of itself, and of a login that begins.
	Discovery, Code map[string]any

	mu      sync.Mutex
	answers []Answer
	asked   []url.Values
}

// Answer is one of the token endpoint: an error, or a token with how long it is good for (seconds, 0: it does not say) and what renews it.
type Answer struct {
	Error, Access, Refresh string
	Expires                int
	// Page is what it says instead, with status 502.
	Page string
}

// New starts a provider, which ends with the test.
func New(t testing.TB, answers ...Answer) *Provider {
	p, end := Start(answers...)
	t.Cleanup(end)
	return p
}

// Start starts a provider; end ends it. The token endpoint gives one answer after the other, and the last one again and again.
func Start(answers ...Answer) (p *Provider, end func()) {
	p = &Provider{answers: answers}
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	p.URL = s.URL
	p.Discovery = map[string]any{"issuer": s.URL, "authorization_endpoint": s.URL + "/auth", "token_endpoint": s.URL + "/token", "jwks_uri": s.URL + "/keys",
		"device_authorization_endpoint": s.URL + "/device", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"}}
	p.Code = map[string]any{"device_code": "d3vice", "user_code": "WDJB-MJHT", "verification_uri": s.URL + "/enter", "verification_uri_complete": s.URL + "/enter?user_code=WDJB-MJHT",
		"expires_in": 600, "interval": 1}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, p.Discovery) })
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_id") != ClientID {
			write(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "there is no such client"})
			return
		}
		p.note(r)
		write(w, http.StatusOK, p.Code)
	})
	mux.HandleFunc("POST /token", p.token)
	return p, s.Close
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	p.note(r)
	p.mu.Lock()
	a := p.answers[0]
	if len(p.answers) > 1 {
		p.answers = p.answers[1:]
	}
	p.mu.Unlock()
	switch {
	case a.Page != "":
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte(a.Page))
	case a.Error != "":
		write(w, http.StatusBadRequest, map[string]any{"error": a.Error})
	default:
		says := map[string]any{"access_token": a.Access, "token_type": "Bearer"}
		if a.Refresh != "" {
			says["refresh_token"] = a.Refresh
		}
		if a.Expires != 0 {
			says["expires_in"] = a.Expires
		}
		write(w, http.StatusOK, says)
	}
}

func (p *Provider) note(r *http.Request) {
	_ = r.ParseForm() // what cannot be read is empty
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r.PostForm)
}

// Asked is what device and token endpoint were asked, in order.
func (p *Provider) Asked() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the test has gone away
}
