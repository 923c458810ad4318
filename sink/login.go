package sink

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"streamer/sink/wire"
)

// login gives the Authorization of requests where it is not fixed. It may be asked from many goroutines.
type login interface {
	// current gives the value for user (Request.User) if there is a good one that nobody has to renew.
	current(user string) (value string, ok bool)
	// authorization gives it in any case. It blocks as long as ctx while there is none. The error is ctx's or a
	// *loginError.
	authorization(ctx context.Context, user string) (string, error)
	// refused notes that the target answered 401 to a value: it is not given again.
	refused(user, value string)
}

// loginError is why there is no Authorization. It says nothing that was sent or received but names of errors.
type loginError struct {
	class  Class
	reason string
}

func (e *loginError) Error() string { return e.reason }

// Lifetimes of access tokens.
const (
	// aheadMost is how long before its end a token is renewed, if it lives long; a quarter of its life otherwise.
	aheadMost = time.Minute
	// aheadTime bounds a renewal while the old token is still good.
	aheadTime = 10 * time.Second
	// againAfter is when one is tried again that failed while the old token is still good.
	againAfter = 5 * time.Second
	// maxHolders is how many users' tokens are remembered.
	maxHolders = 4096
)

// token is an Authorization value with its end.
type token struct {
	value string
	// good is until when it is used, renew from when on it is renewed; zero: for ever, never.
	good, renew time.Time
	// endless: it does not say when it ends.
	endless bool
}

// until gives a token its times. expires is zero if it has no end.
func (t token) until(now, expires time.Time) token {
	if life := expires.Sub(now); !expires.IsZero() {
		t.good = expires.Add(-min(5*time.Second, max(0, life/20)))
		t.renew = expires.Add(-min(aheadMost, max(0, life/4)))
	}
	return t
}

// tokens remembers access tokens by whose they are, and renews each ahead of its end, or when it was refused, in one flight: while one
// goroutine renews, those that have a good token go on with it, and those that have none wait for it. A flight that was broken off (its
// row's scope was cancelled) is taken over by one of those who wait; one that failed has failed for all of them.
type tokens struct {
	// fetch gets a token of user's. renew: the one before was refused, or ends.
	fetch func(ctx context.Context, user string, renew bool) (token, error)

	mu      sync.Mutex
	holders map[string]*holder
}

// holder is whose token it is.
type holder struct {
	token  token // its value is empty before the first
	bad    bool  // it was refused
	flight *flight
}

type flight struct {
	done   chan struct{}
	broken bool // off
	token  token
	err    error
}

func (h *holder) good(now time.Time) bool {
	return h.token.value != "" && !h.bad && (h.token.good.IsZero() || now.Before(h.token.good))
}

// rests says that nobody has to renew a token that is good.
func (h *holder) rests(now time.Time) bool {
	return h.flight != nil || h.token.renew.IsZero() || now.Before(h.token.renew)
}

func (t *tokens) current(user string) (value string, ok bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.of(user)
	return h.token.value, h.good(now) && h.rests(now)
}

func (t *tokens) authorization(ctx context.Context, user string) (string, error) {
	for {
		now := time.Now()
		t.mu.Lock()
		h := t.of(user)
		good, value := h.good(now), h.token.value
		if good && h.rests(now) {
			t.mu.Unlock()
			return value, nil
		}
		f := h.flight
		if f == nil {
			f = &flight{done: make(chan struct{})}
			h.flight = f
			renew := value != "" && (h.bad || !h.token.endless)
			t.mu.Unlock()
			t.fly(ctx, h, f, user, renew, good)
			return f.token.value, f.err
		}
		t.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		if !f.broken {
			return f.token.value, f.err
		}
	}
}

// fly makes the flight f of h. good says that there is a token meanwhile: it goes on if there is no new one.
func (t *tokens) fly(ctx context.Context, h *holder, f *flight, user string, renew, good bool) {
	within, cancel := ctx, func() {}
	if good {
		within, cancel = context.WithTimeout(ctx, aheadTime)
	}
	fresh, err := t.fetch(within, user, renew)
	cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	h.flight = nil
	switch {
	case err == nil:
		h.token, h.bad = fresh, false
	case good:
		h.token.renew = time.Now().Add(againAfter)
		fresh, err = h.token, nil
	}
	f.token, f.err, f.broken = fresh, err, err != nil && ctx.Err() != nil
	close(f.done)
}

func (t *tokens) refused(user, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.of(user); h.token.value == value {
		h.bad = true
	}
}

// of finds or makes the holder for user. The caller holds mu.
func (t *tokens) of(user string) *holder {
	h := t.holders[user]
	if h == nil {
		if len(t.holders) >= maxHolders {
			for other, h := range t.holders {
				if h.flight == nil {
					delete(t.holders, other)
				}
			}
		}
		h = &holder{}
		t.holders[user] = h
	}
	return h
}

// logins are the tokens of the process, by all that they depend on: sinks of one login, of several jobs or of a job that was changed, renew
// it once, and a refresh token that the server replaced is not used again.
type logins struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]*tokens
}

// maxLogins bounds logins: beyond, those that there are do not know of those that come.
const maxLogins = 1024

var processLogins = &logins{}

// of finds tokens, or makes them.
func (l *logins) of(key [sha256.Size]byte, create func() *tokens) *tokens {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.known[key]
	if t == nil {
		if l.known == nil || len(l.known) >= maxLogins {
			l.known = map[[sha256.Size]byte]*tokens{}
		}
		t = create()
		l.known[key] = t
	}
	return t
}

// newLogin is what an Auth needs beside a fixed header; nil: nothing.
func (s *Sink) newLogin(p Place, dial func(ctx context.Context, network, address string) (net.Conn, error)) login {
	var create func() *tokens
	var what string
	switch {
	case p.Auth.OAuth2 != nil:
		what = fmt.Sprintf("%q %q", p.Auth.OAuth2.parts(), p.Auth.OAuth2.Scopes)
		create = func() *tokens {
			return newOAuth2(*p.Auth.OAuth2, s.loginClient(p.Auth.OAuth2.TokenURL, p.TLS.CA, dial))
		}
	case p.Auth.TokenStorage != nil:
		what = fmt.Sprintf("%q", *p.Auth.TokenStorage)
		create = func() *tokens {
			return newStorage(*p.Auth.TokenStorage, s.loginClient(p.Auth.TokenStorage.URL, p.TLS.CA, dial))
		}
	default:
		return nil
	}
	if dial != nil { // a test's own network
		return create()
	}
	guard, narrowed := s.c.Guard, Narrowed{}
	if guard.Narrowed != nil {
		narrowed = *guard.Narrowed
	}
	return processLogins.of(sha256.Sum256(fmt.Appendf(nil, "%s %q %q %v %v %+q", what, p.TLS.CA, guard.Hosts, guard.CIDRs, guard.Narrowed != nil, narrowed)), create)
}

// loginClient makes the requests for tokens: dialled under the guard, without redirects and proxies, a connection for each. An URL without
// TLS is dialled only where the guard lists the address: what goes there is a secret.
func (s *Sink) loginClient(url, ca string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	return guardedClient(s.c.Guard, s.c.RootCAs, url, ca, dial)
}

// Client makes requests of the process itself for which g holds as well: as loginClient does.
func (g Guard) Client(url, ca string) *http.Client { return guardedClient(g, nil, url, ca, nil) }

func guardedClient(guard Guard, roots *x509.CertPool, url, ca string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	o, _, _ := wire.ParseOrigin(url)
	if dial == nil {
		d := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if err := guard.Allow(o.Host, ap.Addr()); err != nil {
				return err
			}
			if !o.TLS && !private(ap.Addr()) {
				return &AddressError{Host: o.Host, IP: ap.Addr().Unmap(), Plain: true}
			}
			return nil
		}}
		dial = d.DialContext
	}
	if ca != "" {
		if roots == nil {
			roots, _ = x509.SystemCertPool()
		}
		if roots == nil {
			roots = x509.NewCertPool()
		}
		roots = roots.Clone()
		roots.AppendCertsFromPEM([]byte(ca))
	}
	return &http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// loginFailed puts an error of a request for a token into words. whom names who was asked.
func loginFailed(ctx context.Context, whom string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var refused *AddressError
	if errors.As(err, &refused) {
		return &loginError{Address, whom + ": " + refused.Error()}
	}
	op := wire.OpRead
	var dialled *net.OpError
	if errors.As(err, &dialled) && dialled.Op == "dial" {
		op = wire.OpDial
	}
	reason := reasonOfTLS(err, op)
	switch {
	case reason != "":
		reason = "TLS: " + reason
	case errors.Is(err, context.DeadlineExceeded):
		reason = "no whole answer in time"
	default:
		reason = reasonAt(err, op, 0)
	}
	return &loginError{Target, whom + ": " + reason}
}

// originOf names who is asked, without path, query and user.
func originOf(url string) string {
	o, _, _ := wire.ParseOrigin(url)
	return o.String()
}

// headerText says that a value can stand in a header.
func headerText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
