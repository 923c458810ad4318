package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"streamer/consumer/track"
)

// ledgerWithin bounds the questions to Kafka about a partition.
const ledgerWithin = 10 * time.Second

// Ledger tells of a job's records what Kafka alone knows: committed offsets with what was finished above them, the log's bounds, the dead
// letters. It needs no runner, so it answers for a job that is stopped, and for partitions that nobody reads. Its methods may be called
// from any goroutine.
type Ledger struct {
	instance *Instance
	cfg      Config
}

// Ledger is that of the job that cfg defines, as it is defined now.
func (i *Instance) Ledger(cfg Config) *Ledger { return &Ledger{instance: i, cfg: cfg.Defaults()} }

// NoPartitionError says that a job does not read a partition: the topic is not one of its own, or there is no such topic or partition.
type NoPartitionError struct {
	// Field is topic or partition.
	Field, Cause string
}

// Error implements error.
func (e *NoPartitionError) Error() string { return e.Cause }

// Find says where the record of q is, as Runner.Find does, while no instance reads its partition; why says why none does. Errors:
// *NoPartitionError, or Kafka's.
func (l *Ledger) Find(ctx context.Context, q Query, why string) ([]Found, error) {
	f, err := l.facts(ctx, q.Topic, q.Partition)
	if err != nil {
		return nil, err
	}
	s := f.whereabouts(l, q.Offset)
	if s.whole.State == FoundNotRead && why != "" {
		s.whole.Reason += "; " + why
	}
	return s.tell(ctx, l.instance, &l.cfg, encodeTopicID(f.topicID), q), nil
}

// FindKey gives what is open among the dead letters of a key, or of the lane of this value: dead-lettered and parked rows, at most limit
// of them; cut says why there may be more.
func (l *Ledger) FindKey(ctx context.Context, key string, limit int) (found []Found, cut string) {
	if l.cfg.DeadLetterTopic == "" {
		return nil, ""
	}
	letters, cut := l.instance.DeadLetters(l.cfg).choose(ctx, time.Time{}, func(x *Letter) bool {
		inLane := !x.lane.none && !x.lane.own && x.lane.value == boundKey(key)
		return inLane || x.Key != nil && string(x.Key) == key
	})
	for i := range letters {
		x := &letters[i]
		if x.State != LetterOpen && x.State != LetterParked {
			continue
		}
		if len(found) == limit {
			break
		}
		f := Found{Position: Position{x.Source.Topic, x.Source.Partition, x.Source.Offset, x.Source.Row, x.Source.Route}, Committed: -1, HighWatermark: -1}
		f.tellLetter(x)
		found = append(found, f)
	}
	return found, cut
}

// facts are what Kafka tells of a partition.
type facts struct {
	topic       string
	id          int32
	topicID     [16]byte
	start       int64 // of the log
	stable, end int64 // of what readers of committed records may read, and of the log
	committed   int64 // -1: none
	begun       Begun // the mark of the topic
	anyBegun    bool  // the job has begun to read something
	finished    track.Finished
}

func (l *Ledger) facts(ctx context.Context, topic string, id int32) (f facts, err error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerWithin)
	defer cancel()
	f, cluster, err := l.partition(ctx, topic, id)
	if err != nil {
		return f, err
	}
	m, err := l.instance.store.Memory(ctx, l.cfg.Job)
	if err != nil {
		return f, fmt.Errorf("what is remembered of the job cannot be read: %w", err)
	}
	marks := m.begunBy(l.cfg.Group)
	f.begun, f.anyBegun = marks[topic], len(marks) > 0
	return f, l.commit(ctx, &f, cluster)
}

// partition looks up what there is of a partition that the job reads, and the id of the cluster.
func (l *Ledger) partition(ctx context.Context, topic string, id int32) (f facts, cluster string, err error) {
	i, r := l.instance, Runner{cfg: l.cfg}
	if r.compilePatterns(); !r.takes(topic) {
		return f, "", &NoPartitionError{"topic", fmt.Sprintf("job %s does not read topic %s", l.cfg.Job, topic)}
	}
	meta, err := i.admin.Metadata(ctx, topic)
	if err != nil {
		return f, "", i.reach(err)
	}
	of := meta.Topics[topic]
	switch _, exists := of.Partitions[id]; {
	case errors.Is(of.Err, kerr.UnknownTopicOrPartition):
		return f, "", &NoPartitionError{"topic", fmt.Sprintf("topic %s does not exist", topic)}
	case of.Err != nil:
		return f, "", fmt.Errorf("topic %s: %w", topic, of.Err)
	case !exists:
		return f, "", &NoPartitionError{"partition", fmt.Sprintf("topic %s has %d partitions, counted from 0", topic, len(of.Partitions))}
	}
	f = facts{topic: topic, id: id, topicID: of.ID, committed: -1}
	return f, meta.Cluster, l.bounds(ctx, &f)
}

// bounds looks up where the log begins and ends.
func (l *Ledger) bounds(ctx context.Context, f *facts) error {
	admin := l.instance.admin
	starts, err1 := admin.ListStartOffsets(ctx, f.topic)
	stable, err2 := admin.ListCommittedOffsets(ctx, f.topic)
	ends, err3 := admin.ListEndOffsets(ctx, f.topic)
	if err := errors.Join(err1, err2, err3); err != nil {
		return l.instance.reach(err)
	}
	start, _ := starts.Lookup(f.topic, f.id)
	lso, _ := stable.Lookup(f.topic, f.id)
	end, ok := ends.Lookup(f.topic, f.id)
	if err := errors.Join(start.Err, lso.Err, end.Err); err != nil || !ok {
		return fmt.Errorf("look up the bounds of %s/%d: %w", f.topic, f.id, errors.Join(err, ctx.Err()))
	}
	f.start, f.stable, f.end = start.Offset, lso.Offset, end.Offset
	return nil
}

// commit reads the committed offset, and what was finished above it as far as a next owner would believe it.
func (l *Ledger) commit(ctx context.Context, f *facts, cluster string) error {
	committed, err := l.instance.committedOffsets(ctx, l.cfg.Group)
	if err != nil {
		return err
	}
	o, ok := committed.Lookup(f.topic, f.id)
	if !ok || o.At < 0 {
		return nil
	}
	f.committed = o.At
	at := TopicPartition{f.topic, f.id}
	place := track.Place{TopicID: f.topicID, Owner: track.Owner(cluster, l.cfg.Group), Parts: track.Parts(l.cfg.Program.Routes()),
		Offset: o.At, Epoch: o.LeaderEpoch}
	done, err := l.instance.believe(ctx, slog.New(slog.DiscardHandler), commits{at: {place, o.Metadata}})
	f.finished = done[at]
	return err
}

// whereabouts is what the facts tell of a record.
func (f *facts) whereabouts(l *Ledger, offset int64) *whereabouts {
	s := &whereabouts{whole: Found{Position: Position{Topic: f.topic, Partition: f.id, Offset: offset, Row: wholeRecord}, State: FoundNotRead, Committed: f.committed, HighWatermark: f.end},
		readable: offset >= f.start && offset < f.stable}
	w := &s.whole
	finished, rows := false, (func(int32) bool)(nil)
	if offset >= f.committed {
		finished, rows = f.finished.Has(offset)
	}
	switch {
	case f.begun.other(f.topicID):
		w.Committed = -1
		w.Reason = fmt.Sprintf("the topic was deleted and made anew: the job has begun it with id %s, it is %s now; when the job runs, its partitions are held until "+
			"streamer offsets accept says where to go on", f.begun.TopicID, encodeTopicID(f.topicID))
	case offset >= f.end:
		w.State, w.Reason = FoundBeyond, fmt.Sprintf("the log ends at %d", f.end)
	case offset < f.committed || finished:
		s.final, w.State = true, finalState(offset, f.committed)
	case offset < f.start:
		w.State, w.Reason = FoundExpired, fmt.Sprintf("it was not finished, and is not in the log any more, which begins at %d", f.start)
	case f.committed >= 0:
		s.earlier = rows
		w.Reason = fmt.Sprintf("the job would go on at offset %d", f.committed)
	case f.id < f.begun.Partitions:
		w.Reason = fmt.Sprintf("the offset was lost: the job has begun to read the partition, and group %s has no committed offset of it any more; when the job runs, "+
			"it is held until streamer offsets accept says where to go on", l.cfg.Group)
	case f.anyBegun:
		w.Reason = "the job has not begun to read this partition: it begins at its log start"
	default:
		w.Reason = fmt.Sprintf("the job has not begun: it begins at start: %s", l.cfg.Start)
	}
	if w.State == FoundNotRead && offset >= f.stable {
		w.Reason += "; an open transaction keeps it from readers of committed records"
	}
	return s
}
