package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
)

// slowLog takes its time for a transaction.
type slowLog struct {
	*memoryLog
	takes time.Duration
}

func (l slowLog) Transact(ctx context.Context, change func(func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error)) ([]kafkalog.Entry, error) {
	time.Sleep(l.takes)
	return l.memoryLog.Transact(ctx, change)
}

// What comes while a transaction is under way is written by the next one, together; changes of one object are made one after the other,
// and one that is refused does not concern the others.
func TestStoreWritesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog()
		s := NewStore(slowLog{log, time.Second})
		refused := errors.New("not so")
		var all sync.WaitGroup
		const jobs, changes = 20, 3
		for i := range jobs {
			for range changes {
				all.Go(func() {
					_, err := s.Remember(t.Context(), fmt.Sprint("job-", i), consumer.Audit{By: consumer.BySelf, Action: "begin"}, func(m *consumer.Memory) error {
						if i == 7 {
							return refused
						}
						n := m.Begun["t"].Partitions
						m.Begun = map[string]consumer.Begun{"t": {Partitions: n + 1}}
						return nil
					})
					if errors.Is(err, refused) != (i == 7) || i != 7 && err != nil {
						t.Errorf("job %d: %v", i, err)
					}
				})
			}
		}
		all.Wait()
		if log.writes > 1+changes {
			t.Errorf("%d transactions", log.writes)
		}
		for i := range jobs {
			m, err := s.Memory(t.Context(), fmt.Sprint("job-", i))
			if want := int32(changes); err != nil || i != 7 && m.Begun["t"].Partitions != want {
				t.Errorf("job %d: %+v, %v", i, m, err)
			}
		}
	})
}

// One that cannot be written does not keep those from it that came with it.
func TestStoreWritesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := errors.New("too large")
		log := newMemoryLog()
		s := NewStore(largest{slowLog{log, time.Second}, 1000, large})
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				_, err := s.Remember(t.Context(), fmt.Sprint("job-", i), consumer.Audit{By: consumer.BySelf, Action: "hold"}, func(m *consumer.Memory) error {
					m.Group = strings.Repeat("x", 900*(i%2)+i+1)
					return nil
				})
				if errors.Is(err, large) != (i%2 == 1) {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		all.Wait()
		if n := len(log.List(statePrefix)); n != 3 {
			t.Errorf("%d objects", n)
		}
	})
}

// largest refuses larger values.
type largest struct {
	slowLog
	bytes int
	err   error
}

func (l largest) Transact(ctx context.Context, change func(func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error)) ([]kafkalog.Entry, error) {
	return l.slowLog.Transact(ctx, func(read func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error) {
		writes, err := change(read)
		for _, w := range writes {
			if len(w.Value) > l.bytes || len(w.Audit) > l.bytes {
				return nil, l.err
			}
		}
		return writes, err
	})
}

// Who does not wait any more is told whether something may have been written.
func TestStoreWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog()
		s := NewStore(slowLog{log, time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		remember := func() error {
			_, err := s.Remember(ctx, "a", consumer.Audit{By: "ann", Action: "stop"}, func(m *consumer.Memory) error {
				m.Desired = consumer.WantStopped
				return nil
			})
			return err
		}
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- remember() }()
		synctest.Wait()
		go func() { second <- remember() }()
		if err := <-first; !errors.Is(err, kafkalog.ErrUnknown) {
			t.Error(err)
		}
		if err := <-second; !errors.Is(err, kafkalog.ErrUnavailable) {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if log.writes != 1 {
			t.Errorf("%d transactions", log.writes)
		}
	})
}

// A person does not wait for what is patient to gather, also not behind it, with the same object; what is patient alone does.
func TestStorePersonDoesNotGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(slowLog{newMemoryLog(), 10 * time.Millisecond})
		var all sync.WaitGroup
		remember := func(by string, want time.Duration) {
			begun := time.Now()
			all.Go(func() {
				_, err := s.Remember(t.Context(), "a", consumer.Audit{By: by, Action: "hold"}, func(m *consumer.Memory) error {
					m.Group += by
					return nil
				})
				if took := time.Since(begun); err != nil || took != want {
					t.Errorf("%s: written after %v, want %v; %v", by, took, want, err)
				}
			})
			synctest.Wait()
		}
		remember(consumer.BySelf, 10*time.Millisecond) // the person's hurry is its own
		remember("ann", 20*time.Millisecond)
		all.Wait()
		remember(consumer.BySelf, gather+10*time.Millisecond)
		time.Sleep(gather + 5*time.Millisecond)                           // its transaction is under way
		remember(consumer.BySelf, 5*time.Millisecond+10*time.Millisecond) // the person takes it along
		remember("ann", 5*time.Millisecond+20*time.Millisecond)
		all.Wait()
	})
}

// awayLog asks for the changes, of objects that may be old, and cannot be reached then.
type awayLog struct{ *memoryLog }

func (l awayLog) Transact(_ context.Context, change func(func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error)) ([]kafkalog.Entry, error) {
	_, _ = change(l.Get) // whatever it says, nobody knows whether it is so
	return nil, kafkalog.ErrUnavailable
}

// Nobody is refused for what the log said before it went away: it may say something else by now.
func TestStoreRefusesForTheNewest(t *testing.T) {
	for _, others := range []int{0, 3} {
		synctest.Test(t, func(t *testing.T) {
			s := NewStore(awayLog{newMemoryLog()})
			var all sync.WaitGroup
			for i := range 1 + others {
				all.Go(func() {
					_, err := s.Remember(t.Context(), fmt.Sprint("job-", i), consumer.Audit{By: consumer.BySelf, Action: "begin"}, func(m *consumer.Memory) error {
						if i == 0 {
							return errors.New("it is stopped")
						}
						m.Desired = consumer.WantStopped
						return nil
					})
					if !errors.Is(err, kafkalog.ErrUnavailable) {
						t.Errorf("job %d, with %d others: %v", i, others, err)
					}
				})
			}
			all.Wait()
		})
	}
}
