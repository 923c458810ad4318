package demo

import (
	"sync/atomic"
	"time"
)

// weather says how the APIs are doing: an outage and two spells of refusals in each cycle, calm when the demo drains.
type weather struct {
	begun  atomic.Int64 // UnixNano; 0: not yet
	calm   atomic.Bool
	length time.Duration
}

// cycle is the longest time from one outage to the next.
const cycle = 20 * time.Second

func newWeather(whole time.Duration) *weather {
	w := &weather{length: cycle}
	if whole > 0 && whole < cycle {
		w.length = whole
	}
	return w
}

func (w *weather) begin() { w.begun.Store(time.Now().UnixNano()) }
func (w *weather) end()   { w.calm.Store(true) }

// share is how much of the present cycle is over, below 0 when there is no weather.
func (w *weather) share() float64 {
	begun := w.begun.Load()
	if begun == 0 || w.calm.Load() {
		return -1
	}
	return float64((time.Now().UnixNano()-begun)%int64(w.length)) / float64(w.length)
}

// down: the registry is away. busy: it asks callers to come back later.
func (w *weather) down() bool { s := w.share(); return s >= 0.30 && s < 0.45 }
func (w *weather) busy() bool {
	s := w.share()
	return s >= 0.14 && s < 0.18 || s >= 0.60 && s < 0.64
}
