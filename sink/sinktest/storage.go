package sinktest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// TokenStorage is a Token Storage of Research Data Services for a Receiver: services, users' tokens, and its habits. It says with status 200
// that something went wrong, and tells all that it holds with status 404. Its methods may be called from any goroutine.
type TokenStorage struct {
	mu       sync.Mutex
	services map[string]json.RawMessage
	tokens   map[string]*storedToken // by user/service
	calls    []string
	refuse   string
}

type storedToken struct {
	n        int
	ends     time.Time
	endless  bool
	life     time.Duration
	withdraw bool
}

// NewTokenStorage makes an empty one.
func NewTokenStorage() *TokenStorage {
	return &TokenStorage{services: map[string]json.RawMessage{}, tokens: map[string]*storedToken{}}
}

// Grant gives a user a token for a service, which lives so long; 0: it does not say how long.
func (s *TokenStorage) Grant(user, service string, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[user+"/"+service] = &storedToken{n: 1, life: life, endless: life == 0, ends: time.Now().Add(life)}
}

// Withdraw makes a user's token for a service bad, until it is renewed.
func (s *TokenStorage) Withdraw(user, service string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[user+"/"+service].withdraw = true
}

// Refuse has every request answered 200 with {"success": false} and this message from now on; empty ends that.
func (s *TokenStorage) Refuse(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = message
}

// Calls are the requests so far: method and path.
func (s *TokenStorage) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.calls...)
}

// Service is what was registered under a name last.
func (s *TokenStorage) Service(name string) json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services[name]
}

// Good says that an Authorization is that of a token which is good now.
func (s *TokenStorage) Good(authorization string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, t := range s.tokens {
		if authorization == "Bearer "+t.access(key) {
			return !t.withdraw && (t.endless || time.Now().Before(t.ends))
		}
	}
	return false
}

func (t *storedToken) access(key string) string {
	return fmt.Sprintf("geheim-%s-%d", strings.ReplaceAll(key, "/", "-"), t.n)
}

// Answer answers a request.
func (s *TokenStorage) Answer(a *Attempt) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, a.Method+" "+a.Path)
	if s.refuse != "" {
		return told(200, map[string]any{"success": false, "message": s.refuse})
	}
	if a.Method == "POST" && a.Path == "/service" {
		var service struct {
			Name string `json:"servicename"`
		}
		switch err := json.Unmarshal(a.Body, &service); {
		case err != nil || service.Name == "":
			return told(500, map[string]any{"detail": "no service: " + string(a.Body)})
		case s.services[service.Name] != nil:
			return told(200, map[string]any{"success": false, "message": "Service " + service.Name + " already in Storage."})
		}
		s.services[service.Name] = append(json.RawMessage(nil), a.Body...)
		return told(200, map[string]any{"success": true})
	}
	parts := strings.Split(a.Path, "/")
	if len(parts) != 5 || parts[1] != "user" || parts[3] != "token" {
		return s.lost()
	}
	user, _ := url.PathUnescape(parts[2])
	service, _ := url.PathUnescape(parts[4])
	key := user + "/" + service
	t := s.tokens[key]
	if t == nil {
		return s.lost()
	}
	switch a.Method {
	case "PUT":
		t.n++
		t.withdraw, t.ends = false, time.Now().Add(t.life)
		return told(200, map[string]any{"success": true})
	case "GET":
		data := map[string]any{"access_token": t.access(key), "refresh_token": "geheim-refresh",
			"service": map[string]any{"type": "OAuth2Service", "data": map[string]any{"servicename": service, "client_secret": "geheim-client"}},
			"user":    map[string]any{"type": "User", "data": map[string]any{"username": user}}}
		if !t.endless {
			data["expiration_date"] = t.ends.UTC().Format("2006-01-02 15:04:05.000000")
		}
		return told(200, map[string]any{"type": "OAuth2Token", "data": data})
	}
	return told(405, map[string]any{})
}

// lost is its answer 404: everything that it holds.
func (s *TokenStorage) lost() Answer {
	all := "not found in "
	for key, t := range s.tokens {
		all += key + ": " + t.access(key) + "; "
	}
	for _, service := range s.services {
		all += string(service)
	}
	return told(404, map[string]any{"detail": all})
}

func told(status int, body any) Answer {
	text, _ := json.Marshal(body)
	return Answer{Status: status, Header: []Header{{"Content-Type", "application/json"}}, Body: text}
}
