package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrNotRunning says that a job's runner has ended on this instance.
var ErrNotRunning = errors.New("the job does not run on this instance")

// Accept ends holds of expired records, lost offsets, topics made anew, logs that were cut and batches that cannot be read: the job
// goes on where a says. It concerns the partitions that are held on this instance, and a job that is held as a whole. It is written to
// the audit log first, with before and after, in the name of by; what is read on from there is decided once that is written. Nothing
// else is disturbed, but for a session that begins anew where an offset had to be set: a rebalance.
//
// The error is an *AcceptError if nothing is held there, or not so; ErrNotRunning; else what went wrong, and then it may be called
// again: a partition that was not accepted is still held. It may be called from any goroutine.
func (r *Runner) Accept(ctx context.Context, a Acceptance, by string) ([]Accepted, error) {
	if _, err := a.offset(); err != nil {
		return nil, err
	}
	request := &acceptance{Acceptance: a, by: by, done: make(chan struct{})}
	select {
	case r.gaps.accepts <- request:
	case <-r.gaps.over:
		return nil, ErrNotRunning
	case <-ctx.Done():
		return nil, fmt.Errorf("the job is between two sessions: %w", ctx.Err())
	}
	<-request.done // bounded by acceptWithin
	return request.accepted, request.err
}

// acceptance is a request to the goroutine that may answer it.
type acceptance struct {
	Acceptance
	by       string
	done     chan struct{}
	accepted []Accepted
	err      error
}

func (a *acceptance) answer(accepted []Accepted, err error) {
	a.accepted, a.err = accepted, err
	close(a.done)
}

// acceptLost answers while the group is not joined: only a job that is held as a whole has something to accept then. Its offsets are
// committed from outside; Kafka takes that as long as nobody has joined.
func (r *Runner) acceptLost(ctx context.Context, a *acceptance) ([]Accepted, error) {
	ctx, cancel := context.WithTimeout(ctx, prepareRetry)
	defer cancel()
	if len(r.gaps.lost) == 0 {
		_, cause, _ := r.status.read()
		return nil, &AcceptError{"topic", "nothing of the job is held; it is starting: " + cause}
	}
	bounds, err := r.logBounds(ctx, r.gaps.lost.names())
	if err != nil {
		return nil, err
	}
	var plan []Accepted
	for topic, t := range r.gaps.lost {
		for id := range t.partitions {
			if !a.covers(topic, id) {
				continue
			}
			x, err := bounds.choose(a.Acceptance, heldLog{topic: topic, id: id, cause: HoldOffsetsLost})
			if err != nil {
				return nil, err
			}
			plan = append(plan, x)
		}
	}
	if len(plan) == 0 {
		return nil, a.nothing()
	}
	sortAccepted(plan)
	if a.DryRun {
		return plan, nil
	}
	if err := r.audit(ctx, a, plan, nil); err != nil {
		return nil, err
	}
	return plan, r.commitOutside(ctx, offsetsOf(plan))
}

// acceptHeld answers during a session, for the partitions that are held here.
func (r *Runner) acceptHeld(ctx context.Context, a *acceptance) ([]Accepted, error) {
	ctx, cancel := context.WithTimeout(ctx, prepareRetry)
	defer cancel()
	held := r.heldLogs(a.Acceptance)
	if len(held) == 0 {
		return nil, a.nothing()
	}
	topics := kadm.TopicsSet{}
	for _, h := range held {
		topics.Add(h.topic)
	}
	bounds, err := r.logBounds(ctx, topics.Topics())
	if err != nil {
		return nil, err
	}
	done, err := r.acceptedAnew(ctx, held)
	if err != nil {
		return nil, err
	}
	var plan, anew []Accepted // of partitions; of all partitions of topics made anew
	marks := map[string]Begun{}
	for _, h := range held {
		if h.cause == HoldRecreated {
			if marks[h.topic] != (Begun{}) {
				continue
			}
			if done[h.topic] {
				r.lookAgain()
				continue
			}
			b, all, err := r.planAnew(ctx, bounds, a.Acceptance, h.topic)
			if err != nil {
				return nil, err
			}
			marks[h.topic], anew = b, append(anew, all...)
			continue
		}
		x, err := bounds.choose(a.Acceptance, h)
		if err != nil {
			return nil, err
		}
		plan = append(plan, x)
	}
	all := slices.Concat(plan, anew)
	if len(all) == 0 {
		return nil, a.nothing()
	}
	sortAccepted(all)
	if a.DryRun {
		return all, nil
	}
	return all, r.carryOut(ctx, a, plan, anew, marks)
}

// carryOut does what was planned. The order matters:
//
//  1. Offsets of topics made anew are committed. A crash now changes nothing: the topics are still held, since they are not marked.
//  2. The audit line is written, and with it the marks of those topics. A crash now loses at most what follows: the partitions are
//     still held, and are accepted again.
//  3. Partitions go on. A partition of which rows are still in memory keeps them: it goes on in place, and its commits follow by
//     themselves. The others are committed as a member, and read by a new session.
func (r *Runner) carryOut(ctx context.Context, a *acceptance, plan, anew []Accepted, marks map[string]Begun) error {
	if err := r.commitAsMember(ctx, anew); err != nil {
		return err
	}
	if err := r.audit(ctx, a, slices.Concat(plan, anew), marks); err != nil {
		return err
	}
	var set []Accepted
	for _, x := range plan {
		switch p := r.partition(x.Topic, x.Partition); {
		case p == nil: // taken away meanwhile: its next owner holds it
		case x.Cause == HoldExpired, x.Cause == HoldUnreadable:
			r.goOn(p, x.After)
			r.instance.metrics.expired.WithLabelValues(r.cfg.Job).Add(float64(x.expired))
		default:
			if x.Cause == HoldLogCut { // what it would commit is of the log as it was
				for _, gone := range r.remove(map[string][]int32{x.Topic: {x.Partition}}) {
					gone.abandon()
				}
			}
			set = append(set, x)
		}
	}
	if err := r.commitAsMember(ctx, set); err != nil {
		return fmt.Errorf("accepted, but not committed; accept it again: %w", err)
	}
	if len(set)+len(anew) > 0 {
		r.beginAnew("an operator has said where held partitions go on")
	}
	return nil
}

// heldLogs are those that an acceptance is about. Those that another instance has answered for are looked at anew: they may go on.
func (r *Runner) heldLogs(a Acceptance) []heldLog {
	var held []heldLog
	for _, p := range r.all() {
		switch h := p.heldLog(); {
		case h.cause == "":
		case a.done(p.topic, p.id) && !a.DryRun:
			r.lookAgain()
		case a.covers(p.topic, p.id):
			held = append(held, h)
		}
	}
	return held
}

// acceptedAnew are the topics made anew that another instance has accepted, and this one has not looked since: their marks say so. What
// this instance has read of the log may be older than that, so it is asked as for a write, of which it is the first: while the log cannot
// be written, nothing is committed either.
func (r *Runner) acceptedAnew(ctx context.Context, held []heldLog) (map[string]bool, error) {
	if !slices.ContainsFunc(held, func(h heldLog) bool { return h.cause == HoldRecreated }) {
		return nil, nil
	}
	newest, err := r.instance.store.Remember(ctx, r.cfg.Job, Audit{By: BySelf, Action: "look"}, func(*Memory) error { return nil })
	if err != nil {
		return nil, notAccepted(err)
	}
	topics, err := r.existingTopics(ctx)
	if err != nil {
		return nil, err
	}
	done := map[string]bool{}
	for topic, b := range newest.begunBy(r.cfg.Group) {
		done[topic] = b.known() && b.TopicID == encodeTopicID(topics[topic].id)
	}
	return done, nil
}

func notAccepted(err error) error {
	return fmt.Errorf("what is accepted cannot be written to the log, so nothing is: %w", err)
}

// heldLog says what the partition is held for; without a cause if it is not.
func (p *partition) heldLog() heldLog {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := heldLog{topic: p.topic, id: p.id, committed: p.committed}
	if p.wait.hold {
		h.cause, h.gap = p.wait.kind, p.wait.gap
	}
	if p.tracker != nil {
		h.unfinished = p.unfinished
	}
	return h
}

// planAnew plans for all partitions of a topic that was made anew, whoever they are assigned to: its mark speaks for all of them.
func (r *Runner) planAnew(ctx context.Context, bounds bounds, a Acceptance, topic string) (Begun, []Accepted, error) {
	if a.Partition >= 0 {
		return Begun{}, nil, &AcceptError{"partition", fmt.Sprintf("topic %s was made anew: accept it as a whole, without a partition", topic)}
	}
	if a.At == AtCommitted {
		return Begun{}, nil, &AcceptError{"at", fmt.Sprintf("topic %s was made anew: its committed offsets are of the old one; say earliest, latest or an offset", topic)}
	}
	topics, err := r.existingTopics(ctx)
	if err != nil {
		return Begun{}, nil, err
	}
	t, ok := topics[topic]
	if !ok {
		return Begun{}, nil, &AcceptError{"topic", fmt.Sprintf("topic %s does not exist", topic)}
	}
	var all []Accepted
	for id := range t.partitions {
		x, err := bounds.choose(a, heldLog{topic: topic, id: id, cause: HoldRecreated})
		if err != nil {
			return Begun{}, nil, err
		}
		all = append(all, x)
	}
	return Begun{TopicID: encodeTopicID(t.id), Partitions: t.partitions}, all, nil
}

// audit writes who accepted what, and the marks of topics that were made anew, in one step.
func (r *Runner) audit(ctx context.Context, a *acceptance, plan []Accepted, marks map[string]Begun) error {
	sortAccepted(plan)
	_, err := r.instance.store.Remember(ctx, r.cfg.Job, Audit{By: a.by, Action: "accept", Detail: map[string]any{"at": a.At, "group": r.cfg.Group, "partitions": plan}},
		func(m *Memory) error {
			if len(marks) > 0 {
				m.mark(r.cfg.Group, nil)
				m.Begun = maps.Clone(m.Begun)
				if m.Begun == nil {
					m.Begun = map[string]Begun{}
				}
				maps.Copy(m.Begun, marks)
			}
			return nil
		})
	if err != nil {
		return notAccepted(err)
	}
	r.log.Warn("an operator has accepted a gap", "by", a.by, "at", a.At, "partitions", fmt.Sprintf("%+v", plan))
	return nil
}

// goOn reads a partition on at offset to, which is above all that was read of it. Rows in memory stay and are delivered.
func (r *Runner) goOn(p *partition, to int64) {
	r.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{p.topic: {p.id: {Epoch: -1, Offset: to}}}) // it is paused
	p.mu.Lock()
	p.wait, p.fetched, p.skipTo = wait{}, to, to
	p.mu.Unlock()
	p.signal()
	nudge(r.finished) // what had finished before the hold
	r.signalRoom()    // resumes it
}

// passGap notes that what is below skipTo is finished, once everything that was polled before is in the tracker. For who holds the lock.
func (p *partition) passGap() {
	if p.skipTo > 0 && len(p.queue) == 0 && p.tracker != nil && p.life == open {
		p.tracker.Skip(p.skipTo-1, -1)
		nudge(p.runner.finished)
		p.skipTo = 0
	}
}

// commitAsMember commits offsets, without epoch and metadata, in the name of this member: also of partitions that another member has,
// and of topics that the client takes for others than they are now.
func (r *Runner) commitAsMember(ctx context.Context, plan []Accepted) error {
	if len(plan) == 0 {
		return nil
	}
	req := r.commitOf(r.client.GroupMetadata())
	topics, err := r.existingTopics(ctx)
	if err != nil {
		return err
	}
	offsets := offsetsOf(plan)
	for topic, partitions := range offsets {
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = topic, topics[topic].id
		for _, o := range partitions {
			rp := kmsg.NewOffsetCommitRequestTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = o.Partition, o.At, -1, kmsg.StringPtr("")
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, r.client)
	if err != nil {
		return fmt.Errorf("commit where to go on: %w", err)
	}
	for _, rt := range resp.Topics {
		for _, rp := range rt.Partitions {
			if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
				return fmt.Errorf("commit where to go on, partition %d: %w", rp.Partition, err)
			}
		}
	}
	return nil
}

// commitOf is a commit of nothing yet, in the name of a member.
func (r *Runner) commitOf(member string, generation int32) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = r.cfg.Group, member, generation
	if r.cfg.Instance != "" {
		req.InstanceID = kmsg.StringPtr(r.cfg.Instance)
	}
	return req
}

func offsetsOf(plan []Accepted) kadm.Offsets {
	offsets := kadm.Offsets{}
	for _, x := range plan {
		offsets.Add(kadm.Offset{Topic: x.Topic, Partition: x.Partition, At: x.After, LeaderEpoch: -1})
	}
	return offsets
}
