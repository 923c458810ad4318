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
	// Announce are numbers of rows at which the API tells what it has received so far; with Numbers, of rows that differ.
	Announce []int64 `json:"announce"`
	// Clock says that a row's number is the time of its append. Rows with small numbers are not timed.
	Clock bool `json:"clock"`
	// Numbers says that rows are told apart by their numbers, from 1 to this.
	Numbers int `json:"numbers"`
	// StuckID is a key whose requests are not answered, or answered by 503 if Refuse, until so many others were received.
	StuckID string `json:"stuck_id"`
	Refuse  bool   `json:"refuse"`
	Others  int64  `json:"others"`
}

// received is what the API has counted.
type received struct {
	Rows  int64         `json:"rows"`        // requests; with a stuck key those of the others
	Took  time.Duration `json:"took"`        // from the first request to the last
	Conns int64         `json:"connections"` // accepted
	Again int64         `json:"again"`       // rows that were there before, if they have numbers
	Gap   time.Duration `json:"gap"`         // the longest time without a new row since the first announcement
	P50   time.Duration `json:"p50"`         // from append to arrival
	P99   time.Duration `json:"p99"`
	Timed int64         `json:"timed"` // rows of which P50 and P99 were taken
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
	r := &receiver{settings: set, announce: set.Announce, began: time.Now(), stopped: s.stopped, tell: s.tell, free: make(chan struct{})}
	err = s.tell("http://" + l.Addr().String())
	var conns sync.WaitGroup
	conns.Go(func() { r.accept(l, &conns) })
	<-s.stopped.Done()
	_ = l.Close()
	conns.Wait()
	return errors.Join(err, s.tell(r.received()))
}

type receiver struct {
	settings receiverSettings
	began    time.Time
	stopped  context.Context
	tell     func(any) error
	free     chan struct{} // closed when the stuck key is stuck no more
	conns    atomic.Int64
	rows     atomic.Int64
	first    atomic.Int64 // ns since began
	last     atomic.Int64

	mu       sync.Mutex // of what is counted only if the settings ask for it
	arrivals arrivals
	announce []int64 // still to come
}

func (r *receiver) received() received {
	got := received{Rows: r.rows.Load(), Took: time.Duration(r.last.Load() - r.first.Load()), Conns: r.conns.Load()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrivals.sum(&got)
	return got
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
	fine    = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	refusal = []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
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
			body := buf[end+len(headEnd):][:need]
			answer := r.take(body)
			buf = append(buf[:0], buf[end+len(headEnd)+need:]...)
			if answer == nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
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

// take counts a request and gives its answer when it is due; nil: the receiver ends.
func (r *receiver) take(body []byte) []byte {
	now := time.Now()
	if r.settings.StuckID != "" && timed(numberOf(body)) && bytes.Contains(body, []byte(r.settings.StuckID)) {
		return r.stuck()
	}
	at := int64(now.Sub(r.began))
	r.first.CompareAndSwap(0, at)
	r.last.Store(at)
	n := r.rows.Add(1)
	if r.settings.Clock || r.settings.Numbers > 0 {
		r.count(numberOf(body), now)
	}
	if n == r.settings.Others && r.settings.StuckID != "" {
		close(r.free)
	}
	switch {
	case r.settings.Stuck:
		<-r.stopped.Done()
		return nil
	case r.settings.Delay > 0:
		t := time.NewTimer(r.settings.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.stopped.Done():
			return nil
		}
	}
	return fine
}

// stuck is the answer to a request of the stuck key.
func (r *receiver) stuck() []byte {
	if r.settings.Refuse {
		select {
		case <-r.free:
			return fine
		default:
			return refusal
		}
	}
	select {
	case <-r.free:
		return fine
	case <-r.stopped.Done():
		return nil
	}
}

// count does what the settings ask for beyond the mere number of requests.
func (r *receiver) count(number int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rows := r.arrivals.note(number, r.settings, now)
	if len(r.announce) == 0 || rows < r.announce[0] {
		return
	}
	if len(r.announce) == len(r.settings.Announce) {
		r.arrivals.gap = 0
	}
	r.announce = r.announce[1:]
	got := received{Rows: rows, Took: time.Duration(r.last.Load() - r.first.Load()), Again: r.arrivals.again}
	if err := r.tell(got); err != nil {
		r.announce = nil // who asked is gone
	}
}
