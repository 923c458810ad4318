// Package client calls the API of an instance: its methods by their names, problems and time-outs in one place.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"streamer/control/service"
)

// DefaultURL is where an instance with the default settings listens.
const DefaultURL = "http://127.0.0.1:9013"

const (
	dialTimeout = 5 * time.Second
	// callTimeout bounds a call; the server gives up earlier, with a reason.
	callTimeout = time.Minute
	// maxAnswerBytes bounds what is read of an answer.
	maxAnswerBytes = 256 << 20
)

// Client calls one instance. Its methods may be called from any goroutine. A *service.Problem is what the instance refused; an
// *UnreachableError that it could not be asked.
type Client struct {
	base     string
	http     *http.Client
	identify func(*http.Request)
}

// Option is one of New.
type Option func(*Client)

// WithBasic sends a name and a password.
func WithBasic(name, password string) Option {
	return func(c *Client) { c.identify = func(req *http.Request) { req.SetBasicAuth(name, password) } }
}

// WithBearer sends a token.
func WithBearer(token string) Option {
	return func(c *Client) {
		c.identify = func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+token) }
	}
}

// New makes a client of the instance at base, such as http://127.0.0.1:9013. Empty means DefaultURL. Without an option it says nothing of
// who calls.
func New(base string, options ...Option) (*Client, error) {
	if base == "" {
		base = DefaultURL
	}
	if err := CheckURL(base); err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	c := &Client{base: strings.TrimSuffix(base, "/"), identify: func(*http.Request) {}, http: &http.Client{
		// Proxies of the environment are for the internet, and an instance is asked on this machine.
		Transport:     &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, o := range options {
		o(c)
	}
	return c, nil
}

// CheckURL tells whether New can make something of an address.
func CheckURL(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is no address of an instance; write it as %s", base, DefaultURL)
	}
	return nil
}

// Close gives connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// UnreachableError says that no answer came from an instance.
type UnreachableError struct {
	URL   string
	Cause error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no answer from %s: %v; is streamer running there? STREAMER_URL or --url says where", e.URL, e.Cause)
}

// Unwrap implements errors.Unwrap.
func (e *UnreachableError) Unwrap() error { return e.Cause }

// Call calls a method by its name, such as jobs.start, with its arguments, and reads its answer into out (nil: it is not wanted).
func (c *Client) Call(ctx context.Context, method string, in, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errNoAnswer)
	defer cancel()
	resp, err := c.send(ctx, method, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return &UnreachableError{c.base, cause(ctx, err)}
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s answers what is no answer of streamer's API: %w", c.base, err)
	}
	return nil
}

// Login tells how people log in by a provider; nobody has to be logged in for that. An instance that knows of none gives the zero value.
func (c *Client) Login(ctx context.Context) (service.Login, error) {
	var l service.Login
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errNoAnswer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/login", nil)
	if err != nil {
		return l, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return l, &UnreachableError{c.base, cause(ctx, err)}
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return l, c.refusal(resp)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&l); err != nil {
		return l, fmt.Errorf("%s answers what is no answer of streamer's API: %w", c.base, err)
	}
	return l, nil
}

// Stream calls a method that answers line by line, and gives each line to do. It ends with the last line, with do's error, or with ctx; a
// stream that breaks ends with the *service.Problem that says so, or an *UnreachableError.
func (c *Client) Stream(ctx context.Context, method string, in any, do func(line json.RawMessage) error) error {
	resp, err := c.send(ctx, method, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "application/x-ndjson" {
		return fmt.Errorf("%s answers what is no stream of streamer's API", c.base)
	}
	for lines := json.NewDecoder(resp.Body); ; {
		var line json.RawMessage
		switch err := lines.Decode(&line); {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &UnreachableError{c.base, fmt.Errorf("the answer was cut off: %w", err)}
		}
		var last struct {
			Problem *service.Problem `json:"problem"`
		}
		if json.Unmarshal(line, &last) == nil && last.Problem != nil && last.Problem.Title != "" {
			return last.Problem
		}
		if err := do(line); err != nil {
			return err
		}
	}
}

var errNoAnswer = fmt.Errorf("nothing came within %v", callTimeout)

// cause is why ctx ended, if it did, else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err // without the URL, which stands before it already
	}
	return err
}

// send calls a method. An answer that is no success becomes an error.
func (c *Client) send(ctx context.Context, method string, in any) (*http.Response, error) {
	of, name, _ := strings.Cut(method, ".")
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	u := c.base + "/api/v1/services/" + url.PathEscape(of) + "/" + url.PathEscape(name)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	c.identify(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &UnreachableError{c.base, cause(ctx, err)}
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, c.refusal(resp)
}

// refusal reads the problem of an answer.
func (c *Client) refusal(resp *http.Response) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var p service.Problem
	if err == nil && kind == "application/problem+json" && json.Unmarshal(body, &p) == nil && p.Title != "" {
		return &p
	}
	return fmt.Errorf("%s answered %s, which is no answer of streamer's API; STREAMER_URL or --url says where streamer is", c.base, resp.Status)
}
