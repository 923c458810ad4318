package sink

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"streamer/sink/sinktest"
	"streamer/sink/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a listener in memory, so that fake time can pass while both sides wait.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return pipeAddr{} }
func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "api.test" }

// world is a sink with a receiving API in memory and everything it said.
type world struct {
	t     *testing.T
	sink  *Sink
	scope *Scope
	api   *sinktest.Receiver
	start time.Time

	mu      sync.Mutex
	finals  map[string]Outcome // by row
	order   []string           // rows by their Final
	waits   []told
	tries   []told
	breaker []string
	holds   []string
}

// told is one word of the observer's.
type told struct {
	row     string
	at      time.Duration // since the world began
	until   time.Duration
	outcome Outcome
}

// inWorld runs test in a bubble of fake time. Jitter takes the whole back-off, so that times are exact.
func inWorld(t *testing.T, c Config, answer func(*sinktest.Attempt) sinktest.Answer, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		w := &world{t: t, start: time.Now(), finals: map[string]Outcome{}}
		w.api = sinktest.Serve(p, answer)
		s, err := build(c, nil, w, wire.Options{Dial: p.dial})
		if err != nil {
			t.Fatal(err)
		}
		s.jitter = func(most time.Duration) time.Duration { return most }
		w.sink, w.scope = s, s.NewScope()
		defer w.api.Close()
		defer s.Close()
		test(w)
	})
}

// row delivers a POST to path, by the row's name.
func (w *world) row(name, path string) *Delivery { return w.send(name, w.api.URL()+path) }

func (w *world) send(name, url string) *Delivery {
	d := &Delivery{Request: Request{Method: "POST", URL: url, Header: []Header{{"X-Lane", name}}}, Row: name, Final: w.final}
	w.scope.Deliver(d)
	return d
}

func (w *world) final(d *Delivery, o Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := d.Row.(string)
	if _, twice := w.finals[name]; twice {
		w.t.Errorf("row %s is final twice", name)
	}
	w.finals[name] = o
	w.order = append(w.order, name)
}

func (w *world) Attempt(c Class, status int, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tries = append(w.tries, told{at: time.Since(w.start), outcome: Outcome{Class: c, Status: status}})
}

func (w *world) Waiting(d *Delivery, o Outcome, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits = append(w.waits, told{row: d.Row.(string), at: time.Since(w.start), until: until.Sub(w.start), outcome: o})
}

func (w *world) BreakerOpen(target string, open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	word := "closed "
	if open {
		word = "open "
	}
	w.breaker = append(w.breaker, word+target)
}

func (w *world) Held(target string, h Hold, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	word := "ended "
	if on {
		word = "held "
	}
	w.holds = append(w.holds, word+string(h.Class)+" "+target)
}

// pass lets time pass and everything come to rest.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// outcome of a row; fails the test if it is not final.
func (w *world) outcome(name string) Outcome {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	o, ok := w.finals[name]
	if !ok {
		w.t.Fatalf("row %s is not final after %s", name, time.Since(w.start))
	}
	return o
}

func (w *world) isFinal(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.finals[name]
	return ok
}

// done are the rows that are final, in their order.
func (w *world) done() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.order)
}

// lastWait is what the observer was told last of a row that waits.
func (w *world) lastWait() told {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waits[len(w.waits)-1]
}

// breakers is what the observer was told of breakers.
func (w *world) breakers() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.breaker)
}

// heldSaid is what the observer was told of holds.
func (w *world) heldSaid() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.holds)
}

// starts gives when attempts of a row reached the API; all rows for "".
func (w *world) starts(row string) []time.Duration {
	var out []time.Duration
	for _, a := range w.api.Attempts() {
		if row == "" || a.Lane == row {
			out = append(out, a.Start.Sub(w.start))
		}
	}
	return out
}

func (w *world) workers() int {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	return w.sink.workers
}

// answers gives the statuses one after the other, the last one for ever.
func answers(statuses ...int) func(*sinktest.Attempt) sinktest.Answer {
	var mu sync.Mutex
	return func(*sinktest.Attempt) sinktest.Answer {
		mu.Lock()
		defer mu.Unlock()
		s := statuses[0]
		if len(statuses) > 1 {
			statuses = statuses[1:]
		}
		return sinktest.Answer{Status: s}
	}
}

// anyRow is what an answer is classified for.
func anyRow() *Delivery { return &Delivery{state: state{target: &target{access: &access{}}}} }
