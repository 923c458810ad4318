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

// claimTries is how often a claim about time may be broken by the machine in the product's place.
const claimTries = 5

// Claim holds the product to what it claims to do in a time, or at a rate. A busy machine, or a broker on it, may stand still for longer than
// that; so try is called until the claim was kept, five times at most: what the product breaks it breaks each time. try fails the test by
// itself for all that is no matter of time. It runs in the test's goroutine.
func Claim(t testing.TB, claim string, try func() (seen any, kept bool)) {
	t.Helper()
	var all []any
	for range claimTries {
		seen, kept := try()
		t.Logf("%s: %v", claim, seen)
		if kept {
			return
		}
		all = append(all, seen)
	}
	t.Fatalf("%s: not once of %d times: %v", claim, claimTries, all)
}
