package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// GroupView is a consumer group as its coordinator has it.
type GroupView struct {
	Group string `json:"group"`
	// State is Kafka's word, such as Empty or Stable; Dead: there is no such group.
	State string `json:"state"`
	// Protocol is classic or consumer; empty while the group does not exist.
	Protocol GroupProtocol `json:"protocol,omitempty"`
	Members  []GroupMember `json:"members,omitempty"`
	// Session is how long a member that does not answer is waited for.
	Session time.Duration `json:"-"`
}

// GroupMember is one member of a group.
type GroupMember struct {
	ID       string `json:"id"`
	Client   string `json:"client"`
	Host     string `json:"host"`
	Instance string `json:"instance,omitempty"`
	// Foreign says that it is no member of this job.
	Foreign bool `json:"foreign,omitempty"`
}

// String names the member for a person.
func (m GroupMember) String() string {
	text := fmt.Sprintf("client %q at %s", m.Client, m.Host)
	if m.Instance != "" {
		text += ", instance " + m.Instance
	}
	if m.Foreign {
		text += ", not of this job"
	}
	return text
}

// OffsetsView is what Kafka knows of a job's offsets.
type OffsetsView struct {
	GroupView
	Partitions []PartitionOffsets `json:"partitions"`
	// Lag is the sum of the partitions' that is known.
	Lag int64 `json:"lag"`
}

// PartitionOffsets is one partition of an OffsetsView.
type PartitionOffsets struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Committed is the next offset that is read, -1 for none: At is the time of the first record there, absent where there is none.
	Committed int64      `json:"committed"`
	At        *time.Time `json:"at,omitempty"`
	// Start and HighWatermark are where the log begins and ends.
	Start         int64 `json:"start"`
	HighWatermark int64 `json:"high_watermark"`
	// Lag is the records between Committed and HighWatermark, -1 without a commit.
	Lag int64 `json:"lag"`
	// Finished is how many records above Committed are finished, wholly or partly.
	Finished int64 `json:"finished"`
	// Note says what is wrong.
	Note string `json:"note,omitempty"`
}

// GroupMembers asks who is in a job's group, under either protocol.
func (i *Instance) GroupMembers(ctx context.Context, cfg Config) (GroupView, error) {
	r := i.asker(cfg)
	v := GroupView{Group: r.cfg.Group, State: "Dead", Session: sessionTimeout}
	add := func(id, client, host string, instance *string) {
		m := GroupMember{ID: id, Client: client, Host: host, Foreign: client != r.clientID()}
		if instance != nil {
			m.Instance = *instance
		}
		v.Members = append(v.Members, m)
	}
	classic, err := i.admin.DescribeGroups(ctx, v.Group)
	group := classic[v.Group]
	err = cmp.Or(err, group.Err)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return v, fmt.Errorf("describe group %s: %w", v.Group, err)
	}
	if err == nil && group.State != "" && group.State != "Dead" {
		v.State, v.Protocol = group.State, GroupClassic
	}
	for _, m := range group.Members {
		add(m.MemberID, m.ClientID, m.ClientHost, m.InstanceID)
	}
	if len(v.Members) > 0 {
		return v, nil
	}
	modern, err := i.admin.DescribeConsumerGroups(ctx, v.Group)
	other := modern[v.Group]
	switch err := cmp.Or(err, other.Err); {
	case errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.UnsupportedVersion):
		return v, nil
	case err != nil:
		return v, fmt.Errorf("describe group %s: %w", v.Group, err)
	}
	if other.State != "" && other.State != "Dead" {
		v.State, v.Protocol = other.State, GroupConsumer
	}
	for _, m := range other.Members {
		add(m.MemberID, m.ClientID, m.ClientHost, m.InstanceID)
	}
	if v.Protocol == GroupConsumer {
		if session, _, err := r.groupTimes(ctx); err == nil { // else the usual one
			v.Session = session
		}
	}
	return v, nil
}

// ShowOffsets gives the offsets of a job, whether it runs or not. m is what is remembered of it.
func (i *Instance) ShowOffsets(ctx context.Context, cfg Config, m Memory) (OffsetsView, error) {
	r := i.asker(cfg)
	view := OffsetsView{Partitions: []PartitionOffsets{}}
	var err error
	if view.GroupView, err = i.GroupMembers(ctx, cfg); err != nil {
		return view, err
	}
	o, err := r.look(ctx)
	if err != nil || len(o.topics) == 0 {
		return view, err
	}
	ends, err := i.admin.ListEndOffsets(ctx, o.topics.names()...)
	if err != nil {
		return view, fmt.Errorf("look up where the logs end: %w", err)
	}
	marks := m.begunBy(r.cfg.Group)
	var ask []topicOffset
	for _, topic := range o.topics.names() {
		for id := range o.topics[topic].partitions {
			at := TopicPartition{topic, id}
			p := PartitionOffsets{Topic: topic, Partition: id, Committed: o.committedAt(at), Lag: -1}
			start, _, err := o.bounds.of(topic, id)
			end, ok := ends.Lookup(topic, id)
			if err != nil || !ok || end.Err != nil {
				p.Start, p.HighWatermark = -1, -1
				p.Note = fmt.Sprintf("its leader does not answer: %v", errors.Join(err, end.Err))
				view.Partitions = append(view.Partitions, p)
				continue
			}
			p.Start, p.HighWatermark = start, end.Offset
			f := o.finished[at]
			whole, partly := f.Between(0, p.HighWatermark)
			p.Finished = whole + partly
			switch begun := marks[topic]; {
			case begun.other(o.topics[topic].id):
				p.Note = "the topic was made anew: the committed offset is of the old one"
			case p.Committed < 0 && id < begun.Partitions:
				p.Note = "the offset was lost"
			case p.Committed >= 0 && p.Committed < start:
				p.Note = fmt.Sprintf("records expired: the log begins at %d", start)
			case p.Committed > end.Offset:
				p.Note = "the committed offset is behind the end of the log"
			}
			if p.Committed >= 0 {
				p.Lag = max(p.HighWatermark-p.Committed, 0)
				view.Lag += p.Lag
				ask = append(ask, topicOffset{at, p.Committed})
			}
			view.Partitions = append(view.Partitions, p)
		}
	}
	times := i.timesAt(ctx, ask)
	for n := range view.Partitions {
		p := &view.Partitions[n]
		p.At = times[topicOffset{TopicPartition{p.Topic, p.Partition}, p.Committed}]
	}
	return view, nil
}

const (
	// timesWithin bounds the look at the times of records: what was not found until then is left out.
	timesWithin = 3 * time.Second
	// mostTimes is how many are looked at.
	mostTimes = 200
)

type topicOffset struct {
	TopicPartition
	offset int64
}

// timesAt gives the times of the first records from some offsets on, as far as there are any and they come soon. It reads one batch of each.
func (i *Instance) timesAt(ctx context.Context, ask []topicOffset) map[topicOffset]*time.Time {
	out := map[topicOffset]*time.Time{}
	var topics []string
	for _, a := range ask {
		if !slices.Contains(topics, a.Topic) {
			topics = append(topics, a.Topic)
		}
	}
	if len(ask) == 0 || len(ask) > 2*mostTimes {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, timesWithin)
	defer cancel()
	starts, err1 := i.admin.ListStartOffsets(ctx, topics...)
	ends, err2 := i.admin.ListCommittedOffsets(ctx, topics...)
	if err1 != nil || err2 != nil {
		return out
	}
	b := bounds{starts, ends}
	// A partition can be read from one offset at a time.
	for len(ask) > 0 && ctx.Err() == nil {
		now, later := map[string]map[int32]kgo.Offset{}, []topicOffset{}
		want := map[TopicPartition]topicOffset{}
		for _, a := range ask {
			start, end, err := b.of(a.Topic, a.Partition)
			if _, taken := want[a.TopicPartition]; taken {
				later = append(later, a)
				continue
			}
			if err != nil || a.offset < 0 || max(a.offset, start) >= end {
				continue
			}
			if now[a.Topic] == nil {
				now[a.Topic] = map[int32]kgo.Offset{}
			}
			now[a.Topic][a.Partition] = kgo.NewOffset().At(max(a.offset, start))
			want[a.TopicPartition] = a
		}
		ask = later
		if len(want) > 0 {
			i.readTimes(ctx, now, want, out)
		}
	}
	return out
}

func (i *Instance) readTimes(ctx context.Context, from map[string]map[int32]kgo.Offset, want map[TopicPartition]topicOffset, out map[topicOffset]*time.Time) {
	opts, err := i.kafka.options(clientID+".times", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return
	}
	client, err := kgo.NewClient(append(opts,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxPartitionBytes(1), // a batch comes whole
		kgo.ConsumePartitions(from),
	)...)
	if err != nil {
		return
	}
	defer client.Close()
	for len(want) > 0 && ctx.Err() == nil {
		done := map[string][]int32{}
		client.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			at := TopicPartition{rec.Topic, rec.Partition}
			if a, waiting := want[at]; waiting {
				t := rec.Timestamp.UTC()
				out[a] = &t
				delete(want, at)
				done[rec.Topic] = append(done[rec.Topic], rec.Partition)
			}
		})
		if len(done) > 0 {
			client.PauseFetchPartitions(done)
		}
	}
}
