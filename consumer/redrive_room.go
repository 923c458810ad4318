package consumer

import (
	"context"
	"sync"
)

// redriveRoom bounds the letters in memory. The reader takes, the sender gives.
type redriveRoom struct {
	mu    sync.Mutex
	count int
	bytes int64
	freed chan struct{} // capacity 1
}

// take waits for room; false when ctx ends first. A letter that is larger than all of it passes alone.
func (w *redriveRoom) take(ctx context.Context, size int64) bool {
	for {
		w.mu.Lock()
		if w.count == 0 || w.count < redriveWindow && w.bytes+size <= redriveBytes {
			w.count++
			w.bytes += size
			w.mu.Unlock()
			return true
		}
		w.mu.Unlock()
		select {
		case <-w.freed:
		case <-ctx.Done():
			return false
		}
	}
}

func (w *redriveRoom) give(size int64) {
	w.mu.Lock()
	w.count--
	w.bytes -= size
	w.mu.Unlock()
	nudge(w.freed)
}
