package demo

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink/sinktest/checker"
)

// letters reads the dead-letter topics as an operator's tool would: with a client of its own, from the beginning.
type letters struct {
	client *kgo.Client
	story  *story

	mu     sync.Mutex
	read   map[string][]checker.DeadLetter // by job
	broken error
}

func openLetters(b *broker, s *story) (*letters, error) {
	topics := make([]string, len(roles))
	for i, r := range roles {
		topics[i] = r.deadLetters()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.ClientID("demo-dead-letters"), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second))
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	return &letters{client: client, story: s, read: map[string][]checker.DeadLetter{}}, nil
}

// run reads until ctx ends.
func (l *letters) run(ctx context.Context) {
	for ctx.Err() == nil {
		l.client.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			d, err := checker.ParseDeadLetter(func(name string) (string, bool) { return header(rec, name) }, rec.Timestamp)
			job := strings.TrimPrefix(rec.Topic, namespace+".dead-letters.")
			l.mu.Lock()
			if err != nil && l.broken == nil {
				l.broken = fmt.Errorf("dead letter at %s offset %d: %w", rec.Topic, rec.Offset, err)
			}
			l.read[job] = append(l.read[job], d)
			n := len(l.read[job])
			l.mu.Unlock()
			if err == nil {
				l.story.deadLetter(job, n, d, rec)
			}
		})
	}
}

func header(rec *kgo.Record, name string) (string, bool) {
	for _, h := range rec.Headers {
		if h.Key == name {
			return string(h.Value), true
		}
	}
	return "", false
}

// of gives the dead letters of a job that were read so far.
func (l *letters) of(job string) []checker.DeadLetter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]checker.DeadLetter(nil), l.read[job]...)
}

// count is the number of a job's dead letters that were read so far.
func (l *letters) count(job string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.read[job])
}

// complete waits until every dead letter that is in the topics has been read; the error says which are missing, or cannot be read.
func (l *letters) complete(ctx context.Context, b *broker) error {
	for _, r := range roles {
		ends, err := b.ends(ctx, r.deadLetters())
		if err != nil {
			return err
		}
		want := 0
		for _, end := range ends {
			want += int(end)
		}
		if !waitFor(ctx, askTimeout, func() bool { return l.count(r.job) >= want }) {
			return fmt.Errorf("of %d dead letters of job %s only %d could be read back", want, r.job, l.count(r.job))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// waitFor asks every few milliseconds until done says true; false when the time or ctx ends first.
func waitFor(ctx context.Context, most time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return done()
		}
	}
	return true
}
