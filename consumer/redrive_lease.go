package consumer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A redrive is the only one of its job, on all instances: it is the member of a group that all partitions of the dead-letter topic are
// assigned to. The fence of live delivery (fence.go) lets it start attempts only while it surely is. What it writes is fenced too:
//
//  1. Redrive A is frozen when a row was delivered and the record that says so is about to be written.
//  2. Its session times out. Redrive B begins: it writes a claim into every partition of the topic, reads the topic to its end, and
//     sends the same row again, since nothing says that it was delivered.
//  3. A wakes up and writes its outcome. It stands behind B's claim, so that it counts for nothing: no reader takes the row for final
//     while B's attempt is in flight, and with key: park no later row of its key can start before it is.

// leaseWait is how long a redrive waits for an earlier one that may have been killed: its session, and a little more.
const leaseWait = sessionTimeout + 5*time.Second

// ErrRedriving says that another redrive of the job runs, here or on another instance.
var ErrRedriving = errors.New("another redrive of this job's dead letters is running")

var errLeaseLost = errors.New("the group gave this redrive up; start it again: it goes on where it was")

// lease is the right to write outcomes and to send dead letters of one job.
type lease struct {
	instance *Instance
	job      string
	client   *kgo.Client
	fence    *fence
	id       string
	member   chan struct{} // closed when the topic was assigned
	once     sync.Once
	lose     context.CancelCauseFunc
}

// newLease waits for the right, ErrRedriving if somebody else has it. The context given back ends with ctx, or when the right is lost.
// Release it.
func (d *DeadLetters) newLease(ctx context.Context) (*lease, context.Context, error) {
	if !d.instance.redriving(d.cfg.Job, true) {
		return nil, nil, ErrRedriving
	}
	held, lose := context.WithCancelCause(ctx)
	l := &lease{instance: d.instance, job: d.cfg.Job, fence: newFence(sessionTimeout), id: rand.Text()[:12], member: make(chan struct{}), lose: lose}
	if err := l.join(ctx, d); err != nil {
		lose(nil)
		d.instance.redriving(d.cfg.Job, false)
		return nil, nil, err
	}
	if err := l.wait(ctx, d); err != nil {
		l.release()
		return nil, nil, err
	}
	return l, held, nil
}

// redriveGroup is the group of a job's redrives. No job's own group can have a slash.
func (d *DeadLetters) redriveGroup() string { return d.cfg.Namespace + "." + d.cfg.Job + "/redrive" }

// join joins the redrive's group. It is one of the classic protocol, whatever STREAMER_KAFKA_GROUP_PROTOCOL says: that one member has
// everything is for the members to decide, and no coordinator has an assignor for it. Every Kafka serves the classic protocol.
func (l *lease) join(ctx context.Context, d *DeadLetters) error {
	if err := l.othersGone(ctx, d); err != nil {
		return err
	}
	opts, err := d.instance.options(clientID + ".redrive")
	if err != nil {
		return err
	}
	has := func(parts map[string][]int32) bool { return len(parts[d.cfg.DeadLetterTopic]) > 0 }
	gone := func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
		if has(parts) {
			l.fence.close()
			l.lose(errLeaseLost)
		}
	}
	l.client, err = kgo.NewClient(append(opts,
		kgo.ConsumerGroup(d.redriveGroup()),
		kgo.ConsumeTopics(d.cfg.DeadLetterTopic),
		kgo.Balancers(wholeBalancer{kgo.CooperativeStickyBalancer()}),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeatInterval),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), // it never reads
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			if has(parts) {
				l.fence.open()
				l.once.Do(func() { close(l.member) })
			}
		}),
		kgo.OnPartitionsRevoked(gone),
		kgo.OnPartitionsLost(gone),
		kgo.WithHooks(l.fence),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytes(outboxBatchBytes),
		kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(outboxTimeout),
	)...)
	if err == nil {
		l.client.PauseFetchTopics(d.cfg.DeadLetterTopic)
	}
	return err
}

// othersGone waits until the group has no member: one that was killed is in it until its session times out.
func (l *lease) othersGone(ctx context.Context, d *DeadLetters) error {
	for until := time.Now().Add(leaseWait); ; {
		groups, err := d.instance.admin.DescribeGroups(ctx, d.redriveGroup())
		if err != nil {
			return d.instance.reach(err)
		}
		members := groups[d.redriveGroup()].Members
		switch {
		case len(members) == 0:
			return nil
		case time.Now().After(until):
			return fmt.Errorf("%w: on %s", ErrRedriving, members[0].ClientHost)
		}
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// wait waits for the assignment. Of two that joined at the same time one gets it.
func (l *lease) wait(ctx context.Context, d *DeadLetters) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for until := time.Now().Add(leaseWait); ; {
		select {
		case <-l.member:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if time.Now().Before(until) {
			continue
		}
		return fmt.Errorf("%w, or group %s does not answer", ErrRedriving, d.redriveGroup())
	}
}

// release gives the right back.
func (l *lease) release() {
	l.fence.close()
	ctx, cancel := context.WithTimeout(context.Background(), stopMargin)
	defer cancel()
	if err := l.client.LeaveGroupContext(ctx); err != nil {
		l.instance.log.Debug("leaving the redrive's group was not answered", "job", l.job, "cause", err)
	}
	l.client.CloseAllowingRebalance()
	l.lose(nil)
	l.instance.redriving(l.job, false)
}

// claim writes that this redrive begins, into every partition of the topic, and waits for it.
func (l *lease) claim(ctx context.Context, topic string, by string) error {
	meta, err := l.instance.admin.Metadata(ctx, topic)
	if err == nil {
		err = meta.Topics.Error()
	}
	if err != nil {
		return fmt.Errorf("dead-letter topic %s: %w", topic, err)
	}
	var records []*kgo.Record
	for id := range meta.Topics[topic].Partitions {
		o := outcome{word: outcomeWordClaim, job: l.job, claim: l.id, by: by, of: LetterAddress{Partition: id}}
		records = append(records, o.record(topic))
	}
	if err := l.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("dead-letter topic %s cannot be written to: %w", topic, err)
	}
	return nil
}

// redriving notes that a redrive of the job begins in this process, and says whether it may; or that it has ended.
func (i *Instance) redriving(job string, on bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.Index(i.redrives, job)
	switch {
	case on && at >= 0:
		return false
	case on:
		i.redrives = append(i.redrives, job)
	case at >= 0:
		i.redrives = slices.Delete(i.redrives, at, at+1)
	}
	return true
}

// wholeBalancer assigns everything to one member: whoever has it keeps it.
type wholeBalancer struct{ kgo.GroupBalancer }

// ProtocolName implements kgo.GroupBalancer.
func (wholeBalancer) ProtocolName() string { return "streamer-whole" }

// MemberBalancer implements kgo.GroupBalancer.
func (b wholeBalancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	balancer, err := kgo.NewConsumerBalancer(b, members)
	return balancer, balancer.MemberTopics(), err
}

// Balance implements kgo.ConsumerBalancerBalance.
func (wholeBalancer) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	var chosen *kmsg.JoinGroupResponseMember
	newest := int32(-2)
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		generation := int32(-1)
		if len(meta.OwnedPartitions) > 0 {
			generation = meta.Generation
		}
		if chosen == nil || generation > newest {
			chosen, newest = m, generation
		}
	})
	plan := b.NewPlan()
	for topic, n := range topics {
		for id := range n {
			plan.AddPartition(chosen, topic, id)
		}
	}
	return plan
}
