package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/sink"
)

// Runner runs one job on this instance: its membership of the group, and the data path of the partitions assigned to it.
// A Runner runs once.
type Runner struct {
	instance *Instance
	cfg      Config
	log      *slog.Logger
	rows     map[string]rowCounter
	attempts attemptCounters

	client   *kgo.Client
	sink     *sink.Sink
	patterns []*regexp.Regexp // of topics, when cfg.Pattern
	fence    *fence
	account  *account
	dead     *deadLetters
	cluster  string        // id of the Kafka cluster
	joined   chan struct{} // closed when client is set
	room     chan struct{} // capacity 1: a partition has room again
	assigned atomic.Int64

	// commits is held while offsets are read and their commit is handed to the client, and while partitions are given up. It is
	// taken before mu, and mu before a partition's own lock. It may be held as long as a rebalance takes; mu never is.
	commits sync.Mutex

	mu         sync.RWMutex
	partitions map[topicPartition]*partition
	topicIDs   map[string][16]byte

	metadata map[topicPartition]string // of the commits that onOffsets is about to see

	delivering  atomic.Pointer[sink.Sink] // sink, for Status
	status      status
	said        said
	regulating  sync.Mutex // guards compression's size
	compression compression
	memoryFull  atomic.Bool // the job may hold nothing more
	bare        atomic.Bool // commits carry no metadata: the broker refuses it
	unfinished  atomic.Int64
}

type topicPartition struct {
	topic string
	id    int32
}

// Session times: a member that stops answering is given up after sessionTimeout. Short enough that another instance goes on
// soon, long enough for a garbage collection of the broker.
const (
	sessionTimeout    = 10 * time.Second
	heartbeatInterval = 2 * time.Second
	// rebalanceMargin is what a member may take to join again beyond its drain.
	rebalanceMargin = 30 * time.Second
	// stopMargin is kept of the hard deadline for the last commit and for leaving the group.
	stopMargin = 5 * time.Second
)

// Run joins the group and delivers until soft ends; then it stops: no new attempts, drain, commit while still a member, leave.
// When hard ends, attempts in flight are cancelled and what they would have finished is left to the next owner.
// Errors before the group is joined (no broker, a topic that is missing) are waited out and shown in Status. What waiting does
// not mend is returned as a *RefusedError; nil after a clean stop.
func (r *Runner) Run(soft, hard context.Context) error {
	defer r.instance.forget(r)
	defer r.status.set(Stopped, "")
	if err := r.prepare(soft); err != nil {
		if soft.Err() != nil {
			return nil
		}
		return err
	}
	r.dead.ensureTopic(soft)
	if err := r.join(); err != nil {
		return err
	}
	work, endWork := context.WithCancel(context.Background())
	var background sync.WaitGroup
	for _, f := range []func(context.Context){r.commitLoop, r.watch, r.dead.run} {
		background.Go(func() { f(work) })
	}
	r.status.set(Running, "")

	r.poll(soft)
	err := r.leave(hard)

	endWork()
	background.Wait()
	r.client.CloseAllowingRebalance()
	r.sink.Close()
	r.account.close()
	return err
}

// join makes the client, which joins the group at once.
func (r *Runner) join() error {
	r.fence = newFence(sessionTimeout)
	s, err := sink.New(r.cfg.Sink, r.fence.permit, observer{r})
	if err != nil {
		return &RefusedError{Cause: err}
	}
	r.sink = s
	r.delivering.Store(s)
	opts, err := r.instance.options(r.clientID())
	if err != nil {
		return &RefusedError{Cause: err}
	}
	opts = append(opts,
		kgo.ConsumerGroup(r.cfg.Group),
		kgo.ConsumeTopics(r.cfg.Topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.BlockRebalanceOnPoll(),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeatInterval),
		kgo.RebalanceTimeout(r.cfg.Drain+rebalanceMargin),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(r.compression.asked),
		kgo.FetchMaxPartitionBytes(r.compression.asked),
		kgo.OnPartitionsAssigned(r.onAssigned),
		kgo.OnPartitionsRevoked(r.onRevoked),
		kgo.OnPartitionsLost(r.onLost),
		kgo.OnOffsetsFetched(r.onMetadata),
		kgo.AdjustFetchOffsetsFn(r.onOffsets),
		kgo.WithHooks(r.fence, &r.compression),
	)
	if r.cfg.Pattern {
		opts = append(opts, kgo.ConsumeRegex(), kgo.ConsumeExcludeTopics(exclusions(r.cfg.Namespace)...))
	}
	if r.cfg.Instance != "" {
		opts = append(opts, kgo.InstanceID(r.cfg.Instance))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		s.Close()
		return &RefusedError{Cause: err}
	}
	r.client, r.account = client, r.instance.budget.open(client.BufferedFetchBytes)
	close(r.joined) // the callbacks may run before NewClient returns, and wait here
	return nil
}

// partition is the present assignment of a partition, nil if it is not ours.
func (r *Runner) partition(topic string, id int32) *partition {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.partitions[topicPartition{topic, id}]
}

// all is every assigned partition.
func (r *Runner) all() []*partition {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.partitions))
}

func (r *Runner) add(p *partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partitions[topicPartition{p.topic, p.id}] = p
	r.assigned.Store(int64(len(r.partitions)))
}

// remove takes partitions out of the assignment; nil: all of them. After it returns the commit loop commits none of them.
func (r *Runner) remove(lost map[string][]int32) []*partition {
	r.commits.Lock()
	defer r.commits.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*partition
	if lost == nil {
		out = slices.Collect(maps.Values(r.partitions))
		clear(r.partitions)
	}
	for topic, ids := range lost {
		for _, id := range ids {
			if p := r.partitions[topicPartition{topic, id}]; p != nil {
				out = append(out, p)
				delete(r.partitions, topicPartition{topic, id})
			}
		}
	}
	r.assigned.Store(int64(len(r.partitions)))
	return out
}

// onAssigned makes a partition object for each assignment. Fetching begins after onOffsets.
func (r *Runner) onAssigned(ctx context.Context, _ *kgo.Client, added map[string][]int32) {
	<-r.joined
	r.learnTopics(ctx, slices.Collect(maps.Keys(added)))
	r.fence.open()
	for topic, ids := range added {
		for _, id := range ids {
			r.add(r.newPartition(topic, id))
		}
	}
	r.client.ResumeFetchPartitions(added)
	if len(added) > 0 {
		r.log.Info("partitions assigned", "partitions", added)
	}
}

// onRevoked gives partitions up in good order. The group waits for us, at most the rebalance timeout (drain + 30 s):
//
//  1. The partitions leave r.partitions under the commit lock: no commit of the loop can follow ours. See commitFinished.
//  2. Each drains: no new attempts, those in flight end or are cancelled when the drain time is over.
//  3. Their offsets are committed while we are still a member of this generation. If that fails, the next owner begins at the
//     last acknowledged commit and sends what finished since then again: late, never lost.
//  4. Pauses are cleared: a partition that comes back must not stay silent.
func (r *Runner) onRevoked(ctx context.Context, _ *kgo.Client, lost map[string][]int32) {
	if len(lost) == 0 {
		return
	}
	parts := r.remove(lost)
	drain, cancel := context.WithTimeout(ctx, r.cfg.Drain)
	defer cancel()
	r.release(drain, parts)
	r.client.ResumeFetchPartitions(lost)
	r.log.Info("partitions revoked", "partitions", lost)
}

// onLost gives partitions up that the group has taken from us: another member may be sending their rows already. Attempts are
// cancelled at once, and nothing is committed, since a commit could overwrite the new owner's.
func (r *Runner) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	r.fence.close()
	var all sync.WaitGroup
	for _, p := range r.remove(lost) {
		all.Go(p.abandon)
	}
	all.Wait()
	r.client.ResumeFetchPartitions(lost)
	if len(lost) > 0 {
		r.log.Warn("partitions lost: the group gave this member up; rows in flight were cancelled and may be sent again by their next owner",
			"partitions", lost)
	}
}

// leave stops in good order, like a revoke of everything, and leaves the group. A static member does not leave: it may come
// back within the session timeout and keep its partitions.
func (r *Runner) leave(hard context.Context) error {
	r.client.PauseFetchTopics(r.cfg.Topics...)
	drain, cancel := context.WithTimeout(hard, r.cfg.Drain)
	defer cancel()
	r.release(drain, r.remove(nil))
	r.client.AllowRebalance() // the last poll holds rebalances back
	ctx, cancel := context.WithTimeout(context.Background(), stopMargin)
	defer cancel()
	if err := r.client.LeaveGroupContext(ctx); err != nil && !errors.Is(err, kerr.UnknownMemberID) {
		r.log.Warn("leaving the group was not answered; it gives this member up after the session timeout", "cause", err)
	}
	return nil
}

// release drains partitions together and commits what they finished.
func (r *Runner) release(drain context.Context, parts []*partition) {
	var (
		mu   sync.Mutex
		all  sync.WaitGroup
		last = commits{}
	)
	for _, p := range parts {
		all.Go(func() {
			if c, changed := p.drain(drain); changed {
				mu.Lock()
				defer mu.Unlock()
				last[topicPartition{p.topic, p.id}] = c
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), stopMargin)
	defer cancel()
	if err := r.commitNow(ctx, last); err != nil {
		r.log.Warn("the last commit was refused; rows finished since the one before it are sent again by their next owner", "cause", err)
	}
}

// commits is what to commit, by partition.
type commits map[topicPartition]commit

// positions is what to commit of all assigned partitions with something new.
func (r *Runner) positions() commits {
	all := commits{}
	for _, p := range r.all() {
		if c, changed := p.finished(); changed {
			all[topicPartition{p.topic, p.id}] = c
		}
	}
	return all
}

// requestMetadata is what the metadata of one commit request may take together.
const requestMetadata = 256 << 10

// metadataLimit is how many characters the metadata of one partition may have.
func (r *Runner) metadataLimit() int {
	if r.bare.Load() {
		return 0
	}
	return min(maxMetadata, requestMetadata/int(max(r.assigned.Load(), 1)))
}

// commit hands commits to the client and gives the broker's answer when it is there. The client sends them in the order given.
// A commit that fails changes nothing: the next one holds at least as much.
func (r *Runner) commit(ctx context.Context, all commits) <-chan error {
	answer := make(chan error, 1)
	if len(all) == 0 {
		answer <- nil
		return answer
	}
	start := time.Now()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for at, c := range all {
		if offsets[at.topic] == nil {
			offsets[at.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[at.topic][at.id] = kgo.EpochOffset{Epoch: c.Epoch, Offset: c.Offset}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				p.Metadata = kmsg.StringPtr(all[topicPartition{req.Topics[i].Topic, p.Partition}].metadata)
			}
		}
		return nil
	})
	r.client.CommitOffsets(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		r.instance.metrics.commitSeconds.Observe(time.Since(start).Seconds())
		if err == nil {
			err = r.acknowledge(all, resp)
		}
		answer <- err
	})
	return answer
}

// commitNow commits and waits for the answer.
func (r *Runner) commitNow(ctx context.Context, all commits) error {
	err := <-r.commit(ctx, all)
	if !r.metadataRefused(err) {
		return err
	}
	for at, c := range all {
		c.metadata = ""
		all[at] = c
	}
	return <-r.commit(ctx, all)
}

// metadataRefused says that a commit failed because of its metadata, and is to be made again at once without. From then on this
// runner commits none.
func (r *Runner) metadataRefused(err error) bool {
	if !errors.Is(err, kerr.OffsetMetadataTooLarge) || r.bare.Swap(true) {
		return false
	}
	r.log.Warn("the broker refuses commit metadata of this size (offset.metadata.max.bytes); rows finished above the committed offset are sent again after a crash", "cause", err)
	return true
}

// noteCommit shows a refused commit in the status until one is taken.
func (r *Runner) noteCommit(err error) {
	cause := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		cause = fmt.Sprintf("the last commit was refused: %v", err)
	}
	if r.status.note(&r.status.commits, cause) && cause != "" {
		r.log.Warn("commit refused; rows finished since the last acknowledged commit would be sent again after a crash", "cause", err)
	}
}

// acknowledge notes the commits that the broker answered for and gives the errors of the others.
func (r *Runner) acknowledge(all commits, resp *kmsg.OffsetCommitResponse) error {
	var errs error
	for _, t := range resp.Topics {
		topic := t.Topic
		if topic == "" {
			topic = r.topicName(t.TopicID)
		}
		for _, rp := range t.Partitions {
			if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
				errs = errors.Join(errs, fmt.Errorf("%s/%d: %w", topic, rp.Partition, err))
				continue
			}
			if p := r.partition(topic, rp.Partition); p != nil {
				p.acknowledged(all[topicPartition{topic, rp.Partition}])
			}
		}
	}
	return errs
}
