package sinktest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// maxBody bounds one request, so that a broken test does not take the machine's memory.
const maxBody = 256 << 20

var errRequest = errors.New("receiver: not a request it understands")

// readRequest reads one request. It knows Content-Length only: the sink sends no chunks.
func (r *Receiver) readRequest(in *bufio.Reader) (a *Attempt, keep bool, err error) {
	line, err := readLine(in)
	if err != nil {
		return nil, false, err
	}
	method, rest, ok1 := bytes.Cut(line, []byte(" "))
	path, proto, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || string(proto) != "HTTP/1.1" {
		return nil, false, errRequest
	}
	a = &Attempt{Method: string(method), Path: string(path), Partition: -1, Offset: -1, Row: -1}
	keep = true
	length := int64(0)
	for {
		if line, err = readLine(in); err != nil {
			return nil, false, err
		}
		if len(line) == 0 {
			break
		}
		n, v, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return nil, false, errRequest
		}
		v = bytes.TrimSpace(v)
		if r.KeepHeaders {
			a.Header = append(a.Header, Header{string(n), string(v)})
		}
		switch {
		case is(n, "Content-Length"):
			if length, err = strconv.ParseInt(string(v), 10, 64); err != nil || length < 0 || length > maxBody {
				return nil, false, errRequest
			}
		case is(n, "Transfer-Encoding"):
			return nil, false, errRequest
		case is(n, "Connection"):
			keep = !strings.EqualFold(string(v), "close")
		case is(n, "Idempotency-Key"):
			a.Key = string(v)
		case is(n, "X-Lane"):
			a.Lane = string(v)
		case is(n, "Streamer-Topic"):
			a.Topic = string(v)
		case is(n, "Streamer-Partition"):
			a.Partition = int32(number(v))
		case is(n, "Streamer-Offset"):
			a.Offset = number(v)
		case is(n, "Streamer-Row"):
			a.Row = int(number(v))
		case is(n, "Streamer-Route"):
			a.Route = string(v)
		case is(n, "Streamer-Step"):
			a.Step = string(v)
		case is(n, "Streamer-Attempt"):
			a.Attempt = int(number(v))
		}
	}
	if r.DropBodies {
		_, err = io.CopyN(io.Discard, in, length)
	} else if length > 0 {
		a.Body = make([]byte, length)
		_, err = io.ReadFull(in, a.Body)
	}
	if r.Lane != nil {
		a.Lane = r.Lane(a)
	}
	return a, keep, err
}

// readLine gives a line without its end, valid until the next read; long ones are read on into memory of their own.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		head := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(head) < 1<<20 {
			line, err = in.ReadSlice('\n')
			head = append(head, line...)
		}
		line = head
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func is(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// number reads a header's number; -1 stands for none.
func number(v []byte) int64 {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
