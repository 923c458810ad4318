package sink

import (
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

// BenchmarkEngine takes rows through everything but the attempt itself: what a row costs besides its request. Lanes go on from
// Final, as the consumer's do.
func BenchmarkEngine(b *testing.B) {
	for name, c := range map[string]Config{
		"plain":      {Concurrency: 64},
		"rate limit": {Concurrency: 64, Rate: Rate{Count: 1e9, Burst: 1e6}},
	} {
		b.Run(name, func(b *testing.B) {
			s, err := New(c, func() time.Duration { return 0 }, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			s.attempt = func(*worker, *Delivery) result { return result{class: Delivered, status: 200} }
			lanes(b, s, "http://api.test/some/path?x=y", 256)
		})
	}
}

// BenchmarkDelivery is a row with its request to a receiver on the same machine, which has its share of the time.
func BenchmarkDelivery(b *testing.B) {
	b.Run("answered at once", func(b *testing.B) { deliveries(b, 0, 256) })
	b.Run("answered after 100ms", func(b *testing.B) { deliveries(b, 100*time.Millisecond, 1024) })
}

func deliveries(b *testing.B, latency time.Duration, inFlight int) {
	api, err := sinktest.Listen(func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: latency} })
	if err != nil {
		b.Fatal(err)
	}
	defer api.Close()
	api.DropBodies = true
	s, err := New(Config{Concurrency: inFlight, AttemptHeader: true, Guard: Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}, func() time.Duration { return 0 }, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	lanes(b, s, api.URL()+"/api/people/0123456789", inFlight)
}

// lanes sends b.N rows in n lanes.
func lanes(b *testing.B, s *Sink, url string, n int) {
	b.ReportAllocs()
	sc := s.NewScope()
	var mu sync.Mutex
	left := b.N
	var all sync.WaitGroup
	all.Add(b.N)
	take := func() bool {
		mu.Lock()
		defer mu.Unlock()
		left--
		return left >= 0
	}
	final := func(d *Delivery, _ Outcome) {
		all.Done()
		if take() {
			sc.Deliver(d)
		}
	}
	before := cpu()
	b.ResetTimer()
	for i := range n {
		if take() {
			sc.Deliver(&Delivery{Request: Request{Method: "POST", URL: url, Header: []Header{{"Idempotency-Key", "a/b/c/0/" + strconv.Itoa(i)}}, Body: []byte(`{"a":1}`)}, Final: final})
		}
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	sc.Cancel()
}

// cpu is what the process used so far: on a busy machine it says more than the time that passed.
func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
