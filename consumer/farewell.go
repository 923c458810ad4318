package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// clientPatience is how long a stop waits for the client, which may wait for its group, before it speaks in the client's name.
const clientPatience = time.Second

// farewell says the last words of a member that stops: its last commit, and that it goes. The client does not say them while its group
// waits for another member, which may be dead: for as long as that one's session, or its drain. So without an answer the client is ended
// (else it would join again when its JoinGroup is refused, since it has left), and they are said in its name: of a member whose group
// gathers anew, the coordinator takes commits of the generation before.
type farewell struct {
	runner    *Runner
	endClient func()

	alone      bool // the client was ended
	member     string
	generation int32
}

// say lets the client say it, or says it instead.
func (f *farewell) say(client, instead func(context.Context) error) error {
	if f.runner.consumerProtocol() { // its client waits for nobody
		return bounded(stopMargin, client)
	}
	if !f.alone {
		err := bounded(clientPatience, client)
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		f.alone = true
		f.member, f.generation = f.runner.client.GroupMetadata()
		f.endClient()
	}
	return bounded(stopMargin, instead)
}

func bounded(most time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	return do(ctx)
}

// commit is Runner.commitNow without the client. Without a member it would be one from outside, which an empty group takes from anybody.
func (f *farewell) commit(ctx context.Context, all commits) error {
	if f.member == "" || f.member != f.runner.member.holder() {
		return kerr.UnknownMemberID
	}
	return f.runner.commitBy(ctx, all, f.hand)
}

// hand is Runner.handOne without the client.
func (f *farewell) hand(ctx context.Context, part commits) <-chan error {
	req := f.runner.commitOf(f.member, f.generation)
	topics := map[string]*kmsg.OffsetCommitRequestTopic{}
	for at, c := range part {
		rt := topics[at.Topic]
		if rt == nil {
			t := kmsg.NewOffsetCommitRequestTopic()
			rt = &t
			rt.Topic, rt.TopicID = at.Topic, c.TopicID
			topics[at.Topic] = rt
		}
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = at.Partition, c.Offset, c.Epoch, kmsg.StringPtr(c.metadata)
		rt.Partitions = append(rt.Partitions, rp)
	}
	for _, rt := range topics {
		req.Topics = append(req.Topics, *rt)
	}
	answer := make(chan error, 1)
	resp, err := req.RequestWith(ctx, f.runner.instance.producer)
	if err == nil {
		err = f.runner.acknowledge(part, resp)
	}
	answer <- err
	return answer
}

// leave is Runner.leaveGroup without the client. A static member says nothing, nor does one that the group never took in.
func (f *farewell) leave(ctx context.Context) error {
	if f.runner.cfg.Instance != "" || f.member == "" {
		return nil
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = f.runner.cfg.Group, f.member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.Reason = f.member, kmsg.StringPtr("the instance stops")
	req.Members = append(req.Members, m)
	resp, err := req.RequestWith(ctx, f.runner.instance.producer)
	if err != nil {
		return err
	}
	err = kerr.ErrorForCode(resp.ErrorCode)
	for _, m := range resp.Members {
		err = errors.Join(err, kerr.ErrorForCode(m.ErrorCode))
	}
	if errors.Is(err, kerr.UnknownMemberID) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("leave group %s: %w", req.Group, err)
	}
	return nil
}
