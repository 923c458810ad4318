package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// counting counts the connections that a listener accepted.
type counting struct {
	net.Listener
	n atomic.Int32
}

func (l *counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

func serve(t *testing.T, h http.HandlerFunc) (*httptest.Server, *counting) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	l := &counting{Listener: srv.Listener}
	srv.Listener = l
	return srv, l
}

func TestConnectionsAreKept(t *testing.T) {
	srv, l := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	srv.Start()
	defer srv.Close()
	client := NewClient(Options{IdlePerHost: 4})
	defer client.Close()
	h := hostOf(t, client, srv.URL)
	var c Call
	for range 20 {
		resp, err := do(t, &c, h, "POST", "/", "hello", Limits{KeepBody: true})
		if err != nil || string(resp.Body()) != "hello" {
			t.Fatalf("%v %v", resp, err)
		}
	}
	if n := l.n.Load(); n != 1 {
		t.Errorf("%d connections for 20 requests", n)
	}
	if _, err := do(t, &c, h, "POST", "/", "hello", Limits{Fresh: true}); err != nil {
		t.Fatal(err)
	}
	if n := l.n.Load(); n != 2 || client.count != 2 {
		t.Errorf("%d connections, %d kept", n, client.count)
	}
	h.Close()
	if client.count != 0 || client.oldest != nil || client.newest != nil {
		t.Errorf("%d kept after Close", client.count)
	}
	if _, err := do(t, &c, h, "POST", "/", "hello", Limits{}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// The server closes a kept connection; what was idle for long is looked at before it is used.
func TestDeadKeptConnectionIsNoticed(t *testing.T) {
	if Alive(closedByPeer(t)) {
		t.Error("a connection closed by the other side counts as alive")
	}
}

func closedByPeer(t *testing.T) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if !Alive(c) {
		t.Error("a fresh connection counts as dead")
	}
	_ = there.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// Until the end has arrived, without taking it.
	if err := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIdleConnectionsEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int32
		dial := func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			open.Add(1)
			go func() {
				defer open.Add(-1)
				buf := make([]byte, 1000)
				for {
					if _, err := there.Read(buf); err != nil {
						return
					}
					if _, err := there.Write([]byte(ok + "Content-Length: 0\r\n\r\n")); err != nil {
						return
					}
				}
			}()
			return here, nil
		}
		client := NewClient(Options{IdlePerHost: 3, IdleTimeout: 10 * time.Second, Dial: dial})
		var all sync.WaitGroup
		for host := range 5 {
			h := client.Host(Origin{Host: string(rune('a' + host)), Port: 80})
			for range 4 {
				all.Go(func() {
					var c Call
					if _, err := do(t, &c, h, "GET", "/", "", Limits{}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		synctest.Wait()
		if n := open.Load(); n > 6 || n < 5 {
			t.Errorf("%d connections are kept, want at most twice 3", n)
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		before := open.Load()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := open.Load(); n != 0 || before == 0 {
			t.Errorf("%d connections before, %d after their time", before, n)
		}
		client.Close()
		client.Close()
	})
}
