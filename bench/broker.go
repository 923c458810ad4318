package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"streamer/consumer/consumertest"
)

// brokerSettings say which broker to start: a real one, or the embedded fake.
type brokerSettings struct {
	Real bool `json:"real"`
}

// brokerStarted is what a broker tells once it serves; None says why there is no real one.
type brokerStarted struct {
	Brokers []string `json:"brokers"`
	Kind    string   `json:"kind"`
	None    string   `json:"none"`
}

// brokerRole runs a broker until it is stopped. KAFKA_BROKERS names one that runs already; it stays.
func brokerRole(settings []byte, s *stage) error {
	var set brokerSettings
	if err := json.Unmarshal(settings, &set); err != nil {
		return err
	}
	switch external := os.Getenv("KAFKA_BROKERS"); {
	case !set.Real:
		k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
		if err != nil {
			return err
		}
		defer k.Close()
		return serve(s, brokerStarted{Brokers: k.ListenAddrs(), Kind: "kfake, embedded, in a process of its own"})
	case external != "":
		return serve(s, brokerStarted{Brokers: strings.Split(external, ","), Kind: "Kafka at KAFKA_BROKERS"})
	}
	h := &host{ctx: context.WithoutCancel(s.stopped)}
	var c *consumertest.Cluster
	h.do(func() { c = consumertest.Broker(h) })
	if c == nil {
		if err := h.cleanup(); err != nil {
			return err
		}
		return s.tell(brokerStarted{None: h.skipped})
	}
	return errors.Join(serve(s, brokerStarted{Brokers: c.Brokers, Kind: "Kafka " + c.Version + ", " + c.Mode}), h.cleanup())
}

func serve(s *stage, started brokerStarted) error {
	if err := s.tell(started); err != nil {
		return err
	}
	<-s.stopped.Done()
	return nil
}

// host is as much of a test as consumertest needs to start a broker outside of one. What it lacks panics.
type host struct {
	testing.TB
	ctx      context.Context
	cleanups []func()
	skipped  string
	failed   error
}

func (h *host) Helper()                  {}
func (h *host) Name() string             { return "bench" }
func (h *host) Context() context.Context { return h.ctx }
func (h *host) Cleanup(f func())         { h.cleanups = append(h.cleanups, f) }

func (h *host) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (h *host) Errorf(format string, args ...any) {
	h.failed = errors.Join(h.failed, fmt.Errorf(format, args...))
}
func (h *host) Fatalf(format string, args ...any) { h.Errorf(format, args...); runtime.Goexit() }
func (h *host) Skipf(format string, args ...any) {
	h.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// do runs f where Fatalf and Skipf can end it.
func (h *host) do(f func()) {
	done := make(chan struct{})
	go func() { // ends with f
		defer close(done)
		f()
	}()
	<-done
}

// cleanup runs what f left to do, last in first out, once.
func (h *host) cleanup() error {
	for len(h.cleanups) > 0 {
		last := h.cleanups[len(h.cleanups)-1]
		h.cleanups = h.cleanups[:len(h.cleanups)-1]
		h.do(last)
	}
	return h.failed
}
