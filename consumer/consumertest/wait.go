package consumertest

import (
	"testing"
	"time"
)

// WaitFor calls look until it says done, at most so long; then the test fails, naming what it waited for and what look saw last. look
// runs in the test's goroutine, some milliseconds apart.
func WaitFor(t testing.TB, within time.Duration, what string, look func() (seen any, done bool)) {
	t.Helper()
	began := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		seen, done := look()
		if done {
			return
		}
		if time.Since(began) > within {
			t.Fatalf("waited %v for %s; last seen: %v", within, what, seen)
		}
		timer := time.NewTimer(pause)
		<-timer.C
	}
}
