package proxy

import (
	"net"
	"sync"
	"time"
)

// link is one connection from a client through the proxy.
type link struct {
	proxy  *Proxy
	client net.Conn

	mu     sync.Mutex
	target net.Conn // nil until dialled
	peer   string
	began  time.Time
	asked  time.Time // when a request was passed on that has no answer yet
	halved bool
	cut    bool
	ended  time.Time
	over   chan struct{} // closed by end
}

// dial connects to the target; false: it did not, or the link is over.
func (l *link) dial() bool {
	c, err := net.DialTimeout("tcp", l.proxy.target, 5*time.Second)
	if err != nil {
		l.end(true)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended.IsZero() {
		_ = c.Close()
		return false
	}
	l.target, l.peer, l.began = c, c.LocalAddr().String(), time.Now()
	return true
}

// end closes both sides; with cut by a reset, and noted as the proxy's doing. Only the first call counts.
func (l *link) end(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended.IsZero() {
		return
	}
	l.ended, l.cut = time.Now(), cut
	for _, c := range []net.Conn{l.client, l.target} {
		if t, ok := c.(*net.TCPConn); ok {
			if cut {
				_ = t.SetLinger(0)
			}
			_ = t.Close()
		}
	}
	close(l.over)
}

// halve closes the target's side and leaves the client waiting.
func (l *link) halve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.target != nil && l.ended.IsZero() {
		l.halved, l.cut = true, true
		_ = l.target.Close()
	}
}

func (l *link) isHalved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.halved
}

// note remembers how the link ended.
func (l *link) note() {
	l.mu.Lock()
	c := Conn{Peer: l.peer, Began: l.began, Ended: l.ended, Unanswered: l.asked, Cut: l.cut}
	l.mu.Unlock()
	p := l.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
	if c.Peer != "" {
		p.ended = append(p.ended, c)
	}
}

// open waits until the faults let bytes pass; false: the link is over.
func (l *link) open(pass func(Faults) bool) bool {
	for {
		f, changed := l.proxy.now()
		if pass(f) {
			return true
		}
		select {
		case <-changed:
		case <-l.over:
			return false
		}
	}
}

// pieceBytes is the most that is moved at once.
const pieceBytes = 32 << 10

// read moves what one side sends into its pipe until that side is gone. The client's going ends the link at once, as a network does
// not deliver to nobody; the target's lets what it sent go on to the client first, unless the link is halved.
func (l *link) read(from net.Conn, to *pipe) {
	for {
		buf := make([]byte, pieceBytes)
		n, err := from.Read(buf)
		if n > 0 {
			f, _ := l.proxy.now()
			if !to.put(piece{buf[:n], time.Now().Add(f.Latency)}) {
				return
			}
		}
		switch {
		case err == nil:
		case from == l.client:
			l.end(false)
			to.end()
			return
		case l.isHalved():
			<-l.over
			to.end()
			return
		default:
			to.close()
			return
		}
	}
}

// write moves a pipe's pieces to the other side, as late and as slow as the faults say.
func (l *link) write(to net.Conn, from *pipe, pass func(Faults) bool) {
	for {
		p, ok := from.take(l.over)
		if !ok {
			if from.closed() { // the target has said all
				l.end(false)
			}
			return
		}
		if !l.sleep(time.Until(p.due)) || !l.open(pass) {
			return
		}
		if !l.pass(to, p.bytes) {
			return
		}
		if f, _ := l.proxy.now(); f.BytesPerSecond > 0 && !l.sleep(time.Duration(len(p.bytes))*time.Second/time.Duration(f.BytesPerSecond)) {
			return
		}
	}
}

// pass writes bytes and keeps l.asked. It is cleared before the client can have the answer, and with it send the next request. What
// is sent into a halved link is swallowed. It is false when the link is over.
func (l *link) pass(to net.Conn, bytes []byte) bool {
	l.mu.Lock()
	asked := l.asked
	switch {
	case to == l.client:
		l.asked = time.Time{}
	case asked.IsZero():
		l.asked = time.Now()
	}
	l.mu.Unlock()
	if _, err := to.Write(bytes); err == nil {
		return true
	}
	if to != l.client && l.isHalved() {
		return true
	}
	l.mu.Lock()
	if l.asked.IsZero() {
		l.asked = asked
	}
	l.mu.Unlock()
	l.end(false)
	return false
}

// sleep is false if the link ended meanwhile.
func (l *link) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.over:
		return false
	}
}
