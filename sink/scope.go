package sink

import (
	"context"
	"time"

	"streamer/sink/wire"
)

// Scope is the deliveries of one assignment of one partition: they end together.
type Scope struct {
	sink *Sink

	// guarded by sink.mu
	ending  bool
	first   *Delivery     // all its rows, through their siblings' links
	running int           // rows in a worker's hands, Final included
	idle    chan struct{} // closed when running comes to 0 while ending
}

// NewScope makes a scope; end it by Drain or Cancel.
func (s *Sink) NewScope() *Scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := &Scope{sink: s, idle: make(chan struct{})}
	s.scopes[sc] = struct{}{}
	if s.closed {
		sc.end()
	}
	return sc
}

// Deliver takes d until its Final. It never blocks and never calls Final itself. Rows start in the order of their Deliver as far as
// target and retries allow. After Drain, Cancel or Close it does nothing.
func (sc *Scope) Deliver(d *Delivery) {
	s := sc.sink
	now := s.now()
	var evicted []*wire.Host
	s.mu.Lock()
	if sc.ending || s.closed {
		s.mu.Unlock()
		return
	}
	d.state = state{scope: sc, attempts: d.Made}
	d.alarm.delivery = d
	p, rest, evicted, err := s.locate(d.Request.URL, now)
	if err != nil {
		d.target, d.fault = s.nowhere, err.Error()
	} else {
		d.target, d.user, d.rest = p.target, p.user, rest
	}
	sc.link(d)
	t := d.target
	t.used = now
	t.rows++
	t.queue.pushBack(d)
	s.refresh(t, now)
	s.stir(now)
	s.tell()
	s.mu.Unlock()
	for _, h := range evicted {
		h.Close()
	}
}

// Drain starts no attempt any more, forgets the rows that wait, and returns when the attempts running have ended and their Final
// has returned; when ctx ends first they are broken off. Do not call it from Final, nor with a lock held that Final takes.
func (sc *Scope) Drain(ctx context.Context) {
	s := sc.sink
	s.mu.Lock()
	idle := sc.end()
	s.tell()
	s.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
		s.mu.Lock()
		sc.abort()
		s.mu.Unlock()
		<-idle
	}
}

// Cancel is Drain without patience.
func (sc *Scope) Cancel() {
	s := sc.sink
	s.mu.Lock()
	idle := sc.end()
	sc.abort()
	s.tell()
	s.mu.Unlock()
	<-idle
}

// end drops the rows that are in no worker's hands. The channel is closed when none is any more. The caller holds mu.
func (sc *Scope) end() <-chan struct{} {
	if sc.ending {
		return sc.idle
	}
	s := sc.sink
	sc.ending = true
	delete(s.scopes, sc)
	now := s.now()
	for d := sc.first; d != nil; {
		next := d.younger
		if !d.inHand {
			s.release(d, now)
		}
		d = next
	}
	if sc.running == 0 {
		close(sc.idle)
	}
	s.stir(now) // a target that shared the slots may be alone now
	return sc.idle
}

// abort breaks the attempts running. The caller holds mu.
func (sc *Scope) abort() {
	for d := sc.first; d != nil; d = d.younger {
		if d.worker != nil {
			d.worker.call.Abort()
		}
	}
}

// leave notes that a worker is done with one of the scope's rows. The caller holds mu.
func (sc *Scope) leave() {
	if sc.running--; sc.running == 0 && sc.ending {
		close(sc.idle)
	}
}

func (sc *Scope) link(d *Delivery) {
	d.younger, d.older = sc.first, nil
	if sc.first != nil {
		sc.first.older = d
	}
	sc.first = d
}

func (sc *Scope) unlink(d *Delivery) {
	if d.older != nil {
		d.older.younger = d.younger
	} else {
		sc.first = d.younger
	}
	if d.younger != nil {
		d.younger.older = d.older
	}
	d.older, d.younger = nil, nil
}

// release takes d out of all lists: the sink does not know it any more. The caller holds mu.
func (s *Sink) release(d *Delivery, now time.Duration) {
	t := d.target
	switch {
	case d.queued:
		t.queue.remove(d)
	case d.alarm.pos > 0:
		s.unset(&d.alarm)
		s.waiting--
	}
	s.setUnproven(d, false)
	d.scope.unlink(d)
	if t.rows--; t.rows == 0 {
		s.unshow(t) // nobody waits for it; the next row is still a probe
	}
	if t.hold.sole == d {
		t.hold.sole = nil
	}
	s.refresh(t, now)
}
