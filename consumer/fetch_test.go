package consumer

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestFetchSizeFollowsCompression(t *testing.T) {
	c := compression{asked: firstFetchBytes}
	step := func(read, inflated int, want int32) {
		t.Helper()
		c.OnFetchBatchRead(kgo.BrokerMetadata{}, "t", 0, kgo.FetchBatchMetrics{CompressedBytes: read, UncompressedBytes: inflated})
		if got, _ := c.adjust(32 << 20); got != want {
			t.Fatalf("asks for %d, want %d", got, want)
		}
	}
	if got, changed := c.adjust(32 << 20); changed || got != firstFetchBytes {
		t.Fatal("changed without anything read")
	}
	step(100, 100, firstFetchBytes*3/2) // grows step by step
	step(100, 100, firstFetchBytes*9/4)
	step(1000, 50_000, fetchBytes/50) // and shrinks at once
	step(1000, 49_000, fetchBytes/50) // about the same: left alone
	step(100, 100, fetchBytes/50*3/2)
	step(1, 1_000_000, leastFetchBytes)
	small := compression{asked: firstFetchBytes}
	small.OnFetchBatchRead(kgo.BrokerMetadata{}, "t", 0, kgo.FetchBatchMetrics{CompressedBytes: 10, UncompressedBytes: 10})
	if got, _ := small.adjust(256 << 10); got != 256<<10 {
		t.Fatalf("asks for %d of a job that may fetch 256 KiB", got)
	}
}
