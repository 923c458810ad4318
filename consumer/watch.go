package consumer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// watchEvery is how often the ends of the logs are looked up: a partition that is paused, or behind an open transaction,
	// learns of no new ones by fetching.
	watchEvery = 10 * time.Second
	// regulateEvery is how often memory is looked at when nothing else calls for it: other jobs may have given some back.
	regulateEvery = 200 * time.Millisecond
	// fetchRetry is the wait before a partition that could not be fetched is tried again.
	fetchRetry = 10 * time.Second
	// minShareBytes is what a partition may buffer even if a job has many.
	minShareBytes = 1 << 20
)

// watch keeps high watermarks and the list of missing topics fresh, and takes back why rows wait when none does, until ctx ends.
func (r *Runner) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var known string // the topics seen last
	for {
		if topics := fmt.Sprint(r.look(ctx)); topics != known {
			known = topics
			r.client.ForceMetadataRefresh() // the client looks for new topics once a minute only
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look gives the job's topics that exist.
func (r *Runner) look(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	topics, err := r.existingTopics(ctx)
	if err != nil || len(topics) == 0 {
		return nil
	}
	ends, err := r.instance.admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return topics
	}
	for _, p := range r.all() {
		if end, ok := ends.Lookup(p.topic, p.id); ok && end.Err == nil {
			p.mu.Lock()
			p.highWater = max(p.highWater, end.Offset)
			p.mu.Unlock()
		}
	}
	if s := r.sink.Stats(); s.Waiting == 0 {
		r.status.note(&r.status.delivery, "")
	}
	return topics
}

// logCut holds a partition whose log was cut behind us, before any record of the same poll is taken: the client goes on reading at
// the cut, and records that reuse offsets we have seen would be taken for repeats.
func (r *Runner) logCut(topic string, id int32, err error) {
	var cut *kgo.ErrDataLoss
	if errors.As(err, &cut) {
		r.fetchFailed(topic, id, err)
	}
}

// fetchFailed makes an error of the client the state of its partition; others go on. What a broker answered is tried again. What
// the client found itself (a log that was cut behind us, a damaged batch) holds the partition until the job is started again: the
// client may go on reading somewhere else, and what it skips would be committed past.
func (r *Runner) fetchFailed(topic string, id int32, err error) {
	var session *kgo.ErrGroupSession
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, kgo.ErrClientClosed):
		return
	case errors.As(err, &session):
		cause := fmt.Sprintf("the group answered: %v", session.Err)
		if r.status.note(&r.status.group, cause) {
			r.log.Warn("out of the group; joining again", "cause", session.Err)
		}
		return
	}
	cause, hold := fetchCause(err), !passing(err)
	if topic == "" { // of no partition: a whole fetch that the client would not read
		cause, hold = fmt.Sprintf("a batch is larger than the %d MiB that are read at once: %v", maxReadBytes>>20, err), false
	}
	for _, p := range r.all() {
		if (p.topic == topic && (p.id == id || id < 0) || topic == "") && p.waits(cause, fetchRetry, hold) {
			r.log.Error("partition waits", "topic", topic, "partition", p.id, "cause", cause)
		}
	}
}

// passing says that an error of a fetch may pass: the client asks again by itself, and has skipped nothing.
func passing(err error) bool {
	var network net.Error
	return errors.As(err, new(*kerr.Error)) || errors.As(err, new(*kgo.ErrFirstReadEOF)) || errors.As(err, &network)
}

// fetchCause says what an error of a fetch means and what an operator can do.
func fetchCause(err error) string {
	var truncated *kgo.ErrDataLoss
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		return "the committed offset is not in the log any more: records expired, or the topic was made anew; nothing is skipped until the offsets are reset"
	case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
		return "the topic was deleted, or deleted and made anew; nothing of the new one is read"
	case errors.As(err, &truncated):
		return fmt.Sprintf("the log was cut behind us: we had read up to %d, it was cut at %d; nothing is read until the job is started again", truncated.ConsumedTo, truncated.ResetTo)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return "kafka refuses the topic to this user; it needs READ on the topic"
	case errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.MessageTooLarge):
		return "a batch is larger than the client reads: " + err.Error()
	}
	if !passing(err) {
		return "what was fetched cannot be read: " + err.Error() + "; nothing more is read until the job is started again"
	}
	return "fetch: " + err.Error()
}

// share is what one partition may hold in memory: its part of the job's limit.
func (r *Runner) share() int64 {
	return max(r.account.limit()/max(r.assigned.Load(), 1), minShareBytes)
}

// regulate pauses the fetch of partitions that are full or cannot be read, and resumes it when there is room. It is the one
// place that pauses and resumes an assigned partition. It is called by the poll loop and by the commit loop.
func (r *Runner) regulate() {
	r.regulating.Lock()
	defer r.regulating.Unlock()
	level, share, now := r.account.level(), r.share(), time.Now()
	r.memoryFull.Store(level >= 1)
	if size, changed := r.compression.adjust(r.account.limit()); changed {
		r.client.UpdateFetchMaxBytes(size, size)
	}
	pause, resume := map[string][]int32{}, map[string][]int32{}
	for _, p := range r.all() {
		p.mu.Lock()
		used := float64(p.held+p.queued) / float64(share)
		waiting := p.wait.cause != "" && (p.wait.hold || now.Before(p.wait.retry))
		switch {
		case !p.paused && (waiting || used >= 1 || level >= 1 && used > 0):
			p.paused = true
			pause[p.topic] = append(pause[p.topic], p.id)
		case p.paused && !waiting && used < lowMark && (level < lowMark || used == 0):
			p.paused = false
			resume[p.topic] = append(resume[p.topic], p.id)
		}
		p.mu.Unlock()
		p.signal() // room may have come from another partition or job
	}
	if len(pause) > 0 {
		r.client.PauseFetchPartitions(pause)
	}
	if len(resume) > 0 {
		r.client.ResumeFetchPartitions(resume)
	}
}

// number is the partition as a label.
func (p PartitionStatus) number() string { return strconv.Itoa(int(p.Partition)) }

// signalRoom makes the commit loop regulate now.
func (r *Runner) signalRoom() {
	select {
	case r.room <- struct{}{}:
	default:
	}
}
