package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// asleep is the connection of a process that is frozen while the answer comes: when it reads, the answer is there and the time is up.
type asleep struct {
	net.Conn
	woken    bool
	extended bool
	arrived  []byte
}

func (c *asleep) Read(b []byte) (int, error) {
	if !c.woken {
		c.woken = true
		n, err := c.Conn.Read(b)
		c.arrived = append(c.arrived, b[:n]...)
		if err != nil {
			return 0, err
		}
		return 0, os.ErrDeadlineExceeded
	}
	if len(c.arrived) == 0 {
		return c.Conn.Read(b)
	}
	if !c.extended {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b, c.arrived)
	c.arrived = c.arrived[n:]
	return n, nil
}

func (c *asleep) SetReadDeadline(t time.Time) error {
	c.extended = c.woken
	return c.Conn.SetReadDeadline(t)
}

// An answer that came in time is not lost because we slept past its deadline: the request would be sent again.
func TestAnAnswerThatCameWhileAsleepCounts(t *testing.T) {
	srv, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") })
	srv.Start()
	defer srv.Close()
	client := NewClient(Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return &asleep{Conn: c}, err
	}})
	defer client.Close()
	resp, err := post(t, client, "POST", srv.URL, "{}", Limits{KeepBody: true})
	if err != nil || resp.Status != 200 || string(resp.Body()) != "done" {
		t.Fatalf("%+v %v", resp, err)
	}
}

// An answer that does not come is waited for until the deadline, and overtime does not undo an Abort.
func TestOvertimeEnds(t *testing.T) {
	var late atomic.Bool
	begun := make(chan struct{})
	srv, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client is gone
		if r.URL.Path == "/late" {
			late.Store(true)
		} else {
			close(begun)
		}
		<-r.Context().Done()
	})
	srv.Start()
	defer srv.Close()
	client := NewClient(Options{})
	defer client.Close()
	for within := range longer {
		if _, err := post(t, client, "POST", srv.URL+"/late", "{}", Limits{Deadline: time.Now().Add(within)}); !isTimeout(err) {
			t.Fatalf("got %v", err)
		}
		if late.Load() {
			break
		}
	}
	if !late.Load() {
		t.Error("no answer was waited for")
	}
	var c Call
	h := hostOf(t, client, srv.URL)
	go func() { // ends when the request has begun
		<-begun
		c.Abort()
	}()
	if _, err := do(t, &c, h, "POST", "/", "{}", Limits{}); !errors.Is(err, ErrAborted) {
		t.Fatalf("got %v", err)
	}
}
