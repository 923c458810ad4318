package people

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"streamer/control/service"
)

// OIDC is a provider whose tokens are taken as bearer tokens.
type OIDC struct {
	// Issuer is its address: https, or http on loopback. Its keys are found through it (OpenID Connect Discovery 1.0).
	Issuer string
	// Audience is what a token must be meant for.
	Audience string
	// GroupsClaim names the claim with the groups of a person, with dots between levels: groups, realm_access.roles.
	GroupsClaim string
}

// Validate says what is wrong with the settings of a provider.
func (o OIDC) Validate() error {
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is no address of a provider; write it as https://login.example.org/realms/main", o.Issuer)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !service.Loopback(u.Host)) {
		return fmt.Errorf("%q is not https, so its keys could be anybody's", o.Issuer)
	}
	return nil
}

const (
	// skew is how far the clocks of the provider and of this machine may be apart.
	skew = time.Minute
	// askTimeout bounds a question to the provider, maxAnswerBytes its answer.
	askTimeout     = 10 * time.Second
	maxAnswerBytes = 1 << 20
	// askAgain is how soon a provider that could not be asked is asked again.
	askAgain = 5 * time.Second
)

// provider verifies tokens. The provider is asked for its keys when the first token comes, so that one that is away keeps no instance from
// starting.
type provider struct {
	config OIDC
	grants []GroupGrant
	http   *http.Client
	now    func() time.Time

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil: not found yet
	failed   error                 // why, and
	failedAt time.Time
}

func newProvider(c OIDC, grants []GroupGrant) *provider {
	return &provider{config: c, grants: grants, now: time.Now, http: &http.Client{
		Timeout:       askTimeout,
		Transport:     strict{http.DefaultTransport.(*http.Transport).Clone()},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// strict makes an answer that is no success an error, which can be told from a token that is wrong, and bounds the others.
type strict struct{ *http.Transport }

// unasked is a provider that could not be asked.
type unasked struct{ cause string }

func (e *unasked) Error() string { return e.cause }

// RoundTrip implements http.RoundTripper.
func (s strict) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.Transport.RoundTrip(req)
	if err != nil {
		return nil, &unasked{err.Error()}
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, &unasked{req.URL.Path + " answered " + resp.Status}
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswerBytes)
	return resp, nil
}

// find gives the verifier of the provider's tokens, and asks for it where it was not found yet.
func (p *provider) find(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.verifier != nil {
		return p.verifier, nil
	}
	if p.failed != nil && p.now().Sub(p.failedAt) < askAgain {
		return nil, p.failed
	}
	// The keys are fetched under this context for as long as the process runs: it must not end with the request.
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), p.http)
	found, err := oidc.NewProvider(ctx, p.config.Issuer)
	if err != nil {
		p.failed, p.failedAt = fmt.Errorf("the provider %s cannot be asked: %w", p.config.Issuer, err), p.now()
		return nil, p.failed
	}
	// Who it is for, when, and of whom is looked at below, each with a text of its own.
	p.verifier = found.VerifierContext(ctx, &oidc.Config{SkipClientIDCheck: true, SkipExpiryCheck: true, SkipIssuerCheck: true})
	return p.verifier, nil
}

// claims are those of a token that are looked at.
type claims struct {
	NotBefore *json.Number `json:"nbf"`
	Name      string       `json:"preferred_username"`
	Email     string       `json:"email"`
}

// caller gives whom a token is of.
func (p *provider) caller(ctx context.Context, token string) (service.Caller, *service.Problem) {
	refuse := func(detail, mend string) (service.Caller, *service.Problem) {
		return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", detail, mend)
	}
	verifier, err := p.find(ctx)
	if err != nil {
		return service.Caller{}, away(err)
	}
	verified, err := verifier.Verify(oidc.ClientContext(ctx, p.http), token)
	var u *unasked
	switch {
	case errors.As(err, &u):
		return service.Caller{}, away(fmt.Errorf("the keys of the provider %s cannot be had: %w", p.config.Issuer, u))
	case err != nil:
		return refuse("the bearer token is not signed by "+p.config.Issuer, "get a token from that provider")
	case verified.Issuer != p.config.Issuer:
		return refuse(fmt.Sprintf("the bearer token is of the issuer %q, and %q is wanted", verified.Issuer, p.config.Issuer), "")
	case !slices.Contains(verified.Audience, p.config.Audience):
		return refuse(fmt.Sprintf("the bearer token is for %q, and not for %q", verified.Audience, p.config.Audience), "ask the provider for a token of that audience")
	case !p.now().Before(verified.Expiry.Add(skew)):
		return refuse("the bearer token has expired at "+verified.Expiry.UTC().Format(time.RFC3339), "get a new one")
	}
	var c claims
	all := map[string]any{}
	if verified.Claims(&c) != nil || verified.Claims(&all) != nil {
		return refuse("the claims of the bearer token cannot be read", "")
	}
	if c.NotBefore != nil {
		if at, err := c.NotBefore.Float64(); err != nil || p.now().Add(skew).Before(time.Unix(int64(at), 0)) {
			return refuse("the bearer token is not valid yet", "look at the clocks of this machine and of the provider")
		}
	}
	name := verified.Subject
	for _, better := range []string{c.Email, c.Name} {
		if better != "" {
			name = better
		}
	}
	if name == "" {
		return refuse("the bearer token says of nobody whom it is of", "its sub, email or preferred_username must say so")
	}
	by := service.Caller{Name: "oidc:" + name}
	groups := groupsOf(all, p.config.GroupsClaim)
	for _, g := range p.grants {
		if slices.Contains(groups, g.Group) {
			by.Grants = append(by.Grants, g.Grant)
		}
	}
	return by, nil
}

// away says that the provider cannot be asked: the token may be right.
func away(err error) *service.Problem {
	return service.Refuse(http.StatusServiceUnavailable, "", err.Error(), "try again; basic and API tokens do not need the provider")
}

// groupsOf gives the texts of a claim, which is a text or a list of them. A claim of that very name goes before one on a path of names.
func groupsOf(all map[string]any, claim string) (groups []string) {
	value, found := all[claim]
	if !found {
		at := all
		path := strings.Split(claim, ".")
		for i, name := range path {
			if value = at[name]; i < len(path)-1 {
				at, _ = value.(map[string]any)
			}
		}
	}
	switch v := value.(type) {
	case string:
		groups = append(groups, v)
	case []any:
		for _, g := range v {
			if text, ok := g.(string); ok {
				groups = append(groups, text)
			}
		}
	}
	return groups
}
