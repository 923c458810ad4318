package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/consumer/track"
)

// resetFixture is a topic of two partitions with 100 records each, a minute apart, the last now; the log of partition 1 begins at 10. The
// group has committed 50 and 60, and the records at 70 and 71 of partition 0 are finished.
type resetFixture struct {
	*fixture
	cfg   Config
	topic string
	first time.Time
	i     *Instance
}

func newResetFixture(t *testing.T) *resetFixture {
	t.Helper()
	c := consumertest.Fake(t)
	f := &resetFixture{fixture: setup(t, c, nil), first: time.Now().Add(-99 * time.Minute).Truncate(time.Millisecond).UTC()}
	f.topic = c.Topic(t, "t", 2)
	f.cfg = f.job(f.topic)
	var records []*kgo.Record
	for n := range 100 {
		for p := range int32(2) {
			r := rec(f.topic, p, "k", n)
			r.Timestamp = f.first.Add(time.Duration(n) * time.Minute)
			records = append(records, r)
		}
	}
	for _, r := range records { // a batch of its own each, so that times are exact
		consumertest.Produce(t, f.producer, r)
	}
	cut := kadm.Offsets{}
	cut.Add(kadm.Offset{Topic: f.topic, Partition: 1, At: 10})
	if _, err := c.Admin(t).DeleteRecords(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	f.i = asker(f.fixture)
	f.commit(50, 60)
	return f
}

// commit commits for both partitions; for partition 0 with what is finished above.
func (f *resetFixture) commit(zero, one int64) {
	f.Helper()
	adm := f.cluster.Admin(f)
	meta, err := adm.Metadata(f.Context(), f.topic)
	if err != nil {
		f.Fatal(err)
	}
	tr := track.New(zero, 0)
	for n := zero; n < 72; n++ {
		r := &track.Record{Offset: n, Epoch: 0}
		if tr.Track(r, 1); n >= 70 {
			tr.Done(r, 0)
		}
	}
	var done track.Finished
	done.Read(tr)
	metadata, _ := done.Encode(track.Place{TopicID: meta.Topics[f.topic].ID, Owner: track.Owner(meta.Cluster, f.cfg.Group), Offset: zero, Epoch: 0}, 4096)
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: f.topic, Partition: 0, At: zero, LeaderEpoch: 0, Metadata: metadata})
	offsets.Add(kadm.Offset{Topic: f.topic, Partition: 1, At: one, LeaderEpoch: 0})
	if err := adm.CommitAllOffsets(f.Context(), f.cfg.Group, offsets); err != nil {
		f.Fatal(err)
	}
}

func (f *resetFixture) said(p ResetPartition) string {
	text := fmt.Sprintf("%d: %d to %d, again %d (%d finished), skipped %d (%d expired)", p.Partition, p.Before, p.After, p.Again, p.Finished, p.Skipped, p.Expired)
	if p.Note != "" {
		text += " [" + p.Note + "]"
	}
	return text
}

func TestPlanReset(t *testing.T) {
	t.Parallel()
	f := newResetFixture(t)
	zero, one, two := int32(0), int32(1), int32(2)
	at := func(n int) string {
		return f.first.Add(time.Duration(n)*time.Minute - time.Second).Format(time.RFC3339Nano)
	}
	for name, c := range map[string]struct {
		spec ResetSpec
		want string // of each partition
	}{
		"earliest": {ResetSpec{To: "earliest"}, "0: 50 to 0, again 52 (2 finished), skipped 0 (0 expired); 1: 60 to 10, again 50 (0 finished), skipped 0 (0 expired)"},
		"latest":   {ResetSpec{To: "latest"}, "0: 50 to 100, again 0 (0 finished), skipped 48 (0 expired); 1: 60 to 100, again 0 (0 finished), skipped 40 (0 expired)"},
		"an offset below one log": {ResetSpec{To: "5"}, "0: 50 to 5, again 47 (2 finished), skipped 0 (0 expired); " +
			"1: 60 to 10, again 50 (0 finished), skipped 0 (0 expired) [5 is not in the log any more, which begins at 10]"},
		"an offset above both": {ResetSpec{Table: map[string]map[int32]int64{f.topic: {1: 1000}}},
			"1: 60 to 100, again 0 (0 finished), skipped 40 (0 expired) [1000 is not in the log yet, which ends at 100]"},
		"a shift back":                  {ResetSpec{To: "-20"}, "0: 50 to 30, again 22 (2 finished), skipped 0 (0 expired); 1: 60 to 40, again 20 (0 finished), skipped 0 (0 expired)"},
		"a shift into what is finished": {ResetSpec{Parts: []ResetPart{{f.topic, &zero, "+21"}}}, "0: 50 to 71, again 1 (1 finished), skipped 20 (0 expired)"},
		"no shift at all":               {ResetSpec{Parts: []ResetPart{{f.topic, &zero, "+0"}}}, "0: 50 to 50, again 2 (2 finished), skipped 0 (0 expired)"},
		"a shift without end": {ResetSpec{Parts: []ResetPart{{f.topic, &one, "+9223372036854775807"}}},
			"1: 60 to 100, again 0 (0 finished), skipped 40 (0 expired)"},
		"a time":         {ResetSpec{To: at(80)}, "0: 50 to 80, again 0 (0 finished), skipped 28 (0 expired); 1: 60 to 80, again 0 (0 finished), skipped 20 (0 expired)"},
		"a time too new": {ResetSpec{Parts: []ResetPart{{f.topic, &one, at(1000)}}}, "1: 60 to 100, again 0 (0 finished), skipped 40 (0 expired) [no record is so new: the end]"},
		"before 1970":    {ResetSpec{Parts: []ResetPart{{f.topic, &one, "1969-12-31T23:59:59.999Z"}}}, "1: 60 to 10, again 50 (0 finished), skipped 0 (0 expired)"},
		"ten minutes ago": {ResetSpec{To: "-10m30s"}, "0: 50 to 89, again 0 (0 finished), skipped 37 (0 expired); " +
			"1: 60 to 89, again 0 (0 finished), skipped 29 (0 expired)"},
		"a word for each": {ResetSpec{To: "latest", Parts: []ResetPart{{f.topic, nil, "earliest"}, {f.topic, &one, "+1"}}},
			"0: 50 to 0, again 52 (2 finished), skipped 0 (0 expired); 1: 60 to 61, again 0 (0 finished), skipped 1 (0 expired)"},
	} {
		plan, err := f.i.PlanReset(t.Context(), f.cfg, c.spec, Memory{})
		var got []string
		for _, p := range plan.Partitions {
			got = append(got, f.said(p))
		}
		if text := strings.Join(got, "; "); err != nil || text != c.want {
			t.Errorf("%s:\n%s, %v; want\n%s", name, text, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		spec ResetSpec
		want string
	}{
		"nothing":           {ResetSpec{}, "to: is missing"},
		"a partition twice": {ResetSpec{Parts: []ResetPart{{f.topic, &one, "1"}}, Table: map[string]map[int32]int64{f.topic: {1: 2}}}, "/1 is named twice"},
		"a topic twice":     {ResetSpec{Parts: []ResetPart{{f.topic, nil, "1"}, {f.topic, nil, "1"}}}, "parts[1]: topic " + f.topic + " is named twice"},
		"an unknown topic":  {ResetSpec{Parts: []ResetPart{{"other", nil, "1"}}}, "parts[0].topic: other is no topic of the job that exists; those are " + f.topic},
		"all that is unknown": {ResetSpec{Parts: []ResetPart{{f.topic, &two, "1"}, {"z", &one, "1"}}, Table: map[string]map[int32]int64{"z": {0: 1}, "y": {0: 1}}},
			"parts[0].partition: topic " + f.topic + " has no partition 2; it has 0 to 1; also table.y.0: y is no topic of the job that exists; those are " + f.topic +
				"; also table.z.0: z is no topic of the job that exists; those are " + f.topic},
		"all that is misread": {ResetSpec{To: "never", Parts: []ResetPart{{f.topic, nil, "1.5"}, {"", nil, "1"}}, Table: map[string]map[int32]int64{f.topic: {0: -1}}},
			"to: \"never\" is nothing of what is understood; " + seekWords + "; also parts[0].to: \"1.5\" is nothing of what is understood; " + seekWords +
				"; also parts[1].topic: is missing; name the topic; also table." + f.topic + ".0: offset -1 of"},
		"an unknown partition": {ResetSpec{Table: map[string]map[int32]int64{f.topic: {2: 0}}}, "has no partition 2; it has 0 to 1"},
		"a negative offset":    {ResetSpec{Table: map[string]map[int32]int64{f.topic: {1: -2}}}, "offset -2 of"},
		"another topic id":     {ResetSpec{To: "1", TopicIDs: map[string]string{f.topic: "AAAAAAAAAAAAAAAAAAAAAA"}}, "was made anew since: its id was AAAAAAAAAAAAAAAAAAAAAA"},
	} {
		var wrong *ResetError
		if _, err := f.i.PlanReset(t.Context(), f.cfg, c.spec, Memory{}); !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
	plan, err := f.i.PreviewReset(t.Context(), f.cfg, ResetSpec{To: "latest"}, Memory{})
	if err != nil || plan.Again != 0 || plan.Skipped != 88 || len(plan.Partitions) != 2 {
		t.Fatalf("preview %+v, %v", plan, err)
	}
	if p := plan.Partitions[0]; p.BeforeTime == nil || !p.BeforeTime.Equal(f.first.Add(50*time.Minute)) || p.AfterTime != nil {
		t.Errorf("times of partition 0: %v, %v", p.BeforeTime, p.AfterTime)
	}
	v, err := f.i.ShowOffsets(t.Context(), f.cfg, Memory{})
	if err != nil || len(v.Partitions) != 2 || v.Lag != 90 || v.State != "Empty" {
		t.Fatalf("shown %+v, %v", v, err)
	}
	if p := v.Partitions[0]; p.Committed != 50 || p.HighWatermark != 100 || p.Lag != 50 || p.Finished != 2 || p.At == nil || !p.At.Equal(f.first.Add(50*time.Minute)) {
		t.Errorf("shown %+v", p)
	}
	if p := v.Partitions[1]; p.Start != 10 || p.Finished != 0 {
		t.Errorf("shown %+v", p)
	}
}

// What expired before it was finished is counted apart; a commit below the log is where it is.
func TestPlanResetOfExpired(t *testing.T) {
	t.Parallel()
	f := newResetFixture(t)
	f.commit(50, 3)
	plan, err := f.i.PlanReset(t.Context(), f.cfg, ResetSpec{To: "earliest"}, Memory{})
	if err != nil || len(plan.Partitions) != 2 || f.said(plan.Partitions[1]) != "1: 3 to 10, again 0 (0 finished), skipped 7 (7 expired)" {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if v, err := f.i.ShowOffsets(t.Context(), f.cfg, Memory{}); err != nil || v.Partitions[1].Note != "records expired: the log begins at 10" {
		t.Errorf("shown %+v, %v", v, err)
	}
}

// A job that has not begun and is set in one partition begins in the others as it says; one that has lost its offsets does not. Of a
// topic that was made anew all partitions are to be set.
func TestPlanResetWithoutCommits(t *testing.T) {
	t.Parallel()
	f := newResetFixture(t)
	f.cfg.Group += "-new"
	f.cfg.Start.Latest = true
	spec := ResetSpec{Table: map[string]map[int32]int64{f.topic: {0: 7}}}
	plan, err := f.i.PlanReset(t.Context(), f.cfg, spec, Memory{})
	if err != nil || len(plan.Partitions) != 2 || f.said(plan.Partitions[0]) != "0: -1 to 7, again 0 (0 finished), skipped 7 (0 expired)" ||
		plan.Partitions[1].After != 100 || plan.Partitions[1].To != "start: latest" {
		t.Errorf("a new job: %+v, %v", plan, err)
	}
	meta, err := f.cluster.Admin(t).Metadata(t.Context(), f.topic)
	if err != nil {
		t.Fatal(err)
	}
	lost := Memory{Group: f.cfg.Group, Begun: map[string]Begun{f.topic: {TopicID: encodeTopicID(meta.Topics[f.topic].ID), Partitions: 2}}}
	if plan, err := f.i.PlanReset(t.Context(), f.cfg, spec, lost); err != nil || len(plan.Partitions) != 1 {
		t.Errorf("lost offsets: %+v, %v", plan, err)
	}
	var wrong *ResetError
	if _, err := f.i.PlanReset(t.Context(), f.cfg, ResetSpec{To: "-5"}, lost); !errors.As(err, &wrong) || !strings.Contains(wrong.Cause, "/0 has no committed offset to count -5 from") {
		t.Errorf("a shift from nothing: %v", err)
	}
	anew := Memory{Group: f.cfg.Group, Begun: map[string]Begun{f.topic: {TopicID: "AAAAAAAAAAAAAAAAAAAAAQ", Partitions: 2}}}
	if _, err := f.i.PlanReset(t.Context(), f.cfg, spec, anew); !errors.As(err, &wrong) || wrong.Mend != "set all of its partitions, not some" {
		t.Errorf("a part of a topic made anew: %v", err)
	}
	plan, err = f.i.PlanReset(t.Context(), f.cfg, ResetSpec{To: "earliest"}, anew)
	if err != nil {
		t.Fatal(err)
	}
	anew.Reset = &PendingReset{ID: "r", Table: plan.Table}
	anew.EndReset(f.cfg.Group, "")
	if anew.Begun[f.topic] != lost.Begun[f.topic] || anew.Reset != nil || anew.Resets != 1 || anew.LastReset.ID != "r" {
		t.Errorf("remembered after it: %+v", anew)
	}
}

// A table is committed without metadata, for an empty group only, and twice if need be; what somebody else writes in between is seen,
// and the answer for each partition counts.
func TestCommitReset(t *testing.T) {
	t.Parallel()
	f := newResetFixture(t)
	plan, err := f.i.PlanReset(t.Context(), f.cfg, ResetSpec{To: "-10"}, Memory{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.i.CommitReset(t.Context(), f.cfg, plan.Table); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.cluster.Admin(t).FetchOffsets(t.Context(), f.cfg.Group)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int32]int64{0: 40, 1: 50} {
		if o, ok := got.Lookup(f.topic, id); !ok || o.At != want || o.Metadata != "" || o.LeaderEpoch != -1 {
			t.Errorf("partition %d has %+v, want %d", id, o, want)
		}
	}
	back, left := plan.Table.Back()
	if undo, err := f.i.PlanReset(t.Context(), f.cfg, back, Memory{}); err != nil || len(left) > 0 || undo.Partitions[0].After != 50 || undo.Partitions[1].After != 60 {
		t.Errorf("back: %+v, %v", undo, err)
	}
	answer := func(change func(*kmsg.OffsetCommitResponseTopicPartition)) {
		f.cluster.Fake.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
			req := r.(*kmsg.OffsetCommitRequest)
			resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
			for _, t := range req.Topics {
				rt := kmsg.NewOffsetCommitResponseTopic()
				rt.Topic, rt.TopicID = t.Topic, t.TopicID
				for _, p := range t.Partitions {
					rp := kmsg.NewOffsetCommitResponseTopicPartition()
					rp.Partition = p.Partition
					change(&rp)
					rt.Partitions = append(rt.Partitions, rp)
				}
				resp.Topics = append(resp.Topics, rt)
			}
			return resp, nil, true
		})
	}
	answer(func(p *kmsg.OffsetCommitResponseTopicPartition) {
		if p.Partition == 1 {
			p.ErrorCode = kerr.UnknownTopicOrPartition.Code
		}
	})
	if err := f.i.CommitReset(t.Context(), f.cfg, plan.Table); err == nil || !strings.Contains(err.Error(), f.topic+"/1: UNKNOWN_TOPIC_OR_PARTITION") {
		t.Errorf("a partition was refused: %v", err)
	}
	f.commit(11, 60)
	answer(func(*kmsg.OffsetCommitResponseTopicPartition) {}) // taken, and overwritten at once
	var wrong *ResetError
	if err := f.i.CommitReset(t.Context(), f.cfg, plan.Table); !errors.As(err, &wrong) || !strings.Contains(wrong.Cause, f.topic+"/0 has 11, not 40") {
		t.Errorf("overwritten: %v", err)
	}
	r := f.run(f.cfg)
	consumertest.WaitFor(t, within, "the member", func() (any, bool) { return r.runner.Status(), len(r.runner.Status().Partitions) == 2 })
	if err := f.i.CommitReset(t.Context(), f.cfg, plan.Table); !errors.As(err, new(*GroupBusyError)) {
		t.Errorf("of a group with members: %v", err)
	}
	if v, err := f.i.GroupMembers(t.Context(), f.cfg); err != nil || len(v.Members) != 1 || v.Members[0].Foreign || v.Members[0].Client != r.runner.clientID() {
		t.Errorf("members %+v, %v", v, err)
	}
	if v, err := f.i.GroupMembers(t.Context(), f.job(f.topic, func(c *Config) { c.Group = f.cfg.Group })); err != nil || len(v.Members) != 1 || !v.Members[0].Foreign {
		t.Errorf("members for another job: %+v, %v", v, err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	plan.Table[f.topic] = ResetTopic{"AAAAAAAAAAAAAAAAAAAAAQ", plan.Table[f.topic].Offsets}
	if err := f.i.CommitReset(t.Context(), f.cfg, plan.Table); !errors.As(err, &wrong) || !strings.Contains(wrong.Cause, "was made anew since") {
		t.Errorf("a topic made anew: %v", err)
	}
}

// After a reset rows are sent again, those that were finished above the commit too, with idempotency keys that no receiver has seen; if
// keys are kept, with those of before.
func TestRowsAfterAReset(t *testing.T) {
	t.Parallel()
	f := newResetFixture(t)
	for _, keep := range []bool{false, true} {
		spec := ResetSpec{Parts: []ResetPart{{f.topic, nil, "95"}}, KeepKeys: keep}
		plan, err := f.i.PlanReset(t.Context(), f.cfg, spec, Memory{})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.i.CommitReset(t.Context(), f.cfg, plan.Table); err != nil {
			t.Fatal(err)
		}
		m := Memory{Reset: &PendingReset{ID: "r", Spec: spec, Table: plan.Table}}
		m.EndReset(f.cfg.Group, "")
		i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
		if _, err := i.store.Remember(context.Background(), f.cfg.Job, Audit{}, func(kept *Memory) error { *kept = m; return nil }); err != nil {
			t.Fatal(err)
		}
		before := f.api.Len()
		r := f.runOn(i, f.cfg)
		for _, a := range f.attempts(before + 10)[before:] {
			if key := a.Key; strings.HasSuffix(key, "/0/r1000") == keep || strings.HasSuffix(key, "/0") != keep {
				t.Errorf("keys kept: %v, and one is %s", keep, key)
			}
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
}
