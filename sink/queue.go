package sink

import (
	"container/heap"
	"time"
)

// queue is a list of deliveries through their own links: any of them can leave in O(1), and none is copied.
type queue struct {
	head, tail *Delivery
	n          int
}

func (q *queue) pushBack(d *Delivery) {
	d.queued, d.prev, d.next = true, q.tail, nil
	if q.tail != nil {
		q.tail.next = d
	} else {
		q.head = d
	}
	q.tail = d
	q.n++
}

func (q *queue) pushFront(d *Delivery) {
	d.queued, d.prev, d.next = true, nil, q.head
	if q.head != nil {
		q.head.prev = d
	} else {
		q.tail = d
	}
	q.head = d
	q.n++
}

func (q *queue) remove(d *Delivery) {
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		q.head = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		q.tail = d.prev
	}
	d.queued, d.prev, d.next = false, nil, nil
	q.n--
}

// alarm is something that happens at a time; at is counted from the sink's start.
type alarm struct {
	at  time.Duration
	pos int // in the heap, from 1; 0: not set
	// One of them says what happens.
	delivery *Delivery
	target   *target
	sink     func(now time.Duration)
}

// alarms is a heap, the earliest first. One runtime timer serves it, whatever its size.
type alarms []*alarm

func (h alarms) Len() int           { return len(h) }
func (h alarms) Less(i, j int) bool { return h[i].at < h[j].at }
func (h alarms) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

// Push is for container/heap.
func (h *alarms) Push(x any) {
	a := x.(*alarm)
	*h = append(*h, a)
	a.pos = len(*h)
}

// Pop is for container/heap.
func (h *alarms) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	a.pos = 0
	return a
}

// set sets a to at, whether it is set already or not. The caller holds mu.
func (s *Sink) set(a *alarm, at time.Duration) {
	a.at = at
	if a.pos > 0 {
		heap.Fix(&s.alarms, a.pos-1)
	} else {
		heap.Push(&s.alarms, a)
	}
	s.wind()
}

// unset takes a back. The caller holds mu. The timer is left as it is: a tick without work does no harm.
func (s *Sink) unset(a *alarm) {
	if a.pos > 0 {
		heap.Remove(&s.alarms, a.pos-1)
	}
}

// wind sets the timer for the first alarm. The caller holds mu.
func (s *Sink) wind() {
	if len(s.alarms) == 0 || s.closed {
		return
	}
	at := s.alarms[0].at
	if s.timerSet && s.timerAt <= at {
		return
	}
	s.timerAt = at
	in := max(0, at-s.now())
	// ticks counts callbacks that are scheduled or running, for Close.
	switch {
	case s.timer == nil:
		s.ticks.Add(1)
		s.timer = time.AfterFunc(in, s.tick)
	case !s.timer.Reset(in):
		s.ticks.Add(1)
	}
	s.timerSet = true
}

// tick runs the alarms that are due. It runs in the timer's goroutine, for a moment.
func (s *Sink) tick() {
	defer s.ticks.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timerSet = false
	now := s.now()
	for len(s.alarms) > 0 && s.alarms[0].at <= now {
		a := heap.Pop(&s.alarms).(*alarm)
		switch {
		case a.delivery != nil:
			d := a.delivery
			d.target.queue.pushBack(d)
			s.waiting--
			s.refresh(d.target, now)
		case a.target != nil:
			s.refresh(a.target, now)
		default:
			a.sink(now)
		}
	}
	s.stir(now)
	s.wind()
}
