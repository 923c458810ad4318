package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is what a server sends back to one request; pieces are sent one by one, then the connection is closed, or kept if keep is
// set.
type script struct {
	pieces []string
	keep   bool
}

func say(pieces ...string) script { return script{pieces: pieces} }

func keep(pieces ...string) script { return script{pieces: pieces, keep: true} }

// scripted serves sc on every connection until the test ends.
func scripted(t *testing.T, sc script) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for readRequest(bufio.NewReader(c)) {
				for _, p := range sc.pieces {
					_, _ = c.Write([]byte(p))
				}
				if !sc.keep {
					break
				}
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-stopped
	})
	return l.Addr().String()
}

func readRequest(in *bufio.Reader) bool {
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

// answer is what a client made of a script.
type answer struct {
	failed  bool
	status  int
	body    string
	headers string // of a few names
}

var compared = []string{"Retry-After", "Content-Type", "X-A", "Date"}

func byNetHTTP(t *testing.T, method, address, body string) answer {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: 64 << 10}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(method, "http://"+address+"/x", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return answer{failed: true}
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == 101 {
		return answer{status: 101} // its body is the connection
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{failed: true, status: resp.StatusCode}
	}
	a := answer{status: resp.StatusCode, body: string(got)}
	for _, h := range compared {
		a.headers += h + "=" + resp.Header.Get(h) + ";"
	}
	return a
}

func byWire(t *testing.T, method, address, body string) answer {
	t.Helper()
	a, _ := callOnce(t, method, address, body)
	return a
}

func callOnce(t *testing.T, method, address, body string) (answer, error) {
	t.Helper()
	client := NewClient(Options{})
	defer client.Close()
	resp, err := post(t, client, method, "http://"+address+"/x", body, Limits{KeepBody: true})
	a := answer{failed: err != nil}
	if resp != nil {
		a.status = resp.Status
	}
	if err != nil {
		return a, err
	}
	a.body = string(resp.Body())
	for _, h := range compared {
		a.headers += h + "=" + resp.Header(h) + ";"
	}
	return a, nil
}

func post(t *testing.T, client *Client, method, url, body string, l Limits) (*Response, error) {
	t.Helper()
	o, target, err := ParseOrigin(url)
	if err != nil {
		t.Fatal(err)
	}
	var c Call
	return do(t, &c, client.Host(o), method, target, body, l)
}

func do(t *testing.T, c *Call, h *Host, method, target, body string, l Limits) (*Response, error) {
	t.Helper()
	if err := c.Begin(method, h, target); err != nil {
		t.Fatal(err)
	}
	c.Body([]byte(body))
	if l.Deadline.IsZero() {
		l.Deadline = time.Now().Add(20 * time.Second)
	}
	if l.BodyBytes == 0 {
		l.BodyBytes = 1 << 20
	}
	return c.Do(l)
}

const ok = "HTTP/1.1 200 OK\r\n"

// The same servers answer net/http's client and ours; both must come to the same end. Where ours is stricter on purpose, strict
// says why: there it fails and net/http does not.
func TestAgreesWithNetHTTP(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		script script
		strict string
	}{
		{name: "content length", script: keep(ok + "Content-Length: 5\r\nX-A: b\r\n\r\nhello")},
		{name: "byte by byte", script: keep(strings.Split(ok+"Content-Length: 5\r\nX-A: b\r\n\r\nhello", "")...)},
		{name: "no body", script: keep(ok + "Content-Length: 0\r\n\r\n")},
		{name: "no reason phrase", script: keep("HTTP/1.1 204\r\n\r\n")},
		{name: "reason phrase with words", script: keep("HTTP/1.1 404 Not Found Here\r\nContent-Length: 0\r\n\r\n")},
		{name: "retry after and date", script: keep("HTTP/1.1 503 Busy\r\nretry-after:  120 \r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n")},
		{name: "first of two headers", script: keep(ok + "X-A: one\r\nx-a: two\r\nContent-Length: 0\r\n\r\n")},
		{name: "empty header", script: keep(ok + "X-A:\r\nContent-Length: 0\r\n\r\n")},
		{name: "204 with a length", script: keep("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n")},
		{name: "304 with a length", script: keep("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")},
		{name: "HEAD with a length", method: "HEAD", script: keep(ok + "Content-Length: 5\r\n\r\n")},
		{name: "HEAD chunked", method: "HEAD", script: keep(ok + "Transfer-Encoding: chunked\r\n\r\n")},
		{name: "chunked", script: keep(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6; x=y\r\n world\r\n0\r\n\r\n")},
		{name: "chunked in pieces", script: keep(strings.Split(ok+"Transfer-Encoding: Chunked\r\n\r\nA\r\nhellohello\r\n0\r\nX-T: 1\r\n\r\n", "")...)},
		{name: "chunked with trailers", script: keep(ok + "Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-T: y\r\nX-U: z\r\n\r\n")},
		{name: "large chunk", script: keep(ok + "Transfer-Encoding: chunked\r\n\r\n10000\r\n" + strings.Repeat("x", 0x10000) + "\r\n0\r\n\r\n")},
		{name: "large body", script: keep(ok+"Content-Length: 100000\r\n\r\n", strings.Repeat("x", 100000))},
		{name: "ends with the connection", script: say(ok + "\r\nall of it")},
		{name: "ends with the connection, empty", script: say(ok + "\r\n")},
		{name: "ends with the connection, large", script: say(ok+"\r\n", strings.Repeat("y", 300000))},
		{name: "HTTP/1.0", script: say("HTTP/1.0 200 OK\r\n\r\nold")},
		{name: "HTTP/1.0 with a length", script: say("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold")},
		{name: "connection close", script: say(ok + "Connection: close\r\nContent-Length: 2\r\n\r\nhi")},
		{name: "bare line feeds", script: keep("HTTP/1.1 200 OK\nContent-Length: 2\nX-A: b\n\nhi")},
		{name: "100 first", script: keep("HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nhi")},
		{name: "103 twice first", script: keep("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nX-A: no\r\n\r\n", ok+"X-A: yes\r\nContent-Length: 2\r\n\r\nhi")},
		{name: "two equal lengths", script: keep(ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi")},
		{name: "unknown status", script: keep("HTTP/1.1 799 What\r\nContent-Length: 0\r\n\r\n")},
		{name: "more than announced", script: say(ok + "Content-Length: 2\r\n\r\nhi there")},

		{name: "two lengths", script: keep(ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!")},
		{name: "negative length", script: keep(ok + "Content-Length: -2\r\n\r\nhi")},
		{name: "length with a plus", script: keep(ok + "Content-Length: +2\r\n\r\nhi")},
		{name: "length is no number", script: keep(ok + "Content-Length: many\r\n\r\nhi")},
		{name: "length beyond any number", script: keep(ok + "Content-Length: 99999999999999999999\r\n\r\nhi")},
		{name: "cut in the body", script: say(ok + "Content-Length: 5\r\n\r\nhe")},
		{name: "cut before the body", script: say(ok + "Content-Length: 5\r\n\r\n")},
		{name: "cut in the head", script: say(ok + "Content-Le")},
		{name: "cut in the status", script: say("HTTP/1.1 20")},
		{name: "cut in a chunk", script: say(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhe")},
		{name: "cut between chunks", script: say(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")},
		{name: "cut before the last line", script: say(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n")},
		{name: "chunk without a size", script: say(ok + "Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n")},
		{name: "chunk size is no number", script: say(ok + "Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n")},
		{name: "chunk size too large", script: say(ok + "Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\nhello\r\n0\r\n\r\n")},
		{name: "chunk longer than its size", script: say(ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n")},
		{name: "chunk line ended by a bare line feed", script: say(ok + "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n")},
		{name: "endless chunk extension", script: say(ok + "Transfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("x", 100<<10) + "\r\nhello\r\n0\r\n\r\n")},
		{name: "another transfer coding", script: keep(ok + "Transfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi")},
		{name: "two transfer codings", script: keep(ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")},
		{name: "no HTTP", script: say("hello there, this is no HTTP\r\n\r\n")},
		{name: "status is no number", script: say("HTTP/1.1 OK 200\r\n\r\n")},
		{name: "status of two digits", script: say("HTTP/1.1 20 OK\r\n\r\n")},
		{name: "header without a colon", script: keep(ok + "what is this\r\nContent-Length: 0\r\n\r\n")},
		{name: "header with a blank before its colon", script: keep(ok + "X-A : b\r\nContent-Length: 0\r\n\r\n")},
		{name: "header without a name", script: keep(ok + ": b\r\nContent-Length: 0\r\n\r\n")},
		{name: "first header continues nothing", script: keep(ok + " X-A: b\r\nContent-Length: 0\r\n\r\n")},
		{name: "head too large", script: say(ok + strings.Repeat("X-A: "+strings.Repeat("b", 100)+"\r\n", 1000) + "\r\n")},
		{name: "one line too large", script: say(ok + "X-A: " + strings.Repeat("b", 100<<10) + "\r\n\r\n")},
		{name: "interim answers without end", script: say(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100))},
		{name: "only an interim answer", script: say("HTTP/1.1 100 Continue\r\n\r\n")},
		{name: "nothing at all", script: say()},

		{name: "switches protocols", script: keep("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
			strict: "no switch was asked for, so it is no answer to the request"},
		{name: "another protocol's version", script: say("HTTP/3.0 200 OK\r\n\r\n"),
			strict: "the message is not in the version it names"},
		{name: "length with a blank before its colon", script: say(ok + "Content-Length : 2\r\n\r\nhi there"),
			strict: "two readers could differ about its end"},
		{name: "length and chunked", script: keep(ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
			strict: "two readers could differ about its end"},
		{name: "HTTP/1.0 chunked", script: say("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
			strict: "HTTP/1.0 has no chunks: RFC 9112, 6.1 calls such framing faulty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			method := c.method
			if method == "" {
				method = "POST"
			}
			address := scripted(t, c.script)
			ours, theirs := byWire(t, method, address, "{}"), byNetHTTP(t, method, address, "{}")
			if c.strict != "" {
				if !ours.failed || theirs.failed {
					t.Errorf("ours %+v, net/http's %+v; expected only ours to fail, since %s", ours, theirs, c.strict)
				}
				return
			}
			if ours.failed && theirs.failed {
				return
			}
			if ours != theirs {
				t.Errorf("ours     %.300s\nnet/http %.300s", fmt.Sprintf("%+v", ours), fmt.Sprintf("%+v", theirs))
			}
		})
	}
}

// What net/http's server understood of our requests, it must understand of net/http's client's as well.
func TestRequestsReadAsNetHTTPs(t *testing.T) {
	type seen struct{ method, uri, host, agent, body, length, te, accept string }
	got := make(chan seen, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, r.Host, r.Header.Get("X-A"), string(body), r.Header.Get("Content-Length"), strings.Join(r.TransferEncoding, ","), r.Header.Get("Accept-Encoding")}
	})}
	go func() { _ = srv.Serve(l) }()
	defer func() { _ = srv.Close() }()
	client := NewClient(Options{})
	defer client.Close()
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		for _, target := range []string{"", "/", "?a=b", "/a%20b?x=%2F&y=1#part", "/ä b?q=ü", "/a/../b;c=d", "/{x}|y"} {
			for _, body := range []string{"", "{}", strings.Repeat("x", 20<<10), strings.Repeat("y", 1<<20)} {
				if len(body) > 1<<10 && target != "/" {
					continue
				}
				url := "http://" + l.Addr().String() + target
				o, rest, err := ParseOrigin(url)
				if err != nil {
					t.Fatal(err)
				}
				var c Call
				if err := c.Begin(method, client.Host(o), rest); err != nil {
					t.Fatal(err)
				}
				for _, h := range [][2]string{{"X-A", " b "}, {"Content-Length", "99"}, {"transfer-encoding", "chunked"}, {"Host", "evil.test"}, {"Connection", "close"}} {
					if err := c.Header(h[0], h[1]); err != nil {
						t.Fatal(err)
					}
				}
				c.Body([]byte(body))
				if _, err := c.Do(Limits{Deadline: time.Now().Add(10 * time.Second), BodyBytes: 100}); err != nil {
					t.Fatalf("%s %s: %v", method, target, err)
				}
				ours := <-got
				req, err := http.NewRequest(method, url, bytes.NewReader([]byte(body)))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-A", " b ")
				tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if theirs := <-got; !sameRequest(ours.uri, theirs.uri) || func() bool { ours.uri, theirs.uri = "", ""; return ours != theirs }() {
					t.Errorf("%s %q with %d bytes:\nours     %.200q\nnet/http %.200q", method, target, len(body), fmt.Sprintf("%+v", ours), fmt.Sprintf("%+v", theirs))
				}
			}
		}
	}
}

// sameRequest compares request targets but for characters that net/http encodes in paths and we leave as they are.
func sameRequest(ours, theirs string) bool {
	r := strings.NewReplacer("%7B", "{", "%7D", "}", "%7C", "|", "\xc3\xbc", "%C3%BC", "\xc3\xa4", "%C3%A4")
	return r.Replace(ours) == r.Replace(theirs)
}

func TestErrorsSayWhatHappened(t *testing.T) {
	for name, c := range map[string]struct {
		script script
		want   error
	}{
		"nothing":      {say(), ErrCut},
		"cut body":     {say(ok + "Content-Length: 5\r\n\r\nhe"), ErrCut},
		"garbage":      {say("what?\r\n\r\n"), ErrMalformed},
		"large head":   {say(ok + strings.Repeat("X: y\r\n", 20000)), ErrTooLarge},
		"two lengths":  {say(ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhe"), ErrMalformed},
		"chunk errors": {say(ok + "Transfer-Encoding: chunked\r\n\r\nz" + "\r\n"), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := callOnce(t, "POST", scripted(t, c.script), "{}")
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
