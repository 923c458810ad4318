package demo

import (
	"encoding/json"
	"math/rand/v2"
	"sync"
	"time"

	"streamer/sink/sinktest"
)

// The two receiving APIs.
const (
	registryName  = "registry"
	dashboardName = "dashboard"
)

// api is a receiving API. It knows nothing of streamer: it sees requests, and remembers idempotency keys as a good API does.
type api struct {
	name     string
	receiver *sinktest.Receiver
	weather  *weather
	story    *story

	mu       sync.Mutex
	requests int
	known    map[string]bool // keys of requests that were carried out
	repeats  int             // requests that came again after they had been carried out
	accepted map[string]int  // by job
	failed   map[string]int  // by job: answered with a trouble of the API's own, or not at all
	trouble  string          // the last of them
	outage   outage
	down     bool // the request that is looked at meets the outage
}

func startAPI(name string, w *weather, s *story) (*api, error) {
	a := &api{name: name, weather: w, story: s, outage: outage{weather: w}, known: map[string]bool{}, accepted: map[string]int{}, failed: map[string]int{}}
	answer := a.dashboard
	if name == registryName {
		answer = a.registry
	}
	var err error
	a.receiver, err = sinktest.Listen(func(at *sinktest.Attempt) sinktest.Answer { return a.take(at, answer) })
	if err != nil {
		return nil, err
	}
	a.receiver.KeepHeaders = true // for the first requests, which are shown
	return a, nil
}

// reply is an answer, with what it does to the API.
type reply struct {
	sinktest.Answer
	// done: the request was carried out, also when its answer does not arrive.
	done bool
	// trouble names what is wrong with the API, in a few words; empty: nothing.
	trouble string
}

// take counts a request, has it answered and tells the story.
func (a *api) take(at *sinktest.Attempt, answer func(n int, at *sinktest.Attempt) reply) sinktest.Answer {
	r, _ := roleOf(at.Path)
	a.mu.Lock()
	a.requests++
	turned := false
	if a.name == registryName {
		a.down, turned = a.outage.meets(at.Key)
	}
	down := a.down
	re := answer(a.requests, at)
	if a.known[at.Key] {
		a.repeats++
	}
	if re.done {
		a.known[at.Key] = true
	}
	if re.trouble != "" {
		a.failed[r.job]++
		a.trouble = re.trouble
	} else if re.done {
		a.accepted[r.job]++
	}
	a.mu.Unlock()
	if turned {
		a.story.outage(down)
	}
	a.story.attempt(a.name, r.job, at, re)
	return re.Answer
}

// seen gives what the API did for a job.
func (a *api) seen(job string) (accepted, failed int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.accepted[job], a.failed[job]
}

// lastTrouble is what the API last failed with.
func (a *api) lastTrouble() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.trouble
}

// recognised gives the number of requests that came again after they had been carried out.
func (a *api) recognised() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.repeats
}

// Which requests the registry is unlucky with.
const (
	cutEvery   = 149
	resetEvery = 97
)

// registry keeps households. It has an outage, is busy at times, loses connections, and refuses what makes no sense.
func (a *api) registry(n int, at *sinktest.Attempt) reply {
	delay := between(5*time.Millisecond, 30*time.Millisecond)
	switch {
	case a.down && n%3 == 0:
		return reply{Answer: sinktest.Answer{Fault: sinktest.Reset}, trouble: "connection reset"}
	case a.down:
		return reply{Answer: sinktest.Answer{Status: 502, Body: []byte("bad gateway\n")}, trouble: "502 Bad Gateway"}
	}
	var body struct{ Members int }
	if err := json.Unmarshal(at.Body, &body); err != nil {
		return reply{Answer: sinktest.Answer{Delay: delay, Status: 400}}
	}
	switch {
	case body.Members < 0:
		return reply{Answer: sinktest.Answer{Delay: delay, Status: 422, Body: []byte(`{"error":"members must not be negative"}`)}}
	case a.weather.busy() && rand.IntN(4) == 0:
		return reply{Answer: sinktest.Answer{Status: 503, Header: []sinktest.Header{{Name: "Retry-After", Value: "1"}}},
			trouble: "503 Service Unavailable, Retry-After: 1"}
	case n%cutEvery == 30:
		return reply{Answer: sinktest.Answer{Delay: delay, Body: []byte(`{"stored":true}`), Fault: sinktest.Cut}, done: true,
			trouble: "200, but the connection broke in the middle of the answer"}
	case n%resetEvery == 60:
		return reply{Answer: sinktest.Answer{Fault: sinktest.Reset}, trouble: "connection reset"}
	}
	return reply{Answer: sinktest.Answer{Delay: delay, Body: []byte(`{"stored":true}`)}, done: true}
}

// brokenEvery request is one that the dashboard breaks on.
const brokenEvery = 211

// dashboard takes measurements and alerts. It is quick, and has a bug that shows now and then.
func (a *api) dashboard(n int, _ *sinktest.Attempt) reply {
	delay := between(2*time.Millisecond, 12*time.Millisecond)
	if n%brokenEvery == 100 && !a.weather.calm.Load() {
		return reply{Answer: sinktest.Answer{Delay: delay, Status: 500}, trouble: "500 Internal Server Error"}
	}
	return reply{Answer: sinktest.Answer{Delay: delay, Status: 202}, done: true}
}

func between(low, high time.Duration) time.Duration { return low + rand.N(high-low) }
