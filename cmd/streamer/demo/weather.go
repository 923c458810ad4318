package demo

import (
	"cmp"
	"sync/atomic"
	"time"
)

// weather says when the APIs are in trouble. Time is cut into cycles: in each there is an outage and two spells of refusals, until the
// weather is calm because the demo comes to its end.
type weather struct {
	begun  atomic.Int64 // UnixNano; 0: not yet
	calm   atomic.Bool
	length time.Duration // of a cycle
}

// longest is the longest time from one outage to the next.
const longest = 20 * time.Second

func newWeather(o Options) *weather {
	w := &weather{length: cmp.Or(o.cycle, longest)}
	if o.For > 0 {
		w.length = min(w.length, o.For)
	}
	return w
}

func (w *weather) begin() { w.begun.Store(time.Now().UnixNano()) }
func (w *weather) end()   { w.calm.Store(true) }

// cycle gives the number of the present cycle, from 1, and how much of it is over; 0 when there is no weather.
func (w *weather) cycle() (n int64, over float64) {
	begun := w.begun.Load()
	if begun == 0 || w.calm.Load() {
		return 0, 0
	}
	since := time.Now().UnixNano() - begun
	return since/int64(w.length) + 1, float64(since%int64(w.length)) / float64(w.length)
}

// busy says that the registry asks some callers to come back later.
func (w *weather) busy() bool {
	n, over := w.cycle()
	return n > 0 && (over >= 0.14 && over < 0.18 || over >= 0.60 && over < 0.64)
}

// outage is the registry's. It is used under the lock of its API.
type outage struct {
	weather *weather
	cycle   int64 // in which it was last
	begun   time.Time
	on      bool
	hit     map[string]bool // keys of requests that met it
}

// Where in a cycle an outage begins, how long it lasts, and how many rows it meets at least: on a slow machine, too, a breaker opens.
const (
	outageFrom = 0.30
	outageFor  = 0.15
	outageRows = 6
)

// meets says whether a request meets the outage, and whether that has just begun or ended.
func (o *outage) meets(key string) (on, turned bool) {
	cycle, over := o.weather.cycle()
	was := o.on
	switch {
	case cycle == 0:
		o.on = false
	case !o.on && over >= outageFrom && cycle > o.cycle:
		o.on, o.cycle, o.begun, o.hit = true, cycle, time.Now(), map[string]bool{}
	case o.on && len(o.hit) >= outageRows && time.Since(o.begun).Seconds() >= outageFor*o.weather.length.Seconds():
		o.on = false
	}
	if o.on {
		o.hit[key] = true
	}
	return o.on, o.on != was
}
