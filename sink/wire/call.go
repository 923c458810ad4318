package wire

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// smallBody is the size up to which a body is copied behind its head, to leave in one write without a second buffer.
const smallBody = 32 << 10

// keptBuffer is how large a Call's buffers may stay between requests.
const keptBuffer = 16 << 10

// Call is one worker's place for one request at a time, with its buffers. The zero Call is ready. Its use, in order: Reset, Begin,
// Header…, Body, Do. Only Abort may be called from another goroutine.
type Call struct {
	out  []byte // request line, headers and, if small, the body
	body []byte // a large body, not copied
	req  requestFacts
	in   reader
	resp Response

	mu      sync.Mutex
	aborted bool
	conn    net.Conn           // the connection in use
	cancel  context.CancelFunc // of the dial under way
}

// requestFacts is what must be known of the request being built to finish it and to read its answer.
type requestFacts struct {
	host        *Host
	head        bool // HEAD: the answer has no body
	wantsLength bool // the method's bodies are announced even when empty
	agent       bool
}

// Reset makes a Call that was aborted usable again. To lose no Abort the caller orders both by a lock of its own.
func (c *Call) Reset() {
	c.mu.Lock()
	c.aborted = false
	c.mu.Unlock()
}

// Abort ends the Do that runs, whatever it waits for; one that has not begun ends at once. It does not block.
func (c *Call) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	if c.cancel != nil {
		c.cancel()
	}
	if c.conn != nil {
		_ = c.conn.SetDeadline(time.Unix(1, 0))
	}
}

// hold notes what Abort has to break from now on; false if it was called already.
func (c *Call) hold(conn net.Conn, cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.cancel = conn, cancel
	return !c.aborted
}

// overtime is how long is looked for an answer when the time is up.
const overtime = 4 * time.Millisecond

// overtime lets a read whose time is up take what has arrived; false if the call was aborted. A process that was frozen, or got no CPU,
// wakes up with the deadline over and the answer unread: it would call that a time-out, and send a request again that was answered in
// time.
func (c *Call) overtime() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.aborted && c.conn != nil && c.conn.SetReadDeadline(time.Now().Add(overtime)) == nil
}

// letGo is the end of hold: Abort cannot touch the connection any more. It says whether it had.
func (c *Call) letGo() (aborted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.cancel = nil, nil
	return c.aborted
}

// Under runs f with a context that ends at the deadline or by Abort, before Begin: f is a part of the call.
func (c *Call) Under(deadline time.Time, f func(ctx context.Context)) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if !c.hold(nil, cancel) {
		cancel()
	}
	f(ctx)
	c.letGo()
}

// Begin starts a request to h. target is the URL behind its authority, as SplitURL gives it: an empty path becomes /, a fragment is
// left out, spaces and bytes outside ASCII are percent-encoded. Errors are *RequestError.
func (c *Call) Begin(method string, h *Host, target string) error {
	if cap(c.out) > keptBuffer+smallBody {
		c.out = nil
	}
	c.body = nil
	c.req = requestFacts{host: h, head: method == "HEAD"}
	switch method {
	case "POST", "PUT", "PATCH":
		c.req.wantsLength = true
	}
	if !isToken(method) {
		return &RequestError{"method", "is no HTTP method"}
	}
	if method == "CONNECT" {
		return &RequestError{"method", "CONNECT is not for requests"}
	}
	out := append(append(c.out[:0], method...), ' ')
	if target == "" || target[0] != '/' {
		out = append(out, '/')
	}
	for i := 0; i < len(target); i++ {
		switch b := target[i]; {
		case b == '#':
			i = len(target)
		case b > ' ' && b < 0x7f:
			out = append(out, b)
		case b == ' ' || b >= 0x80:
			out = append(out, '%', hexDigits[b>>4], hexDigits[b&15])
		default:
			return &RequestError{"url", "has a control character"}
		}
	}
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, h.header...)
	c.out = append(out, "\r\n"...)
	return nil
}

const hexDigits = "0123456789ABCDEF"

// Header adds a header line. The connection's own headers (Host, Content-Length, Transfer-Encoding, Connection, …) are left out:
// what is sent must not contradict how it is sent. Errors are *RequestError and do not repeat the value.
func (c *Call) Header(name, value string) error {
	if !isToken(name) {
		return &RequestError{"header", "a name is empty or has a character that no header name has"}
	}
	if isConnectionHeader(name) {
		return nil
	}
	for i := 0; i < len(value); i++ {
		if b := value[i]; b < ' ' && b != '\t' || b == 0x7f {
			return &RequestError{"header", "the value of " + name + " has a line break or another control character"}
		}
	}
	if len(name) == len("User-Agent") && strings.EqualFold(name, "User-Agent") {
		c.req.agent = true
	}
	out := append(append(c.out, name...), ": "...)
	out = append(out, strings.Trim(value, " \t")...)
	c.out = append(out, "\r\n"...)
	return nil
}

// Body ends the request. body may be nil; it is not changed, and must not be until Do has returned.
func (c *Call) Body(body []byte) {
	out := c.out
	if !c.req.agent {
		out = append(out, "User-Agent: streamer\r\n"...)
	}
	if len(body) > 0 || c.req.wantsLength {
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, int64(len(body)), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	if len(body) <= smallBody {
		out = append(out, body...)
	} else {
		c.body = body
	}
	c.out = out
}

// isConnectionHeader names the headers that describe the message's framing or belong to one connection (RFC 9110, 7.6.1).
func isConnectionHeader(name string) bool {
	switch len(name) {
	case 2:
		return strings.EqualFold(name, "TE")
	case 4:
		return strings.EqualFold(name, "Host")
	case 6:
		return strings.EqualFold(name, "Expect")
	case 7:
		return strings.EqualFold(name, "Trailer") || strings.EqualFold(name, "Upgrade")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 14:
		return strings.EqualFold(name, "Content-Length")
	case 16:
		return strings.EqualFold(name, "Proxy-Connection")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// isToken checks for a token of RFC 9110, 5.6.2.
func isToken[T string | []byte](s T) bool {
	for i := 0; i < len(s); i++ {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return len(s) > 0
}

var tokenBytes = func() (t [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[b] = true
	}
	return t
}()
