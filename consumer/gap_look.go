package consumer

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
)

// judgeTopics holds partitions whose topic is not the one that they were assigned of any more.
func (r *Runner) judgeTopics(topics foundTopics) {
	for _, p := range r.all() {
		if t, ok := topics[p.topic]; ok && t.id != p.topicID && t.id != [16]byte{} && p.topicID != [16]byte{} {
			r.holdPartition(p, r.recreatedHold(p.topic, encodeTopicID(p.topicID), encodeTopicID(t.id)), gap{})
		}
	}
}

// judgeOffsets looks up what partitions whose fetch was out of range have lost, and how much more those have that are held for it:
// retention goes on while an operator sleeps.
func (r *Runner) judgeOffsets(ctx context.Context, ends kadm.ListedOffsets) {
	var ask []*partition
	topics := kadm.TopicsSet{}
	for _, p := range r.all() {
		if p.asks() {
			ask = append(ask, p)
			topics.Add(p.topic)
		}
	}
	if len(ask) == 0 {
		return
	}
	starts, err := r.instance.admin.ListStartOffsets(ctx, topics.Topics()...)
	if err != nil {
		return
	}
	for _, p := range ask {
		start, ok := starts.Lookup(p.topic, p.id)
		end, known := ends.Lookup(p.topic, p.id)
		if !ok || !known || start.Err != nil || end.Err != nil {
			continue
		}
		switch g := p.gapTo(start.Offset); {
		case g.from < start.Offset:
			r.holdPartition(p, r.expiredHold(p, g), g)
		case g.from > end.Offset:
			g.to = end.Offset
			r.holdPartition(p, r.beyondHold(p, g), g)
		}
	}
}

// asks says whether the bounds of the log have to be looked up.
func (p *partition) asks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracker != nil && (p.wait.ask || p.wait.kind == HoldExpired)
}

// gapTo is what lies between the next offset to read and to.
func (p *partition) gapTo(to int64) gap {
	p.mu.Lock()
	defer p.mu.Unlock()
	return gap{from: p.fetched, to: to, lost: p.tracker.Unfinished(p.fetched, to)}
}

// readUpTo is a gap of which nothing is known but where it begins.
func (p *partition) readUpTo() gap {
	p.mu.Lock()
	defer p.mu.Unlock()
	return gap{from: p.fetched, to: p.fetched}
}

// mendHolds begins anew when what partitions are held for was decided elsewhere: by another instance, or with Kafka's own tools.
func (r *Runner) mendHolds(ctx context.Context, topics foundTopics) {
	held := map[HoldCause][]*partition{}
	for _, p := range r.all() {
		if h := p.status().Hold; h != nil {
			held[h.Cause] = append(held[h.Cause], p)
		}
	}
	if len(held[HoldRecreated])+len(held[HoldOffsetsLost]) == 0 {
		return
	}
	marks, err := r.marks(ctx)
	if err != nil {
		return
	}
	for _, p := range held[HoldRecreated] {
		if t, ok := topics[p.topic]; ok && marks[p.topic].TopicID == encodeTopicID(t.id) {
			r.beginAnew("topic " + p.topic + " is no longer another one than the job has begun")
			return
		}
	}
	if len(held[HoldOffsetsLost]) == 0 {
		return
	}
	committed, err := r.committedOffsets(ctx)
	if err != nil {
		return
	}
	for _, p := range held[HoldOffsetsLost] {
		if hasOffset(committed, p.topic, p.id) || p.id >= marks[p.topic].Partitions {
			r.beginAnew("the lost offset of topic " + p.topic + " is there again")
			return
		}
	}
}

// beginAnew ends the session in good order; the next one reads topics and offsets again.
func (r *Runner) beginAnew(why string) {
	r.log.Info("joining the group anew", "cause", why)
	r.member.end()
}

// isAnother says that a topic is not the one that its partitions were assigned of.
func (r *Runner) isAnother(topic string, id [16]byte) bool {
	return slices.ContainsFunc(r.all(), func(p *partition) bool { return p.topic == topic && p.topicID != id })
}

// unmarkedTopics says whether something of the job's topics is not known to have begun.
func (r *Runner) unmarkedTopics(topics foundTopics) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for name, t := range topics {
		if b, ok := r.begun[name]; !ok || b.Partitions < t.partitions && !b.other(t.id) {
			return true
		}
	}
	return false
}

func (p *partition) unfinished(from, to int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracker.Unfinished(from, to)
}
