// Package proxy spoils the network between streamer and what it talks to: a TCP proxy on loopback that becomes slow, silent or deaf,
// or breaks its connections, on command. It remembers how each connection ended, so that a checker knows which answers were lost.
package proxy

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Faults is what happens to the bytes of all connections, present and future. The zero Faults is a good network.
type Faults struct {
	// Latency delays every piece, in each direction.
	Latency time.Duration
	// BytesPerSecond limits each direction of each connection; 0: no limit.
	BytesPerSecond int
	// Silent lets nothing pass in either direction: a black hole. Connections stay, and new ones are taken and hang. What was held
	// back goes on its way when the hole closes, if both ends still wait.
	Silent bool
	// Deaf lets requests pass and holds answers back.
	Deaf bool
	// Refuse breaks new connections at once.
	Refuse bool
}

// Conn tells how a connection went that has ended.
type Conn struct {
	// Peer is the proxy's end as the target saw it.
	Peer         string
	Began, Ended time.Time
	// Unanswered is when a request was passed on whose answer did not reach the client's machine; zero: there is none.
	Unanswered time.Time
	// Cut says that the proxy broke the connection: what had reached the client's machine may not have been read there.
	Cut bool
}

// Proxy carries connections to one target. Its methods may be called from any goroutine.
type Proxy struct {
	target   string
	listener net.Listener
	done     chan struct{}
	running  sync.WaitGroup

	mu      sync.Mutex
	faults  Faults
	changed chan struct{} // closed and replaced by Set
	links   map[*link]struct{}
	ended   []Conn
}

// Listen starts a proxy at address (127.0.0.1:0 for any port) before target, which need not be there yet. Close it when done.
func Listen(address, target string) (*Proxy, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{target: target, listener: l, done: make(chan struct{}), changed: make(chan struct{}), links: map[*link]struct{}{}}
	p.running.Add(1)
	go p.accept() // ends when the listener is closed
	return p, nil
}

// Addr is host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set replaces the faults, for all connections.
func (p *Proxy) Set(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
	close(p.changed)
	p.changed = make(chan struct{})
}

// Cut breaks all present connections at both ends, with a reset, and gives their number.
func (p *Proxy) Cut() int {
	all := p.present()
	for _, l := range all {
		l.end(true)
	}
	return len(all)
}

// HalfOpen ends all present connections at the target only: the clients hear nothing of it. It gives their number.
func (p *Proxy) HalfOpen() int {
	all := p.present()
	for _, l := range all {
		l.halve()
	}
	return len(all)
}

// Ended gives the connections that have ended so far.
func (p *Proxy) Ended() []Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Conn(nil), p.ended...)
}

// Open is the number of present connections.
func (p *Proxy) Open() int { return len(p.present()) }

// Close breaks everything and waits for the proxy's goroutines. It may be called again.
func (p *Proxy) Close() {
	p.mu.Lock()
	select {
	case <-p.done:
	default:
		close(p.done)
		_ = p.listener.Close()
	}
	p.mu.Unlock()
	p.Cut()
	p.running.Wait()
}

func (p *Proxy) present() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*link, 0, len(p.links))
	for l := range p.links {
		all = append(all, l)
	}
	return all
}

// now gives the faults, and what is closed when they change.
func (p *Proxy) now() (Faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.changed
}

func (p *Proxy) accept() {
	defer p.running.Done()
	for {
		c, err := p.listener.Accept()
		if err != nil {
			select {
			case <-p.done:
				return
			case <-time.After(10 * time.Millisecond): // out of file descriptors: let some be given back
			}
			continue
		}
		p.running.Add(1)
		go p.carry(c) // ends with the connection; Close breaks it
	}
}

// carry opens the way to the target once the network lets it, and moves bytes until either end is gone.
func (p *Proxy) carry(client net.Conn) {
	defer p.running.Done()
	l := &link{proxy: p, client: client, over: make(chan struct{})}
	p.mu.Lock()
	p.links[l] = struct{}{}
	p.mu.Unlock()
	defer l.note()
	select {
	case <-p.done: // it came after Close had looked
		l.end(true)
	default:
	}
	f, _ := p.now()
	if f.Refuse {
		l.end(true)
		return
	}
	up, down := newPipe(), newPipe()
	var reading sync.WaitGroup
	reading.Go(func() { l.read(client, up) }) // before the target is dialled: a client that goes away is noticed in a black hole too
	if l.open(func(f Faults) bool { return !f.Silent }) && l.dial() {
		reading.Go(func() { l.read(l.target, down) })
		var writing sync.WaitGroup
		writing.Go(func() { l.write(l.target, up, func(f Faults) bool { return !f.Silent }) })
		writing.Go(func() { l.write(client, down, func(f Faults) bool { return !f.Silent && !f.Deaf }) })
		writing.Wait()
	}
	l.end(false)
	up.end()
	down.end()
	reading.Wait()
}
