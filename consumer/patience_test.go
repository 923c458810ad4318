package consumer

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// A fetch waits as long as it should, whatever the client wrote, and nothing else of a request is changed.
func TestFetchesAreSentWithThePresentWait(t *testing.T) {
	var wait time.Duration
	sent := func(req kmsg.Request, version int16) (written, passed []byte) {
		req.SetVersion(version)
		written = kmsg.NewRequestFormatter(kmsg.FormatterClientID("streamer.someone")).AppendRequest(nil, req, 7)
		ours, theirs := net.Pipe()
		defer func() { _ = theirs.Close() }()
		passed = make([]byte, len(written))
		read := make(chan error, 1)
		go func() { // ends with the write
			_, err := theirs.Read(passed)
			read <- err
		}()
		c := &groupConn{Conn: ours, wait: func() time.Duration { return wait }, asked: map[int32]kmsg.Key{}}
		before := bytes.Clone(written)
		if n, err := c.Write(written); err != nil || n != len(written) {
			t.Fatal(n, err)
		}
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, written) {
			t.Error("what the client wrote was changed under its hands")
		}
		return written, passed
	}
	fetch := kmsg.NewPtrFetchRequest()
	fetch.MaxWaitMillis, fetch.MinBytes, fetch.MaxBytes, fetch.SessionID = 5000, 1, 12345, 99
	for _, version := range []int16{15, 16, fetch.MaxVersion()} {
		wait = 20 * time.Millisecond
		fetch.MaxWaitMillis = 5000
		_, passed := sent(fetch, version)
		fetch.MaxWaitMillis = 20
		if want, _ := sent(fetch, version); !bytes.Equal(passed, want) {
			t.Errorf("version %d:\n%x, want\n%x", version, passed, want)
		}
	}
	fetch.MaxWaitMillis = 5000
	for _, other := range []struct {
		req     kmsg.Request
		version int16
	}{{fetch, 14}, {kmsg.NewPtrMetadataRequest(), 12}, {kmsg.NewPtrHeartbeatRequest(), 4}} {
		if written, passed := sent(other.req, other.version); !bytes.Equal(written, passed) {
			t.Errorf("%T of version %d was changed", other.req, other.version)
		}
	}
}

func TestPatience(t *testing.T) {
	var p patience
	now := time.Now()
	waits := func(after, want time.Duration) {
		t.Helper()
		if got := p.wait(now.Add(after)); got != want {
			t.Errorf("waits %v, want %v", got, want)
		}
	}
	waits(0, fetchWait)
	p.paused(now)
	waits(time.Millisecond, leastFetchWait)
	waits(time.Second, 100*time.Millisecond)
	waits(time.Hour, fetchWait)
	now = now.Add(time.Hour)
	p.paused(now) // another partition
	waits(0, leastFetchWait)
	p.none()
	waits(0, fetchWait)
}

// One partition has far more than memory holds, and is paused and resumed all the time; the other has nothing new. A fetch that waits for
// the one must not keep the other waiting: see patience.
func TestAFullPartitionDoesNotWaitForAnIdleOne(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{} })
	topic := f.cluster.Topic(t, "t", 2)
	producer := f.cluster.Producer(t, kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression())) // a fetch is whole batches
	filler := bytes.Repeat([]byte("x"), 2000)
	batch := make([]*kgo.Record, 10_000) // 20 MB
	for i := range batch {
		batch[i] = &kgo.Record{Topic: topic, Key: fmt.Append(nil, i%500), Value: fmt.Appendf(nil, `{"id":"%d","n":%d,"filler":%q}`, i%500, i, filler)}
	}
	consumertest.Produce(t, producer, batch...)
	cfg := f.job(topic)
	f.runOn(f.instance(Client{Brokers: f.cluster.Brokers}, 4<<20), cfg)
	f.committed(cfg, topic)
	var last time.Time
	var longest time.Duration
	for _, a := range f.api.Attempts() {
		if !last.IsZero() {
			longest = max(longest, a.Start.Sub(last))
		}
		last = a.Start
	}
	t.Logf("the longest time without an attempt: %v", longest)
	if longest > fetchWait/2 {
		t.Errorf("nothing was sent for %v", longest)
	}
}
