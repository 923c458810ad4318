package sink

import (
	"time"

	"streamer/sink/wire"
)

// trimEvery is how often workers that had nothing to do in all that time are let go.
const trimEvery = 10 * time.Second

// worker is a goroutine that makes attempts, with the buffers for one. Workers are born when rows are ready and nobody is free, up
// to Config.Concurrency; one that finds nothing sleeps in Sink.idle, and ends when it was not needed for trimEvery, or by Close.
type worker struct {
	call wire.Call
	wake chan struct{} // closed: end
	left *Scope        // whose row it has just finished
}

// stir wakes or makes one worker if rows are ready beyond those for whom one is on its way. One is enough: whoever picks a row
// stirs again. The caller holds mu.
func (s *Sink) stir(now time.Duration) {
	if s.ready <= s.searching || !s.mayStart(now) {
		return
	}
	if n := len(s.idle); n > 0 {
		w := s.idle[n-1]
		s.idle[n-1] = nil
		s.idle = s.idle[:n-1]
		s.idleLow = min(s.idleLow, n-1)
		s.searching++
		w.wake <- struct{}{}
		return
	}
	if s.workers < s.c.Concurrency {
		s.workers++
		s.searching++
		s.gone.Add(1)
		go s.work(&worker{wake: make(chan struct{}, 1)})
	}
}

// work is a worker's life. It begins and, behind every pick, comes back counted in Sink.searching.
func (s *Sink) work(w *worker) {
	defer s.gone.Done()
	for {
		if d := s.take(w); d != nil {
			s.deliver(w, d)
		} else if _, awake := <-w.wake; !awake {
			return
		}
	}
}

// take picks the worker's next row; nil: none, and the worker is noted as idle.
func (s *Sink) take(w *worker) *Delivery {
	var wait time.Duration
	if s.permit != nil {
		wait = s.permit()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.searching--
	if w.left != nil {
		w.left.leave()
		w.left = nil
	}
	defer s.spare()
	if s.closed {
		close(w.wake)
		s.workers--
		return nil
	}
	now := s.now()
	if s.shut = wait > 0; s.shut {
		s.set(&s.gate, now+max(wait, time.Millisecond))
	}
	d := s.pick(now)
	if d == nil {
		s.idle = append(s.idle, w)
		if s.trim.pos == 0 {
			s.idleLow = 0
			s.set(&s.trim, now+trimEvery)
		}
		return nil
	}
	d.worker = w
	w.call.Reset()
	s.stir(now)
	return d
}

// trimIdle lets those workers go that were idle all the time since the last trim: the lowest of the stack.
func (s *Sink) trimIdle(now time.Duration) {
	n := s.idleLow
	for _, w := range s.idle[:n] {
		close(w.wake)
	}
	s.workers -= n
	kept := copy(s.idle, s.idle[n:])
	clear(s.idle[kept:])
	s.idle = s.idle[:kept]
	s.idleLow = kept
	if kept > 0 || s.workers > 0 && len(s.idle) > 0 {
		s.set(&s.trim, now+trimEvery)
	}
}
