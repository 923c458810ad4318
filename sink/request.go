package sink

import (
	"errors"
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
	c := &w.call
	limits := wire.Limits{
		Deadline:  time.Now().Add(s.c.Timeout),
		BodyBytes: s.c.ResponseBytes,
		KeepBody:  d.Keep,
		Fresh:     d.fresh,
	}
	var err error
	if d.health {
		err = s.composeHealth(c, d)
	} else {
		limits.Before = s.permitted
		err = s.compose(c, d)
	}
	var refused *wire.RequestError
	if errors.As(err, &refused) {
		return result{class: Payload, reason: "the request cannot be sent: " + refused.Error(), unsent: true}
	}
	resp, err := c.Do(limits)
	return s.classify(d, resp, err)
}

// compose writes the row's request. The job's auth replaces an Authorization of the row's; that of the URL's user information
// stands in only where there is neither.
func (s *Sink) compose(c *wire.Call, d *Delivery) error {
	if err := c.Begin(d.Request.Method, d.target.host, d.rest); err != nil {
		return err
	}
	authorization := s.authorization
	own := false
	for _, h := range d.Request.Header {
		if strings.EqualFold(h.Name, "Authorization") {
			if own = true; authorization != "" {
				continue
			}
			d.credential = s.credentialOf(h.Value)
		} else if s.c.AttemptHeader && strings.EqualFold(h.Name, attemptHeader) {
			continue
		} else if k := s.c.Auth.APIKey; k != nil && strings.EqualFold(h.Name, k.Header) {
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
	if k := s.c.Auth.APIKey; k != nil {
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

// composeHealth writes the question to the health URL. The job's credentials go along only to the target they are for.
func (s *Sink) composeHealth(c *wire.Call, d *Delivery) error {
	if err := c.Begin("GET", s.health.host, s.health.rest); err != nil {
		return err
	}
	authorization := s.health.user
	own := s.health.host.Origin().String() == d.target.origin
	if s.authorization != "" && own {
		authorization = s.authorization
	}
	if k := s.c.Auth.APIKey; k != nil && own {
		if err := c.Header(k.Header, k.Value.Reveal()); err != nil {
			return err
		}
	}
	if authorization != "" {
		if err := c.Header("Authorization", authorization); err != nil {
			return err
		}
	}
	c.Body(nil)
	return nil
}

// permitted is the last look at the permit, right before the first byte.
func (s *Sink) permitted() bool {
	return !s.c.Shared.rests() && (s.permit == nil || s.permit() <= 0)
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
	return health{host: s.client.Host(o), rest: rest, user: o.User}
}
