package sink

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"streamer/sink/sinktest"
	"streamer/sink/wire"
)

// steady makes waits of a second, so that the number of attempts shows in the time that passed.
var steady = Retry{Initial: time.Second, Max: time.Second}

// traffic keeps n lanes of other rows busy: each row of a lane follows from the Final of the one before. stop ends it.
func (w *world) traffic(n int) (stop func()) {
	var over atomic.Bool
	for i := range n {
		w.scope.Deliver(&Delivery{
			Request: Request{Method: "POST", URL: w.api.URL() + "/traffic", Header: []Header{{"X-Lane", fmt.Sprint("traffic", i)}}},
			Row:     fmt.Sprint("traffic", i),
			Final: func(d *Delivery, _ Outcome) {
				if !over.Load() {
					w.scope.Deliver(d)
				}
			},
		})
	}
	return func() { over.Store(true) }
}

// poisoned answers the row named poison with a, and all others with 200 after 100ms.
func poisoned(a sinktest.Answer) func(*sinktest.Attempt) sinktest.Answer {
	return func(at *sinktest.Attempt) sinktest.Answer {
		if at.Lane == "poison" {
			return a
		}
		return sinktest.Answer{Delay: 100 * time.Millisecond}
	}
}

// Kind of failure × lanes of healthy traffic × what the job says of unproven rows. What can count is given up after exactly its
// counted attempts where others are delivered, and without evidence goes on, or ends if the job wants it; what cannot is never given
// up.
func TestWhichFailuresCount(t *testing.T) {
	const attempts = 4
	status := func(code int) func(*Sink) result {
		return func(s *Sink) result { return s.classify(anyRow(), &wire.Response{Status: code}, nil) }
	}
	broken := func(op wire.Op, err error) func(*Sink) result {
		return func(s *Sink) result { return s.classify(anyRow(), nil, &wire.Error{Op: op, Err: err}) }
	}
	timeout := &net.OpError{Op: "read", Err: errTimeout{}}
	for name, c := range map[string]struct {
		fails  func(*Sink) result
		blames bool
	}{
		"500":                     {status(500), true},
		"502":                     {status(502), true},
		"503":                     {status(503), true},
		"504":                     {status(504), true},
		"599":                     {status(599), true},
		"422 moved to target":     {status(422), true},
		"no answer in time":       {broken(wire.OpRead, timeout), true},
		"not written in time":     {broken(wire.OpWrite, timeout), true},
		"reset":                   {broken(wire.OpRead, syscall.ECONNRESET), true},
		"reset while it is sent":  {broken(wire.OpWrite, syscall.EPIPE), true},
		"cut":                     {broken(wire.OpRead, wire.ErrCut), true},
		"no HTTP":                 {broken(wire.OpRead, wire.ErrMalformed), true},
		"408":                     {status(408), false},
		"425":                     {status(425), false},
		"429":                     {status(429), false},
		"refused":                 {broken(wire.OpDial, syscall.ECONNREFUSED), false},
		"no route":                {broken(wire.OpDial, syscall.EHOSTUNREACH), false},
		"unknown host":            {broken(wire.OpDial, &net.DNSError{IsNotFound: true}), false},
		"name server silent":      {broken(wire.OpDial, &net.DNSError{IsTimeout: true}), false},
		"no connection in time":   {broken(wire.OpDial, timeout), false},
		"TLS handshake fails":     {broken(wire.OpTLS, io.EOF), false},
		"TLS not in time":         {broken(wire.OpTLS, timeout), false},
		"too many open files":     {broken(wire.OpDial, syscall.EMFILE), false},
		"closed by ourselves":     {broken(wire.OpDial, wire.ErrClosed), false},
		"refused by a dead proxy": {broken(wire.OpDial, io.EOF), false},
	} {
		for _, lanes := range []int{0, 1, 5} {
			for _, wish := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d lanes/give up unproven %v", name, lanes, wish), func(t *testing.T) {
					c1 := Config{Retry: steady, Statuses: map[Class][]int{Target: {422}}}
					c1.Retry.Attempts, c1.Retry.GiveUpUnproven = attempts, wish
					inWorld(t, c1, poisoned(sinktest.Answer{}), func(w *world) {
						request := w.sink.attempt
						var tries atomic.Int32
						w.sink.attempt = func(wk *worker, d *Delivery) result {
							if d.Row != "poison" {
								return request(wk, d)
							}
							tries.Add(1)
							time.Sleep(250 * time.Millisecond) // so that others are delivered while the first one runs, too
							return c.fails(w.sink)
						}
						stop := w.traffic(lanes)
						w.row("poison", "/")
						w.pass(30 * time.Second)
						switch ends := c.blames && (lanes > 0 || wish); {
						case !ends:
							if w.isFinal("poison") {
								t.Fatalf("given up: %+v", w.outcome("poison"))
							}
							unproven := 0
							if c.blames {
								unproven = 1
							}
							if n := w.sink.Stats().Unproven; n != unproven {
								t.Errorf("%d rows are unproven, want %d", n, unproven)
							}
							if last := w.lastWait().outcome; last.Counted != 0 || last.Unproven != c.blames || tries.Load() < 20 {
								t.Errorf("after %d tries the last is %+v", tries.Load(), last)
							}
						default:
							counted, words := attempts, "other rows were delivered"
							if lanes == 0 {
								counted, words = 0, "on_unproven"
							}
							if o := w.outcome("poison"); o.Class != Target || o.Attempts != attempts || o.Counted != counted || tries.Load() != attempts || !strings.Contains(o.Reason, words) {
								t.Errorf("after %d tries the outcome is %+v", tries.Load(), o)
							}
						}
						if said := w.breakers(); len(said) > 0 {
							t.Errorf("breaker %v", said)
						}
						stop()
						w.pass(time.Second)
						w.scope.Cancel()
						if st := w.sink.Stats(); st.Unproven != 0 {
							t.Errorf("left over: %+v", st)
						}
					})
				})
			}
		}
	}
}

type errTimeout struct{}

func (errTimeout) Error() string   { return "timeout" }
func (errTimeout) Timeout() bool   { return true }
func (errTimeout) Temporary() bool { return true }

// The same, seen from the wire: what an answer carries decides, too.
func TestRetryAfterOfA503SpeaksOfTheTarget(t *testing.T) {
	later := []sinktest.Header{{Name: "Retry-After", Value: "1"}}
	for name, c := range map[string]struct {
		answer sinktest.Answer
		counts bool
	}{
		"503":                      {sinktest.Answer{Status: 503}, true},
		"503 with Retry-After":     {sinktest.Answer{Status: 503, Header: later}, false},
		"500 with Retry-After":     {sinktest.Answer{Status: 500, Header: later}, true},
		"429 broken off":           {sinktest.Answer{Status: 429, Body: []byte("some text"), Fault: sinktest.Cut}, false},
		"200 broken off":           {sinktest.Answer{Body: []byte("some text"), Fault: sinktest.Cut}, true},
		"hangs":                    {sinktest.Answer{Fault: sinktest.Hang}, true},
		"garbage":                  {sinktest.Answer{Fault: sinktest.Garbage}, true},
		"503, Retry-After, cut":    {sinktest.Answer{Status: 503, Header: later, Body: []byte("x"), Fault: sinktest.Cut}, false},
		"reset before the answer":  {sinktest.Answer{Fault: sinktest.Reset}, true},
		"answered, but too slowly": {sinktest.Answer{Delay: time.Hour}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c1 := Config{Retry: steady, Timeout: 5 * time.Second}
			inWorld(t, c1, poisoned(c.answer), func(w *world) {
				defer w.traffic(3)()
				w.row("poison", "/")
				w.pass(2 * time.Minute)
				if !c.counts {
					if w.isFinal("poison") {
						t.Errorf("given up: %+v", w.outcome("poison"))
					}
				} else if o := w.outcome("poison"); o.Class != Target || o.Counted != 10 {
					t.Errorf("outcome is %+v", o)
				}
			})
		})
	}
}

// One lane, and an API that answers 503 for ten minutes. Nothing shows that the row is not to blame, and nothing is given up; when
// the API is back the lane goes on at once.
func TestOutageOfOneLaneGivesNothingUp(t *testing.T) {
	var api outage
	api.on.Store(true)
	inWorld(t, Config{}, api.answer, func(w *world) {
		const rows = 100
		n := 0
		lane := func(d *Delivery, o Outcome) {
			if n++; o.Class != Delivered {
				t.Errorf("row %d: %+v", n, o)
			} else if n < rows {
				w.scope.Deliver(d)
			}
		}
		w.scope.Deliver(&Delivery{Request: Request{Method: "POST", URL: w.api.URL()}, Row: "lane", Final: lane})
		w.pass(10 * time.Minute)
		st := w.sink.Stats()
		if n != 0 || st.Unproven != 1 || st.Waiting != 1 {
			t.Fatalf("%d rows are final in the outage, stats %+v", n, st)
		}
		last := w.lastWait()
		if o := last.outcome; !o.Unproven || o.Counted != 0 || o.Attempts < 15 {
			t.Errorf("the row was told of as %+v", o)
		}
		api.on.Store(false)
		w.pass(last.until - time.Since(w.start)) // its back-off, a minute at most
		if n != rows || w.sink.Stats().Unproven != 0 {
			t.Errorf("%d rows were delivered behind the outage", n)
		}
	})
}

// The same row alone, and a health URL: while that does not answer the row waits; when it does, the row is to blame.
func TestHealthURLDecidesTheRowThatIsAlone(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	var asked atomic.Int32
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/health" {
			if asked.Add(1); !down.Load() {
				return sinktest.Answer{}
			}
		}
		return sinktest.Answer{Status: 500}
	}
	c := Config{Retry: steady, Breaker: Breaker{Health: "http://api.test/health"}}
	inWorld(t, c, answer, func(w *world) {
		w.row("poison", "/")
		w.pass(20500 * time.Millisecond)
		if n := len(w.starts("poison")); w.isFinal("poison") || n != 21 || asked.Load() != 12 {
			t.Fatalf("after %d attempts the health URL was asked %d times, want with the 10th and each one behind it", n, asked.Load())
		}
		down.Store(false)
		w.pass(time.Second)
		if o := w.outcome("poison"); o.Class != Target || o.Attempts != 22 || o.Counted != 0 || !strings.Contains(o.Reason, "the health URL answers") {
			t.Errorf("outcome is %+v", o)
		}
	})
}

// A question to the health URL that hangs ends with the scope, and its row with it.
func TestQuestionToTheHealthURLEndsWithTheScope(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/health" {
			return sinktest.Answer{Fault: sinktest.Hang}
		}
		return sinktest.Answer{Status: 500}
	}
	c := Config{Retry: Retry{Initial: time.Second, Max: time.Second, Attempts: 1}, Breaker: Breaker{Health: "http://api.test/health"}}
	inWorld(t, c, answer, func(w *world) {
		w.row("poison", "/")
		w.pass(time.Second)
		began := time.Now()
		w.scope.Cancel()
		if o := w.outcome("poison"); o.Class != Interrupted || o.Status != 500 || time.Since(began) != 0 {
			t.Errorf("outcome is %+v after %v", o, time.Since(began))
		}
	})
}

// An unproven row is decided by evidence that comes later, and by nothing else: neither what it failed with before traffic came
// counts, nor what it meets while the breaker is open.
func TestUnprovenRowIsDecidedByEvidenceThatComes(t *testing.T) {
	inWorld(t, Config{Retry: steady}, poisoned(sinktest.Answer{Status: 500}), func(w *world) {
		w.row("poison", "/")
		w.pass(time.Minute)
		if st := w.sink.Stats(); st.Unproven != 1 || w.isFinal("poison") {
			t.Fatalf("stats %+v", st)
		}
		before := len(w.starts("poison"))
		defer w.traffic(1)()
		w.pass(2 * time.Second)
		if st := w.sink.Stats(); st.Unproven != 0 {
			t.Errorf("stats %+v, though there is evidence now", st)
		}
		w.pass(time.Minute)
		if o := w.outcome("poison"); o.Counted != 10 || o.Attempts != before+10 {
			t.Errorf("outcome is %+v, after %d attempts without evidence", o, before)
		}
	})
}

// A breaker that floods dead letters: five rows fail, their breaker opens, and every probe was a counted attempt.
func TestOpenBreakerGivesNothingUp(t *testing.T) {
	for name, health := range map[string]string{"rows as probes": "", "health URL that is down": "http://api.test/health"} {
		t.Run(name, func(t *testing.T) {
			c := Config{Retry: steady, Breaker: Breaker{Open: 10 * time.Second, Health: health}}
			c.Retry.GiveUpUnproven = true
			c.Retry.Attempts = 2
			inWorld(t, c, answers(500), func(w *world) {
				for i := range 5 {
					w.row(fmt.Sprint(i), "/")
				}
				w.pass(2 * time.Hour)
				w.scope.Cancel()
				if said := w.breakers(); len(w.finals) > 0 || len(said) != 1 {
					t.Errorf("given up: %v; breaker %v", w.finals, said)
				}
			})
		})
	}
}

// Attempts that were under way when the breaker opened prove nothing.
func TestAttemptsOfTheTimeBeforeTheBreakerOpenedDoNotCount(t *testing.T) {
	answer := func(a *sinktest.Attempt) sinktest.Answer {
		switch a.Lane {
		case "good":
			return sinktest.Answer{Delay: time.Second}
		case "late":
			return sinktest.Answer{Status: 500, Delay: 3 * time.Second}
		}
		return sinktest.Answer{Status: 500, Delay: 2 * time.Second}
	}
	c := Config{Retry: Retry{Initial: time.Hour, Max: time.Hour}, Breaker: Breaker{Failures: 1, Open: time.Hour}}
	inWorld(t, c, answer, func(w *world) {
		w.row("good", "/")
		w.row("opens", "/")
		late := w.row("late", "/")
		w.pass(10 * time.Second)
		w.sink.mu.Lock()
		defer w.sink.mu.Unlock()
		if said := w.breakers(); len(said) != 1 || late.counted != 0 || late.unheard != 0 {
			t.Errorf("breaker %v; counted %d, unheard %d", said, late.counted, late.unheard)
		}
	})
}

// One row that is told to come later waits for itself alone.
func TestOne429SlowsOnlyItsRow(t *testing.T) {
	answer := poisoned(sinktest.Answer{Status: 429, Header: []sinktest.Header{{Name: "Retry-After", Value: "60"}}})
	inWorld(t, Config{Concurrency: 2, Retry: steady}, answer, func(w *world) {
		stop := w.traffic(2)
		w.row("poison", "/")
		w.pass(10 * time.Minute)
		stop()
		if n := len(w.starts("poison")); n != 10 || w.isFinal("poison") {
			t.Errorf("the row had %d attempts, want one a minute and a second", n)
		}
		if n := len(w.starts("traffic0")); n < 5900 {
			t.Errorf("the others had %d attempts in ten minutes, want ten a second", n)
		}
	})
}
