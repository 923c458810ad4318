package wire

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Options say how a Client connects. Zero fields mean their defaults.
type Options struct {
	// IdlePerHost is how many connections are kept per host, best the number of calls in flight at once. Default 64. Of all hosts
	// together twice as many are kept.
	IdlePerHost int
	// IdleTimeout is how long one is kept unused. Default 90s.
	IdleTimeout time.Duration
	// HeadBytes bounds an answer's status line and headers, and a chunked body's trailers. Default 64 KiB.
	HeadBytes int
	// Allow is asked about every address before it is dialled, after the name was resolved; its error ends the dial. nil: all.
	Allow func(host string, ip netip.Addr) error
	// TLS is the base of the configuration for https; nil: the system's roots, TLS 1.2 and up. Without a ServerName it is the URL's host.
	TLS *tls.Config
	// Dial replaces the dialler, and with it Allow. For tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// checkAfter is the idle time from which a kept connection is looked at before it is used again.
const checkAfter = 250 * time.Millisecond

// Client keeps connections. Its methods may be called from any goroutine. It has no goroutine of its own; a timer closes
// connections that were idle too long.
type Client struct {
	o Options

	mu     sync.Mutex
	closed bool
	oldest *link // of all hosts, by the time they were put back
	newest *link
	count  int
	timer  *time.Timer
	ticks  sync.WaitGroup // timer callbacks scheduled or running
}

// Host is one origin with its kept connections: last in, first out, so that those not needed grow old.
type Host struct {
	client *Client
	origin Origin
	header string // Host header
	tls    *tls.Config

	// guarded by client.mu
	top    *link
	count  int
	closed bool
}

// link is a connection with its places among the kept ones: below and above in its host's stack, older and newer among all.
type link struct {
	net.Conn
	host         *Host
	since        time.Time // when it was put back
	below, above *link
	older, newer *link
}

// NewClient makes a Client. Close it.
func NewClient(o Options) *Client {
	if o.IdlePerHost <= 0 {
		o.IdlePerHost = 64
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 90 * time.Second
	}
	if o.HeadBytes <= 0 {
		o.HeadBytes = 64 << 10
	}
	base := &tls.Config{}
	if o.TLS != nil {
		base = o.TLS.Clone()
	}
	if base.MinVersion < tls.VersionTLS12 {
		base.MinVersion = tls.VersionTLS12
	}
	base.NextProtos = []string{"http/1.1"}
	if base.ClientSessionCache == nil {
		base.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	}
	o.TLS = base
	return &Client{o: o}
}

// Host makes the place for calls to o. Close it when no call uses it any more; Client.Close does so too.
func (c *Client) Host(o Origin) *Host {
	h := &Host{client: c, origin: o, header: o.HostHeader()}
	if o.TLS {
		h.tls = c.o.TLS.Clone()
		if h.tls.ServerName == "" {
			h.tls.ServerName = o.Host
		}
	}
	return h
}

// Close closes the kept connections; those in use are closed when their calls end. No Host of the Client dials any more.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	var out []*link
	for c.oldest != nil {
		out = append(out, c.unlink(c.oldest))
	}
	if c.timer != nil && c.timer.Stop() {
		c.ticks.Done()
	}
	c.timer = nil
	c.mu.Unlock()
	closeAll(out)
	c.ticks.Wait()
}

// Close closes the kept connections of one host; those in use are closed when their calls end.
func (h *Host) Close() {
	h.client.mu.Lock()
	h.closed = true
	var out []*link
	for h.top != nil {
		out = append(out, h.client.unlink(h.top))
	}
	h.client.mu.Unlock()
	closeAll(out)
}

// Origin is what the host was made for.
func (h *Host) Origin() Origin { return h.origin }

// take gives the kept connection used last, nil if there is none that lives.
func (h *Host) take() *link {
	for {
		h.client.mu.Lock()
		e := h.top
		if e == nil {
			h.client.mu.Unlock()
			return nil
		}
		h.client.unlink(e)
		h.client.mu.Unlock()
		age := time.Since(e.since)
		if age < checkAfter || age < h.client.o.IdleTimeout && Alive(e.Conn) {
			return e
		}
		e.drop()
	}
}

// put keeps a connection on which nothing is under way.
func (e *link) put() {
	h := e.host
	c := h.client
	e.since = time.Now()
	var out *link
	c.mu.Lock()
	switch {
	case c.closed || h.closed || h.count >= c.o.IdlePerHost:
		out = e
	default:
		if c.count >= 2*c.o.IdlePerHost {
			out = c.unlink(c.oldest)
		}
		e.below = h.top
		if h.top != nil {
			h.top.above = e
		}
		h.top = e
		h.count++
		e.older = c.newest
		if c.newest != nil {
			c.newest.newer = e
		} else {
			c.oldest = e
		}
		c.newest = e
		c.count++
		if c.timer == nil {
			c.arm(c.o.IdleTimeout)
		}
	}
	c.mu.Unlock()
	if out != nil {
		_ = out.Close()
	}
}

// unlink takes e out of both lists. The caller holds mu.
func (c *Client) unlink(e *link) *link {
	h := e.host
	if e.above != nil {
		e.above.below = e.below
	} else {
		h.top = e.below
	}
	if e.below != nil {
		e.below.above = e.above
	}
	h.count--
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		c.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		c.oldest = e.newer
	}
	c.count--
	e.above, e.below, e.older, e.newer = nil, nil, nil, nil
	return e
}

// arm schedules expire. The caller holds mu.
func (c *Client) arm(d time.Duration) {
	c.ticks.Add(1)
	c.timer = time.AfterFunc(d, func() {
		defer c.ticks.Done()
		c.expire()
	})
}

// expire closes what was idle too long and comes again when the next is due.
func (c *Client) expire() {
	var out []*link
	c.mu.Lock()
	c.timer = nil
	now := time.Now()
	for c.oldest != nil && now.Sub(c.oldest.since) >= c.o.IdleTimeout {
		out = append(out, c.unlink(c.oldest))
	}
	if c.oldest != nil && !c.closed {
		c.arm(c.o.IdleTimeout - now.Sub(c.oldest.since))
	}
	c.mu.Unlock()
	closeAll(out)
}

// drop closes a connection that must not be used again, without the farewell of TLS, which could block.
func (e *link) drop() {
	conn := e.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close()
}

func closeAll(conns []*link) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// dial opens a connection to the host. Its errors are *Error.
func (h *Host) dial(ctx context.Context) (*link, error) {
	c := h.client
	c.mu.Lock()
	closed := c.closed || h.closed
	c.mu.Unlock()
	if closed {
		return nil, &Error{OpDial, ErrClosed}
	}
	dial := c.o.Dial
	if dial == nil {
		var d net.Dialer
		if c.o.Allow != nil {
			// Asked with the address of the connect call itself: a name that resolves differently a second time gains nothing.
			d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
				ap, err := netip.ParseAddrPort(address)
				if err != nil {
					return err
				}
				return c.o.Allow(h.origin.Host, ap.Addr())
			}
		}
		dial = d.DialContext
	}
	conn, err := dial(ctx, "tcp", h.origin.Address())
	if err != nil {
		return nil, &Error{OpDial, err}
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if !h.origin.TLS {
		return &link{Conn: conn, host: h}, nil
	}
	t := tls.Client(conn, h.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, &Error{OpTLS, err}
	}
	return &link{Conn: t, host: h}, nil
}
