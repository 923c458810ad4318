package consumer

import (
	"fmt"
	"sync"
	"time"

	"streamer/sink"
)

// redriveObserver keeps why rows wait.
type redriveObserver struct {
	metrics *metrics
	job     string

	mu      sync.Mutex
	waiting string
}

// Attempt implements sink.Observer.
func (o *redriveObserver) Attempt(class sink.Class, status int, _ time.Duration) {
	o.metrics.attempts.WithLabelValues(o.job, string(class), fmt.Sprint(status)).Inc()
	if class == sink.Delivered {
		o.note("")
	}
}

// Waiting implements sink.Observer.
func (o *redriveObserver) Waiting(_ *sink.Delivery, out sink.Outcome, _ time.Time) {
	o.note("rows wait: " + string(out.Class) + ": " + out.Reason)
}

// BreakerOpen implements sink.Observer.
func (o *redriveObserver) BreakerOpen(target string, open bool) {
	if open {
		o.note("breaker open: no attempts but probes until " + target + " answers")
	}
}

// Held implements sink.Observer.
func (o *redriveObserver) Held(target string, h sink.Hold, on bool) {
	o.note("")
	if on {
		o.note(fmt.Sprintf("%s is held: %s: %s", target, h.Class, h.Cause))
	}
}

func (o *redriveObserver) note(waiting string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = waiting
}

func (o *redriveObserver) cause() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting
}
