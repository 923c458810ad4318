package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func hostOf(t *testing.T, c *Client, url string) *Host {
	t.Helper()
	o, _, err := ParseOrigin(url)
	if err != nil {
		t.Fatal(err)
	}
	return c.Host(o)
}

func TestBodyOverTheLimitIsNoErrorAndClosesTheConnection(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"length": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1000)) },
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(make([]byte, 1000))
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 100_000)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv, _ := serve(t, h)
			srv.Start()
			defer srv.Close()
			for _, keep := range []bool{true, false} {
				client := NewClient(Options{})
				defer client.Close()
				var c Call
				resp, err := do(t, &c, hostOf(t, client, srv.URL), "GET", "/", "", Limits{BodyBytes: 100, KeepBody: keep})
				if err != nil || resp.Status != 200 || client.count != 0 || len(resp.Body()) > 100 || keep && len(resp.Body()) != 100 || !resp.Truncated {
					t.Errorf("%+v %v, %d kept", resp, err, client.count)
				}
			}
		})
	}
}

// A server that refuses a large body without reading it: the answer is read while the body still goes out.
func TestEarlyAnswerToALargeBody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done, answered := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 100))
		_, _ = c.Write([]byte("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"))
		<-answered // stays open and reads no more
		_ = c.Close()
	}()
	client := NewClient(Options{})
	resp, err := post(t, client, "POST", "http://"+l.Addr().String(), strings.Repeat("x", 16<<20), Limits{})
	if err != nil || resp.Status != 413 {
		t.Errorf("%+v %v", resp, err)
	}
	close(answered)
	client.Close()
	_ = l.Close()
	<-done
}

func TestTLS(t *testing.T) {
	srv, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.TLS.NegotiatedProtocol)
	})
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	client := NewClient(Options{TLS: &tls.Config{RootCAs: roots}})
	defer client.Close()
	var c Call
	h := hostOf(t, client, srv.URL)
	for range 3 {
		resp, err := do(t, &c, h, "GET", "/", "", Limits{KeepBody: true})
		if err != nil || string(resp.Body()) != "HTTP/1.1 http/1.1" {
			t.Fatalf("%v %v", resp, err)
		}
	}
	if n := l.n.Load(); n != 1 {
		t.Errorf("%d connections for 3 requests", n)
	}
	strict := NewClient(Options{})
	defer strict.Close()
	var authority x509.UnknownAuthorityError
	if _, err := post(t, strict, "GET", srv.URL, "", Limits{}); !errors.As(err, &authority) {
		t.Errorf("unknown authority: %v", err)
	}
	old := NewClient(Options{TLS: &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}})
	defer old.Close()
	if _, err := post(t, old, "GET", srv.URL, "", Limits{}); err == nil {
		t.Error("an old TLS version was accepted")
	}
	plain, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	plain.Start()
	defer plain.Close()
	var record tls.RecordHeaderError
	if _, err := post(t, client, "GET", strings.Replace(plain.URL, "http:", "https:", 1), "", Limits{}); !errors.As(err, &record) {
		t.Errorf("a port without TLS: %v", err)
	}
}

func TestAbortEndsACallInEveryPhase(t *testing.T) {
	never, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	never.Start()
	defer never.Close()
	half, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	half.Start()
	defer half.Close()
	stuck := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for name, c := range map[string]struct {
		url  string
		o    Options
		body string
	}{
		"dial":      {"http://api.test", Options{Dial: stuck}, ""},
		"head":      {never.URL, Options{}, "{}"},
		"body":      {half.URL, Options{}, "{}"},
		"large":     {never.URL, Options{}, strings.Repeat("x", 32<<20)},
		"handshake": {"https://" + blackHole(t), Options{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := NewClient(c.o)
			defer client.Close()
			h := hostOf(t, client, c.url)
			var call Call
			errs := make(chan error)
			go func() {
				_, err := do(t, &call, h, "POST", "/", c.body, Limits{})
				errs <- err
			}()
			abortWhenBusy(&call)
			if err := <-errs; !errors.Is(err, ErrAborted) {
				t.Errorf("got %v", err)
			}
			// Aborted until Reset.
			if _, err := do(t, &call, h, "POST", "/", "", Limits{}); !errors.Is(err, ErrAborted) {
				t.Errorf("before Reset: %v", err)
			}
			call.Reset()
			if client.count != 0 {
				t.Error("a broken connection was kept")
			}
		})
	}
}

// abortWhenBusy waits until the call holds something that can be broken off.
func abortWhenBusy(c *Call) {
	for {
		c.mu.Lock()
		busy := c.conn != nil || c.cancel != nil
		c.mu.Unlock()
		if busy {
			c.Abort()
			return
		}
		<-time.After(time.Millisecond)
	}
}

// blackHole accepts connections and says nothing on them.
func blackHole(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				for _, c := range conns {
					_ = c.Close()
				}
				return
			}
			conns = append(conns, c)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func TestErrorsOfConnecting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	client := NewClient(Options{})
	defer client.Close()
	var step *Error
	if _, err := post(t, client, "GET", "http://"+l.Addr().String(), "", Limits{}); !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &step) || step.Op != OpDial {
		t.Errorf("refused: %v", err)
	}
	silent := "https://" + blackHole(t)
	for within := range longer {
		_, err := post(t, client, "GET", silent, "", Limits{Deadline: time.Now().Add(within)})
		if !isTimeout(err) || !errors.As(err, &step) || step.Op != OpTLS && step.Op != OpDial {
			t.Fatalf("handshake without an end: %v", err)
		}
		if step.Op == OpTLS {
			return
		}
	}
	t.Error("no handshake has begun")
}

// longer gives times for what is to run out of it: a short one is used up on a busy machine before anything has begun.
func longer(yield func(time.Duration) bool) {
	for d := 50 * time.Millisecond; d < time.Minute && yield(d); d *= 2 {
	}
}

func TestNotStartedSendsNothingAndKeepsTheConnection(t *testing.T) {
	var requests atomic.Int32
	srv, l := serve(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	srv.Start()
	defer srv.Close()
	client := NewClient(Options{})
	defer client.Close()
	var c Call
	h := hostOf(t, client, srv.URL)
	if _, err := do(t, &c, h, "GET", "/", "", Limits{Before: func() bool { return false }}); !errors.Is(err, ErrNotStarted) {
		t.Fatal(err)
	}
	if _, err := do(t, &c, h, "GET", "/", "", Limits{Before: func() bool { return true }}); err != nil {
		t.Fatal(err)
	}
	if requests.Load() != 1 || l.n.Load() != 1 {
		t.Errorf("%d requests on %d connections", requests.Load(), l.n.Load())
	}
}
