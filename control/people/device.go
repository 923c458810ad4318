package people

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"streamer/sink"
)

// Device logs a person in at a provider from a program that has no page to show: he opens an address with any browser, and says yes there
// (OAuth 2.0 Device Authorization Grant, RFC 8628). The program needs no secret: what it is at the provider is a public client.
type Device struct {
	// Issuer is the address of the provider, as OIDC.Issuer.
	Issuer string
	// ClientID names the public client.
	ClientID string
	// Scopes are what is asked for.
	Scopes []string
}

// Session is what a login at a provider gives.
type Session struct {
	// Access is sent to streamer as a bearer token until Expires; zero: nobody has said when that is.
	Access  sink.Secret
	Expires time.Time
	// Refresh gets the next one; empty: there is none, and somebody has to log in again.
	Refresh sink.Secret
}

// Code is where somebody says yes to a login, and by what.
type Code struct {
	// URL is where UserCode is entered. Complete, if it is not empty, is the same with the code in it.
	URL, UserCode, Complete string
	Expires                 time.Time
}

// ErrEnded says that a session cannot be renewed: it has ended, or was withdrawn. Somebody has to log in again.
var ErrEnded = errors.New("the login has ended")

// Login blocks until somebody has said yes, or no, or the code has expired, or ctx ends. show is called once, with where he does.
func (d Device) Login(ctx context.Context, show func(Code)) (Session, error) {
	ctx, conf, err := d.find(ctx)
	if err != nil {
		return Session{}, err
	}
	if conf.Endpoint.DeviceAuthURL == "" {
		return Session{}, fmt.Errorf("the provider %s has no device authorization (RFC 8628)", d.Issuer)
	}
	code, err := conf.DeviceAuth(ctx)
	if err != nil {
		return Session{}, d.told(err, "gives no code")
	}
	for _, address := range []string{code.VerificationURI, code.VerificationURIComplete} {
		if u, err := url.Parse(address); err != nil || address != "" && !trusted(u) {
			return Session{}, fmt.Errorf("the provider %s sends people to %q, which is not https", d.Issuer, address)
		}
	}
	show(Code{code.VerificationURI, code.UserCode, code.VerificationURIComplete, code.Expiry})
	token, err := conf.DeviceAccessToken(ctx, code)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return Session{}, fmt.Errorf("the provider %s lets nobody in: the code has expired before somebody said yes", d.Issuer)
	case err != nil:
		return Session{}, d.told(err, "lets nobody in")
	}
	return session(token), nil
}

// Renew gets the next access token. ErrEnded says that there will be none.
func (d Device) Renew(ctx context.Context, s Session) (Session, error) {
	ctx, conf, err := d.find(ctx)
	if err != nil {
		return s, err
	}
	token, err := conf.TokenSource(ctx, &oauth2.Token{RefreshToken: s.Refresh.Reveal()}).Token()
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == "invalid_grant":
		return s, fmt.Errorf("%w: %w", ErrEnded, d.told(err, "does not renew it"))
	case err != nil:
		return s, d.told(err, "does not renew the login")
	}
	return session(token), nil
}

func session(t *oauth2.Token) Session {
	return Session{Access: sink.Secret(t.AccessToken), Expires: t.Expiry, Refresh: sink.Secret(t.RefreshToken)}
}

// find asks the provider where its endpoints are. ctx then has the client that asks them.
func (d Device) find(ctx context.Context) (context.Context, *oauth2.Config, error) {
	if err := CheckIssuer(d.Issuer); err != nil {
		return ctx, nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() // with the proxy of the environment: a provider may be on the internet
	transport.DisableKeepAlives, transport.ResponseHeaderTimeout = true, askTimeout
	ctx = oidc.ClientContext(ctx, &http.Client{Transport: safe{transport}, // without a Timeout: oauth2 does not close every body
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }})
	found, err := oidc.NewProvider(ctx, d.Issuer)
	if err != nil {
		return ctx, nil, fmt.Errorf("the provider %s cannot be asked: %w", d.Issuer, err)
	}
	endpoint := found.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client has nothing to log in with
	return ctx, &oauth2.Config{ClientID: d.ClientID, Endpoint: endpoint, Scopes: d.Scopes}, nil
}

// told is an error without what the provider answered beside its reason: that may be a page, or hold a token.
func (d Device) told(err error, does string) error {
	var refused *oauth2.RetrieveError
	switch {
	case !errors.As(err, &refused):
		return fmt.Errorf("the provider %s %s: %w", d.Issuer, does, err)
	case refused.ErrorCode == "access_denied":
		return fmt.Errorf("the provider %s %s: somebody said no", d.Issuer, does)
	case refused.ErrorCode == "expired_token":
		return fmt.Errorf("the provider %s %s: the code has expired before somebody said yes", d.Issuer, does)
	case refused.ErrorCode == "":
		return fmt.Errorf("the provider %s %s: it answered %s", d.Issuer, does, refused.Response.Status)
	case refused.ErrorDescription != "":
		return fmt.Errorf("the provider %s %s: %s (%s)", d.Issuer, does, refused.ErrorCode, refused.ErrorDescription)
	}
	return fmt.Errorf("the provider %s %s: %s", d.Issuer, does, refused.ErrorCode)
}
