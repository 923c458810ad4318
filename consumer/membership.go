package consumer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partition is the present assignment of a partition, nil if it is not ours.
func (r *Runner) partition(topic string, id int32) *partition {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.partitions[TopicPartition{topic, id}]
}

// all is every assigned partition.
func (r *Runner) all() []*partition {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.partitions))
}

// add makes p the present assignment and gives the one it replaces, if there was one.
func (r *Runner) add(p *partition) *partition {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.partitions[TopicPartition{p.topic, p.id}]
	r.partitions[TopicPartition{p.topic, p.id}] = p
	r.countAssigned()
	return old
}

// countAssigned notes how many partitions there are now. The caller holds mu.
func (r *Runner) countAssigned() {
	r.assigned.Store(int64(len(r.partitions)))
	r.patience.alone.Store(len(r.partitions) == 1)
}

// remove takes partitions out of the assignment; nil: all of them. After it returns the commit loop commits none of them.
func (r *Runner) remove(lost map[string][]int32) []*partition {
	r.commits.Lock()
	defer r.commits.Unlock()
	r.regulating.Lock() // no pause after the resume
	defer r.regulating.Unlock()
	parts := r.takeOut(lost)
	r.resume(parts)
	return parts
}

func (r *Runner) takeOut(lost map[string][]int32) []*partition {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*partition
	if lost == nil {
		out = slices.Collect(maps.Values(r.partitions))
		clear(r.partitions)
	}
	for topic, ids := range lost {
		for _, id := range ids {
			if p := r.partitions[TopicPartition{topic, id}]; p != nil {
				out = append(out, p)
				delete(r.partitions, TopicPartition{topic, id})
			}
		}
	}
	r.countAssigned()
	return out
}

// resume clears the pauses of partitions that go: one that comes back must not stay silent.
func (r *Runner) resume(parts []*partition) {
	all := map[string][]int32{}
	for _, p := range parts {
		all[p.topic] = append(all[p.topic], p.id)
	}
	if len(all) > 0 {
		r.client.ResumeFetchPartitions(all)
	}
}

// onAssigned makes a partition object for each assignment. Fetching begins after onOffsets. It is called after every rebalance, also
// when nothing was added.
func (r *Runner) onAssigned(ctx context.Context, client *kgo.Client, added map[string][]int32) {
	<-r.joined
	if r.isNewMember(client) {
		return
	}
	r.learnTopics(ctx, slices.Collect(maps.Keys(added)))
	r.status.note(&r.status.group, "")
	r.fence.open()
	if len(added) > 0 {
		r.watchdog.rebalanced(time.Now())
	}
	r.regulating.Lock() // a pause of the assignment before must not come after this resume
	defer r.regulating.Unlock()
	for topic, ids := range added {
		for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
			if old := r.add(r.newPartition(topic, id)); old != nil {
				old.abandon() // it was never revoked: the client found the topic again
			}
		}
	}
	if len(added) > 0 {
		r.patience.grows(time.Now())
		r.patience.hurry(time.Now(), leaders(client, added))
	}
	client.ResumeFetchPartitions(added)
	if len(added) > 0 {
		r.log.Info("partitions assigned", "partitions", added)
	}
}

// leaders gives the brokers that lead some of the partitions, as far as the client knows them.
func leaders(client *kgo.Client, partitions map[string][]int32) map[int32]bool {
	lead := map[int32]bool{}
	for topic, ids := range partitions {
		for _, id := range ids {
			if broker, _, err := client.PartitionLeader(topic, id); err == nil && broker >= 0 {
				lead[broker] = true
			}
		}
	}
	return lead
}

// onRevoked gives partitions up in good order. The group waits for us, at most the rebalance timeout (drain + 30 s):
//
//  1. The partitions leave r.partitions under the commit lock: no commit of the loop can follow ours. See commitFinished. Their
//     pauses are cleared: a partition that comes back must not stay silent.
//  2. Each drains: no new attempts, those in flight end or are cancelled when the drain time is over.
//  3. Their offsets are committed while we are still a member of this generation. If that fails, the next owner begins at the
//     last acknowledged commit and sends what finished since then again: late, never lost.
func (r *Runner) onRevoked(hard context.Context, client *kgo.Client, lost map[string][]int32) {
	if len(lost) == 0 || r.isNewMember(client) {
		return
	}
	member, closeIt := r.whileMember(hard)
	defer closeIt()
	drain, cancel := context.WithTimeout(member, r.drainTime())
	defer cancel()
	r.release(drain, r.remove(lost))
	r.log.Info("partitions revoked", "partitions", lost)
}

// onLost gives partitions up that the group has taken from us: another member may be sending their rows already. Attempts are
// cancelled at once, and nothing is committed, since a commit could overwrite the new owner's.
func (r *Runner) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	r.member.named("", false)
	if r.abandon(lost) > 0 {
		r.log.Warn("partitions lost: the group gave this member up; rows in flight were cancelled and may be sent again by their next owner",
			"partitions", lost)
	}
}

// abandon ends assignments without a commit; nil: all. It gives their number.
func (r *Runner) abandon(lost map[string][]int32) int {
	r.fence.close()
	parts := r.remove(lost)
	var all sync.WaitGroup
	for _, p := range parts {
		all.Go(p.abandon)
	}
	all.Wait()
	return len(parts)
}

// isNewMember says that the group knows this instance as another member than before although no partition was lost: it was put out
// in between.
func (r *Runner) isNewMember(client *kgo.Client) bool {
	id, _ := client.GroupMetadata()
	if id == "" || !r.member.named(id, r.assigned.Load() > 0) {
		return false
	}
	r.expelled("the group took this instance in as a new member without a word about its partitions")
	return true
}

// membership is what the group knows this instance as, during one session.
type membership struct {
	end func() // ends the session

	mu      sync.Mutex
	id      string
	refused error // why the session ended for good
}

// refuse ends the session, and the run with it.
func (m *membership) refuse(cause error) {
	m.mu.Lock()
	m.refused = &RefusedError{cause}
	m.mu.Unlock()
	m.end()
}

// refusal is why the run is to end; nil: it is not.
func (m *membership) refusal() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

// fellBack is called when the client joins a classic group although the consumer protocol is wanted: the broker no longer serves it.
// Nothing was sent: the fence is closed for good.
func (r *Runner) fellBack() {
	r.member.refuse(errors.New("the group coordinator refuses the consumer protocol (group.version, group.coordinator.rebalance.protocols), " +
		"and STREAMER_KAFKA_GROUP_PROTOCOL=consumer is set; enable it there, or set classic"))
}

// named notes the member id that the client goes by. It says whether holding, which is to have partitions, was another one: that stays
// the holder then, until they are given up.
func (m *membership) named(id string, holding bool) (another bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if another = holding && m.id != "" && m.id != id; !another {
		m.id = id
	}
	return another
}

// holder is the member that was given this session's partitions; empty: there is none. What they have finished is committed in no other name.
func (m *membership) holder() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

// expelled is called when it shows that the group has put this member out although the client was not told so. The story:
//
//  1. A is put out of its group: by a tool, or by a rebalance that it answered too late. B takes its partitions over.
//  2. A's next commit is refused. The client joins again as a new member, and reports no partition as lost.
//  3. A's partitions would go on where they were, or be committed over what B has done since.
//
// So everything is abandoned as if it had been lost, and the session ends: a new client reads the offsets again.
func (r *Runner) expelled(cause string) {
	n := r.abandon(nil)
	r.log.Warn("put out of the group; beginning anew", "cause", cause, "partitions_lost", n)
	r.member.end()
}

// leave stops in good order, like a revoke of everything, and leaves the group. A static member does not leave: it may come
// back within the session timeout and keep its partitions. The order matters:
//
//  1. A poll that ends at once holds rebalances back until the group is left. Otherwise another instance that joins now would be
//     given partitions that we are still draining.
//  2. All partitions are told to start nothing new, before anything is waited for.
//  3. They drain, and what they finished is committed by a member.
func (r *Runner) leave(hard context.Context, endClient func()) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	r.client.PollFetches(over)
	for _, p := range r.all() {
		p.setLife(draining)
	}
	r.unfinished.Store(0) // what earlier revokes left has had its next owner since
	member, closeIt := r.whileMember(hard)
	defer closeIt()
	drain, cancel := context.WithTimeout(member, r.drainTime())
	defer cancel()
	last := r.drain(drain, r.remove(nil))
	f := farewell{runner: r, endClient: endClient}
	r.lastCommit(f.say(func(ctx context.Context) error { return r.commitNow(ctx, last) }, func(ctx context.Context) error { return f.commit(ctx, last) }))
	r.client.AllowRebalance()
	if err := f.say(r.leaveGroup, f.leave); err != nil {
		r.log.Warn("leaving the group was not answered; it gives this member up after the session timeout", "cause", err)
	}
}

// release drains partitions together and commits what they finished.
func (r *Runner) release(drain context.Context, parts []*partition) {
	last := r.drain(drain, parts)
	ctx, cancel := context.WithTimeout(context.Background(), stopMargin)
	defer cancel()
	r.lastCommit(r.commitNow(ctx, last))
}

// drain drains partitions together and gives what is to be committed of them.
func (r *Runner) drain(drain context.Context, parts []*partition) commits {
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
				last[TopicPartition{p.topic, p.id}] = c
			}
		})
	}
	all.Wait()
	return last
}

func (r *Runner) lastCommit(err error) {
	if err != nil {
		r.log.Warn("the last commit was refused; rows finished since the one before it are sent again by their next owner", "cause", err)
	}
}
