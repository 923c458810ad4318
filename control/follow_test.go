package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/job"
)

// defined is a cluster whose jobs are in the log.
type defined struct {
	*cluster
	*Definitions
	process job.Process

	mu       sync.Mutex
	running  map[string]string // by instance and job: its order and groups
	most     int               // runners that were starting at a time
	starting int
	order    []string // in which jobs were started
	rejoin   bool     // Change is refused
	hang     time.Duration
	log      bytes.Buffer
}

// changeable is a fakeRunner that says what it runs.
type changeable struct {
	fakeRunner
	d   *defined
	key string
}

func (r *changeable) Change(_ context.Context, c consumer.Config) error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	switch {
	case r.d.rejoin:
		return errors.New("other topics")
	case c.Order.By == consumer.OrderPartition:
		return &consumer.RefusedError{Cause: errors.New("not here")}
	}
	r.d.running[r.key] = says(c) + " changed"
	return nil
}

func says(c consumer.Config) string { return fmt.Sprint(c.Group, " order ", c.Order.By) }

func newDefined(t *testing.T) *defined {
	d := &defined{cluster: newCluster(t), process: testProcess(t), running: map[string]string{}}
	d.Definitions = NewDefinitions(d.cluster.log, d.process)
	return d
}

// on starts an instance that takes its jobs from the log.
func (d *defined) on(id string, change ...func(*Options)) *member {
	return d.start(id, append([]func(*Options){func(o *Options) {
		o.Definitions = NewDefinitions(d.cluster.log, d.process)
		o.Log = slog.New(slog.NewTextHandler(&locked{d: d}, nil))
		o.NewRunner = func(c consumer.Config) Runner {
			r := &changeable{d: d, key: id + " " + c.Job}
			r.status = consumer.Status{State: consumer.Starting}
			r.run = func(soft, hard context.Context, f *fakeRunner) error {
				d.mu.Lock()
				d.starting++
				d.most = max(d.most, d.starting)
				d.order = append(d.order, c.Job)
				d.mu.Unlock()
				sleep(soft, d.hang)
				d.mu.Lock()
				d.starting--
				d.running[r.key] = says(c)
				d.mu.Unlock()
				defer func() {
					d.mu.Lock()
					defer d.mu.Unlock()
					delete(d.running, r.key)
				}()
				return untilSoft(soft, hard, f)
			}
			return r
		}
	}}, change...)...)
}

type locked struct{ d *defined }

func (l *locked) Write(p []byte) (int, error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return l.d.log.Write(p)
}

func (d *defined) runs() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for key, what := range d.running {
		all = append(all, key+": "+what)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (d *defined) check(after time.Duration, want string) {
	d.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if got := d.runs(); got != want {
		d.t.Errorf("running: %s\nwant     %s", got, want)
	}
}

// A job that is written on one instance runs on all of them, changes on all, and leaves nothing behind.
func TestInstancesFollowDefinitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		d.kafka.parts["a"], d.kafka.parts["b"] = 10, 10
		defer d.end()
		reg := prometheus.NewRegistry()
		d.on("x", func(o *Options) { o.Metrics = reg })
		d.on("y")
		d.on("z")
		time.Sleep(5 * time.Second)
		put := must[Definition](t)
		a := put(d.Create(ctx, admin, document("a", "o", "")))
		d.check(1500*time.Millisecond, "x a: ns.a order 0, y a: ns.a order 0, z a: ns.a order 0")
		put(d.Create(ctx, admin, document("b", "o", "")))
		a = put(d.Replace(ctx, admin, "a", a.Revision, document("a", "o", `, "order": "none"`)))
		d.check(1500*time.Millisecond, "x a: ns.a order 3 changed, x b: ns.b order 0, y a: ns.a order 3 changed, y b: ns.b order 0, z a: ns.a order 3 changed, z b: ns.b order 0")

		a = put(d.Replace(ctx, admin, "a", a.Revision, document("a", "o", `, "order": "partition"`)))
		d.check(1500*time.Millisecond, "x a: ns.a order 3 changed, x b: ns.b order 0, y a: ns.a order 3 changed, y b: ns.b order 0, z a: ns.a order 3 changed, z b: ns.b order 0")
		if j := d.all["x"].Readiness().Jobs[0]; j.State != Running || j.Cause != "its newest definition cannot run here, and the one before runs on: not here" {
			t.Errorf("refused: %+v", j)
		}
		d.mu.Lock()
		d.rejoin = true
		d.mu.Unlock()
		put(d.Replace(ctx, admin, "a", a.Revision, document("a", "o", `, "group": "ns.other"`)))
		d.check(1500*time.Millisecond, "x a: ns.other order 0, x b: ns.b order 0, y a: ns.other order 0, y b: ns.b order 0, z a: ns.other order 0, z b: ns.b order 0")

		put(d.Delete(ctx, admin, "a", "", Deletion{Offsets: true}))
		if err := d.Removed(ctx, "a"); err != nil {
			t.Error(err)
		}
		d.check(time.Second, "x b: ns.b order 0, y b: ns.b order 0, z b: ns.b order 0")
		for id, m := range d.all {
			if got := states(m.Supervisor); got != "b=running" {
				t.Errorf("%s has %s", id, got)
			}
		}
		if n, err := testutil.GatherAndCount(reg, "streamer_job_state"); err != nil || n != len(States) {
			t.Errorf("%d series of states, %v", n, err)
		}
		if got := fmt.Sprint(d.kafka.purged); got != "[ns.other ns.dead-letters.a true false]" || len(d.kafka.forgotten) != 3 {
			t.Errorf("purged %s, forgotten %v", got, d.kafka.forgotten)
		}
		if n := len(d.cluster.log.Reports("job/a/")); n != 0 {
			t.Errorf("%d reports of a job that is no more", n)
		}
		put(d.Create(ctx, admin, document("a", "o", "")))
		d.check(1500*time.Millisecond, "x a: ns.a order 0, x b: ns.b order 0, y a: ns.a order 0, y b: ns.b order 0, z a: ns.a order 0, z b: ns.b order 0")
	})
}

// A job that is made anew while the one before it is being forgotten is not forgotten with it: between finding it and saying that it is not
// gone, nobody else gets at the jobs. Once, somebody did, and the job did not run on that instance until it was changed again.
func TestForgettingDoesNotOvertakeAnew(t *testing.T) {
	t.Parallel()
	log := newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	must[Definition](t)(d.Create(t.Context(), admin, document("a", "o", "")))
	object, _ := log.Get("job/a")
	s := NewSupervisor(Options{Definitions: d, Store: NewStore(log), Kafka: &fakeKafka{}, Lines: NewLines(), Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.DiscardHandler)})
	s.apply(object)
	s.goes("a")
	j := s.job("a")
	j.mu.Lock()
	var applying sync.WaitGroup
	applying.Go(func() { s.apply(object) })
	held := time.Now()
	for began := held; time.Since(held) < 50*time.Millisecond && time.Since(began) < 10*time.Second; { // apply waits for the job all that time
		if s.mu.TryLock() {
			s.mu.Unlock()
			held = time.Now()
		}
	}
	if time.Since(held) < 50*time.Millisecond {
		t.Error("the job could be forgotten meanwhile")
	}
	j.mu.Unlock()
	applying.Wait()
	if s.drop(j); s.job("a") != j || j.gone {
		t.Error("the job is not known any more")
	}
}

// A stopped job that is deleted and made anew runs: it is another job.
func TestDeletedJobIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		d.kafka.parts["a"] = 10
		defer d.end()
		x := d.on("x")
		must[Definition](t)(d.Create(ctx, admin, document("a", "o", "")))
		time.Sleep(3 * time.Second)
		if err := x.Stop(ctx, "a", operator("ann")); err != nil {
			t.Fatal(err)
		}
		must[Definition](t)(d.Delete(ctx, admin, "a", "", Deletion{}))
		if err := d.Removed(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		must[Definition](t)(d.Create(ctx, admin, document("a", "o", "")))
		d.check(3*time.Second, "x a: ns.a order 0")
	})
}

// The instance that is to remove a job dies in the middle of that: another one does, also one that never ran the job.
func TestDeleteSurvivesInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		d.kafka.parts["a"] = 10
		defer d.end()
		d.kafka.purging = errors.New("the group has members")
		x := d.on("x")
		must[Definition](t)(d.Create(ctx, admin, document("a", "o", "")))
		time.Sleep(3 * time.Second)
		must[Definition](t)(d.Delete(ctx, admin, "a", "", Deletion{Offsets: true}))
		time.Sleep(5 * time.Second)
		if j := x.Readiness().Jobs[0]; j.State != Stopped || j.Cause != "it cannot be deleted yet: the group has members; it is being deleted" {
			t.Errorf("job %+v", j)
		}
		x.stop(t)
		delete(d.all, "x")
		y := d.on("y")
		time.Sleep(20 * time.Second)
		if got := states(y.Supervisor); got != "a=stopped" {
			t.Errorf("states %s", got)
		}
		d.kafka.own.Lock()
		d.kafka.purging = nil
		d.kafka.own.Unlock()
		if err := d.Removed(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		d.state(y, "")
	})
}

// A definition that cannot run on an instance leaves there what runs, and says so; it is tried again.
func TestBrokenChangeKeepsTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		d.kafka.parts["a"] = 10
		d.process.Secrets.Dir = t.TempDir()
		defer d.end()
		secretFile := filepath.Join(d.process.Secrets.Dir, "o", "key")
		if err := os.Mkdir(filepath.Dir(secretFile), 0o700); err != nil {
			t.Fatal(err)
		}
		x := d.on("x")
		d.on("y")
		made := must[Definition](t)(d.Create(ctx, admin, document("a", "o", "")))
		time.Sleep(5 * time.Second)
		// The instance that it is written on has the file, the others have not.
		if err := os.WriteFile(secretFile, []byte("k"), 0o600); err != nil {
			t.Fatal(err)
		}
		writer := NewDefinitions(d.cluster.log, d.process)
		changed := must[Definition](t)(writer.Replace(ctx, admin, "a", made.Revision, document("a", "o", `, "order": "none", "token": "${file:key}"`)))
		if err := os.Remove(secretFile); err != nil { // before anybody has looked: the fake clock stands
			t.Fatal(err)
		}
		d.check(3*time.Second, "x a: ns.a order 0, y a: ns.a order 0")
		j := x.Readiness().Jobs[0]
		if j.State != Running || !strings.Contains(j.Cause, "definition of revision "+changed.Revision+" cannot run here, and the one before runs on: token") {
			t.Errorf("job %+v", j)
		}
		z := d.on("z") // which has no older one
		time.Sleep(3 * time.Second)
		if j := z.Readiness().Jobs[0]; j.State != Failed || !strings.Contains(j.Cause, "key") {
			t.Errorf("job %+v", j)
		}
		if err := os.WriteFile(secretFile, []byte("k"), 0o600); err != nil {
			t.Fatal(err)
		}
		d.check(20*time.Second, "x a: ns.a order 3 changed, y a: ns.a order 3 changed, z a: ns.a order 3")
		d.state(x, "a=running")
		if cause := x.Readiness().Jobs[0].Cause; cause != "" {
			t.Errorf("cause %q", cause)
		}
		token := func() string {
			c, _ := x.Config("a")
			return c.Sink.Auth.Token.Reveal()
		}
		if token() != "k" {
			t.Errorf("the secret is %q", token())
		}
		if err := os.WriteFile(secretFile, []byte("k2"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mendEvery + time.Second)
		if token() != "k2" {
			t.Errorf("the secret is %q after its file has changed", token())
		}
	})
}

// What a newer streamer wrote is left alone: what runs goes on, and what does not is named.
func TestNewerDefinitionIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		d.kafka.parts["a"] = 10
		defer d.end()
		x := d.on("x")
		must[Definition](t)(d.Create(ctx, admin, document("a", "o", "")))
		time.Sleep(3 * time.Second)
		for _, id := range []string{"a", "b"} {
			_, _ = d.cluster.log.Update(ctx, "job/"+id, func(kafkalog.Entry, bool) ([]byte, []byte, error) { return []byte(`{"version": 2}`), nil, nil })
		}
		d.check(3*time.Second, "x a: ns.a order 0")
		d.state(x, "a=running b=failed")
		for _, j := range x.Readiness().Jobs {
			if !strings.Contains(j.Cause, "it has version 2, and this streamer reads 1") {
				t.Errorf("job %+v", j)
			}
		}
	})
}

// Jobs of files are in the log, once, whichever instance came first, and wait for it before that; a broken one is failed and concerns no
// other.
func TestFilesSeedTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDefined(t)
		d.kafka.parts["a"], d.kafka.parts["b"] = 10, 10
		defer d.end()
		files := func(texts ...[]byte) func(*Options) {
			return func(o *Options) {
				for i, text := range texts {
					name := fmt.Sprint(i, ".json")
					defs, _ := job.ParseFile(name, text)
					o.Jobs = append(o.Jobs, Job{ID: defs[0].ID, Owner: defs[0].Owner, File: name, Definition: defs[0]})
				}
				o.Jobs = append(o.Jobs, Job{ID: "broken", File: "broken.json", Broken: "broken.json:1: url: is missing"}, Job{ID: "a", File: "twice.json", Broken: "twice.json:1: stands twice"})
			}
		}
		d.cluster.log.failing = errors.New("no transactions here")
		x := d.on("x", files(document("a", "o", ""), document("b", "o", "")))
		time.Sleep(3 * time.Second)
		d.state(x, "a=failed b=failed broken=failed")
		if cause := x.Readiness().Jobs[1].Cause; cause != "its file could not be taken into the log in Kafka: no transactions here" {
			t.Errorf("cause %q", cause)
		}
		d.cluster.log.writing.Lock()
		d.cluster.log.failing = nil
		d.cluster.log.writing.Unlock()
		d.check(15*time.Second, "x a: ns.a order 0, x b: ns.b order 0")
		d.state(x, "a=running b=running broken=failed")
		r := x.Readiness()
		if r.Jobs[0].File != "0.json" || r.Jobs[2].Cause != "broken.json:1: url: is missing" || len(r.Files) != 1 || !strings.Contains(r.Files[0], "stands twice") {
			t.Errorf("readiness %+v", r)
		}
		y := d.on("y", files(document("a", "o", `, "order": "none"`), document("c", "o", `, "group": "ns.b"`)))
		d.check(5*time.Second, "x a: ns.a order 0, x b: ns.b order 0, y a: ns.a order 0, y b: ns.b order 0")
		d.state(y, "a=running b=running broken=failed c=failed")
		d.mu.Lock()
		defer d.mu.Unlock()
		if text := d.log.String(); !strings.Contains(text, "the job of the file differs") || !strings.Contains(text, "streamer jobs apply -f 0.json") {
			t.Errorf("log %s", text)
		}
		if d.cluster.log.writes != 1 {
			t.Errorf("%d writes", d.cluster.log.writes)
		}
	})
}

// Many jobs start a few at a time, in the order of their ids.
func TestJobsStartAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		defer d.end()
		d.hang = 100 * time.Millisecond
		for i := range 100 {
			id := fmt.Sprintf("job-%03d", i)
			d.kafka.parts[id] = 10
			must[Definition](t)(d.Create(ctx, admin, document(id, "o", "")))
		}
		d.on("x")
		time.Sleep(5 * time.Second)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.most != mostStarts || len(d.running) != 100 {
			t.Errorf("%d started at a time, %d run", d.most, len(d.running))
		}
		for at, id := range d.order[mostStarts:] { // the first ones find an open gate
			if latest := fmt.Sprintf("job-%03d", at+2*mostStarts); id > latest {
				t.Errorf("%s was started as number %d: %v", id, at+mostStarts, d.order)
				break
			}
		}
	})
}
