package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer"
	"streamer/consumer/consumertest"
	"streamer/control"
	"streamer/sink/sinktest"
)

// resetStory is a job that runs on two instances while records keep coming, and one of them is stuck.
type resetStory struct {
	*testing.T
	cluster    *consumertest.Cluster
	api        *sinktest.Receiver
	group      string
	job, topic string
	one, two   *control.Resets
}

// reset carries one out and waits for it on the other instance.
func (s *resetStory) reset(what string, begin func(context.Context) (control.ResetAnswer, error)) control.ResetAnswer {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	begun := time.Now()
	answer, err := begin(ctx)
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
	o, err := s.two.Wait(ctx, s.job, answer.ID)
	if err != nil || o.Refused != "" {
		s.Fatalf("%s: %+v, %v", what, o, err)
	}
	s.Logf("%s took %v: %+v", what, time.Since(begun).Round(time.Millisecond), answer.Partitions)
	return answer
}

// tool gives the committed offsets as Kafka's own tool shows them.
func (s *resetStory) tool() [2]int64 {
	s.Helper()
	at := [2]int64{-1, -1}
	for line := range strings.Lines(s.cluster.Tool(s, consumertest.ToolGroups, "--describe", "--group", s.group)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == s.topic {
			p, err1 := strconv.Atoi(f[2])
			n, err2 := strconv.ParseInt(f[3], 10, 64)
			if err1 != nil || err2 != nil {
				s.Fatalf("the tool says %q", line)
			}
			at[p] = n
		}
	}
	return at
}

// sent waits until every record of [from, to) of both partitions was delivered with this end of its idempotency key; but is left out.
func (s *resetStory) sent(suffix string, from, to [2]int64, but int64) {
	s.Helper()
	consumertest.WaitFor(s, 2*time.Minute, "rows with keys of "+suffix, func() (any, bool) {
		missing := map[string]bool{}
		for p := range from {
			for n := from[p]; n < to[p]; n++ {
				if p != 0 || n != but {
					missing[fmt.Sprintf("%d/%d", p, n)] = true
				}
			}
		}
		for _, a := range s.api.Attempts() {
			if a.Status == 200 && strings.HasSuffix(a.Key, suffix) {
				delete(missing, fmt.Sprintf("%d/%d", a.Partition, a.Offset))
			}
		}
		return missing, len(missing) == 0
	})
}

// A job that runs on two instances is reset while records keep coming: to the earliest offset, to a time, by a table and a shift, and
// back. Kafka's own tool reads what was said; what was finished above a stuck row is sent again as asked, and nothing is skipped.
func TestKafkaOffsetsOfARunningJobAreReset(t *testing.T) {
	t.Parallel()
	const stuckAt = 50
	s := &resetStory{T: t, cluster: consumertest.Kafka(t), job: consumertest.Name("visits")}
	s.topic = s.cluster.Topic(t, "visits", 2)
	var mended atomic.Bool
	var err error
	s.api, err = sinktest.Listen(func(a *sinktest.Attempt) sinktest.Answer {
		if strings.HasSuffix(a.Path, "/stuck") && !mended.Load() {
			return sinktest.Answer{Status: 429} // which is never counted: it waits
		}
		return sinktest.Answer{}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.api.Close()

	producer := s.cluster.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	records := func(n int) (out []*kgo.Record) {
		for p := range int32(2) {
			id := fmt.Sprint("k", n%7)
			if p == 0 && n == stuckAt {
				id = "stuck"
			}
			out = append(out, &kgo.Record{Topic: s.topic, Partition: p, Key: []byte(id), Value: []byte(`{"id": "` + id + `"}`)})
		}
		return out
	}
	var load sync.WaitGroup
	loading, endLoad := context.WithCancel(t.Context())
	defer load.Wait()
	defer endLoad()
	load.Go(func() {
		beat := time.NewTicker(10 * time.Millisecond)
		defer beat.Stop()
		for n := 0; loading.Err() == nil; n++ {
			if err := producer.ProduceSync(context.WithoutCancel(loading), records(n)...).FirstErr(); err != nil {
				t.Error(err)
				return
			}
			if n > 300 {
				<-beat.C
			}
		}
	})

	namespace := strings.ReplaceAll(consumertest.Name("n"), ".", "-")
	s.group = namespace + "." + s.job
	definition := strings.NewReplacer("JOB", s.job, "TOPIC", s.topic, "API", s.api.URL()).Replace(operatedJob)
	kafka := consumer.Client{Brokers: s.cluster.Brokers, GroupProtocol: consumer.GroupProtocol(consumertest.GroupProtocol)}
	first := startIn(t, namespace, kafka, definition)
	second := startIn(t, namespace, kafka, definition)
	s.one, s.two = first.supervisor.Resets(), second.supervisor.Resets()
	consumertest.WaitFor(t, 2*time.Minute, "a partition on each instance, and commits", func() (any, bool) {
		a, b := first.supervisor.Readiness().Jobs[0], second.supervisor.Readiness().Jobs[0]
		at := s.cluster.Committed(t, s.group)[s.topic]
		return []any{a, b, at}, a.Partitions == 1 && b.Partitions == 1 && at[0] == stuckAt && at[1] > 200
	})
	s.sent("/0", [2]int64{}, [2]int64{200, 200}, stuckAt)
	ctx := t.Context()
	consumertest.WaitFor(t, 2*time.Minute, "what is shown of the committed offsets", func() (any, bool) { // what was sent is committed a moment later
		v, err := s.two.Show(ctx, s.job)
		return fmt.Sprintf("%+v, %v", v, err), err == nil && v.Partitions[0].Committed == stuckAt && v.Partitions[0].Finished >= 149 && v.Partitions[0].At != nil && len(v.Members) == 2
	})

	s.reset("earliest, under load", func(ctx context.Context) (control.ResetAnswer, error) {
		return s.one.Reset(ctx, s.job, consumer.ResetSpec{To: "earliest"}, person("ann"))
	})
	s.sent("/0/r1000", [2]int64{}, [2]int64{200, 200}, stuckAt)
	consumertest.WaitFor(t, 2*time.Minute, "the stuck row again", func() (any, bool) {
		at := s.cluster.Committed(t, s.group)[s.topic]
		return at, at[0] == stuckAt && at[1] > 200
	})

	// Paused, the job stays where it is put.
	endLoad()
	load.Wait()
	if err := first.supervisor.Pause(ctx, s.job, person("ann")); err != nil {
		t.Fatal(err)
	}
	read := s.cluster.ReadAll(t, s.topic)
	var since time.Time
	for _, r := range read {
		if r.Partition == 0 && r.Offset == 120 {
			since = r.Timestamp
		}
	}
	want := [2]int64{1 << 40, 1 << 40}
	for _, r := range read {
		if !r.Timestamp.Before(since) {
			want[r.Partition] = min(want[r.Partition], r.Offset)
		}
	}
	s.reset("a time", func(ctx context.Context) (control.ResetAnswer, error) {
		return s.two.Reset(ctx, s.job, consumer.ResetSpec{To: since.UTC().Format(time.RFC3339Nano)}, person("ann"))
	})
	if got := s.tool(); got != want {
		t.Errorf("reset to %v, Kafka's tool reads %v, want %v", since, got, want)
	}

	one := int32(1)
	answer := s.reset("a table and a shift", func(ctx context.Context) (control.ResetAnswer, error) {
		return s.one.Reset(ctx, s.job, consumer.ResetSpec{Table: map[string]map[int32]int64{s.topic: {0: 7}},
			Parts: []consumer.ResetPart{{Topic: s.topic, Partition: &one, To: "-100"}}}, person("ann"))
	})
	if p := answer.Partitions; p[0].Before != want[0] || p[0].After != 7 || p[0].Again != want[0]-7 || p[1].After != max(want[1]-100, 0) {
		t.Errorf("answered %+v", p)
	}
	if got, moved := s.tool(), [2]int64{7, max(want[1]-100, 0)}; got != moved {
		t.Errorf("Kafka's tool reads %v, want %v", got, moved)
	}
	o := operator{t, "http://" + second.Addr()}
	if said := o.types(0, "offsets undo --dry-run "+s.job); !strings.Contains(said, "AGAIN AT MOST") {
		t.Errorf("undo would do\n%s", said)
	}
	if said := o.types(0, "offsets undo --yes "+s.job); !strings.Contains(said, "done; ") {
		t.Errorf("undo said\n%s", said)
	}
	if got := s.tool(); got != want {
		t.Errorf("undone, Kafka's tool reads %v, want %v", got, want)
	}

	mended.Store(true)
	if err := second.supervisor.Resume(ctx, s.job, person("ann")); err != nil {
		t.Fatal(err)
	}
	s.cluster.WaitForLag(t, time.Minute, s.group, s.topic)
	ends := s.cluster.EndOffsets(t, s.topic)
	s.sent("/0/r4000", want, [2]int64{ends[0], ends[1]}, -1)
}
