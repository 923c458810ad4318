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
	// regulateEvery is how often memory is looked at while something waits for it, or is paused: other jobs may have given some back.
	regulateEvery = 200 * time.Millisecond
	// fetchRetry is the wait before a partition that could not be fetched is tried again.
	fetchRetry = 10 * time.Second
	// aheadBytes is what a job reads ahead while its target has more rows than it takes: reading on would only fill memory. Rows that
	// wait for others of their lane, or for a breaker, let it read on, up to the budget.
	aheadBytes = 8 << 20
	// minShareBytes is what a partition may buffer even if a job has many.
	minShareBytes = 1 << 20
)

// watch keeps high watermarks, the list of missing topics, marks and holds fresh, takes back why rows wait when none does, and answers
// what is accepted of holds, until ctx ends.
func (r *Runner) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var known string // the topics seen last
	for patient := false; ; {
		r.watchSession(ctx)
		if topics := fmt.Sprint(r.lookAt(ctx, patient)); topics != known {
			known = topics
			r.client.ForceMetadataRefresh() // the client looks for new topics once a minute only
		}
		patient = false
		select {
		case <-tick.C:
			patient = true
		case <-r.gaps.look:
		case a := <-r.gaps.accepts:
			a.answer(r.acceptHeld(ctx, a))
		case <-ctx.Done():
			return
		}
	}
}

// lookAt looks at the job's topics and gives those that exist; patient: there is time.
func (r *Runner) lookAt(ctx context.Context, patient bool) foundTopics {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	topics, err := r.findTopics(ctx, patient)
	if err != nil {
		return nil
	}
	if s := r.now().outlet.sink.Stats(); s.Waiting == 0 {
		r.status.note(&r.status.delivery, "")
	}
	if len(topics) == 0 {
		return nil
	}
	r.judgeTopics(topics)
	if ends, err := r.instance.ends.do(ctx, patient, topics.names()...); err == nil {
		for _, p := range r.all() {
			if end, ok := ends.Lookup(p.topic, p.id); ok && end.Err == nil {
				p.mu.Lock()
				p.highWater = max(p.highWater, end.Offset)
				p.mu.Unlock()
			}
		}
		r.judgeOffsets(ctx, ends)
		r.judgeTransactions(ctx, ends)
	}
	r.mendHolds(ctx, topics)
	r.lookUpRetention(ctx, topics)
	if r.unmarkedTopics(topics) {
		if committed, err := r.committedOffsets(ctx); err == nil {
			r.noteBegun(ctx, topics, committed)
		}
	}
	return topics
}

// logCut holds a partition whose log was cut behind us, before any record of the same poll is taken: the client goes on reading at
// the cut, and records that reuse offsets we have seen would be taken for repeats.
func (r *Runner) logCut(topic string, id int32, err error) {
	var cut *kgo.ErrDataLoss
	if p := r.partition(topic, id); p != nil && errors.As(err, &cut) {
		g := gap{from: cut.ConsumedTo, to: cut.ResetTo}
		r.holdPartition(p, r.cutHold(p, g), g)
	}
}

// fetchFailed makes an error of the client the state of its partition; others go on. What a broker answered is tried again. What
// the client found itself (a log that was cut behind us, a damaged batch) holds the partition until an operator decides: the client
// may go on reading somewhere else, and what it skips would be committed past.
func (r *Runner) fetchFailed(topic string, id int32, err error) {
	var session *kgo.ErrGroupSession
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, kgo.ErrClientClosed), errors.As(err, new(*kgo.ErrDataLoss)): // the last: see logCut
		return
	case errors.As(err, &session):
		cause := fmt.Sprintf("the group answered: %v", session.Err)
		if errors.Is(session.Err, kerr.UnreleasedInstanceID) {
			cause += fmt.Sprintf("; a member with STREAMER_INSTANCE_ID=%s is in it: one that was killed, until its session ends in at most %v, or another process "+
				"that was given the same id; trying again", r.cfg.Instance, r.sessionTime)
		}
		if r.status.note(&r.status.group, cause) {
			r.log.Warn("out of the group; joining again", "cause", cause)
		}
		return
	}
	cause := fetchCause(err)
	if topic == "" { // of no partition: a whole fetch that the client would not read
		cause = fmt.Sprintf("a batch is larger than the %d MiB that are read at once: %v", maxReadBytes>>20, err)
	}
	for _, p := range r.all() {
		switch {
		case topic != "" && (p.topic != topic || id >= 0 && p.id != id):
		case topic != "" && !passing(err):
			g := p.readUpTo()
			r.holdPartition(p, r.unreadableHold(p, err, g), g)
		case p.waits(cause, fetchRetry, errors.Is(err, kerr.OffsetOutOfRange)):
			r.log.Error("partition waits", "topic", topic, "partition", p.id, "cause", cause)
		}
	}
	if asksMore(err) {
		r.lookAgain()
	}
}

// asksMore says that an error may mean a gap, which has to be looked up.
func asksMore(err error) bool {
	return errors.Is(err, kerr.OffsetOutOfRange) || errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.InconsistentTopicID)
}

// passing says that an error of a fetch may pass: the client asks again by itself, and has skipped nothing.
func passing(err error) bool {
	var network net.Error
	return errors.As(err, new(*kerr.Error)) || errors.As(err, new(*kgo.ErrFirstReadEOF)) || errors.As(err, &network)
}

// fetchCause says what an error of a broker means and what an operator can do.
func fetchCause(err error) string {
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		return "the offset is not in the log any more; where the log begins and ends is being looked up, and nothing is skipped"
	case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
		return "the topic was deleted; if it is made anew, nothing of the new one is read before an operator says so"
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return "kafka refuses the topic to this user; it needs READ on the topic"
	case errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.MessageTooLarge):
		return "a batch is larger than the client reads: " + err.Error()
	}
	return "fetch: " + err.Error()
}

// share is what one partition may hold in memory: its part of what the job may. What is read ahead is shared by those that have
// something, and is half of what the job may at most: what one has read while it was alone stays when another one has something too.
func (r *Runner) share() int64 {
	limit, partitions := r.account.limit(), r.assigned.Load()
	if r.ample.Load() {
		limit, partitions = min(limit/2, aheadBytes), min(partitions, r.busy.Load())
	}
	return max(limit/max(partitions, 1), minShareBytes)
}

// regulate pauses the fetch of partitions that are full or cannot be read, and resumes it when there is room. It is the one
// place that pauses and resumes an assigned partition. It is called by the poll loop and by regulateLoop, by this again and again while a
// partition is paused, or something waits for room that another job may have.
func (r *Runner) regulate() {
	r.regulating.Lock()
	defer r.regulating.Unlock()
	r.ample.Store(r.now().outlet.sink.Ample())
	level, share, now := r.account.level(), r.share(), time.Now()
	r.memoryFull.Store(level >= 1)
	r.looks.Add(1)
	if size, changed := r.compression.adjust(r.account.fetchable()); changed {
		r.client.UpdateFetchMaxBytes(size, size)
	}
	pause, resume, busy, restless := map[string][]int32{}, map[string][]int32{}, int64(0), level >= 1
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
		waits := len(p.queue)+len(p.again) > 0
		restless = restless || waits || p.paused
		if p.held+p.queued > 0 {
			busy++
		}
		p.mu.Unlock()
		if waits {
			p.signal() // room may have come from another partition or job
		}
	}
	// The most of the last second: a partition that has something now and then would change the share of the others each time, and they
	// would be paused and resumed for it.
	if busy >= r.busy.Load() || now.Sub(r.busyAt) > time.Second {
		r.busy.Store(busy)
		r.busyAt = now
	}
	if r.restless.Swap(restless) != restless && restless {
		nudge(r.restive)
	}
	if len(pause)+len(resume) > 0 {
		r.patience.changes(now)
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

// regulateLoop regulates whenever a partition has room again, and every now and then while regulate asks for it, until ctx ends; else it
// sleeps: with a thousand jobs at rest, each look would cost. It is no part of the commit loop: a commit waits for its answer, and for a
// rebalance, and a partition that has room must not wait with it.
func (r *Runner) regulateLoop(ctx context.Context) {
	look := time.NewTimer(regulateEvery)
	defer look.Stop()
	for {
		var due <-chan time.Time
		if r.restless.Load() {
			look.Reset(regulateEvery)
			due = look.C
		}
		select {
		case <-due:
			r.regulate()
		case <-r.room:
			r.regulate()
		case <-r.restive:
		case <-ctx.Done():
			return
		}
	}
}

// signalRoom makes regulateLoop look now.
func (r *Runner) signalRoom() { nudge(r.room) }
