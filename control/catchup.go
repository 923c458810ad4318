package control

import (
	"context"
	"sync"
	"time"
)

// caughtWithin bounds what a write is held up for, so that this instance shows it when it is answered. It was made by then.
const caughtWithin = 5 * time.Second

// passes are the looks that follow takes at the log, one after the other.
type passes struct {
	asked chan struct{} // capacity 1: somebody waits for the next one

	mu      sync.Mutex
	waiting []chan struct{} // closed when a look that begins from now on has ended
	over    bool
}

// begin takes those who wait for the look that begins now.
func (p *passes) begin() []chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.waiting
	p.waiting = nil
	return waiting
}

// end lets nobody wait any more.
func (p *passes) end() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	for _, caught := range p.begin() {
		close(caught)
	}
}

// next gives what is closed when a look that has not begun yet has ended; nil: there is none.
func (p *passes) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return nil
	}
	caught := make(chan struct{})
	p.waiting = append(p.waiting, caught)
	select {
	case p.asked <- struct{}{}:
	default:
	}
	return caught
}

// CatchUp returns when the jobs of this instance are as the log had them when it was called, after some seconds at the latest. It is asked
// for after a write, which is answered then: whoever asks this instance next finds what he has written.
func (s *Supervisor) CatchUp(ctx context.Context) {
	caught := s.pass.next()
	if caught == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, caughtWithin)
	defer cancel()
	select {
	case <-caught:
	case <-ctx.Done():
	}
}
