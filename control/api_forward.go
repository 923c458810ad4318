package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"
)

// A partition is known by the instance that reads it. Whoever is asked about one that it does not have passes the call on, once: what
// comes with the hop header is answered by this instance or not at all, so that two instances with different news of the group
// cannot send a call round and round.
const hopHeader = "Streamer-Hop"

// hopped tells whether another instance has passed the call on.
func hopped(c echo.Context) bool { return c.Request().Header.Get(hopHeader) != "" }

// Peer is another instance.
type Peer struct {
	// ID is its name, Advertise the URL that it says it is called by.
	ID, Advertise string
}

// peerTimeout bounds what an instance is waited for when all are asked; one that answers later is named as not reached.
const peerTimeout = 5 * time.Second

// maxPeerBytes bounds the answer of another instance.
const maxPeerBytes = 64 << 20

// callPeer calls other instances. They are dialled on loopback only, as long as nobody has to log in: an address from the status topic
// must not send calls through the network.
var callPeer = &http.Client{
	Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 2 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
			if !loopback(address) {
				return fmt.Errorf("%s is not a loopback address", address)
			}
			return nil
		}}).DialContext,
		IdleConnTimeout: 30 * time.Second, DisableKeepAlives: true,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// reach refuses to call an instance on another machine.
func (p Peer) reach() (*url.URL, error) {
	u, err := url.Parse(p.Advertise)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil, refuse(http.StatusBadGateway, "", fmt.Sprintf("instance %s says that it is called by %q, which is no URL", p.ID, p.Advertise),
			"set its STREAMER_ADVERTISE")
	}
	if !loopback(u.Host) {
		return nil, refuse(http.StatusForbidden, "", fmt.Sprintf("this is for instance %s at %s, and calls are passed on over loopback only, as long as nobody has to log in",
			p.ID, p.Advertise), "call that instance on its own machine, where it listens on loopback")
	}
	return u, nil
}

// send calls an instance. method, path and body may be those of the call that is passed on; path begins with /api.
func (p Peer) send(ctx context.Context, method, path, body string) (*http.Response, error) {
	u, err := p.reach()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(u.String(), "/")+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set(hopHeader, "1")
	if body != "" {
		req.Header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	}
	resp, err := callPeer.Do(req)
	if err != nil {
		return nil, p.unreached(err)
	}
	return resp, nil
}

func (p Peer) unreached(err error) *Problem {
	if u, ok := err.(*url.Error); ok { //nolint:errorlint // that is what Do documents, and only its own URL is to be left out
		err = u.Err
	}
	return refuse(http.StatusBadGateway, "", fmt.Sprintf("instance %s at %s does not answer: %v", p.ID, p.Advertise, err),
		"it may just have ended: then another one takes over within 15 seconds; try again")
}

// forward passes a call on as it is, and its answer back.
func (p Peer) forward(c echo.Context) error {
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return err
	}
	resp, err := p.send(c.Request().Context(), c.Request().Method, c.Request().URL.RequestURI(), string(body))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return c.Stream(resp.StatusCode, resp.Header.Get(echo.HeaderContentType), resp.Body)
}

// Unreached is an instance that was asked and did not answer.
type Unreached struct {
	Instance string `json:"instance"`
	Cause    string `json:"cause"`
}

// askAll calls every peer at once and gives the answers in their order; those that did not answer, or refused, are named.
func askAll[T any](ctx context.Context, peers []Peer, method, path, body string) (answers []T, missing []Unreached) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	all, errs := make([]T, len(peers)), make([]error, len(peers))
	var asked sync.WaitGroup
	for i, p := range peers {
		asked.Go(func() { errs[i] = p.ask(ctx, method, path, body, &all[i]) })
	}
	asked.Wait()
	for i, p := range peers {
		if errs[i] != nil {
			missing = append(missing, Unreached{Instance: p.ID, Cause: errs[i].Error()})
			continue
		}
		answers = append(answers, all[i])
	}
	return answers, missing
}

// ask calls an instance and reads its answer.
func (p Peer) ask(ctx context.Context, method, path, body string, answer any) error {
	resp, err := p.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPeerBytes))
	if err != nil {
		return p.unreached(err)
	}
	if resp.StatusCode >= 300 {
		told := Problem{Detail: "answered " + resp.Status}
		_ = json.Unmarshal(text, &told) // what is no problem document leaves the status
		return &told
	}
	return json.Unmarshal(text, answer)
}
