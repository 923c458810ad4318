// Package client calls the API of an instance: the routes, their arguments, problems and time-outs in one place.
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

	"streamer/control"
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

// Client calls one instance. Its methods may be called from any goroutine. A *control.Problem is what the instance refused; an
// *UnreachableError that it could not be asked.
type Client struct {
	base string
	http *http.Client
}

// New makes a client of the instance at base, such as http://127.0.0.1:9013. Empty means DefaultURL.
func New(base string) (*Client, error) {
	if base == "" {
		base = DefaultURL
	}
	if err := CheckURL(base); err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &Client{base: strings.TrimSuffix(base, "/"), http: &http.Client{
		// Proxies of the environment are for the internet, and an instance is asked on this machine.
		Transport:     &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
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

// call makes one request and reads its answer into out.
func (c *Client) call(ctx context.Context, method string, path []string, query url.Values, in, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errNoAnswer)
	defer cancel()
	resp, err := c.send(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return &UnreachableError{c.base, cause(ctx, err)}
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s answers what is no answer of streamer's API: %w", c.base, err)
	}
	return nil
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

// send makes one request. An answer that is no success becomes an error.
func (c *Client) send(ctx context.Context, method string, path []string, query url.Values, in any) (*http.Response, error) {
	u := c.base + "/api/v1"
	for _, part := range path {
		u += "/" + url.PathEscape(part)
	}
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
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
	var p control.Problem
	if err == nil && kind == "application/problem+json" && json.Unmarshal(body, &p) == nil && p.Title != "" {
		return &p
	}
	return fmt.Errorf("%s answered %s, which is no answer of streamer's API; STREAMER_URL or --url says where streamer is", c.base, resp.Status)
}
