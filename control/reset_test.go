package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/service"
)

// fakeOffsets are the groups of a fake Kafka: one partition t/0 for each job, committed at 1000 unless something else is.
type fakeOffsets struct {
	mu        sync.Mutex
	committed map[string]int64
	commits   []int64
	member    string                                       // one that stays in every group
	topicID   string                                       // of t
	at        func(ctx context.Context, step string) error // called before each question
}

func (f *fakeOffsets) step(ctx context.Context, name string) error {
	f.mu.Lock()
	at := f.at
	f.mu.Unlock()
	if at == nil {
		return nil
	}
	return at(ctx, name)
}

func (f *fakeOffsets) offset(job string) int64 {
	if n, ok := f.committed[job]; ok {
		return n
	}
	return 1000
}

func (f *fakeOffsets) ShowOffsets(ctx context.Context, c consumer.Config, _ consumer.Memory) (v consumer.OffsetsView, err error) {
	if v.GroupView, err = f.GroupMembers(ctx, c); err != nil {
		return v, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	v.Partitions = []consumer.PartitionOffsets{{Topic: "t", Committed: f.offset(c.Job)}}
	return v, nil
}

func (f *fakeOffsets) GroupMembers(ctx context.Context, c consumer.Config) (v consumer.GroupView, err error) {
	err = f.step(ctx, "members")
	f.mu.Lock()
	defer f.mu.Unlock()
	v.Session = 10 * time.Second
	if f.member != "" {
		v.Members = []consumer.GroupMember{{Client: f.member, Host: "/10.0.0.9"}}
	}
	return v, err
}

func (f *fakeOffsets) PreviewReset(_ context.Context, c consumer.Config, spec consumer.ResetSpec, _ consumer.Memory) (consumer.ResetPlan, error) {
	return f.plan(c, spec)
}

func (f *fakeOffsets) PlanReset(ctx context.Context, c consumer.Config, spec consumer.ResetSpec, _ consumer.Memory) (consumer.ResetPlan, error) {
	if err := f.step(ctx, "plan"); err != nil {
		return consumer.ResetPlan{}, err
	}
	return f.plan(c, spec)
}

func (f *fakeOffsets) plan(c consumer.Config, spec consumer.ResetSpec) (p consumer.ResetPlan, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, after := "id"+f.topicID, int64(0)
	if want := spec.TopicIDs["t"]; want != "" && want != id {
		return p, &consumer.ResetError{Field: "topic", Cause: "topic t was made anew since"}
	}
	if offsets, ok := spec.Table["t"]; ok {
		after = offsets[0]
	} else if spec.To != consumer.AtEarliest {
		var shift int64
		if _, err := fmt.Sscan(spec.To, &shift); err != nil {
			return p, err
		}
		after = f.offset(c.Job) + shift
	}
	before := f.offset(c.Job)
	p.Partitions = []consumer.ResetPartition{{Topic: "t", Before: before, After: after}}
	p.Table = consumer.ResetTable{"t": {TopicID: id, Offsets: map[int32][2]int64{0: {before, after}}}}
	return p, nil
}

func (f *fakeOffsets) CommitReset(ctx context.Context, c consumer.Config, table consumer.ResetTable) error {
	if err := f.step(ctx, "commit"); err != nil {
		return err
	}
	f.mu.Lock()
	if f.committed == nil {
		f.committed = map[string]int64{}
	}
	n := table["t"].Offsets[0][1]
	f.committed[c.Job], f.commits = n, append(f.commits, n)
	f.mu.Unlock()
	return f.step(ctx, "committed")
}

// resets are those of an instance of a cluster, with jobs a (running) and b (stopped).
func resets(t *testing.T, c *cluster, m *member) *Resets {
	t.Helper()
	time.Sleep(3 * time.Second)
	if err := m.Stop(t.Context(), "b", operator("ann")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	c.state(m, "a=running b=stopped")
	return m.Resets()
}

func actions(t *testing.T, m *member, job string) string {
	t.Helper()
	lines, _, err := m.options.Store.Audit(t.Context(), AuditSubject{Job: job}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, l := range slices.Backward(lines) {
		did = append(did, l.By+" "+l.Action)
	}
	return strings.Join(did, ", ")
}

// A job that runs leaves its group on every instance, is set, and goes on; one that is stopped stays so. Undo sets it back, and undoing
// that does the first reset again.
func TestResetAndUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 10)
		defer c.end()
		one := c.start("one")
		c.start("two")
		r, ctx := resets(t, c, one), t.Context()
		for job, want := range map[string]string{"a": "a=running b=stopped", "b": "a=running b=stopped"} {
			if p, err := r.Preview(ctx, job, consumer.ResetSpec{To: "-100"}); err != nil || p.ID != "" || p.Partitions[0].After != 900 {
				t.Fatalf("preview %+v, %v", p, err)
			}
			c.log.failing = errors.New("no broker")
			var p *service.Problem
			if _, err := r.Reset(ctx, job, consumer.ResetSpec{To: "-100"}, operator("ann")); !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
				t.Errorf("with a log that cannot be written: %v", err)
			}
			c.log.failing = nil
			answer, err := r.Reset(ctx, job, consumer.ResetSpec{To: "-100"}, operator("ann"))
			if err != nil || answer.Partitions[0].Before != 1000 || answer.Partitions[0].After != 900 {
				t.Fatalf("answer %+v, %v", answer, err)
			}
			if o, err := r.Wait(ctx, job, answer.ID); err != nil || o.ID != answer.ID || o.By != "ann" || o.Refused != "" {
				t.Errorf("outcome %+v, %v", o, err)
			}
			time.Sleep(3 * time.Second)
			c.state(one, want)
			c.state(c.all["two"], want)
		}
		if v, err := r.Show(ctx, "b"); err != nil || v.Partitions[0].Committed != 900 || v.Reset != nil || v.LastReset == nil {
			t.Errorf("shown %+v, %v", v, err)
		}
		for _, want := range []int64{1000, 900} {
			plan, err := r.Undo(ctx, "a", operator("bob"), true)
			if err != nil || plan.ID != "" || plan.Undoes == "" || plan.Partitions[0].After != want {
				t.Errorf("undo would do %+v, %v", plan, err)
			}
			answer, err := c.all["two"].Resets().Undo(ctx, "a", operator("bob"), false)
			if err != nil || answer.Undoes != plan.Undoes {
				t.Fatalf("undo: %+v, %v", answer, err)
			}
			if o, err := r.Wait(ctx, "a", answer.ID); err != nil || o.Refused != "" {
				t.Errorf("outcome %+v, %v", o, err)
			}
			if got := c.kafka.offset("a"); got != want {
				t.Errorf("committed %d, want %d", got, want)
			}
		}
		if got := actions(t, one, "a"); got != "streamer create, ann reset-begin, streamer reset-table, ann reset"+strings.Repeat(", bob reset-begin, streamer reset-table, bob reset", 2) {
			t.Errorf("audit %s", got)
		}
		if m, err := one.options.Store.Memory(ctx, "a"); err != nil || m.Resets != 3 || m.Begun["t"].TopicID != "id" {
			t.Errorf("remembered %+v, %v", m, err)
		}
		c.kafka.topicID = " of a new one"
		var told *service.Problem
		if _, err := r.Undo(ctx, "a", operator("bob"), false); !errors.As(err, &told) || told.Status != http.StatusConflict ||
			!strings.Contains(told.Detail, "cannot be taken back: topic t was made anew") {
			t.Errorf("undo of a topic made anew: %v", err)
		}
	})
}

// Whatever instance dies at whatever step: another one goes on, and every commit is the same.
// What counts from now is reckoned by the clock of the instance that is asked: it says so, gives the point in time, and warns when its
// clock and that of another one are so far apart that they are not believed.
func TestResetSaysByWhoseClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		defer c.end()
		keyed := func(o *Options) { o.Keys = keyring(t, oldKey) }
		x := c.start("x", keyed)
		time.Sleep(3 * time.Second)
		all, id := x.Resets(), x.all()[0].ID
		said := func(a ResetAnswer, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(a.Notes, "; ")
		}
		now := time.Now().UTC()
		spec := consumer.ResetSpec{To: "-25m", Parts: []consumer.ResetPart{{Topic: "t", To: "-25m"}, {Topic: "u", To: "-1d"}}}
		answer, err := all.Preview(t.Context(), id, spec)
		want := "-1d is " + now.Add(-24*time.Hour).Format(time.RFC3339) + ", -25m is " + now.Add(-25*time.Minute).Format(time.RFC3339) + " by the clock of instance x"
		if got := said(answer, err); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
		if f := answer.Fixed; f == nil || f.To != now.Add(-25*time.Minute).Format(time.RFC3339) || f.Parts[1].To != now.Add(-24*time.Hour).Format(time.RFC3339) {
			t.Errorf("it is %+v", f)
		}
		answer, err = all.Preview(t.Context(), id, consumer.ResetSpec{To: now.Format(time.RFC3339)})
		if got := said(answer, err); got != "" || answer.Fixed != nil {
			t.Errorf("of a point in time it says %q, %+v", got, answer.Fixed)
		}
		ahead := Self{ID: "y", Advertise: "http://10.0.0.2:9013"}
		ahead.Proof = prove(keyring(t, oldKey), ahead, now.Add(10*time.Minute))
		text, err := json.Marshal(ahead)
		if err != nil {
			t.Fatal(err)
		}
		c.log.Report(instancePrefix+"y", text)
		want = "-25m is " + now.Add(-25*time.Minute).Format(time.RFC3339) + " by the clock of instance x; that may be wrong: this clock and the one of instance y are more than 5m0s apart; " +
			"set the clocks of all machines, or say a point in time"
		if got := said(all.Reset(t.Context(), id, consumer.ResetSpec{To: "-25m"}, operator("ann"))); got != want {
			t.Errorf("the reset says %q, want %q", got, want)
		}
	})
}

func TestResetSurvivesItsInstance(t *testing.T) {
	for _, step := range []string{"members", "plan", "commit", "committed"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 10, 10)
				defer c.end()
				for _, id := range []string{"x", "y", "z"} {
					c.start(id)
				}
				var killed atomic.Bool
				first := place("a", 1, []string{"x", "y", "z"})[0]
				at := func(ctx context.Context, now string) error {
					if now != step || !killed.CompareAndSwap(false, true) {
						return nil
					}
					m := c.all[first]
					m.silent.Store(true) // a process that is killed says nothing any more
					m.soft()
					m.hard()
					<-ctx.Done()
					return ctx.Err()
				}
				other := c.all[place("a", 2, []string{"x", "y", "z"})[1]]
				r := resets(t, c, other)
				c.kafka.at = at
				answer, err := r.Reset(t.Context(), "a", consumer.ResetSpec{To: "-100"}, operator("ann"))
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				if o, err := r.Wait(t.Context(), "a", answer.ID); err != nil || o.Refused != "" {
					t.Fatalf("outcome %+v, %v", o, err)
				}
				if !killed.Load() || time.Since(begun) > 20*time.Second {
					t.Errorf("killed %v; the reset took %v", killed.Load(), time.Since(begun))
				}
				if got := slices.Compact(slices.Clone(c.kafka.commits)); !slices.Equal(got, []int64{900}) {
					t.Errorf("commits %v", c.kafka.commits)
				}
				time.Sleep(3 * time.Second)
				c.state(other, "a=running b=stopped")
				if got := actions(t, other, "a"); got != "streamer create, ann reset-begin, streamer reset-table, ann reset" {
					t.Errorf("audit %s", got)
				}
			})
		})
	}
}

// While a reset is under way nobody runs the job, its status says how far it is, another reset is refused by name, and what is wanted of
// the job meanwhile counts afterwards. One of two that come at once is done.
func TestOneResetAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 10)
		defer c.end()
		one, two := c.start("one"), c.start("two")
		r, ctx := resets(t, c, one), t.Context()
		goOn := make(chan struct{})
		c.kafka.at = func(ctx context.Context, step string) error {
			if step != "commit" {
				return nil
			}
			select {
			case <-goOn:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		errs := make(chan error, 2)
		for _, m := range []*member{one, two} {
			go func() {
				_, err := m.Resets().Reset(ctx, "a", consumer.ResetSpec{To: "earliest"}, operator("op of "+m.me.ID))
				errs <- err
			}()
		}
		var told *service.Problem
		for range 2 {
			if err := <-errs; err != nil && !errors.As(err, &told) {
				t.Error(err)
			}
		}
		if told == nil || told.Status != http.StatusConflict || !strings.Contains(told.Detail, "op of ") || !strings.Contains(told.Detail, " since 2000-") {
			t.Fatalf("the second one was told %v", told)
		}
		time.Sleep(5 * time.Second)
		c.state(one, "a=resetting b=stopped")
		c.state(two, "a=resetting b=stopped")
		s := one.Readiness().Jobs[0]
		if s.Reset == nil || s.Reset.Phase != "committing the new offsets" || !strings.Contains(s.Cause, "resets its offsets (earliest)") {
			t.Errorf("status %+v, %+v", s, s.Reset)
		}
		if _, err := r.Undo(ctx, "a", operator("ann"), false); !errors.As(err, &told) || told.Status != http.StatusConflict {
			t.Errorf("undo: %v", err)
		}
		if err := two.Stop(ctx, "a", operator("bob")); err != nil {
			t.Error(err)
		}
		close(goOn)
		time.Sleep(5 * time.Second)
		c.state(one, "a=stopped b=stopped")
		if !slices.Equal(c.kafka.commits, []int64{0}) {
			t.Errorf("commits %v", c.kafka.commits)
		}
	})
}

// A member that does not leave is named, and the reset given up: after the drain and two session timeouts the job is as it was.
func TestResetGivesUpOnAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 10)
		defer c.end()
		one := c.start("one")
		r, ctx := resets(t, c, one), t.Context()
		c.kafka.member = "kafka-console-consumer"
		answer, err := r.Reset(ctx, "a", consumer.ResetSpec{To: "earliest"}, operator("ann"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if s := one.Readiness().Jobs[0]; s.State != Resetting || !strings.Contains(s.Cause, `waiting for client "kafka-console-consumer" at /10.0.0.9`) {
			t.Errorf("status %+v", s)
		}
		begun := time.Now()
		o, err := r.Wait(ctx, "a", answer.ID)
		if err != nil || !strings.Contains(o.Refused, `client "kafka-console-consumer" at /10.0.0.9 did not leave the group within 50s`) {
			t.Errorf("outcome %+v, %v after %v", o, err, time.Since(begun))
		}
		time.Sleep(3 * time.Second)
		c.state(one, "a=running b=stopped")
		if got := actions(t, one, "a"); got != "streamer create, ann reset-begin, streamer reset-give-up" || len(c.kafka.commits) > 0 {
			t.Errorf("audit %s, commits %v", got, c.kafka.commits)
		}
		var told *service.Problem
		if _, err := r.Undo(ctx, "a", operator("ann"), false); !errors.As(err, &told) || !strings.Contains(told.Detail, "no reset of job a") {
			t.Errorf("undo: %v", err)
		}
		if o, err := r.Wait(ctx, "a", "another"); !errors.As(err, &told) || told.Status != http.StatusNotFound {
			t.Errorf("waited for one that never was: %+v, %v", o, err)
		}
		at, end := context.WithCancel(ctx)
		end()
		if o, err := r.Wait(at, "a", "another"); !errors.As(err, &told) || told.Status != http.StatusNotFound {
			t.Errorf("asked for one that never was, without waiting: %+v, %v", o, err)
		}
		c.log.auditing = errors.New("kafka is away")
		if _, err := r.Undo(ctx, "a", operator("ann"), false); !errors.As(err, &told) || told.Status != http.StatusServiceUnavailable {
			t.Errorf("undone while the audit cannot be read: %v", err)
		}
	})
}

// Offsets that somebody else writes at the same time, and a table that cannot be: said, and given up. Kafka being away is waited out.
func TestResetOverwrittenOrRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 10)
		defer c.end()
		one := c.start("one")
		r, ctx := resets(t, c, one), t.Context()
		away := 5
		c.kafka.at = func(_ context.Context, step string) error {
			switch {
			case step == "commit" && away > 0:
				away--
				return errors.New("t/0: the coordinator is not available")
			case step == "committed":
				return &consumer.ResetError{Cause: "somebody else writes offsets of group g: read back, t/0 has 7, not 0"}
			}
			return nil
		}
		answer, err := r.Reset(ctx, "a", consumer.ResetSpec{To: "earliest"}, operator("ann"))
		if err != nil {
			t.Fatal(err)
		}
		o, err := r.Wait(ctx, "a", answer.ID)
		if err != nil || !strings.Contains(o.Refused, "t/0 has 7, not 0") || away != 0 {
			t.Errorf("outcome %+v, %v", o, err)
		}
		time.Sleep(3 * time.Second)
		c.state(one, "a=running b=stopped")
		var told *service.Problem
		for field, spec := range map[string]consumer.ResetSpec{"to": {To: "yesterday"}, "parts[0].to": {Parts: []consumer.ResetPart{{Topic: "t"}}}} {
			if _, err := r.Reset(ctx, "a", spec, operator("ann")); !errors.As(err, &told) || told.Status != http.StatusBadRequest || told.Field != field {
				t.Errorf("%+v: %v", spec, err)
			}
		}
		if _, err := r.Reset(ctx, "z", consumer.ResetSpec{To: "earliest"}, operator("ann")); !errors.As(err, &told) || told.Status != http.StatusNotFound {
			t.Errorf("no such job: %v", err)
		}
	})
}

// An instance of an older version cannot read a pending reset: it leaves the job alone and does not run it.
func TestOlderInstanceLeavesAResetAlone(t *testing.T) {
	m, err := decode("a", kafkalog.Entry{Value: []byte(`{"version":1,"reset":{"id":"r","by":"ann","at":"2026-01-31T00:00:00Z","spec":{"to":"earliest"}}}`)}, true)
	if err != nil || m.Reset == nil || m.Reset.Spec.To != "earliest" {
		t.Errorf("read %+v, %v", m, err)
	}
	if _, err := decode("a", kafkalog.Entry{Value: []byte(`{"version":1,"something_newer":{}}`)}, true); err == nil {
		t.Error("what is not known was read")
	}
}
