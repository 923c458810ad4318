package consumer

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// follow reads the dead-letter topic from its beginning and goes on with it, until ctx ends. What cannot be read keeps rows waiting, and
// is shown.
func (k *parking) follow(ctx context.Context) {
	for ctx.Err() == nil {
		k.mu.Lock() // the partitions of this session wait until all is read anew; those of a topic that was made anew have nothing parked
		k.fold, k.read = newLetterFold(k.runner.cfg.Job, k.fold.most), map[int32]int64{}
		for _, b := range k.writing {
			if b.acked != nil { // its letter went with the topic
				k.settle(b, "", nil)
			}
		}
		k.tryOver()
		k.mu.Unlock()
		nudge(k.wake)
		err := k.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errTopicAnew) {
			k.runner.log.Warn(err.Error(), "topic", k.topic)
			continue
		}
		k.failed(err)
		sleep(ctx, time.Second)
	}
}

func (k *parking) failed(err error) {
	cause := fmt.Sprintf("dead letters cannot be read from %s: %v; rows of parked keys, and new partitions, wait", k.topic, err)
	k.runner.status.note(&k.runner.status.parked, cause)
	if k.runner.said.first(cause, time.Now()) {
		k.runner.log.Error(cause)
	}
}

var errTopicAnew = errors.New("the topic was deleted or made anew: what was parked in it is forgotten")

// followOnce reads with one client, until ctx ends or the topic is another one.
func (k *parking) followOnce(ctx context.Context) error {
	opts, err := k.runner.instance.options(clientID + ".park")
	if err != nil {
		return err
	}
	// Before the client is made: what it comes to know is this topic then, or a newer one.
	id, err := k.topicID(ctx)
	for ; err != nil; id, err = k.topicID(ctx) {
		if k.failed(err); !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
	client, err := kgo.NewClient(append(opts,
		kgo.ConsumeTopics(k.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(letterFetchBytes),
		kgo.FetchMaxPartitionBytes(letterFetchBytes),
		kgo.BrokerMaxReadBytes(maxReadBytes),
		kgo.MaxConcurrentFetches(1),
		kgo.FetchMaxWait(500*time.Millisecond),
	)...)
	if err != nil {
		return err
	}
	defer client.Close()
	var ends []awaited
	defer func() { k.awaitAgain(ends) }()
	strange := 0 // so many times running brokers did not know the topic that the client knows
	for ctx.Err() == nil {
		if ends, err = k.arrivals(ctx, ends); err != nil && ctx.Err() == nil {
			k.failed(err)
			sleep(ctx, time.Second)
			continue
		}
		poll, cancel := context.WithCancel(ctx)
		var stop *time.Timer
		if len(ends) > 0 {
			stop = time.AfterFunc(parkLook, cancel)
		}
		woken := make(chan struct{})
		go func() { // ends with poll, and is waited for
			defer close(woken)
			select {
			case <-k.look:
				cancel()
			case <-poll.Done():
			}
		}()
		fetches := client.PollFetches(poll)
		cancel()
		<-woken
		if stop != nil {
			stop.Stop()
		}
		fetches.EachRecord(k.apply)
		if err := letterFetchError(fetches); err != nil {
			if errors.Is(err, kerr.UnknownTopicID) {
				strange++
			}
			// Not when it is only missing: brokers say so too while leaders move. And a client may have the topic before this one from a broker
			// that was late to learn of it.
			if now, unknown := k.topicID(ctx); unknown == nil && (now != id || strange >= mostStrange) {
				return errTopicAnew
			}
			if !errors.Is(err, kerr.UnknownTopicOrPartition) {
				k.failed(err)
			}
			sleep(ctx, time.Second)
			continue
		}
		strange = 0
	}
	return ctx.Err()
}

// mostStrange is how often, a second apart, brokers may not know the topic that the client knows until the client is taken for wrong.
const mostStrange = 5

// topicID is that of the topic now.
func (k *parking) topicID(ctx context.Context) ([16]byte, error) {
	meta, err := k.runner.instance.admin.Metadata(ctx, k.topic)
	if err == nil {
		err = meta.Topics[k.topic].Err
	}
	return meta.Topics[k.topic].ID, err
}

// awaited are partitions that wait until the follower has come to ends.
type awaited struct {
	partitions []arrival
	ends       map[int32]int64
	looked     time.Time
}

// arrivals looks up the end of the topic for partitions that were assigned since, and lets those go that have waited for long enough. The
// end is looked up after the assignment: what the owner before has written stands before it.
func (k *parking) arrivals(ctx context.Context, waiting []awaited) ([]awaited, error) {
	k.mu.Lock()
	newly := k.newly
	k.newly = nil
	k.mu.Unlock()
	if len(newly) > 0 {
		waiting = append(waiting, awaited{partitions: newly})
	}
	left := waiting[:0]
	for i, w := range waiting {
		if time.Since(w.looked) > parkAgain { // again from time to time: what was awaited may have expired
			spans, err := k.letters.spans(ctx, LetterAddress{})
			if err != nil {
				return append(left, waiting[i:]...), err
			}
			ends := map[int32]int64{}
			for _, s := range spans {
				switch end, known := w.ends[s.partition]; {
				case w.ends == nil:
					ends[s.partition] = s.to
				case known && s.from < end:
					ends[s.partition] = end
				}
			}
			w.ends, w.looked = ends, time.Now()
		}
		if !k.cameTo(w.ends) {
			left = append(left, w)
			continue
		}
		k.runner.status.note(&k.runner.status.parked, "")
		for _, p := range w.partitions {
			p.mu.Lock()
			if p.parkWait == p.n {
				p.parkWait = 0
			}
			p.mu.Unlock()
			p.signal()
		}
	}
	return left, nil
}

// awaitAgain leaves who still waits to the next reading of the topic.
func (k *parking) awaitAgain(waiting []awaited) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range waiting {
		k.newly = append(k.newly, w.partitions...)
	}
}

func (k *parking) cameTo(ends map[int32]int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, end := range ends {
		if k.read[id] < end {
			return false
		}
	}
	return true
}

// letterPartitioner keeps the letters of a lane in one partition of their topic, and outcomes in that of their letter. What is neither has
// the partition of its key, as all producers have it.
type letterPartitioner struct{}

func (letterPartitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return letterTopicPartitioner{kgo.StickyKeyPartitioner(nil).ForTopic(topic)}
}

type letterTopicPartitioner struct{ kgo.TopicPartitioner }

func (p letterTopicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return ofLetters(r) || p.TopicPartitioner.RequiresConsistency(r)
}

func (p letterTopicPartitioner) Partition(r *kgo.Record, n int) int {
	if !ofLetters(r) {
		return p.TopicPartitioner.Partition(r, n)
	}
	h := fnv.New32a()
	for _, header := range r.Headers {
		switch {
		case strings.HasPrefix(header.Key, "streamer-outcome"):
			return int(r.Partition)
		case header.Key == "streamer-topic-id", header.Key == "streamer-partition", header.Key == "streamer-lane":
			h.Write(header.Value)
			h.Write([]byte{0})
		}
	}
	return int(h.Sum32() % uint32(n))
}

// ofLetters says that a record is a dead letter, or an outcome of one.
func ofLetters(r *kgo.Record) bool {
	return slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool {
		return h.Key == "streamer-job" || strings.HasPrefix(h.Key, "streamer-outcome")
	})
}
