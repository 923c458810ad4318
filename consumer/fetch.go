package consumer

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Fetch sizes decide memory: a client holds one fetch per broker ahead. Brokers count compressed bytes, memory holds what they
// inflate to and what each record takes beside its bytes, so the size asked for follows what was seen of both. A single batch is never
// cut: it passes alone.
const (
	fetchBytes      = 2 << 20 // what a fetch should inflate to
	firstFetchBytes = 512 << 10
	leastFetchBytes = 32 << 10
	maxReadBytes    = 512 << 20 // a larger answer is not read at all
)

// compression is what the batches of one job were compressed by lately.
type compression struct {
	read, inflated atomic.Int64 // bytes since adjust looked last
	asked          int32        // adjust's own: what fetches ask for
}

var _ kgo.HookFetchBatchRead = (*compression)(nil)

// OnFetchBatchRead is called by the Kafka client for every batch.
func (c *compression) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	c.read.Add(int64(m.CompressedBytes))
	c.inflated.Add(int64(m.UncompressedBytes) + recordOverhead*int64(m.NumRecords))
}

// adjust gives the size to ask for from now on, and whether it is another one. It shrinks at once and grows by a half at a time.
// most is what a fetch may inflate to.
func (c *compression) adjust(most int64) (int32, bool) {
	read, inflated := c.read.Swap(0), c.inflated.Swap(0)
	if read == 0 {
		return c.asked, false
	}
	want := min(fetchBytes, most)
	if inflated > read {
		want = want * read / inflated
	}
	want = min(max(want, leastFetchBytes), int64(c.asked)*3/2)
	if want > int64(c.asked)*3/4 && want < int64(c.asked)*5/4 {
		return c.asked, false
	}
	c.asked = int32(want)
	return c.asked, true
}
