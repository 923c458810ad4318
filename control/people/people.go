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
	identity *identity // nil: no provider
	attempts *attempts
}

// New makes the Authenticator of an instance that listens at listen (host:port, where port 0 is any). Whoever has a way to log in has to
// use it. Nil: nobody can, or has to; the API is for this machine alone then (service.Local), and an instance that listens for others is
// refused: the error says which settings are missing.
func New(o Options, listen string) (*People, error) {
	local, ways := service.Loopback(listen), o.Admin.User != "" || o.OIDC.Issuer != ""
	switch {
	case !o.Require && !local:
		return nil, errors.New("STREAMER_REQUIRE_AUTH=false is for an instance that listens on loopback, and this one listens on " + listen +
			"; let people log in (STREAMER_ADMIN_USER and STREAMER_ADMIN_PASSWORD, or STREAMER_OIDC_ISSUER), or set STREAMER_LISTEN to 127.0.0.1:9013")
	case !ways && !local:
		return nil, errors.New("nobody could log in, and this instance listens on " + listen +
			"; set STREAMER_ADMIN_USER and STREAMER_ADMIN_PASSWORD, or STREAMER_OIDC_ISSUER and STREAMER_OIDC_AUDIENCE, or set STREAMER_LISTEN to 127.0.0.1:9013")
	case !o.Require || !ways:
		return nil, nil
	}
	p := &People{options: o, attempts: newAttempts(time.Now)}
	if o.OIDC.Issuer != "" {
		p.identity = newIdentity(o.OIDC, o.Grants)
	}
	return p, nil
}

// NoLogin is the detail of the refusal of a call that comes without a credential.
const NoLogin = "this needs a login"

// Authenticate implements service.Authenticator. Errors: 401 says what is wrong with the credential, as far as that helps only its owner;
// 429 that too many were wrong lately, and when to come again; 503 that the provider cannot be asked.
func (p *People) Authenticate(req *http.Request) (service.Caller, error) {
	given := req.Header.Values("Authorization")
	if len(given) == 0 {
		return service.Caller{}, unauthorized(NoLogin, "send a user and password (basic), or a token (bearer)")
	}
	if len(given) > 1 {
		return service.Caller{}, unauthorized("the request has several Authorization headers", "send one")
	}
	scheme, rest, _ := strings.Cut(given[0], " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "basic"):
		return p.basic(req)
	case strings.EqualFold(scheme, "bearer") && strings.HasPrefix(rest, tokenPrefix):
		return p.counted(req, "token", "token:"+short(rest), func() (service.Caller, *service.Problem) { return p.options.Tokens.caller(rest) })
	case strings.EqualFold(scheme, "bearer") && p.identity != nil:
		return p.counted(req, "provider", "oidc:"+short(rest), func() (service.Caller, *service.Problem) { return p.identity.caller(req.Context(), rest) })
	case strings.EqualFold(scheme, "bearer"):
		return service.Caller{}, unauthorized("this bearer token is none of streamer's, and no OpenID Connect provider is set up",
			"API tokens begin with "+tokenPrefix+"; STREAMER_OIDC_ISSUER sets a provider up")
	}
	return service.Caller{}, unauthorized("the Authorization header is neither basic nor bearer", "")
}

func (p *People) basic(req *http.Request) (service.Caller, error) {
	user, password, ok := req.BasicAuth()
	switch {
	case !ok:
		return service.Caller{}, unauthorized("the basic credential cannot be read", "write it as user:password in base64")
	case p.options.Admin.User == "":
		return service.Caller{}, unauthorized("no user with a password is set up", "send a token (bearer); STREAMER_ADMIN_USER and STREAMER_ADMIN_PASSWORD set one up")
	}
	return p.guarded(req, "user", "basic:"+short(user), func() (service.Caller, *service.Problem) {
		// Both are looked at whatever the other says, so that time tells nothing.
		admin := p.options.Admin
		same, right := equal(admin.User, user), equal(admin.Password.Reveal(), password)
		if !same || !right || admin.Password == "" {
			return service.Caller{}, unauthorized("user or password are wrong", "")
		}
		return service.Caller{Name: "basic:" + user, Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}, nil
	})
}

// guarded finds a caller unless too many credentials were wrong lately from the same address. It does not look at a right one then either,
// else waiting would tell which one was right.
func (p *People) guarded(req *http.Request, kind, name string, find func() (service.Caller, *service.Problem)) (service.Caller, error) {
	if wait := p.attempts.wait(clientOf(req), name); wait > 0 {
		return service.Caller{}, later(wait)
	}
	return p.counted(req, kind, name, find)
}

// counted is guarded for what nobody can guess: a right one is always let in, and a wrong one waits.
func (p *People) counted(req *http.Request, kind, name string, find func() (service.Caller, *service.Problem)) (service.Caller, error) {
	from := clientOf(req)
	by, problem := find()
	if problem == nil {
		p.attempts.right(from, name)
		return by, nil
	}
	if problem.Status != http.StatusUnauthorized {
		return service.Caller{}, problem
	}
	if wait := p.attempts.wait(from, name); wait > 0 {
		return service.Caller{}, later(wait)
	}
	if p.attempts.wrong(from, name) {
		p.options.Log.Warn("many wrong logins; further ones have to wait", "client", from, "kind", kind)
	}
	return service.Caller{}, problem
}

// unauthorized refuses a credential.
func unauthorized(detail, mend string) *service.Problem {
	return service.Refuse(http.StatusUnauthorized, "", detail, mend)
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

// short stands for a credential, or a name, where it is remembered: a name can be as long as a header, and a program whose token has expired
// must not keep others out that have right ones.
func short(credential string) string {
	sum := sha256.Sum256([]byte(credential))
	return hex.EncodeToString(sum[:8])
}
