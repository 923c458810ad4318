package wire

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"net"
	"strings"
)

// maxInterim is how many interim answers (1xx) may come before the answer.
const maxInterim = 8

// Response is an answer. It lies in its Call's memory.
type Response struct {
	// Status is from 200 to 999.
	Status int
	// Head is the header block as received, without the status line and the empty line behind it.
	Head []byte
	// Truncated says that the body is longer than Limits.BodyBytes, or may be: the rest was not read.
	Truncated bool

	reusable bool // the connection may carry another request
	body     []byte
}

// Body is what was kept of the body.
func (r *Response) Body() []byte { return r.body }

// Header gives the first value of the named header, without surrounding blanks, "" if there is none.
func (r *Response) Header(name string) string {
	for rest := r.Head; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		n, v, ok := bytes.Cut(line, []byte(":"))
		if ok && len(n) == len(name) && strings.EqualFold(string(n), name) {
			return string(bytes.Trim(v, " \t\r"))
		}
	}
	return ""
}

// Lines are the header lines in their order, values without surrounding blanks. A line that was folded is one (RFC 9112, 5.2).
func (r *Response) Lines() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		name, value := "", ""
		for line := range bytes.Lines(r.Head) {
			line = bytes.TrimRight(line, " \t\r\n")
			if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
				value += " " + string(bytes.TrimLeft(line, " \t"))
				continue
			}
			if name != "" && !yield(name, value) {
				return
			}
			n, v, _ := bytes.Cut(line, []byte(":"))
			name, value = string(bytes.TrimRight(n, " \t")), string(bytes.TrimLeft(v, " \t"))
		}
		if name != "" {
			yield(name, value)
		}
	}
}

// framing is what the header says about where the body ends.
type framing struct {
	head    []byte // the header block itself
	length  int64  // -1: not given
	chunked bool
	close   bool
}

// read reads the answer, interim answers aside.
func (c *Call) read(l Limits) error {
	limit := c.req.host.client.o.HeadBytes
	c.in.limit = limit
	for range maxInterim {
		status, f, err := c.readHead()
		if err != nil {
			return err
		}
		if status < 200 {
			if status == 101 {
				return malformed("switches to a protocol that was not asked for")
			}
			c.in.limit -= c.in.pos
			c.in.forget()
			continue
		}
		c.resp.Status, c.resp.Head = status, f.head
		return c.readBody(f, l)
	}
	return malformed("has too many interim answers")
}

// readHead reads a status line and header lines. RFC 9112, strict where two readers could differ about the body's end; a bare LF
// ends a line, as net/http takes it too.
func (c *Call) readHead() (status int, f framing, err error) {
	in := &c.in
	start := in.pos
	line, err := in.line()
	if err != nil {
		return 0, f, err
	}
	status, old, ok := parseStatus(line)
	if !ok {
		return 0, f, malformed("has no HTTP/1.x status line")
	}
	f = framing{length: -1, close: old}
	encoded, previous := false, false
	headAt := in.pos - start
	for {
		lineAt := in.pos - start
		if line, err = in.line(); err != nil {
			return 0, f, err
		}
		if len(line) == 0 {
			f.head = in.buf[start+headAt : start+lineAt]
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if !previous {
				return 0, f, malformed("continues a header line that must stand alone")
			}
			continue
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			return 0, f, malformed("has a header line without a colon")
		}
		// A blank before the colon is wrong, but harmful only in a header that says where the body ends.
		name := bytes.TrimRight(line[:colon], " \t")
		if !isToken(name) || len(name) < colon && isFraming(name) {
			return 0, f, malformed("has a header line without a name")
		}
		previous = false
		value := bytes.Trim(line[colon+1:], " \t")
		switch {
		case foldsTo(name, "content-length"):
			n, ok := parseLength(value)
			if !ok || f.length >= 0 && f.length != n {
				return 0, f, malformed("has no single Content-Length")
			}
			f.length = n
		case foldsTo(name, "transfer-encoding"):
			if encoded || !foldsTo(value, "chunked") {
				return 0, f, malformed("has a transfer coding other than chunked")
			}
			encoded, f.chunked = true, true
		case foldsTo(name, "connection"):
			f.close = f.close || hasToken(value, "close")
		default:
			previous = true
		}
	}
	if f.chunked && (f.length >= 0 || old) {
		return 0, f, malformed("says in two ways where its body ends")
	}
	return status, f, nil
}

// isFraming names the headers on which the body's end depends.
func isFraming(name []byte) bool {
	return foldsTo(name, "content-length") || foldsTo(name, "transfer-encoding") || foldsTo(name, "connection")
}

// parseStatus reads "HTTP/1.1 200 OK"; old says that it was HTTP/1.0.
func parseStatus(line []byte) (status int, old, ok bool) {
	if len(line) < len("HTTP/1.1 200") || string(line[:len("HTTP/1.")]) != "HTTP/1." || line[8] != ' ' {
		return 0, false, false
	}
	switch line[7] {
	case '0':
		old = true
	case '1':
	default:
		return 0, false, false
	}
	for _, b := range line[9:12] {
		if b < '0' || b > '9' {
			return 0, false, false
		}
		status = status*10 + int(b-'0')
	}
	return status, old, status >= 100 && (len(line) == 12 || line[12] == ' ')
}

func parseLength(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	for _, b := range v {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + int64(b-'0')
	}
	return n, true
}

// foldsTo compares with a name in lower case.
func foldsTo(v []byte, lower string) bool {
	if len(v) != len(lower) {
		return false
	}
	for i, b := range v {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		if b != lower[i] {
			return false
		}
	}
	return true
}

func hasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		item, list, _ = bytes.Cut(list, []byte(","))
		if foldsTo(bytes.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}

// malformedError says what of an answer is wrong. It never repeats the answer.
type malformedError struct{ what string }

func (e *malformedError) Error() string        { return "malformed response: it " + e.what }
func (e *malformedError) Is(target error) bool { return target == ErrMalformed }

func malformed(what string) error { return &malformedError{what} }

// reader reads an answer from a connection into one buffer.
type reader struct {
	src      net.Conn
	call     *Call // whose time it is; nil: nobody's
	late     bool  // the time was up, see overtime
	buf      []byte
	pos, end int
	keep     int  // bytes before it stay where they are
	body     bool // past the head: what was read and is not kept gives its place
	limit    int  // of the head's lines together
	got      bool // a byte has arrived
	bare     bool // the last line ended with LF alone
}

func (r *reader) reset(src net.Conn, call *Call) {
	buf := r.buf
	if buf == nil || cap(buf) > keptBuffer {
		buf = make([]byte, 4<<10)
	}
	*r = reader{src: src, call: call, buf: buf}
}

// drained says that nothing came behind the answer.
func (r *reader) drained() bool { return r.pos == r.end }

// forget gives up what was read so far.
func (r *reader) forget() {
	r.end = copy(r.buf, r.buf[r.pos:r.end])
	r.pos = 0
}

// fill reads more. An error is *Error, with ErrCut in the place of an end that comes too early.
func (r *reader) fill() error {
	if r.body && r.pos > r.keep {
		r.end = r.keep + copy(r.buf[r.keep:], r.buf[r.pos:r.end])
		r.pos = r.keep
	}
	if len(r.buf)-r.end < 512 {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		if n > 0 {
			r.end += n
			r.got = true
			return nil
		}
		if err != nil {
			if !r.late && r.call != nil && isTimeout(err) && r.call.overtime() {
				r.late = true
				continue
			}
			if errors.Is(err, io.EOF) {
				err = ErrCut
			}
			return &Error{OpRead, err}
		}
	}
	return &Error{OpRead, io.ErrNoProgress}
}

// line gives the next line without its end, and counts it against the limit. It is valid until the next fill.
func (r *reader) line() ([]byte, error) {
	for from := r.pos; ; {
		if i := bytes.IndexByte(r.buf[from:r.end], '\n'); i >= 0 {
			line := r.buf[r.pos : from+i]
			if !r.body && from+i+1 > r.limit {
				return nil, ErrTooLarge
			}
			r.pos = from + i + 1
			if r.bare = !bytes.HasSuffix(line, []byte{'\r'}); !r.bare {
				line = line[:len(line)-1]
			}
			return line, nil
		}
		if r.end > r.limit && !r.body || r.body && r.end-r.pos > r.limit {
			return nil, ErrTooLarge
		}
		seen := r.end - r.pos
		if err := r.fill(); err != nil {
			return nil, err
		}
		from = r.pos + seen
	}
}
