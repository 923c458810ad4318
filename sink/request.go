package sink

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"streamer/sink/wire"
)

// header is the Authorization value of the job's own auth, empty if it has none.
func (a Auth) header() string {
	switch {
	case a.Basic != nil:
		return wire.BasicAuth(a.Basic.User, a.Basic.Password.Reveal())
	case a.Token != "":
		return "access_token " + a.Token.Reveal()
	case a.Bearer != "":
		return "Bearer " + a.Bearer.Reveal()
	}
	return ""
}

// request is the one place where a request is made. It blocks until the attempt has ended.
func (s *Sink) request(w *worker, d *Delivery) result {
	c, a := &w.call, d.target.access
	limits := wire.Limits{
		Deadline:  time.Now().Add(s.c.Timeout),
		BodyBytes: s.c.ResponseBytes,
		KeepBody:  d.Keep || a.success != nil,
		Fresh:     d.fresh,
	}
	authorization := a.fixed
	if a.login != nil && (!d.health || s.healthLogsIn(d)) {
		var failed result
		if authorization, failed = s.logIn(c, a, d, limits.Deadline); failed.class != "" {
			return failed
		}
	}
	var err error
	if d.health {
		err = s.composeHealth(c, d, authorization)
	} else {
		limits.Before = a.before
		err = s.compose(c, d, authorization)
	}
	var refused *wire.RequestError
	if errors.As(err, &refused) {
		return result{class: Payload, reason: "the request cannot be sent: " + refused.Error(), unsent: true}
	}
	resp, err := c.Do(limits)
	r := s.classify(d, resp, err)
	if r.response != nil {
		r.response.hideEcho(d, authorization, s.hidden)
	}
	if a.login == nil || d.health || r.class != Credentials || r.status != http.StatusUnauthorized || d.renewed {
		d.renewed = false
		return r
	}
	// Once, with another one: this one may have ended, or was withdrawn.
	a.login.refused(d.Request.User, authorization)
	d.renewed = true
	return result{class: Interrupted, reason: "not started", again: true}
}

// logIn gives the Authorization by a's login. A class says that there is none.
func (s *Sink) logIn(c *wire.Call, a *access, d *Delivery, deadline time.Time) (authorization string, failed result) {
	if authorization, ok := a.login.current(d.Request.User); ok {
		return authorization, result{}
	}
	var err error
	c.Under(deadline, func(ctx context.Context) { authorization, err = a.login.authorization(ctx, d.Request.User) })
	var no *loginError
	switch {
	case err == nil:
		return authorization, result{}
	case errors.As(err, &no):
		return "", result{class: no.class, reason: no.reason, login: true, unsent: no.class == Payload}
	case errors.Is(err, context.DeadlineExceeded):
		return "", result{class: Target, reason: "no access token within " + s.c.Timeout.String(), login: true}
	}
	return "", result{class: Interrupted, reason: "interrupted by our own stop"}
}

// compose writes the row's request. The job's auth replaces an Authorization of the row's; that of the URL's user information
// stands in only where there is neither.
func (s *Sink) compose(c *wire.Call, d *Delivery, authorization string) error {
	if err := c.Begin(d.Request.Method, d.target.host, d.rest); err != nil {
		return err
	}
	a := d.target.access
	own := false
	if a.auth.TokenStorage != nil {
		d.credential = s.credentialOf(d.Request.User) // each user's are good or not by themselves
	}
	for _, h := range d.Request.Header {
		if strings.EqualFold(h.Name, "Authorization") {
			if own = true; authorization != "" {
				continue
			}
			d.credential = s.credentialOf(h.Value)
		} else if s.c.AttemptHeader && strings.EqualFold(h.Name, attemptHeader) {
			continue
		} else if k := a.auth.APIKey; k != nil && strings.EqualFold(h.Name, k.Header) {
			continue
		}
		if err := c.Header(h.Name, h.Value); err != nil {
			return err
		}
	}
	if authorization == "" && !own {
		if authorization = d.user; authorization != "" {
			d.credential = s.credentialOf(authorization)
		}
	}
	if authorization != "" {
		if err := c.Header("Authorization", authorization); err != nil {
			return err
		}
	}
	if k := a.auth.APIKey; k != nil {
		if err := c.Header(k.Header, k.Value.Reveal()); err != nil {
			return err
		}
	}
	if s.c.AttemptHeader {
		if err := c.Header(attemptHeader, strconv.Itoa(d.attempts+1)); err != nil {
			return err
		}
	}
	c.Body(d.Request.Body)
	return nil
}

const attemptHeader = "Streamer-Attempt"

// healthLogsIn says that the job's own login goes along with the question to the health URL: only to the target it is for, and if it is
// no row's.
func (s *Sink) healthLogsIn(d *Delivery) bool {
	return s.own.auth.TokenStorage == nil && s.health.host.Origin().String() == d.target.origin
}

// composeHealth writes the question to the health URL.
func (s *Sink) composeHealth(c *wire.Call, d *Delivery, authorization string) error {
	if err := c.Begin("GET", s.health.host, s.health.rest); err != nil {
		return err
	}
	own := s.healthLogsIn(d)
	if k := s.own.auth.APIKey; k != nil && own {
		if err := c.Header(k.Header, k.Value.Reveal()); err != nil {
			return err
		}
	}
	if !own || authorization == "" {
		authorization = s.health.user
	}
	if authorization != "" {
		if err := c.Header("Authorization", authorization); err != nil {
			return err
		}
	}
	c.Body(nil)
	return nil
}

// health is the breaker's health URL.
type health struct {
	host       *wire.Host
	rest, user string
}

// newHealth is for a Config that was validated.
func (s *Sink) newHealth() health {
	if s.c.Breaker.Health == "" {
		return health{}
	}
	o, rest, err := wire.ParseOrigin(s.c.Breaker.Health)
	if err != nil {
		return health{}
	}
	return health{host: s.own.client.Host(o), rest: rest, user: o.User}
}
