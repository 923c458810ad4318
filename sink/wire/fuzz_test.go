package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// bytesConn answers with fixed bytes, step bytes a read.
type bytesConn struct {
	in   *bytes.Reader
	step int
}

func (c *bytesConn) Read(p []byte) (int, error) {
	if c.step > 0 && len(p) > c.step {
		p = p[:c.step]
	}
	return c.in.Read(p)
}
func (c *bytesConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *bytesConn) Close() error                     { return nil }
func (c *bytesConn) LocalAddr() net.Addr              { return nil }
func (c *bytesConn) RemoteAddr() net.Addr             { return nil }
func (c *bytesConn) SetDeadline(time.Time) error      { return nil }
func (c *bytesConn) SetReadDeadline(time.Time) error  { return nil }
func (c *bytesConn) SetWriteDeadline(time.Time) error { return nil }

func parse(answer []byte, step int, head bool) (*Call, error) {
	client := NewClient(Options{HeadBytes: 2000})
	var c Call
	c.req.host = client.Host(Origin{Host: "api.test", Port: 80})
	c.req.head = head
	c.in.reset(&bytesConn{in: bytes.NewReader(answer), step: step}, nil)
	err := c.read(Limits{BodyBytes: 5000, KeepBody: true})
	return &c, err
}

// Whatever a server sends: no panic, bounded memory, a known error, and the same result however the bytes are cut into reads.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		ok + "Content-Length: 5\r\n\r\nhello",
		ok + "Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok + "\r\nall",
		"HTTP/1.0 503 Busy\r\nRetry-After: 5\r\n\r\n",
		ok + "X: y\r\n folded\r\nConnection: a, close\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi more",
		"HTTP/1.1 100 \nX:\n\nno status\n",
	} {
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, answer []byte, head bool) {
		whole, err1 := parse(answer, 0, head)
		single, err2 := parse(answer, 1, head)
		for _, err := range []error{err1, err2} {
			if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrCut) && !errors.Is(err, io.ErrNoProgress) {
				t.Errorf("unknown error %v", err)
			}
		}
		if (err1 == nil) != (err2 == nil) || whole.resp.Status != single.resp.Status || !bytes.Equal(whole.resp.body, single.resp.body) || !bytes.Equal(whole.resp.Head, single.resp.Head) {
			t.Errorf("in one read: %d %q %v\nbyte by byte: %d %q %v", whole.resp.Status, whole.resp.body, err1, single.resp.Status, single.resp.body, err2)
		}
		if err1 == nil && (whole.resp.Status < 200 || whole.resp.Status > 999) {
			t.Errorf("status %d", whole.resp.Status)
		}
		if len(whole.resp.body) > 5000 || cap(whole.in.buf) > 32<<10 {
			t.Errorf("%d bytes of body, %d of buffer", len(whole.resp.body), cap(whole.in.buf))
		}
		if v := whole.resp.Header("Retry-After"); len(v) > 2000 {
			t.Errorf("a header of %d bytes", len(v))
		}
	})
}

// Whatever a row makes of an URL or a header: either it is refused, or what goes out is one request with these parts.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "http://u:p@api.test:80/x?y#z", "X-A", "b", "body")
	f.Add("GET", "https://bücher.example/ü b", "Content-Length", "7", "")
	f.Fuzz(func(t *testing.T, method, url, name, value, body string) {
		o, target, err := ParseOrigin(url)
		if err != nil {
			return
		}
		client := NewClient(Options{})
		var c Call
		if c.Begin(method, client.Host(o), target) != nil || c.Header(name, value) != nil {
			return
		}
		c.Body([]byte(body))
		head, _, _ := bytes.Cut(c.out, []byte("\r\n\r\n"))
		lines := bytes.Split(head, []byte("\r\n"))
		if len(lines) > 5 || bytes.Count(lines[0], []byte(" ")) != 2 || bytes.ContainsAny(head, "\x00") || bytes.Count(head, []byte("\n")) != len(lines)-1 || bytes.Count(head, []byte("\r")) != len(lines)-1 {
			t.Errorf("%q", c.out)
		}
	})
}
