package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A stop ends, even when a part of the program does not: whoever waits for the process to go is not kept waiting.
func TestAStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hard, now := context.WithCancel(t.Context())
		defer now()
		stuck := make(chan struct{})
		defer close(stuck)
		late := errors.New("late")
		began := time.Now()
		time.AfterFunc(time.Hour, now)
		err := bounded(hard, func() error { <-stuck; return nil }, func() error { return late })
		if took := time.Since(began); !errors.Is(err, late) || took != time.Hour+closeMargin {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// A run that ends by itself, before its time is over or a little later, has its own answer.
func TestARunThatEndsIsNotBounded(t *testing.T) {
	for name, after := range map[string]time.Duration{"before": time.Minute, "after hard": time.Hour + closeMargin - time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hard, now := context.WithCancel(t.Context())
				defer now()
				time.AfterFunc(time.Hour, now)
				own := errors.New("own")
				err := bounded(hard, func() error { time.Sleep(after); return own }, func() error { return errors.New("late") })
				if !errors.Is(err, own) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}
