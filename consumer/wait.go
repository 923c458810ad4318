package consumer

import (
	"context"
	"time"
)

// sleep waits, and says whether it did to the end: false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// nudge wakes who waits at c, a channel of capacity 1, or lets him look once more if he is not waiting.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
