package proxy_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"streamer/sink/sinktest"
	"streamer/sink/sinktest/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type world struct {
	*testing.T
	api    *sinktest.Receiver
	proxy  *proxy.Proxy
	client *http.Client
}

func setup(t *testing.T, answer func(*sinktest.Attempt) sinktest.Answer) *world {
	t.Helper()
	api, err := sinktest.Listen(answer)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.Listen("127.0.0.1:0", strings.TrimPrefix(api.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		p.Close()
		p.Close()
		api.Close()
	})
	return &world{t, api, p, &http.Client{Transport: tr}}
}

// put sends one request and gives how it went, at most within so long.
func (w *world) put(within time.Duration) error {
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	return w.putUnder(ctx)
}

func (w *world) putUnder(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, "PUT", "http://"+w.proxy.Addr(), strings.NewReader("{}"))
	if err != nil {
		return err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (w *world) until(what string, done func() bool) {
	w.Helper()
	for began := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			w.Fatalf("waited until %s", what)
		}
	}
}

// judged gives the attempts when n connections have ended, and what the proxy knows about them is told.
func (w *world) judged(n int) []sinktest.Attempt {
	w.Helper()
	w.until("connections have ended", func() bool { return len(w.proxy.Ended()) >= n })
	if err := w.api.Wait(w.Context(), w.api.Len()); err != nil {
		w.Fatal(err)
	}
	all := w.api.Attempts()
	proxy.Doubt(all, w.proxy.Ended())
	return all
}

func TestAGoodNetworkChangesNothing(t *testing.T) {
	w := setup(t, nil)
	for range 100 {
		if err := w.put(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	w.client.CloseIdleConnections()
	for _, a := range w.judged(1) {
		if !a.Answered || a.Doubtful {
			t.Fatalf("%+v", a)
		}
	}
	if n := w.api.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestASlowNetwork(t *testing.T) {
	w := setup(t, nil)
	w.proxy.Set(proxy.Faults{Latency: 50 * time.Millisecond})
	began := time.Now()
	if err := w.put(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("there and back in %v", took)
	}
}

// The connection breaks while the API works: the answer is lost. It breaks just after the answer: nobody knows.
func TestCutConnections(t *testing.T) {
	w := setup(t, nil)
	w.api.SetAnswer(func(*sinktest.Attempt) sinktest.Answer { w.proxy.Cut(); return sinktest.Answer{} })
	if w.put(10*time.Second) == nil {
		t.Fatal("an answer came over a connection that was cut")
	}
	if a := w.judged(1)[0]; a.Answered {
		t.Errorf("the lost answer is %+v", a)
	}
	w.api.SetAnswer(nil)
	if err := w.put(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if n := w.proxy.Cut(); n != 1 {
		t.Errorf("cut %d connections", n)
	}
	if a := w.judged(2)[1]; !a.Answered || !a.Doubtful {
		t.Errorf("the answer just before the cut is %+v", a)
	}
}

// In a black hole nothing happens but the client's patience running out, and what was sent into it by a client that is gone never
// arrives.
func TestABlackHole(t *testing.T) {
	w := setup(t, nil)
	if err := w.put(10 * time.Second); err != nil { // a connection that is there
		t.Fatal(err)
	}
	w.proxy.Set(proxy.Faults{Silent: true})
	for range 2 { // the second one on a new connection
		if err := w.put(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	}
	w.until("both connections are over", func() bool { return w.proxy.Open() == 0 })
	w.proxy.Set(proxy.Faults{})
	if err := w.put(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if n := w.api.Len(); n != 2 {
		t.Errorf("%d attempts arrived, want the first and the last", n)
	}
}

// Requests arrive and their answers do not.
func TestADeafNetwork(t *testing.T) {
	w := setup(t, nil)
	w.proxy.Set(proxy.Faults{Deaf: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.putUnder(ctx) }() // ends with ctx
	w.until("the API has answered", func() bool { all := w.api.Attempts(); return len(all) == 1 && all[0].Status == 200 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if a := w.judged(1)[0]; a.Status != 200 || a.Answered {
		t.Errorf("%+v", a)
	}
}

// The other side is gone without a word: the client waits until its time is up.
func TestHalfOpenConnections(t *testing.T) {
	w := setup(t, nil)
	if err := w.put(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if n := w.proxy.HalfOpen(); n != 1 {
		t.Fatalf("%d connections", n)
	}
	if err := w.put(time.Second); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if a := w.judged(1); len(a) != 1 || !a[0].Answered {
		t.Errorf("%+v", a)
	}
}

func TestRefused(t *testing.T) {
	w := setup(t, nil)
	w.proxy.Set(proxy.Faults{Refuse: true})
	if w.put(10*time.Second) == nil {
		t.Fatal("connected")
	}
	w.proxy.Set(proxy.Faults{BytesPerSecond: 1 << 20})
	if err := w.put(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}
