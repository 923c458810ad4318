package people

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"streamer/control/service"
)

const (
	// askTimeout bounds a question to the provider, maxAnswerBytes its answer.
	askTimeout     = 10 * time.Second
	maxAnswerBytes = 1 << 20
	// askAgain is how soon it is asked again, whether it answered or not: tokens that name keys nobody knows must not make us flood it.
	askAgain = 5 * time.Second
	// keysLife is when its keys are fetched anew though they still do, so that one which was withdrawn ends.
	keysLife = 15 * time.Minute
)

// provider has the keys of a provider. It is asked when the first token comes, so that one that is away keeps no instance from starting.
type provider struct {
	issuer string
	http   *http.Client
	now    func() time.Time

	mu     sync.Mutex
	keys   keySet        // nil: not had yet
	had    time.Time     // when they were
	failed error         // why the last question had no answer; nil: it had
	asked  time.Time     // when it ended
	asking chan struct{} // closed when the question that is under way has ended; nil: there is none
	// questions are those that are under way, for tests.
	questions sync.WaitGroup
}

func newProvider(issuer string) *provider {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy, transport.DisableKeepAlives = nil, true // it is asked every few minutes
	return &provider{issuer: issuer, now: time.Now, http: &http.Client{
		Timeout:       askTimeout,
		Transport:     safe{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// safe asks only where answers cannot be forged on the way, and bounds them.
type safe struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s safe) RoundTrip(req *http.Request) (*http.Response, error) {
	if !trusted(req.URL) {
		return nil, errors.New(req.URL.Redacted() + " is not https")
	}
	resp, err := s.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswerBytes)
	}
	return resp, err
}

// trusted says that what comes from an address is from there: https, or http on loopback.
func trusted(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && service.Loopback(u.Host)
}

// keysFor gives the provider's keys. It is asked if they are not had yet, or lack the one that is named: one question at a time, for all who
// wait for it, and however soon they hang up. Who has a key that is known never waits.
func (p *provider) keysFor(ctx context.Context, id string) (keySet, error) {
	p.mu.Lock()
	known, lately := p.keys.has(id), p.now().Sub(p.asked) < askAgain
	if lately || known && p.now().Sub(p.had) <= keysLife {
		defer p.mu.Unlock()
		return p.answer(id)
	}
	ended := p.asking
	if ended == nil {
		ended = make(chan struct{})
		p.asking = ended
		p.questions.Go(func() { p.question(context.WithoutCancel(ctx), ended) }) // ends with askTimeout
	}
	p.mu.Unlock()
	if !known {
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answer(id)
}

// answer is what is known. The keys that are had do while the provider is away; of another one nobody can say then whose it is.
func (p *provider) answer(id string) (keySet, error) {
	if p.failed != nil && !p.keys.has(id) {
		return nil, p.failed
	}
	return p.keys, nil
}

func (p *provider) question(ctx context.Context, ended chan struct{}) {
	keys, err := p.ask(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked, p.failed = p.now(), err; err == nil {
		p.keys, p.had = keys, p.asked
	}
	p.asking = nil
	close(ended)
}

// ask fetches the keys: OpenID Connect Discovery 1.0.
func (p *provider) ask(ctx context.Context) (keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.http), p.issuer)
	if err != nil {
		return nil, fmt.Errorf("the provider %s cannot be asked: %w", p.issuer, err)
	}
	var says struct {
		Keys string `json:"jwks_uri"`
	}
	if err := found.Claims(&says); err != nil || says.Keys == "" {
		return nil, fmt.Errorf("the provider %s does not say where its keys are", p.issuer)
	}
	keys, err := p.fetch(ctx, says.Keys)
	if err != nil {
		return nil, fmt.Errorf("the keys of the provider %s cannot be had: %w", p.issuer, err)
	}
	return keys, nil
}

func (p *provider) fetch(ctx context.Context, address string) (keySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New("it answered " + resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	keys := keySet{}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// One of a kind that is not known here does not spoil the others.
		if json.Unmarshal(raw, &key) == nil && key.Use != "enc" && key.IsPublic() {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is none that signs")
	}
	return keys, nil
}

// keySet implements oidc.KeySet.
type keySet []jose.JSONWebKey

func (k keySet) has(id string) bool {
	return slices.ContainsFunc(k, func(key jose.JSONWebKey) bool { return id == "" || key.KeyID == id })
}

// VerifySignature implements oidc.KeySet.
func (k keySet) VerifySignature(_ context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, err
	}
	head := signed.Signatures[0].Header
	for _, key := range k {
		if head.KeyID != "" && key.KeyID != head.KeyID || key.Algorithm != "" && key.Algorithm != head.Algorithm {
			continue
		}
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the provider has signed it")
}
