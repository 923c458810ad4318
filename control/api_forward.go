package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"streamer/control/service"
	"streamer/sink"
)

// A partition is known by the instance that reads it. Whoever is asked about one that it does not have passes the call on, once, with the
// caller's own credential: what comes with service.HopHeader is answered by the instance or not at all.

// Peer is another instance.
type Peer struct {
	// ID is its name, Advertise the URL that it says it is called by, Doubt why it is not called there; empty: it is.
	ID, Advertise, Doubt string
}

func peerOf(i Self) Peer { return Peer{i.ID, i.Advertise, i.Doubt} }

// peerTimeout bounds what an instance is waited for when all are asked; one that answers later is named as not reached.
const peerTimeout = 5 * time.Second

// maxPeerBytes bounds the answer of another instance.
const maxPeerBytes = 64 << 20

// What a name points to may change between the check of an address and its use, so what is dialled is checked. callHere calls instances on
// this machine, callNear also those in private networks, and callFar any, by https.
var (
	callHere = peerClient(func(ip netip.Addr) error {
		if !ip.IsLoopback() {
			return fmt.Errorf("%s is not a loopback address", ip)
		}
		return nil
	})
	callNear = peerClient(func(ip netip.Addr) error {
		switch private, err := reachable(ip); {
		case err != nil:
			return err
		case !private:
			return fmt.Errorf("%s is a public address, and calls go there by https only: set its STREAMER_ADVERTISE to an https URL", ip)
		}
		return nil
	})
	callFar = peerClient(func(ip netip.Addr) error {
		_, err := reachable(ip)
		return err
	})
)

// reachable says whether an address is private, as jobs' requests have it. The error is that of one that is never dialled.
func reachable(ip netip.Addr) (private bool, err error) {
	var refused *sink.AddressError
	if !errors.As(sink.Guard{}.Allow(ip.String(), ip), &refused) {
		return false, nil
	}
	if refused.Never {
		return false, refused
	}
	return true, nil
}

func peerClient(may func(netip.Addr) error) *http.Client {
	dialled := func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return may(at.Addr().Unmap())
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:     (&net.Dialer{Timeout: 2 * time.Second, Control: dialled}).DialContext,
			IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4, // on a busy machine a new connection takes as long as the answer
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// reach gives an instance's address, and what it is called with. Calls leave this machine only where people have to log in and instances
// prove their addresses: then not to one that has not, nor in clear over public networks.
func (a API) reach(p Peer) (*url.URL, *http.Client, error) {
	u, err := url.Parse(p.Advertise)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, nil, &unreached{service.Refuse(http.StatusBadGateway, "", fmt.Sprintf("instance %s says that it is called by %q, which is no URL", p.ID, p.Advertise),
			"set its STREAMER_ADVERTISE")}
	case a.Authenticator == nil && !service.Loopback(u.Host):
		return nil, nil, service.Refuse(http.StatusForbidden, "", fmt.Sprintf("this is for instance %s at %s, and calls are passed on over loopback only, as long as nobody has to log in",
			p.ID, p.Advertise), "call that instance on its own machine, where it listens on loopback")
	case p.Doubt != "":
		return nil, nil, &unreached{service.Refuse(http.StatusBadGateway, "", fmt.Sprintf("instance %s at %s is not called: %s", p.ID, p.Advertise, p.Doubt), "")}
	case a.Authenticator == nil || a.Fleet.Me().Proof == "":
		return u, callHere, nil
	case u.Scheme == "http":
		return u, callNear, nil
	}
	return u, callFar, nil
}

// unreached says that an instance did not answer; a refusal of its own is a plain *service.Problem.
type unreached struct{ *service.Problem }

// Unwrap implements errors.Unwrap.
func (u *unreached) Unwrap() error { return u.Problem }

func (p Peer) unreached(err error) error {
	if u, ok := err.(*url.Error); ok { //nolint:errorlint // that is what Do documents, and only its own URL is to be left out
		err = u.Err
	}
	return &unreached{service.Refuse(http.StatusBadGateway, "", fmt.Sprintf("instance %s at %s does not answer: %v", p.ID, p.Advertise, err),
		"it may just have ended: then another one takes over within 15 seconds; try again")}
}

// ask calls a method, by service.name, of another instance for the caller. The error is a *service.Problem, an *unreached one if it did not answer.
func ask[Out any](ctx context.Context, a API, by service.Caller, p Peer, method string, in any) (out Out, err error) {
	u, client, err := a.reach(p)
	if err != nil {
		return out, err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	path := "/api/v1/services/" + strings.Replace(method, ".", "/", 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(u.String(), "/")+path, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	by.Lend(req.Header)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return out, p.unreached(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPeerBytes))
	if err != nil {
		return out, p.unreached(err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		told := service.Problem{Detail: "answered " + resp.Status}
		_ = json.Unmarshal(text, &told) // what is no problem document leaves the status
		told.Status = resp.StatusCode   // whatever the text says: it may be another's than the instance's
		return out, &told
	}
	return out, json.Unmarshal(text, &out)
}

// Unreached is an instance that was asked and did not answer.
type Unreached struct {
	Instance string `json:"instance"`
	Cause    string `json:"cause"`
}

// askAll calls a method of every peer at once and gives the answers in their order; those that did not answer, or refused, are named.
func askAll[Out any](ctx context.Context, a API, by service.Caller, peers []Peer, method string, in any) (answers []Out, missing []Unreached) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	all, errs := make([]Out, len(peers)), make([]error, len(peers))
	var asked sync.WaitGroup
	for i, p := range peers {
		asked.Go(func() { all[i], errs[i] = ask[Out](ctx, a, by, p, method, in) })
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
