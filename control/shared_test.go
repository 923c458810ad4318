package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
)

// cluster is some instances on one log, in fake time.
type cluster struct {
	t     *testing.T
	log   *memoryLog
	kafka *fakeKafka
	jobs  []Job
	all   map[string]*member
}

// member is one instance of a cluster.
type member struct {
	*Supervisor
	soft, hard context.CancelFunc
	ended      chan error
	silent     atomic.Bool // it cannot report any more
}

// mute is a bulletin that a silent instance cannot write to.
type mute struct {
	*memoryLog
	silent *atomic.Bool
}

func (m mute) Report(key string, value []byte) {
	if !m.silent.Load() {
		m.memoryLog.Report(key, value)
	}
}

// newCluster has jobs with so many partitions each; a negative number is a limit of instances for a job of 100 partitions.
func newCluster(t *testing.T, partitions ...int) *cluster {
	c := &cluster{t: t, log: newMemoryLog(), kafka: &fakeKafka{brokers: 3, parts: map[string]int{}, renewed: make(chan string, 1000)}, all: map[string]*member{}}
	for i, n := range partitions {
		id, more := string(rune('a'+i)), ""
		c.kafka.parts[id] = n
		if n < 0 {
			c.kafka.parts[id], more = 100, fmt.Sprintf(`, "instances": %d`, -n)
		}
		c.jobs = append(c.jobs, file(t, id, more))
	}
	return c
}

// file is a job of a file.
func file(t *testing.T, id, more string) Job {
	defs, broken := job.ParseFile(id+".json", document(id, "o", more))
	if len(broken) > 0 {
		t.Fatal(broken)
	}
	return Job{ID: id, Owner: "o", File: id + ".json", Definition: defs[0]}
}

func (c *cluster) start(id string, change ...func(*Options)) *member {
	m := &member{ended: make(chan error, 1)}
	o := Options{Definitions: NewDefinitions(c.log, testProcess(c.t)), Jobs: c.jobs, Kafka: c.kafka, Store: NewStore(c.log), Bulletin: mute{c.log, &m.silent}, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		NewRunner: func(consumer.Config) Runner {
			return &fakeRunner{run: untilSoft, status: consumer.Status{State: consumer.Starting}}
		},
		Self: func() Self { return Self{ID: id, Advertise: "http://" + id + ":9013"} }}
	for _, f := range change {
		f(&o)
	}
	m.Supervisor = NewSupervisor(o)
	var soft, hard context.Context
	soft, m.soft = context.WithCancel(c.t.Context())
	hard, m.hard = context.WithCancel(c.t.Context())
	go func() { m.ended <- m.Run(soft, hard) }()
	c.all[id] = m
	return m
}

func (m *member) stop(t *testing.T) {
	t.Helper()
	m.soft()
	if err := <-m.ended; err != nil {
		t.Error(err)
	}
	m.hard()
}

// end stops all instances that a test has left.
func (c *cluster) end() {
	for _, m := range c.all {
		m.soft()
		m.hard()
	}
	synctest.Wait()
}

// runs gives the instances that run a job, in the order of their ids.
func (c *cluster) runs(job string) string {
	var on []string
	for id, m := range c.all {
		for _, j := range m.Readiness().Jobs {
			if j.ID == job && j.State.member() {
				on = append(on, id)
			}
		}
	}
	slices.Sort(on)
	return strings.Join(on, " ")
}

func (c *cluster) state(m *member, want string) {
	c.t.Helper()
	synctest.Wait()
	if got := states(m.Supervisor); got != want {
		c.t.Errorf("states %s, want %s", got, want)
	}
}

// Before the log was read, nobody knows which jobs are stopped: they wait, and say what for.
func TestJobsWaitForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		defer c.end()
		c.log.unread, c.log.problem = make(chan struct{}), "kafka refuses topic streamer.jobs"
		m := c.start("i")
		time.Sleep(time.Minute)
		c.state(m, "a=starting")
		r := m.Readiness()
		if want := "waiting for the log in Kafka: kafka refuses topic streamer.jobs"; r.Ready || r.Jobs[0].Cause != want || r.Log != c.log.problem {
			t.Errorf("readiness %+v, want the cause %q", r, want)
		}
		close(c.log.unread)
		time.Sleep(3 * time.Second)
		c.state(m, "a=running")
		if r := m.Readiness(); !r.Ready || r.Jobs[0].Cause != "" {
			t.Errorf("readiness %+v", r)
		}
	})
}

// What an operator wants is done on every instance, also on one that starts later, and is in the audit.
func TestStopPauseResumeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 10)
		defer c.end()
		one, two := c.start("one"), c.start("two")
		time.Sleep(3 * time.Second)
		ctx := t.Context()
		do := func(f func(context.Context, string, service.Caller) error, want string) {
			t.Helper()
			if err := f(ctx, "a", operator("ann")); err != nil {
				t.Error(err)
			}
			time.Sleep(3 * time.Second)
			c.state(one, want)
			c.state(two, want)
		}
		do(one.Start, "a=running b=running")
		do(one.Pause, "a=paused b=running")
		three := c.start("three")
		time.Sleep(3 * time.Second)
		do(two.Resume, "a=running b=running")
		do(one.Stop, "a=stopped b=running")
		c.state(three, "a=stopped b=running")
		if cause := one.Readiness().Jobs[0].Cause; cause != "an operator stopped it" {
			t.Errorf("cause %q", cause)
		}
		for _, f := range []func(context.Context, string, service.Caller) error{one.Pause, one.Resume} {
			if err := f(ctx, "a", operator("ann")); !errors.Is(err, ErrNotNow) {
				t.Errorf("error %v", err)
			}
		}
		if err := one.Stop(ctx, "z", operator("ann")); !errors.Is(err, ErrNoJob) {
			t.Errorf("error %v", err)
		}
		if _, err := one.options.Store.Remember(ctx, "a", consumer.Audit{By: consumer.BySelf, Action: "hold"}, func(m *consumer.Memory) error {
			m.Hold = &consumer.Hold{Cause: consumer.HoldGuard}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		do(three.Start, "a=running b=running")
		if m, err := one.options.Store.Memory(ctx, "a"); err != nil || m.Hold != nil {
			t.Errorf("after the start: %+v, %v", m, err)
		}
		lines, _, err := one.options.Store.Audit(ctx, AuditSubject{Job: "a"}, 0, 100)
		var did []string
		for _, l := range lines {
			did = append(did, l.By+" "+l.Action)
		}
		if want := "ann start, streamer hold, ann stop, ann resume, ann pause, ann start, streamer create"; err != nil || strings.Join(did, ", ") != want {
			t.Errorf("audit %v, %v", did, err)
		}
	})
}

// A job's memory that a newer streamer wrote: the job is left alone, and goes on when it can be read again.
func TestUnreadableMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 10)
		defer c.end()
		m := c.start("i")
		write := func(text string) {
			_, _ = c.log.Update(t.Context(), "state/a", func(kafkalog.Entry, bool) ([]byte, []byte, error) { return []byte(text), nil, nil })
			time.Sleep(3 * time.Second)
		}
		time.Sleep(3 * time.Second)
		write(`{"version": 7}`)
		c.state(m, "a=failed b=running")
		if cause := m.Readiness().Jobs[0].Cause; !strings.Contains(cause, "it has version 7") {
			t.Errorf("cause %q", cause)
		}
		write(`{"version": 1}`)
		c.state(m, "a=running b=running")
	})
}

// The offsets of a stopped job are renewed once a day, by one of the instances; those of a job that runs keep themselves.
func TestOffsetsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 10)
		defer c.end()
		for _, id := range []string{"x", "y", "z"} {
			c.start(id, func(o *Options) { o.KeepEvery = 2 * time.Minute }) // which is a day
		}
		if err := c.all["x"].Stop(t.Context(), "b", operator("ann")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20*time.Minute + 10*time.Second)
		n := map[string]int{}
		for len(c.kafka.renewed) > 0 {
			n[<-c.kafka.renewed]++
		}
		if n["b"] < 9 || n["b"] > 11 || n["a"] != 0 {
			t.Errorf("renewed in ten days: %v", n)
		}
	})
}
