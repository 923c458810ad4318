// Package people finds out who sends a request, by the credential that it carries: the admin's user and password, an API token, or a token of
// an OpenID Connect provider. What a caller may do stands in the credential or in the settings, never in what he sends.
package people

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"streamer/control/service"
	"streamer/sink"
)

// Options say how people log in.
type Options struct {
	// Require refuses whoever has no credential. Without it everybody on this machine is let in, and nobody else.
	Require bool
	// Admin is a user who may do everything; without a name there is none.
	Admin Admin
	// OIDC is the provider whose tokens are taken; without an issuer there is none.
	OIDC OIDC
	// Grants are what groups of that provider may do.
	Grants []GroupGrant
	// Tokens are the API tokens; nil: there are none.
	Tokens *Tokens
	Log    *slog.Logger
}

// Admin is a user with a password.
type Admin struct {
	User     string
	Password sink.Secret
}

// GroupGrant is what the members of a group may do.
type GroupGrant struct {
	Group string
	service.Grant
}

// People is the Authenticator of an instance where people log in. Its methods may be called from any goroutine.
type People struct {
	options  Options
	provider *provider // nil: none
	attempts *attempts
}

// New makes the Authenticator of an instance that listens at listen (host:port, where port 0 is any). addr says where it listens once it
// does. Whoever has a way to log in has to use it. Where there is none the API is for this machine, and an instance that listens for others
// is refused: the error says which settings are missing.
func New(o Options, listen string, addr func() string) (service.Authenticator, error) {
	local := service.Loopback(listen)
	switch {
	case !o.Require && !local:
		return nil, errors.New("STREAMER_REQUIRE_AUTH=false is for an instance that listens on loopback, and this one listens on " + listen +
			"; let people log in (STREAMER_ADMIN_USER and STREAMER_ADMIN_PASSWORD, or STREAMER_OIDC_ISSUER), or set STREAMER_LISTEN to 127.0.0.1:9013")
	case !o.Require:
		return service.Local(addr), nil
	case o.Admin.User == "" && o.OIDC.Issuer == "":
		if local {
			return service.Local(addr), nil
		}
		return nil, errors.New("nobody could log in, and this instance listens on " + listen +
			"; set STREAMER_ADMIN_USER and STREAMER_ADMIN_PASSWORD, or STREAMER_OIDC_ISSUER and STREAMER_OIDC_AUDIENCE, or set STREAMER_LISTEN to 127.0.0.1:9013")
	}
	p := &People{options: o, attempts: newAttempts(time.Now)}
	if o.OIDC.Issuer != "" {
		p.provider = newProvider(o.OIDC, o.Grants)
	}
	return p, nil
}

// Authenticate implements service.Authenticator. Errors: 401 says what is wrong with the credential, as far as that helps only its owner;
// 429 that too many were wrong lately, and when to come again; 503 that the provider cannot be asked.
func (p *People) Authenticate(req *http.Request) (service.Caller, error) {
	given := req.Header.Values("Authorization")
	if len(given) == 0 {
		return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", "this needs a login", "send a user and password (basic), or an API token (bearer); streamer login keeps one")
	}
	if len(given) > 1 {
		return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", "the request has several Authorization headers", "send one")
	}
	scheme, rest, _ := strings.Cut(given[0], " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "basic"):
		return p.basic(req)
	case strings.EqualFold(scheme, "bearer") && strings.HasPrefix(rest, tokenPrefix):
		return p.guarded(req, "token:"+short(rest), func() (service.Caller, *service.Problem) { return p.options.Tokens.caller(rest) })
	case strings.EqualFold(scheme, "bearer") && p.provider != nil:
		return p.guarded(req, "oidc:"+short(rest), func() (service.Caller, *service.Problem) { return p.provider.caller(req.Context(), rest) })
	case strings.EqualFold(scheme, "bearer"):
		return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", "this bearer token is none of streamer's, and no OpenID Connect provider is set up",
			"API tokens begin with "+tokenPrefix+"; STREAMER_OIDC_ISSUER sets a provider up")
	}
	return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", "the Authorization header is neither basic nor bearer", "")
}

func (p *People) basic(req *http.Request) (service.Caller, error) {
	user, password, ok := req.BasicAuth()
	if !ok {
		return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", "the basic credential cannot be read", "write it as user:password in base64")
	}
	return p.guarded(req, "basic:"+user, func() (service.Caller, *service.Problem) {
		// Both are looked at whatever the other says, so that time tells nothing.
		admin := p.options.Admin
		same := equal(admin.User, user)
		if !equal(admin.Password.Reveal(), password) || !same || admin.User == "" {
			return service.Caller{}, service.Refuse(http.StatusUnauthorized, "", "user or password are wrong", "")
		}
		return service.Caller{Name: "basic:" + user, Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}, nil
	})
}

// guarded finds a caller unless too many credentials were wrong lately, from the same address and of the same name.
func (p *People) guarded(req *http.Request, name string, find func() (service.Caller, *service.Problem)) (service.Caller, error) {
	from := clientOf(req)
	if wait := p.attempts.wait(from, name); wait > 0 {
		return service.Caller{}, later(wait)
	}
	by, problem := find()
	switch {
	case problem == nil:
		p.attempts.right(from, name)
		return by, nil
	case problem.Status == http.StatusUnauthorized:
		if p.attempts.wrong(from, name) {
			p.options.Log.Warn("many wrong logins; further ones have to wait", "client", from, "kind", strings.SplitN(name, ":", 2)[0])
		}
	}
	return service.Caller{}, problem
}

// clientOf is the address a request comes from. What a proxy says of it is not believed: anybody can say so.
func clientOf(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}

// equal compares in a time that tells nothing of the texts, not even their lengths.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// short stands for a credential where it is remembered: a program whose token has expired must not keep others out that have right ones.
func short(credential string) string {
	sum := sha256.Sum256([]byte(credential))
	return hex.EncodeToString(sum[:8])
}
