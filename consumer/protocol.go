package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// GroupProtocol is how a group spreads its partitions.
type GroupProtocol string

// With GroupClassic, the default, the members decide, and all of them join again when one comes or goes. With GroupConsumer (KIP-848)
// the coordinator decides and tells each member with its heartbeats.
const (
	GroupClassic  GroupProtocol = "classic"
	GroupConsumer GroupProtocol = "consumer"
)

// The consumer protocol needs Kafka 4.3: before it a commit is refused in the middle of an assignment that only grows (KIP-1251), and
// what was finished would be sent again. Brokers do not give their version but by what they support: this metadata.version came with 4.3.
const (
	consumerMetadataVersion  = 30
	consumerHeartbeatVersion = 1
)

// consumerProtocol says that the job's group is one of the consumer protocol.
func (r *Runner) consumerProtocol() bool { return r.instance.kafka.GroupProtocol == GroupConsumer }

// balancing is how the client takes part in its group.
func (r *Runner) balancing() []kgo.Opt {
	if r.consumerProtocol() {
		return []kgo.Opt{kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer())} // "uniform" at the coordinator
	}
	return []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer())}
}

// checkProtocol refuses the consumer protocol where it cannot be had on every broker: any of them may become the group's coordinator,
// and the client would fall back to the classic one without a word. It also learns the group's session timeout.
func (r *Runner) checkProtocol(ctx context.Context) error {
	r.sessionTime = sessionTimeout
	if !r.consumerProtocol() {
		return nil
	}
	brokers, err := r.instance.admin.ApiVersions(ctx)
	if err != nil {
		return r.instance.reach(err)
	}
	for _, b := range brokers.Sorted() {
		if b.Err != nil {
			return fmt.Errorf("ask broker %d for its version: %w", b.NodeID, b.Err)
		}
		if what := lacks(&b); what != "" {
			return &RefusedError{fmt.Errorf("broker %d, Kafka %s, %s: STREAMER_KAFKA_GROUP_PROTOCOL=consumer needs Kafka 4.3 on every broker; "+
				"upgrade, or set it to classic", b.NodeID, b.VersionGuess(), what)}
		}
	}
	session, heartbeat, err := r.groupTimes(ctx)
	if err != nil {
		return err
	}
	if fenceLimit(session) <= heartbeat*3/2 {
		return &RefusedError{fmt.Errorf("group %s has a session timeout of %v and a heartbeat every %v: a member could not prove in time that it is one; "+
			"set consumer.session.timeout.ms (or group.consumer.session.timeout.ms of the brokers) to three heartbeats or more", r.cfg.Group, session, heartbeat)}
	}
	r.sessionTime = session
	return nil
}

// lacks says what a broker lacks for the consumer protocol; empty: nothing.
func lacks(b *kadm.BrokerApiVersions) string {
	if v, ok := b.KeyMaxVersion(int16(kmsg.ConsumerGroupHeartbeat)); !ok || v < consumerHeartbeatVersion {
		return fmt.Sprintf("does not know ConsumerGroupHeartbeat v%d", consumerHeartbeatVersion)
	}
	raw := b.Raw()
	if !slices.ContainsFunc(raw.SupportedFeatures, func(f kmsg.ApiVersionsResponseSupportedFeature) bool {
		return f.Name == "metadata.version" && f.MaxVersion >= consumerMetadataVersion
	}) {
		return fmt.Sprintf("does not know metadata.version %d", consumerMetadataVersion)
	}
	if !slices.ContainsFunc(raw.FinalizedFeatures, func(f kmsg.ApiVersionsResponseFinalizedFeature) bool {
		return f.Name == "group.version" && f.MaxVersionLevel >= 1
	}) {
		return "has not enabled the feature group.version 1"
	}
	return ""
}

// groupTimes asks for the session timeout and the heartbeat interval that the coordinator keeps for the group.
func (r *Runner) groupTimes(ctx context.Context) (session, heartbeat time.Duration, err error) {
	const sessionKey, heartbeatKey = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"
	req := kmsg.NewPtrDescribeConfigsRequest()
	group := kmsg.NewDescribeConfigsRequestResource()
	group.ResourceType, group.ResourceName = kmsg.ConfigResourceTypeGroupConfig, r.cfg.Group
	group.ConfigNames = []string{sessionKey, heartbeatKey}
	req.Resources = append(req.Resources, group)
	resp, err := req.RequestWith(ctx, r.instance.producer)
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the session timeout of group %s: %w", r.cfg.Group, err)
	}
	found := map[string]time.Duration{}
	for _, res := range resp.Resources {
		err = kerr.ErrorForCode(res.ErrorCode)
		for _, c := range res.Configs {
			if c.Value != nil {
				ms, _ := strconv.Atoi(*c.Value) // 0 is refused below
				found[c.Name] = time.Duration(ms) * time.Millisecond
			}
		}
	}
	session, heartbeat = found[sessionKey], found[heartbeatKey]
	switch {
	case errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return 0, 0, &RefusedError{fmt.Errorf("kafka refuses the session timeout of group %s to this user; with STREAMER_KAFKA_GROUP_PROTOCOL=consumer "+
			"it needs DESCRIBE_CONFIGS on the group", r.cfg.Group)}
	case err != nil:
		return 0, 0, fmt.Errorf("ask for the session timeout of group %s: %w", r.cfg.Group, err)
	case session <= 0 || heartbeat <= 0:
		return 0, 0, &RefusedError{fmt.Errorf("kafka does not say %s and %s of group %s, which the consumer protocol needs", sessionKey, heartbeatKey, r.cfg.Group)}
	}
	return session, heartbeat, nil
}

// watchSession follows a session timeout that is changed while the job runs.
func (r *Runner) watchSession(ctx context.Context) {
	if !r.consumerProtocol() {
		return
	}
	if session, _, err := r.groupTimes(ctx); err == nil {
		r.fence.setSession(session)
	}
}

// leaveGroup says farewell. A static member stays in the group and may come back to its partitions: under the classic protocol it says
// nothing, under the consumer protocol that it goes for a while. That the client says without the instance id, which the coordinator
// refuses, so it is said here: without it the next process of that id would wait for this one's session.
func (r *Runner) leaveGroup(ctx context.Context) error {
	member, _ := r.client.GroupMetadata()
	err := r.client.LeaveGroupContext(ctx)
	switch {
	case r.consumerProtocol() && r.cfg.Instance != "":
		return r.instance.sayFarewell(ctx, r.cfg, member, forAWhile)
	case errors.Is(err, kerr.UnknownMemberID):
		return nil
	}
	return err
}

// What a static member of the consumer protocol says when it goes, instead of an epoch.
const (
	forGood   = -1
	forAWhile = -2
)

// sayFarewell speaks for this instance's static member of a group of the consumer protocol.
func (i *Instance) sayFarewell(ctx context.Context, cfg Config, member string, epoch int32) error {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch, req.InstanceID = cfg.Group, member, epoch, kmsg.StringPtr(cfg.Instance)
	resp, err := req.RequestWith(ctx, i.producer)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.GroupIDNotFound) {
		return nil // gone already, or never in it
	}
	return err
}

// removeConsumer takes this instance's static member out of a group of the consumer protocol: whoever names an instance id has to know its
// member too.
func (i *Instance) removeConsumer(ctx context.Context, cfg Config) error {
	groups, err := i.admin.DescribeConsumerGroups(ctx, cfg.Group)
	group := groups[cfg.Group]
	if err = cmp.Or(err, group.Err); errors.Is(err, kerr.GroupIDNotFound) {
		return nil
	}
	for _, m := range group.Members {
		if err == nil && m.InstanceID != nil && *m.InstanceID == cfg.Instance {
			err = i.sayFarewell(ctx, cfg, m.MemberID, forGood)
		}
	}
	if err != nil {
		return fmt.Errorf("take member %s out of group %s: %w", cfg.Instance, cfg.Group, err)
	}
	return nil
}

// whileMember gives a context that ends when the group may have given this member up. It is for drains under the consumer protocol,
// whose client sends no heartbeats between an assignment that changes and the end of a drain:
//
//  1. A drains, for as long as minutes. Meanwhile the group changes again; the client learns of it by a heartbeat, and waits for the
//     drain before it sends the next one.
//  2. A's session times out, and B sends the rows that A still has in flight: twice at the same time, and ahead of their lane.
//
// Close stops the watching.
func (r *Runner) whileMember(ctx context.Context) (member context.Context, closeIt func()) {
	ctx, cancel := context.WithCancel(ctx)
	if !r.consumerProtocol() {
		return ctx, cancel
	}
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		for r.fence.alive() {
			if !sleep(ctx, permitRetry) {
				return
			}
		}
		cancel()
	}()
	return ctx, func() { cancel(); <-done }
}
