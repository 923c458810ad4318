package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// largeRequest is the size from which a request is written beside the reading of its answer: a server may refuse a large body
// without reading it, and then both sides would wait. What is smaller fits into the sockets' buffers.
const largeRequest = 64 << 10

// Limits of one Do.
type Limits struct {
	// Deadline is when the call ends, from dial to the body's last byte. What has arrived by then is still read, see overtime.
	Deadline time.Time
	// BodyBytes is how much of the answer's body is read; what has more is left there and its connection closed: no error.
	BodyBytes int64
	// KeepBody puts the body's bytes into Response.Body; without it they are read and dropped.
	KeepBody bool
	// Fresh forbids a kept connection.
	Fresh bool
	// Before is asked right before the first byte is written, after a dial: false ends the call with ErrNotStarted. nil: always.
	Before func() bool
}

// Do sends the request that was built and reads its answer, blocking. The Response is valid until the next Do; it comes along with
// an error if its status line had been read.
func (c *Call) Do(l Limits) (*Response, error) {
	h := c.req.host
	c.resp = Response{body: c.resp.body[:0]}
	if cap(c.resp.body) > keptBuffer {
		c.resp.body = nil
	}
	conn, reused, err := c.connect(h, l)
	if err != nil {
		return nil, err
	}
	if l.Before != nil && !l.Before() {
		if c.letGo() {
			_ = conn.Close()
		} else {
			conn.put()
		}
		return nil, ErrNotStarted
	}
	c.in.reset(conn, c)
	err = c.exchange(conn, l)
	aborted := c.letGo()
	switch {
	case err == nil && c.resp.reusable && c.in.drained() && !aborted:
		conn.put()
	default:
		conn.drop()
	}
	resp := &c.resp
	if c.resp.Status == 0 {
		resp = nil
	}
	switch {
	case err == nil: // an Abort that came too late does not undo an answer that is there
		return resp, nil
	case aborted:
		return resp, ErrAborted
	case reused && !c.in.got && isHangUp(err):
		return nil, ErrStale
	}
	return resp, err
}

// connect gives a connection with the call's deadline set, held for Abort.
func (c *Call) connect(h *Host, l Limits) (conn *link, reused bool, err error) {
	if !l.Fresh {
		for conn = h.take(); conn != nil; conn = h.take() {
			if conn.SetDeadline(l.Deadline) == nil {
				break
			}
			conn.drop()
		}
	}
	if reused = conn != nil; !reused {
		if conn, err = c.dial(h, l.Deadline); err != nil {
			return nil, false, err
		}
	}
	if !c.hold(conn, nil) {
		c.letGo()
		conn.drop()
		return nil, false, ErrAborted
	}
	return conn, reused, nil
}

// dial opens a connection, handshake included.
func (c *Call) dial(h *Host, deadline time.Time) (*link, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if !c.hold(nil, cancel) {
		c.letGo()
		return nil, ErrAborted
	}
	conn, err := h.dial(ctx)
	if c.letGo() {
		if err == nil {
			conn.drop()
		}
		return nil, ErrAborted
	}
	return conn, err
}

// exchange writes the request and reads the answer.
func (c *Call) exchange(conn *link, l Limits) error {
	if len(c.out)+len(c.body) > largeRequest {
		return c.exchangeLarge(conn, l)
	}
	werr := c.write(conn)
	if isTimeout(werr) {
		return &Error{OpWrite, werr}
	}
	// A server that refuses early may have answered before it hung up on our writing: look before giving up.
	rerr := c.read(l)
	if werr == nil {
		return rerr
	}
	if rerr == nil {
		c.resp.reusable = false
		return nil
	}
	return &Error{OpWrite, werr}
}

// exchangeLarge is exchange for a body that may not fit on its way: it is written by a goroutine, which ends with the write, and
// the write ends with the answer.
func (c *Call) exchangeLarge(conn *link, l Limits) error {
	written := make(chan error, 1)
	go func() { written <- c.write(conn) }()
	rerr := c.read(l)
	var werr error
	select {
	case werr = <-written:
	default:
		_ = conn.SetWriteDeadline(time.Unix(1, 0))
		werr = <-written
		c.resp.reusable = false
		if rerr == nil {
			return nil
		}
	}
	if rerr != nil && werr != nil && c.resp.Status == 0 && !isTimeout(werr) {
		return &Error{OpWrite, werr}
	}
	if werr != nil {
		c.resp.reusable = false
	}
	return rerr
}

func (c *Call) write(conn *link) error {
	if len(c.body) == 0 {
		_, err := conn.Write(c.out)
		return err
	}
	both := net.Buffers{c.out, c.body}
	_, err := both.WriteTo(conn.Conn)
	return err
}

// isHangUp says that the other side ended the connection.
func isHangUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, ErrCut) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.ECONNABORTED)
}

func isTimeout(err error) bool {
	if err == nil {
		return false // before t, which escapes
	}
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
