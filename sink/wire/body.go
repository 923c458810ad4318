package wire

import (
	"errors"
)

// readBody reads what follows the head, up to the limit.
func (c *Call) readBody(f framing, l Limits) error {
	in := &c.in
	in.keep, in.body = in.pos, true
	c.resp.reusable = !f.close
	left := l.BodyBytes
	switch {
	case c.req.head || c.resp.Status == 204 || c.resp.Status == 304:
		return nil
	case f.chunked:
		return c.readChunks(&left, l.KeepBody)
	case f.length >= 0:
		if f.length > left {
			c.resp.reusable, c.resp.Truncated = false, true
			if !l.KeepBody {
				return nil
			}
			return c.take(left, l.KeepBody)
		}
		return c.take(f.length, l.KeepBody)
	}
	c.resp.reusable = false // the body ends with the connection
	for {
		n := min(int64(in.end-in.pos), left)
		if err := c.take(n, l.KeepBody); err != nil {
			return err
		}
		if left -= n; left == 0 && (in.pos < in.end || !l.KeepBody) {
			c.resp.Truncated = true
			return nil
		}
		if err := in.fill(); err != nil {
			if errors.Is(err, ErrCut) {
				return nil
			}
			return err
		}
	}
}

// take reads n bytes of the body.
func (c *Call) take(n int64, keep bool) error {
	in := &c.in
	for {
		k := int(min(n, int64(in.end-in.pos)))
		if keep {
			c.resp.body = append(c.resp.body, in.buf[in.pos:in.pos+k]...)
		}
		in.pos += k
		if n -= int64(k); n == 0 {
			return nil
		}
		if err := in.fill(); err != nil {
			return err
		}
	}
}

// readChunks reads a chunked body and its trailers, which are dropped (RFC 9112, 7.1).
func (c *Call) readChunks(left *int64, keep bool) error {
	in := &c.in
	extra := in.limit // of bytes that are not the body's: sizes, extensions, trailers
	for {
		line, err := in.line()
		if err != nil {
			return err
		}
		size, ok := parseChunkSize(line)
		if !ok || in.bare { // a bare LF here is read in two ways by two readers
			return malformed("has a chunk without a size")
		}
		// As in net/http: a chunk pays for 16 bytes of its own overhead, the rest is charged to the limit.
		if extra -= max(0, len(line)-16); extra < 0 {
			return ErrTooLarge
		}
		if size == 0 {
			break
		}
		if size > *left {
			c.resp.reusable, c.resp.Truncated = false, true
			if !keep {
				return nil
			}
			return c.take(*left, keep)
		}
		*left -= size
		if err := c.take(size, keep); err != nil {
			return err
		}
		for in.end-in.pos < 2 {
			if err := in.fill(); err != nil {
				return err
			}
		}
		if string(in.buf[in.pos:in.pos+2]) != "\r\n" {
			return malformed("has a chunk longer than its size")
		}
		in.pos += 2
	}
	for {
		line, err := in.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if extra -= len(line); extra < 0 {
			return ErrTooLarge
		}
	}
}

// parseChunkSize reads the hexadecimal size before a chunk's extensions.
func parseChunkSize(line []byte) (n int64, ok bool) {
	digits := 0
	for _, b := range line {
		var v byte
		switch {
		case '0' <= b && b <= '9':
			v = b - '0'
		case 'a' <= b && b <= 'f':
			v = b - 'a' + 10
		case 'A' <= b && b <= 'F':
			v = b - 'A' + 10
		case b == ';' || b == ' ' || b == '\t':
			return n, digits > 0
		default:
			return 0, false
		}
		if digits++; digits > 15 {
			return 0, false
		}
		n = n<<4 | int64(v)
	}
	return n, digits > 0
}
