package consumer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// gather is how long a question that has time waits for others to be asked with.
const gather = 500 * time.Millisecond

// together asks Kafka for many jobs what each would ask alone: a request for each of a thousand jobs is what their start, and their rest,
// would cost most. Who comes while a question is under way is part of the next one, so no answer is older than its question.
type together[Q, A any] struct {
	// ask is called by one goroutine at a time; its answer is for all who asked, and not to be changed.
	ask func(context.Context, []Q) (A, error)

	mu      sync.Mutex
	waiting []*question[Q, A]
	running bool          // run runs
	hurry   chan struct{} // capacity 1: who waits has no time
}

type question[Q, A any] struct {
	of   []Q
	done chan struct{} // closed when answer and err are there

	answer A
	err    error
}

func newTogether[Q, A any](ask func(context.Context, []Q) (A, error)) *together[Q, A] {
	return &together[Q, A]{ask: ask, hurry: make(chan struct{}, 1)}
}

// do asks, and gives what is answered to all who asked with it; patient: there is time.
func (t *together[Q, A]) do(ctx context.Context, patient bool, of ...Q) (answer A, err error) {
	q := &question[Q, A]{of: of, done: make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, q)
	if !patient {
		nudge(t.hurry)
	}
	if !t.running {
		t.running = true
		go t.run() // ends when nobody waits; each question is bounded
	}
	t.mu.Unlock()
	select {
	case <-q.done:
		return q.answer, q.err
	case <-ctx.Done():
		return answer, ctx.Err()
	}
}

// run asks until nobody waits.
func (t *together[Q, A]) run() {
	for t.anybody() {
		select {
		case <-t.hurry:
		case <-time.After(gather):
		}
		all := t.take()
		if t.answer(all...); len(all) > 1 && errors.As(all[0].err, new(*kadm.AuthError)) { // of one of them
			for _, q := range all {
				t.answer(q)
			}
		}
		for _, q := range all {
			close(q.done)
		}
	}
}

func (t *together[Q, A]) anybody() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = len(t.waiting) > 0
	return t.running
}

func (t *together[Q, A]) take() []*question[Q, A] {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.waiting
	t.waiting = nil
	return all
}

// answer asks for some of those who wait.
func (t *together[Q, A]) answer(some ...*question[Q, A]) {
	var of []Q
	for _, q := range some {
		of = slices.Concat(of, q.of)
	}
	ctx, cancel := context.WithTimeout(context.Background(), prepareRetry)
	defer cancel()
	answer, err := t.ask(ctx, of)
	for _, q := range some {
		q.answer, q.err = answer, err
	}
}
