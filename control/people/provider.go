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

	mu       sync.Mutex
	keys     keySet // nil: not had yet
	failed   error  // why the last question had no answer
	asked    time.Time
	renewing bool
	renewals sync.WaitGroup // background fetches, for tests
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

// keysFor gives the provider's keys. It is asked if they are not had yet, or lack the one that is named.
func (p *provider) keysFor(ctx context.Context, id string) (keySet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lately := p.now().Sub(p.asked) < askAgain
	switch {
	case lately && p.keys == nil && p.failed != nil:
		return nil, p.failed
	case p.keys == nil, !p.keys.has(id) && !lately:
		keys, err := p.ask(ctx)
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err() // that says nothing of the provider
		}
		if p.asked, p.failed = p.now(), err; err != nil {
			return nil, err
		}
		p.keys = keys
	case p.now().Sub(p.asked) > keysLife && !p.renewing:
		p.renewing = true
		p.renewals.Go(func() { p.renew(context.WithoutCancel(ctx)) }) // ends with askTimeout
	}
	return p.keys, nil
}

// renew fetches the keys while those there are do. They go on doing while the provider is away.
func (p *provider) renew(ctx context.Context) {
	keys, err := p.ask(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.renewing = false
	if p.failed = err; err != nil {
		p.asked = p.now().Add(askAgain - keysLife)
		return
	}
	p.keys, p.asked = keys, p.now()
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
