package consumer

import (
	"slices"
	"sync"
	"time"

	"streamer/mapping"
	"streamer/sink"
)

// way is a row's way through the steps of its job to its own request. It belongs to whoever has the row in hand.
type way struct {
	flow   *mapping.Flow
	call   mapping.Call // in hand; its request is the row's
	stamp  stamp
	recent *recentAnswers
}

// next takes the answer to the call in hand and gives the next request. The error is a payload error, and ends the way.
func (w *way) next(a *mapping.Response) (sink.Request, error) {
	call, _, err := w.flow.Next(a)
	if err != nil {
		return sink.Request{}, err
	}
	request := w.stamp.request(call.Step, &call.Request)
	w.take(call)
	return request, nil
}

func (w *way) take(call mapping.Call) {
	call.Request = mapping.Request{}
	w.call = call
	w.recent.forget(call.Forget)
}

// answered keeps an answer to the call in hand for others, as far as that says so, and gives it as mappings know it.
func (w *way) answered(r *sink.Response) *mapping.Response {
	a := answerOf(r)
	w.recent.forget(w.call.Forget) // once more: another row may have asked meanwhile
	if w.call.CacheKey != "" && a.Status >= 200 && a.Status < 300 && !a.Truncated {
		w.recent.keep(w.call.CacheKey, w.call.TTL, a)
	}
	return a
}

// unmapped is the outcome of a row that can make no request.
func unmapped(err error) *sink.Outcome {
	return &sink.Outcome{Class: sink.Payload, Reason: err.Error()}
}

// unanswered is that of a row that cannot go on by the answer to a step.
func unanswered(o sink.Outcome, err error) *sink.Outcome {
	o.Class, o.Reason = sink.Payload, err.Error()
	return &o
}

func answerOf(r *sink.Response) *mapping.Response {
	if r == nil {
		return &mapping.Response{}
	}
	a := &mapping.Response{Status: r.Status, Body: r.Body, Truncated: r.Truncated, Header: make([]mapping.Header, len(r.Header))}
	for i, h := range r.Header {
		a.Header[i] = mapping.Header(h)
	}
	return a
}

// size is what a row takes in memory.
func (r *row) size() int64 {
	n := requestBytes(&r.Request)
	if r.way != nil {
		n += int64(r.way.flow.Bytes())
	}
	if r.told != nil {
		n += int64(r.told.Bytes())
	}
	if r.payload != nil && r.payload.Response != nil {
		n += int64(len(r.payload.Response.Body))
	}
	return n
}

// stepped takes the answer to the request of a step and delivers the row's next request: its attempts begin anew; its lane, its place in the
// tracker, and what was decided about it are those of the row. Nothing of the way outlives a crash: the next owner makes all steps again.
func (p *partition) stepped(r *row, o sink.Outcome) {
	if p.decided(r, o) {
		return
	}
	if p.advance(r, r.way.answered(o.Response), o) {
		p.deliver(r)
	}
}

// advance makes the next request of a row's way its own; false: it is nobody's any more. o is what the answer came with, nothing of one that
// was kept.
func (p *partition) advance(r *row, a *mapping.Response, o sink.Outcome) bool {
	request, err := r.way.next(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.past(r) {
		return false
	}
	r.Made = 0
	if err != nil {
		r.payload = unanswered(o, err)
	} else {
		r.Request, r.Accept, r.step = request, r.way.call.Accept, r.way.call.Step
		r.Keep = r.told != nil || r.step != ""
	}
	before := r.bytes
	r.bytes = r.size()
	p.held += r.bytes - before
	p.runner.account.add(r.bytes - before)
	return true
}

// recalled brings a row as far on its way as answers that are kept lead; false: it is nobody's any more.
func (p *partition) recalled(r *row) bool {
	for r.way != nil && r.payload == nil {
		a := r.way.recent.of(r.way.call.CacheKey)
		if a == nil {
			break
		}
		if !p.advance(r, a, sink.Outcome{}) {
			return false
		}
	}
	return true
}

const (
	// recentMost and recentBytes bound the answers that are kept for the steps of one job.
	recentMost  = 10_000
	recentBytes = 1 << 20
)

// recentAnswers are answers to steps that stand for a call of the same key until their time is over. Rows that come to a step before its first
// answer each make the call: of 5000 rows in 1000 lanes that ask for one thing, 1000 do, once in the time of the answer, and 4000 do not. To
// let them wait for each other would take another place where a row can be, to be told, given up, drained, revoked and mapped anew from, across
// partitions, and a row that is drained before its attempt is told nothing, so that those behind it would have to find out.
type recentAnswers struct {
	mu    sync.Mutex
	by    map[string]recentAnswer
	bytes int
}

type recentAnswer struct {
	*mapping.Response
	until time.Time
	bytes int
}

// of gives what is kept under a key, nil for nothing.
func (k *recentAnswers) of(key string) *mapping.Response {
	if key == "" {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	kept, ok := k.by[key]
	if !ok || !time.Now().Before(kept.until) {
		k.drop(key)
		return nil
	}
	out := *kept.Response
	out.Header, out.Body = slices.Clone(out.Header), slices.Clone(out.Body) // their memory is the flow's
	return &out
}

// keep keeps an answer. Where there is no room, those go whose time is over, and then any.
func (k *recentAnswers) keep(key string, ttl time.Duration, a *mapping.Response) {
	kept := recentAnswer{until: time.Now().Add(ttl), bytes: len(key) + len(a.Body)}
	for _, h := range a.Header {
		kept.bytes += len(h.Name) + len(h.Value)
	}
	if kept.bytes > recentBytes/8 {
		return
	}
	copied := *a
	copied.Header, copied.Body = slices.Clone(a.Header), slices.Clone(a.Body)
	kept.Response = &copied
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(key)
	full := func() bool { return len(k.by) >= recentMost || k.bytes+kept.bytes > recentBytes }
	if full() {
		now := time.Now()
		for old, r := range k.by {
			if !now.Before(r.until) {
				k.drop(old)
			}
		}
	}
	for old := range k.by {
		if !full() {
			break
		}
		k.drop(old)
	}
	if k.by == nil {
		k.by = map[string]recentAnswer{}
	}
	k.by[key] = kept
	k.bytes += kept.bytes
}

func (k *recentAnswers) forget(key string) {
	if key == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(key)
}

// drop takes out what is kept under a key. The caller holds mu.
func (k *recentAnswers) drop(key string) {
	k.bytes -= k.by[key].bytes
	delete(k.by, key)
}
