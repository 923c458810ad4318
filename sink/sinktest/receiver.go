package sinktest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"streamer/sink/wire"
)

// Answer is what the Receiver does with one attempt. The zero Answer is 200 without a body, at once.
type Answer struct {
	// Delay is how long the Receiver waits before it answers.
	Delay time.Duration
	// Status of the answer; 0 is 200.
	Status int
	// Header lines to send, besides Content-Length.
	Header []Header
	Body   []byte
	// Fault breaks the answer.
	Fault Fault
}

// Fault is a way in which an answer goes wrong.
type Fault uint8

// The faults. Close is none: the answer is whole and says that the connection ends. Vanish ends the connection behind a whole
// answer without saying so, as a server does whose idle time ran out. Cut breaks the connection in the middle of the body (give
// one). Reset breaks it before the status line, Garbage sends bytes that are no HTTP, Hang never answers until the other side or
// the Receiver closes.
const (
	None Fault = iota
	Close
	Vanish
	Cut
	Reset
	Garbage
	Hang
)

// Receiver is an HTTP/1.1 API on a loopback port which records attempts. All its methods may be called from any goroutine.
type Receiver struct {
	// Lane names a request's lane; nil: the X-Lane header. Set it, KeepHeaders and DropBodies before the first request.
	Lane                    func(*Attempt) string
	KeepHeaders, DropBodies bool

	listener net.Listener
	answer   atomic.Pointer[func(*Attempt) Answer]
	done     chan struct{}
	running  sync.WaitGroup

	mu       sync.Mutex
	attempts []*Attempt
	ended    int
	changed  chan struct{} // closed and replaced when an attempt ends, if somebody waits
	conns    map[net.Conn]struct{}
	opened   int
}

// Listen starts a Receiver on a free port of 127.0.0.1. answer is called for every attempt, from many goroutines; it may read the
// attempt and must not keep it; nil answers 200 to all. Close it when done.
func Listen(answer func(*Attempt) Answer) (*Receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("receiver: %w", err)
	}
	return Serve(l, answer), nil
}

// Serve is Listen on a listener of the caller's, which the Receiver closes.
func Serve(l net.Listener, answer func(*Attempt) Answer) *Receiver {
	r := &Receiver{listener: l, done: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	r.SetAnswer(answer)
	r.running.Add(1)
	go r.accept() // ends when the listener is closed
	return r
}

// URL is http://127.0.0.1:port, without a path.
func (r *Receiver) URL() string { return "http://" + r.listener.Addr().String() }

// SetAnswer replaces the answering function from the next attempt on.
func (r *Receiver) SetAnswer(answer func(*Attempt) Answer) {
	if answer == nil {
		answer = func(*Attempt) Answer { return Answer{} }
	}
	r.answer.Store(&answer)
}

// Attempts gives copies of all attempts so far, by Seq; those that still run have no End.
func (r *Receiver) Attempts() []Attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Attempt, len(r.attempts))
	for i, a := range r.attempts {
		out[i] = *a
	}
	return out
}

// Len is the number of attempts so far, Connections that of connections accepted so far.
func (r *Receiver) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.attempts)
}

// Connections is the number of connections accepted so far.
func (r *Receiver) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened
}

// Wait returns when n attempts have ended, or with the context's error.
func (r *Receiver) Wait(ctx context.Context, n int) error {
	for {
		r.mu.Lock()
		if r.ended >= n {
			r.mu.Unlock()
			return nil
		}
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed, ended := r.changed, r.ended
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("receiver: %d of %d attempts ended: %w", ended, n, ctx.Err())
		}
	}
}

// Close breaks all connections and waits for the Receiver's goroutines. Attempts stays readable.
func (r *Receiver) Close() {
	r.mu.Lock()
	select {
	case <-r.done:
	default:
		close(r.done)
		_ = r.listener.Close()
	}
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.running.Wait()
}

func (r *Receiver) accept() {
	defer r.running.Done()
	for {
		c, err := r.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select {
			case <-r.done:
				return
			case <-time.After(10 * time.Millisecond): // out of file descriptors: let some be given back
			}
			continue
		}
		r.mu.Lock()
		select {
		case <-r.done:
			_ = c.Close()
		default:
			r.conns[c] = struct{}{}
			r.opened++
			r.running.Add(1)
			go r.serve(c) // ends when the connection does; Close closes it
		}
		r.mu.Unlock()
	}
}

// serve answers one connection's requests one after the other.
func (r *Receiver) serve(c net.Conn) {
	defer r.running.Done()
	defer func() {
		_ = c.Close()
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
	}()
	in := bufio.NewReaderSize(c, 4<<10)
	peer := c.RemoteAddr().String()
	var out []byte
	for {
		a, keep, err := r.readRequest(in)
		if err != nil {
			return
		}
		a.Start, a.Peer = time.Now(), peer
		r.mu.Lock()
		a.Seq = int64(len(r.attempts) + 1)
		r.attempts = append(r.attempts, a)
		r.mu.Unlock()
		an := (*r.answer.Load())(a)
		var status int
		var answered bool
		var end time.Time
		if r.pause(c, an) {
			end = time.Now() // before the answer is written: the other side may go on as soon as it has read it
			status, answered, out = r.respond(c, a, an, out[:0])
		}
		if !answered {
			end = time.Now()
		}
		r.mu.Lock()
		a.Status, a.Answered, a.End = status, answered, end
		r.ended++
		if r.changed != nil {
			close(r.changed)
			r.changed = nil
		}
		r.mu.Unlock()
		if !answered || !keep || an.Fault != None {
			return
		}
	}
}

// pause waits out the delay; false if the attempt has no answer any more.
func (r *Receiver) pause(c net.Conn, an Answer) bool {
	if an.Fault == Hang {
		_, _ = c.Read(make([]byte, 1)) // until either side closes
		return false
	}
	if an.Delay <= 0 {
		return true
	}
	t := time.NewTimer(an.Delay)
	defer t.Stop()
	select {
	case <-t.C:
		return wire.Alive(c)
	case <-r.done:
		return false
	}
}

func (r *Receiver) respond(c net.Conn, a *Attempt, an Answer, out []byte) (status int, answered bool, buf []byte) {
	switch an.Fault {
	case Reset:
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		return 0, false, out
	case Garbage:
		_, _ = c.Write([]byte("this is no HTTP\r\n\r\n"))
		return 0, false, out
	}
	if status = an.Status; status == 0 {
		status = 200
	}
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, " \r\n"...)
	for _, h := range an.Header {
		out = append(append(append(append(out, h.Name...), ": "...), h.Value...), "\r\n"...)
	}
	if an.Fault == Close {
		out = append(out, "Connection: close\r\n"...)
	}
	if status != 204 && status != 304 {
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, int64(len(an.Body)), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	if a.Method != "HEAD" && status != 204 && status != 304 {
		body := an.Body
		if an.Fault == Cut {
			body = body[:len(body)/2]
		}
		out = append(out, body...)
	}
	_, err := c.Write(out)
	return status, err == nil && an.Fault != Cut, out
}
