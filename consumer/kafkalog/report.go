package kafkalog

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// reportTimeout bounds the write of a report: a later one says more.
	reportTimeout = 10 * time.Second
	// reportAge is when a report is forgotten, as the topic forgets it.
	reportAge = time.Hour
	// longestSilence is the most that a pause of all reports counts in their ages. See clock.
	longestSilence = 4 * time.Second
)

// clock tells how old reports are. Clocks of machines differ, so it counts only what the broker stamped on the records of .status:
// the time that passed between them. And when nobody could report for a while, because Kafka was away, nobody is the older for it:
// such a pause counts for longestSilence only. An instance reports more often than that, so in good times nothing is cut.
type clock struct {
	now     time.Duration // since the first record
	stamp   time.Time     // of the newest record
	heard   time.Time     // when it was read, by our own clock
	counted bool          // a record was read since the view was published
}

// tick moves the clock to a record's stamp.
func (c *clock) tick(stamp time.Time, live bool) {
	passed := max(stamp.Sub(c.stamp), 0)
	if c.stamp.IsZero() {
		passed = 0
	}
	if live && c.counted { // what passed before we were there is what it is
		passed = min(passed, longestSilence)
	}
	c.counted = live
	c.now += passed
	if stamp.After(c.stamp) {
		c.stamp = stamp
	}
	c.heard = time.Now()
}

// age is how long ago a record was written.
func (c *clock) age(at time.Duration) time.Duration {
	return c.now - at + min(time.Since(c.heard), longestSilence)
}

// report is one record of .status.
type report struct {
	value    []byte
	revision int64
	at       time.Duration // by clock
}

// hear brings one record of .status into the view. The caller holds Log.mu.
func (v *view) hear(r *kgo.Record, live bool) {
	v.clock.tick(r.Timestamp, live)
	key := string(r.Key)
	if key == "" { // nobody's
		return
	}
	if r.Value == nil {
		v.reports.remove(key)
		return
	}
	v.reports.set(key, report{bytes.Clone(r.Value), r.Offset, v.clock.now})
}

// prune forgets old reports now and then. The caller holds Log.mu.
func (v *view) prune() {
	if time.Since(v.pruned) < reportAge/6 {
		return
	}
	v.pruned = time.Now()
	for key, r := range v.reports.values {
		if v.clock.age(r.at) > reportAge {
			v.reports.remove(key)
		}
	}
}

// Report writes a report, nil to take it back, without waiting for it. One that cannot be written is lost, and shown by Problem:
// reports are made to be repeated.
func (l *Log) Report(key string, value []byte) {
	rec := &kgo.Record{Topic: l.status, Key: []byte(key), Value: value}
	l.client.TryProduce(context.Background(), rec, func(_ *kgo.Record, err error) {
		if err != nil {
			l.trouble(troubleReport, fmt.Sprintf("reports cannot be written to %s: %v", l.status, err))
			return
		}
		l.trouble(troubleReport, "")
	})
}

// Reports gives the reports whose keys begin with prefix, by key. Their At is now less their age, and the age is counted by the
// broker's clock: see clock.
func (l *Log) Reports(prefix string) (out []Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view == nil {
		return nil
	}
	now := time.Now()
	for _, key := range l.view.reports.under(prefix) {
		r := l.view.reports.values[key]
		out = append(out, Entry{Key: key, Value: r.value, Revision: r.revision, At: now.Add(-l.view.clock.age(r.at))})
	}
	return out
}
