package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// receiverSettings: the API answers after Delay, or never if Stuck.
type receiverSettings struct {
	Delay time.Duration `json:"delay"`
	Stuck bool          `json:"stuck"`
}

// received is what the API has counted: requests, and the time from the first to the last of them.
type received struct {
	Rows  int64         `json:"rows"`
	Took  time.Duration `json:"took"`
	Conns int64         `json:"connections"`
}

func (r received) perSecond() float64 { return float64(r.Rows) / max(r.Took.Seconds(), 1e-9) }

// receiverRole runs an API that costs as little as can be, so that the two cores are the measured program's.
func receiverRole(settings []byte, s *stage) error {
	var set receiverSettings
	if err := json.Unmarshal(settings, &set); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	r := &receiver{settings: set, began: time.Now(), stopped: s.stopped}
	var conns sync.WaitGroup
	conns.Go(func() { r.accept(l, &conns) })
	err = s.tell("http://" + l.Addr().String())
	<-s.stopped.Done()
	_ = l.Close()
	conns.Wait()
	return errors.Join(err, s.tell(received{Rows: r.rows.Load(), Took: time.Duration(r.last.Load() - r.first.Load()), Conns: r.conns.Load()}))
}

type receiver struct {
	settings    receiverSettings
	began       time.Time
	stopped     context.Context
	rows, conns atomic.Int64
	first, last atomic.Int64 // ns since began
}

func (r *receiver) accept(l net.Listener, conns *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed, or out of file descriptors: the senders' errors show that
		}
		r.conns.Add(1)
		conns.Go(func() { r.serve(c) })
	}
}

var (
	headEnd = []byte("\r\n\r\n")
	length  = []byte("content-length:")
	answer  = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
)

// serve answers a connection's requests until either side closes it. It knows what the measured programs send: HTTP/1.1 with a
// Content-Length, no pipelining.
func (r *receiver) serve(c net.Conn) {
	defer context.AfterFunc(r.stopped, func() { _ = c.Close() })()
	defer func() { _ = c.Close() }()
	buf := make([]byte, 0, 8<<10)
	for {
		end := bytes.Index(buf, headEnd)
		if need, ok := bodyBytes(buf, end); ok && len(buf) >= end+len(headEnd)+need {
			buf = append(buf[:0], buf[end+len(headEnd)+need:]...)
			if !r.answer(c) {
				return
			}
			continue
		}
		if len(buf) == cap(buf) {
			return // no request of ours is that long
		}
		n, err := c.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
	}
}

// bodyBytes reads the Content-Length of a head that ends at end, without regard to case; false if the head is not whole.
func bodyBytes(buf []byte, end int) (int, bool) {
	if end < 0 {
		return 0, false
	}
	for line := range bytes.Lines(buf[:end]) {
		if len(line) > len(length) && bytes.EqualFold(line[:len(length)], length) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(line[len(length):])))
			return n, err == nil
		}
	}
	return 0, true
}

func (r *receiver) answer(c net.Conn) bool {
	now := int64(time.Since(r.began))
	r.first.CompareAndSwap(0, now)
	r.last.Store(now)
	r.rows.Add(1)
	switch {
	case r.settings.Stuck:
		<-r.stopped.Done()
		return false
	case r.settings.Delay > 0:
		t := time.NewTimer(r.settings.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.stopped.Done():
			return false
		}
	}
	_, err := c.Write(answer)
	return err == nil
}
