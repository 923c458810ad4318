package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/track"
)

// RefusedError says that a job cannot run as it is defined, or as the cluster is set up, and that trying again soon is of no use.
type RefusedError struct{ Cause error }

func (e *RefusedError) Error() string { return e.Cause.Error() }

func (e *RefusedError) Unwrap() error { return e.Cause }

// prepareRetry is the longest wait between two tries to get a job ready to join its group.
const prepareRetry = 10 * time.Second

// prepare gets the group ready to be joined: the cluster answers, nobody foreign is in the group, and a new group has its
// offsets. Whatever may pass (no broker, a coordinator on the move) is tried again until ctx ends.
func (r *Runner) prepare(ctx context.Context) error {
	for try := 1; ; try++ {
		err := r.prepareOnce(ctx)
		var refused *RefusedError
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return err
		}
		if r.status.set(Starting, err.Error()) && !errors.As(err, new(*heldError)) { // that was said
			r.log.Warn("not ready to join the group; trying again", "cause", err)
		}
		select {
		case <-time.After(rand.N(min(prepareRetry, 200*time.Millisecond<<min(try, 6)))):
		case a := <-r.gaps.accepts:
			a.answer(r.acceptLost(ctx, a))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *Runner) prepareOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, prepareRetry)
	defer cancel()
	meta, err := r.instance.admin.BrokerMetadata(ctx)
	if err != nil {
		return r.instance.reach(err)
	}
	r.cluster = meta.Cluster
	r.owner = track.Owner(r.cluster, r.cfg.Group)
	if err := r.checkProtocol(ctx); err != nil {
		return err
	}
	if err := r.checkMembers(ctx); err != nil {
		return err
	}
	return r.resolveStart(ctx)
}

// checkMembers refuses a group that somebody else works in: its offsets are not ours to move, and ours not theirs.
func (r *Runner) checkMembers(ctx context.Context) error {
	groups, err := r.instance.admin.DescribeGroups(ctx, r.cfg.Group)
	group := groups[r.cfg.Group]
	switch {
	case errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(group.Err, kerr.GroupAuthorizationFailed):
		return &RefusedError{fmt.Errorf("kafka refuses group %s to this user; it needs READ and DESCRIBE on the group", r.cfg.Group)}
	case errors.Is(err, kerr.GroupIDNotFound), errors.Is(group.Err, kerr.GroupIDNotFound):
		return r.checkConsumerMembers(ctx) // to this question a group of the consumer protocol is none
	case err != nil:
		return fmt.Errorf("describe group %s: %w", r.cfg.Group, err)
	case group.Err != nil:
		return fmt.Errorf("describe group %s: %w", r.cfg.Group, group.Err)
	}
	for _, m := range group.Members {
		if err := r.checkMember(m.ClientID, m.ClientHost); err != nil {
			return err
		}
	}
	if len(group.Members) > 0 {
		return nil
	}
	return r.checkConsumerMembers(ctx)
}

// checkConsumerMembers is checkMembers for a group of the consumer protocol.
func (r *Runner) checkConsumerMembers(ctx context.Context) error {
	groups, err := r.instance.admin.DescribeConsumerGroups(ctx, r.cfg.Group)
	group := groups[r.cfg.Group]
	switch err := cmp.Or(err, group.Err); {
	case errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.UnsupportedVersion):
		return nil
	case err != nil:
		return fmt.Errorf("describe group %s: %w", r.cfg.Group, err)
	}
	for _, m := range group.Members {
		if err := r.checkMember(m.ClientID, m.ClientHost); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) checkMember(client, host string) error {
	if client == r.clientID() {
		return nil
	}
	return &RefusedError{fmt.Errorf("group %s has a member that is not of this job: client %q at %s; stop it, or give this job another group",
		r.cfg.Group, client, host)}
}

// clientID names this job's members in its group.
func (r *Runner) clientID() string { return clientID + "." + r.cfg.Namespace + "." + r.cfg.Job }

// resolveStart gives a group without any commit its first offsets, for all partitions in one commit, before anybody fetches.
// The commit is made outside the group, which Kafka accepts only while the group has no members:
//
//  1. Instances A and B start a new job with start: latest. Neither finds a commit.
//  2. A commits the end of the log, 100, joins and reads on from there.
//  3. B, slower, would commit the end as it sees it, 110. Were that accepted, a crash of A would skip 100 to 109.
//  4. It is refused, since A is a member; B looks again, finds A's commit, and joins.
//
// A group without any commit that has begun has lost its offsets: the job is held. A partition that appears later has no commit in a
// group that has others: it is new, and begins at its log start (onOffsets).
func (r *Runner) resolveStart(ctx context.Context) error {
	topics, err := r.existingTopics(ctx)
	if err != nil || len(topics) == 0 {
		return err
	}
	marks, err := r.marks(ctx)
	if err != nil {
		return err
	}
	committed, err := r.committedOffsets(ctx)
	if err != nil {
		return err
	}
	switch lost := lostTopics(topics, marks); {
	case hasCommit(topics, committed):
	case len(lost) > 0:
		return r.holdAll(lost)
	case !r.hasBegun(marks):
		if err := r.commitStart(ctx, topics); err != nil {
			return err
		}
		if committed, err = r.committedOffsets(ctx); err != nil {
			return err
		}
	}
	r.endHoldOfAll()
	r.noteBegun(ctx, topics, committed)
	return nil
}

func (r *Runner) commitStart(ctx context.Context, topics foundTopics) error {
	offsets, err := r.startOffsets(ctx, topics.names())
	if err != nil {
		return fmt.Errorf("look up where to start: %w", err)
	}
	if err := r.commitOutside(ctx, offsets); err != nil {
		return fmt.Errorf("commit where to start: %w", err)
	}
	r.log.Info("new group: first offsets committed", "group", r.cfg.Group, "start", r.now().Start.String(), "topics", topics.names())
	return nil
}

// commitOutside commits offsets of a group without members; Kafka refuses it for a group that has some.
func (r *Runner) commitOutside(ctx context.Context, offsets kadm.Offsets) error {
	resp, err := r.instance.admin.CommitOffsets(ctx, r.cfg.Group, offsets)
	if err == nil {
		err = resp.Error()
	}
	if hasMembers(err) {
		// Another instance of this job commits before it joins, so the next try finds its commit.
		return fmt.Errorf("group %s has members but no committed offsets of this job's topics; waiting for it to be empty", r.cfg.Group)
	}
	return err
}

// hasMembers says that a commit from outside its group was refused since the group has members.
func hasMembers(err error) bool {
	return errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration)
}

func (r *Runner) committedOffsets(ctx context.Context) (kadm.OffsetResponses, error) {
	return r.instance.committedOffsets(ctx, r.cfg.Group)
}

// committedOffsets are those of a group; none if it does not exist.
func (i *Instance) committedOffsets(ctx context.Context, group string) (kadm.OffsetResponses, error) {
	committed, err := i.admin.FetchOffsets(ctx, group)
	if err == nil {
		err = committed.Error()
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the committed offsets of group %s: %w", group, err)
	}
	return committed, nil
}

func (r *Runner) startOffsets(ctx context.Context, topics []string) (kadm.Offsets, error) {
	var listed kadm.ListedOffsets
	var err error
	switch {
	case r.now().Start.Latest: // before an open transaction, as a reader of committed records sees the end
		listed, err = r.instance.admin.ListCommittedOffsets(ctx, topics...)
	case !r.now().Start.Time.IsZero():
		listed, err = r.instance.admin.ListOffsetsAfterMilli(ctx, r.now().Start.Time.UnixMilli(), topics...)
	default:
		listed, err = r.instance.admin.ListStartOffsets(ctx, topics...)
	}
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, err
	}
	return listed.Offsets(), nil
}

// onMetadata keeps the metadata of the commits that were just fetched for onOffsets, which follows at once.
func (r *Runner) onMetadata(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	r.metadata, r.fetchedIDs = map[TopicPartition]string{}, map[string][16]byte{}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			topic := t.Topic
			if topic == "" {
				topic = r.topicName(t.TopicID)
			}
			r.fetchedIDs[topic] = t.TopicID
			for _, p := range t.Partitions {
				// The client drops a partition whose offset it cannot read. What may pass is better tried again by a new session.
				if err := kerr.ErrorForCode(p.ErrorCode); kerr.IsRetriable(err) {
					return fmt.Errorf("read the committed offset of %s/%d: %w", topic, p.Partition, err)
				}
				if p.Metadata != nil {
					r.metadata[TopicPartition{topic, p.Partition}] = *p.Metadata
				}
			}
		}
	}
	return nil
}

// onOffsets sees the committed offsets of newly assigned partitions before they are fetched, and says where each begins. There is no
// automatic reset, ever: a partition that has not begun begins at its log start, which is committed first; one that has begun in
// another log of that name, or has lost its commit, is held. The client is not told of it, so nothing of it is read or committed.
func (r *Runner) onOffsets(ctx context.Context, fetched map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	marks := r.lastMarks(ctx)
	var fresh kadm.TopicsSet
	for topic, ids := range fetched {
		for id, o := range ids {
			switch begun, p := marks[topic], r.partition(topic, id); {
			case p == nil: // taken away meanwhile
			case begun.other(r.fetchedIDs[topic]):
				delete(ids, id)
				r.holdPartition(p, r.recreatedHold(topic, begun.TopicID, encodeTopicID(r.fetchedIDs[topic])), gap{})
			case begun.other(p.topicID): // older brokers answer without the id
				delete(ids, id)
				r.holdPartition(p, r.recreatedHold(topic, begun.TopicID, encodeTopicID(p.topicID)), gap{})
			case p.topicID == [16]byte{} && begun.known():
				return nil, fmt.Errorf("the id of topic %s could not be looked up, and the job must know that it is the one it has begun", topic)
			case o.EpochOffset().Offset >= 0:
			case id < begun.Partitions:
				delete(ids, id)
				r.holdPartition(p, r.lostHold(p), gap{})
			default:
				fresh.Add(topic, id)
			}
		}
	}
	if len(fresh) > 0 {
		if err := r.beginAtLogStart(ctx, fetched, fresh); err != nil {
			return nil, err
		}
		r.lookAgain() // they have begun, which is to be remembered
	}
	done, err := r.restore(ctx, fetched)
	if err != nil {
		return nil, err
	}
	for topic, ids := range fetched {
		for id, o := range ids {
			if p := r.partition(topic, id); p != nil {
				p.begin(track.Place{Offset: o.EpochOffset().Offset, Epoch: o.EpochOffset().Epoch}, done[TopicPartition{topic, id}])
				p.signal()
			}
		}
	}
	return fetched, nil
}

func (r *Runner) beginAtLogStart(ctx context.Context, fetched map[string]map[int32]kgo.Offset, fresh kadm.TopicsSet) error {
	listed, err := r.instance.admin.ListStartOffsets(ctx, fresh.Topics()...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return fmt.Errorf("look up the log start of new partitions: %w", err)
	}
	offsets := commits{}
	for topic, ids := range fresh {
		for id := range ids {
			o, ok := listed.Lookup(topic, id)
			if !ok {
				return fmt.Errorf("look up the log start of %s/%d: no answer", topic, id)
			}
			offsets[TopicPartition{topic, id}] = commit{Place: track.Place{Epoch: -1, Offset: o.Offset}}
			fetched[topic][id] = kgo.NewOffset().At(o.Offset)
		}
	}
	if err := r.commitNow(ctx, offsets); err != nil {
		return fmt.Errorf("commit the log start of new partitions: %w", err)
	}
	r.log.Info("new partitions begin at their log start", "partitions", fresh)
	return nil
}
