package consumer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// openAfter is how long the same transaction must keep readers waiting before it is named: most are over in less.
const openAfter = 5 * time.Second

// openTransaction is what a partition waits for whose committed records have all been read, while the log goes on: readers of
// committed records are given nothing from the first record of an open transaction on, whoever wrote it.
type openTransaction struct {
	at    int64 // its first offset: the last stable offset of the log
	since time.Time
	cause string // empty until openAfter has passed
}

// judgeTransactions looks up what keeps lag from reaching 0 where nothing is left to be read.
func (r *Runner) judgeTransactions(ctx context.Context, ends kadm.ListedOffsets) {
	waiting := map[*partition]int64{} // with the end of their log
	topics := kadm.TopicsSet{}
	for _, p := range r.all() {
		if end, ok := ends.Lookup(p.topic, p.id); ok && end.Err == nil && p.before(end.Offset) {
			waiting[p] = end.Offset
			topics.Add(p.topic)
		} else {
			p.noteTransaction(nil)
		}
	}
	if len(waiting) == 0 {
		return
	}
	stable, err := r.instance.admin.ListCommittedOffsets(ctx, topics.Topics()...)
	if err != nil {
		return
	}
	old := kadm.TopicsSet{}
	found := map[*partition]*openTransaction{}
	for p, end := range waiting {
		lso, ok := stable.Lookup(p.topic, p.id)
		switch {
		case !ok || lso.Err != nil:
		case lso.Offset >= end || p.before(lso.Offset):
			p.noteTransaction(nil)
		default:
			t := &openTransaction{at: lso.Offset, since: time.Now()}
			if p.noteTransaction(t); time.Since(t.since) >= openAfter {
				old.Add(p.topic, p.id)
				found[p] = t
			}
		}
	}
	if len(found) == 0 {
		return
	}
	producers, err := r.instance.admin.DescribeProducers(ctx, old)
	for p, t := range found {
		who := "of a producer that could not be looked up"
		if err != nil {
			who += " (" + err.Error() + ")"
		}
		if d, ok := firstOpen(producers, p, t.at); ok {
			who = fmt.Sprintf("of producer id %d, whose last write was at %s", d.ProducerID, time.UnixMilli(d.LastTimestamp).UTC().Format(time.RFC3339))
		}
		cause := fmt.Sprintf("an open transaction %s keeps %d records from offset %d on from all readers of committed records; it ends by itself, or with kafka-transactions.sh abort --topic %s --partition %d --start-offset %d",
			who, waiting[p]-t.at, t.at, p.topic, p.id, t.at)
		p.noteTransaction(&openTransaction{at: t.at, since: t.since, cause: cause})
	}
}

// firstOpen is the producer whose transaction began first.
func firstOpen(producers kadm.DescribedProducersTopics, p *partition, at int64) (first kadm.DescribedProducer, ok bool) {
	open := slices.DeleteFunc(producers[p.topic].Partitions[p.id].ActiveProducers.Sorted(), func(d kadm.DescribedProducer) bool {
		return d.CurrentTxnStartOffset < 0 || d.CurrentTxnStartOffset > at
	})
	if len(open) == 0 {
		return first, false
	}
	return slices.MinFunc(open, func(a, b kadm.DescribedProducer) int {
		return cmp.Compare(a.CurrentTxnStartOffset, b.CurrentTxnStartOffset)
	}), true
}

// before says whether the partition has been read up to less than an offset, and may be.
func (p *partition) before(offset int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracker != nil && !p.wait.hold && p.fetched < offset
}

// noteTransaction notes the transaction that the partition waits for, nil for none. One that was noted before keeps its since, and its
// cause until there is a newer one; both are written into t.
func (p *partition) noteTransaction(t *openTransaction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t != nil && p.transaction != nil && p.transaction.at == t.at {
		t.since, t.cause = p.transaction.since, cmp.Or(t.cause, p.transaction.cause)
	}
	p.transaction = t
}
