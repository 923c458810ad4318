package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink/sinktest/checker"
)

// maxRows bounds a demo without --for: the check keeps every row and every attempt in memory.
const maxRows = 100_000

// sent is a record that the broker has acknowledged, with what the demo remembers of its rows.
type sent struct {
	topic     string
	partition int32
	offset    int64
	rows      []row
}

// producer puts Aether records into the topics, as Aether's own producer does: containers as values, no key, no headers.
type producer struct {
	broker *broker
	rate   float64
	story  *story

	mu      sync.Mutex
	records []sent
	rows    map[string]int // by topic
}

func newProducer(b *broker, rate float64, s *story) *producer {
	return &producer{broker: b, rate: rate, story: s, rows: map[string]int{}}
}

// tick is how often records are produced.
const tick = 20 * time.Millisecond

// run produces until ctx ends or until maxRows; it reports whether it stopped by itself.
func (p *producer) run(ctx context.Context, damageAfter time.Duration) (full bool, err error) {
	g := newGenerator()
	timer := time.NewTicker(tick)
	defer timer.Stop()
	begun, last, due, damaged := time.Now(), time.Now(), 0.0, false
	for ctx.Err() == nil {
		// After a pause of the machine the rows of the pause are not made up for: the APIs had the pause, too.
		now := time.Now()
		due, last = due+p.rate*min(now.Sub(last).Seconds(), 5*tick.Seconds()), now
		var batch []container
		for due > 0 || g.records < len(partitions) { // one of each topic at once
			c := g.next()
			due -= float64(max(len(c.rows), 1))
			batch = append(batch, c)
		}
		if !damaged && time.Since(begun) > damageAfter {
			batch, damaged = append(batch, g.damaged()), true
		}
		if err := p.send(batch); err != nil {
			return false, err
		}
		if g.rows() >= maxRows {
			return true, nil
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return false, nil
}

// damaged makes a record that was cut off on its way, as a full disk does.
func (g *generator) damaged() container {
	c := g.next()
	for c.topic != householdTopic || len(c.rows) == 0 {
		c = g.next()
	}
	c.value = c.value[:len(c.value)-20]
	c.rows, c.first = []row{{index: checker.WholeRecord, poison: true}}, nil
	return c
}

// send produces a batch and remembers where its records came to lie. What was begun is finished, also when the demo ends.
func (p *producer) send(batch []container) error {
	if len(batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	records := make([]*kgo.Record, len(batch))
	for i, c := range batch {
		records[i] = &kgo.Record{Topic: c.topic, Value: c.value}
	}
	if err := p.broker.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("producer: %w", err)
	}
	p.mu.Lock()
	for i, c := range batch {
		r := records[i]
		p.records = append(p.records, sent{r.Topic, r.Partition, r.Offset, c.rows})
		p.rows[c.topic] += len(c.rows)
	}
	p.mu.Unlock()
	for i, c := range batch {
		p.story.produced(c, records[i].Partition, records[i].Offset)
	}
	return nil
}

// count gives the records and the rows produced so far, the rows by topic.
func (p *producer) count() (records int, rows map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows = map[string]int{}
	for topic, n := range p.rows {
		rows[topic] = n
	}
	return len(p.records), rows
}

// expected is what a job has to do with all that was produced.
func (p *producer) expected(r role) []checker.Row {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []checker.Row
	for _, s := range p.records {
		if s.topic != r.topic {
			continue
		}
		for _, w := range s.rows {
			out = append(out, checker.Row{
				Position: checker.Position{Topic: s.topic, Partition: s.partition, Offset: s.offset, Row: w.index},
				Lane:     w.lane, Want: r.want(w),
			})
		}
	}
	return out
}
