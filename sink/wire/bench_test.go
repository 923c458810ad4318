package wire

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const benchAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\n{}"

// minimal answers every request of ours at once, with as little work as there can be.
func minimal(b *testing.B) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					for n < 4096 && !bytes.HasSuffix(buf[:n], []byte("}")) {
						m, err := c.Read(buf[n:])
						if err != nil {
							return
						}
						n += m
					}
					if _, err = c.Write([]byte(benchAnswer)); err != nil {
						return
					}
				}
			})
		}
	})
	b.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}

var benchBody = []byte(`{"id":"0123456789","name":"some name","village":"some village","age":42}`)

// BenchmarkAttempt makes one request over a kept connection, by our client and by net/http's, against the same server. cpu-µs/op
// is the process's time, the server's share included, which is the same for both.
func BenchmarkAttempt(b *testing.B) {
	for _, parallel := range []int{1, 256} {
		name := map[int]string{1: "one in flight", 256: "256 in flight"}[parallel]
		b.Run("wire/"+name, func(b *testing.B) {
			address := minimal(b)
			client := NewClient(Options{IdlePerHost: parallel})
			defer client.Close()
			o, target, err := ParseOrigin("http://" + address + "/api/people/0123456789?x=y")
			if err != nil {
				b.Fatal(err)
			}
			h := client.Host(o)
			spread(b, parallel, func() func() error {
				c := new(Call)
				return func() error {
					if err := c.Begin("POST", h, target); err != nil {
						return err
					}
					_ = c.Header("Content-Type", "application/json")
					_ = c.Header("Idempotency-Key", "cluster/streamer/group/topic/0/12345/0")
					c.Body(benchBody)
					_, err := c.Do(Limits{Deadline: time.Now().Add(30 * time.Second), BodyBytes: 64 << 10})
					return err
				}
			})
		})
		b.Run("net-http/"+name, func(b *testing.B) {
			address := minimal(b)
			tr := &http.Transport{MaxIdleConns: parallel, MaxIdleConnsPerHost: parallel, DisableCompression: true}
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr, Timeout: 30 * time.Second}
			spread(b, parallel, func() func() error {
				return func() error {
					req, err := http.NewRequest("POST", "http://"+address+"/api/people/0123456789?x=y", bytes.NewReader(benchBody))
					if err != nil {
						return err
					}
					req.Header.Set("Content-Type", "application/json")
					req.Header.Set("Idempotency-Key", "cluster/streamer/group/topic/0/12345/0")
					resp, err := client.Do(req)
					if err != nil {
						return err
					}
					_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
					return resp.Body.Close()
				}
			})
		})
	}
}

// spread runs b.N calls on n goroutines.
func spread(b *testing.B, n int, make func() func() error) {
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	before := cpu()
	b.ResetTimer()
	for range n {
		call := make()
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkParse reads one answer from memory, by our parser and by http.ReadResponse.
func BenchmarkParse(b *testing.B) {
	answer := strings.Replace(benchAnswer, "\r\n\r\n", "\r\nServer: nginx\r\nX-Request-Id: 0123456789abcdef\r\nCache-Control: no-store\r\n\r\n", 1)
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		client := NewClient(Options{})
		var c Call
		c.req.host = client.Host(Origin{Host: "api.test", Port: 80})
		src := &bytesConn{in: bytes.NewReader(nil)}
		for b.Loop() {
			src.in.Reset([]byte(answer))
			c.in.reset(src, nil)
			if err := c.read(Limits{BodyBytes: 64 << 10}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("net-http", func(b *testing.B) {
		b.ReportAllocs()
		src := bytes.NewReader(nil)
		in := bufio.NewReader(src)
		for b.Loop() {
			src.Reset([]byte(answer))
			in.Reset(src)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}
