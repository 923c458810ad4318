package consumer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A thousand jobs ask while one question is under way: all of theirs are the next one, and no answer is older than its question. Who has
// time waits for others, and no longer than until one comes that has none.
func TestJobsAskTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked [][]int
		ask := newTogether(func(_ context.Context, of []int) (int, error) {
			asked = append(asked, of)
			time.Sleep(time.Second)
			return len(asked), nil
		})
		var all sync.WaitGroup
		all.Go(func() {
			if n, err := ask.do(t.Context(), false, -1); n != 1 || err != nil {
				t.Errorf("the first was answered %d, %v", n, err)
			}
		})
		synctest.Wait()
		for i := range 1000 {
			all.Go(func() {
				if n, err := ask.do(t.Context(), i%2 == 0, i); n != 2 || err != nil {
					t.Errorf("%d was answered %d, %v", i, n, err)
				}
			})
		}
		all.Wait()
		if len(asked) != 2 || len(asked[1]) != 1000 {
			t.Errorf("%d questions", len(asked))
		}

		begun := time.Now()
		all.Go(func() { _, _ = ask.do(t.Context(), true, 1) })
		time.Sleep(gather / 2)
		all.Go(func() { _, _ = ask.do(t.Context(), true, 2) })
		all.Wait()
		if took := time.Since(begun); took != gather+time.Second || !slices.Equal(asked[2], []int{1, 2}) {
			t.Errorf("%v was asked within %v", asked[2:], took)
		}
		begun = time.Now()
		all.Go(func() { _, _ = ask.do(t.Context(), true, 1) })
		synctest.Wait()
		_, _ = ask.do(t.Context(), false, 2)
		all.Wait()
		if took := time.Since(begun); took != time.Second || len(asked) != 4 {
			t.Errorf("%v was asked within %v", asked[3:], took)
		}
	})
}

// A topic that one job may not read fails the question of all: the others are asked without it.
func TestARefusalIsOfOneJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := newTogether(func(_ context.Context, of []string) (bool, error) {
			if slices.Contains(of, "secret") {
				return false, &kadm.AuthError{Err: kerr.TopicAuthorizationFailed}
			}
			return true, nil
		})
		var all sync.WaitGroup
		for _, topic := range []string{"a", "secret", "b"} {
			all.Go(func() {
				ok, err := ask.do(t.Context(), true, topic)
				if secret := topic == "secret"; ok == secret || errors.Is(err, kerr.TopicAuthorizationFailed) != secret {
					t.Errorf("%s was answered %v, %v", topic, ok, err)
				}
			})
		}
		all.Wait()
	})
}
