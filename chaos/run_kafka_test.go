package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
	"streamer/sink/sinktest/proxy"
)

// Three brokers, three instances, two jobs, an API and networks, all of which fail as a seed says, one trouble after the other and
// several at once, while rows are written. When the trouble ends everything becomes final, and the checker judges every attempt and
// every commit. CHAOS_ROWS sizes the run, STREAMER_SEED replays it; `make chaos` runs it with 200,000 rows.
func TestKafkaChaos(t *testing.T) {
	rows := 10_000
	if s := os.Getenv("CHAOS_ROWS"); s != "" {
		var err error
		if rows, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	r := newRun(t, consumertest.ThreeProxiedBrokers(t), rows)
	var writing sync.WaitGroup
	writing.Go(func() { r.source.write(rows, r.long) })
	for i := range r.slots {
		r.begin(i)
	}
	for _, s := range r.steps {
		wait := time.NewTimer(time.Until(r.began.Add(s.At)))
		<-wait.C
		if r.Failed() { // the source could not write
			r.FailNow()
		}
		r.note("%s", s.Name)
		s.do(r)
	}
	writing.Wait()
	r.settle()
	r.judge()
}

const (
	instances = 3
	// rowsPerSecond is how fast rows are written: about a quarter of what two busy cores deliver, so that troubles can be caught up with.
	rowsPerSecond = 750
	// shortest is how long the trouble lasts at least.
	shortest = 32 * time.Second
	// sessionTimeout is streamer's, and that of the groups of the consumer protocol here; a shorter freeze costs nobody a partition.
	sessionTimeout = 10 * time.Second
)

// run is one chaos run.
type run struct {
	*testing.T
	seed   uint64
	random *rand.Rand // of the steps; the schedule and the source have their own
	long   time.Duration
	began  time.Time
	steps  []step
	did    []string

	cluster *consumertest.Cluster
	api     *sinktest.Receiver
	plan    *sinktest.Plan
	way     *proxy.Proxy // before the API
	dir     string
	source  *source

	json, transacted, boxes, people string // topics
	keyed, named                    *chaosJob

	count map[string]int32 // partitions by topic

	slots  [instances]*slot
	past   []*instance // all that ever ran
	events []checker.Event

	down     int            // the broker that is down, 0: none
	up       atomic.Bool    // all brokers serve
	starting sync.WaitGroup // a broker that is coming back
}

// chaosJob is one of the run's jobs and what should come of its rows.
type chaosJob struct {
	id, group string
	topics    []string
	rows      []checker.Row
	commits   *consumertest.CommitWatch
}

// slot is where an instance runs, one after the other.
type slot struct {
	*instance
	static bool // has an instance id of its own, which the next one in the slot has too
	frozen time.Time
	owned  []checker.Partition // when it was frozen
	dead   bool
}

func newRun(t *testing.T, c *consumertest.Cluster, rows int) *run {
	t.Helper()
	seed := seedOf(t)
	r := &run{T: t, seed: seed, cluster: c, dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, 5)), count: map[string]int32{}}
	r.long = max(shortest, time.Duration(rows)*time.Second/rowsPerSecond)
	r.steps = schedule(rand.New(rand.NewPCG(seed, 2)), r.long, instances, len(c.Brokers))
	r.long = max(r.long, r.steps[len(r.steps)-1].At)
	r.source = &source{r: r, random: rand.New(rand.NewPCG(seed, 3))}
	r.plan = &sinktest.Plan{Seed: seed, Usual: usual, Spells: spells(rand.New(rand.NewPCG(seed, 4)), r.long)}
	api, err := sinktest.Listen(r.answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	api.DropBodies = true
	r.api = api
	if r.way, err = proxy.Listen("127.0.0.1:0", strings.TrimPrefix(api.URL(), "http://")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.way.Close)
	for topic, partitions := range map[*string]int32{&r.json: 12, &r.transacted: 4, &r.boxes: 6, &r.people: 6} {
		*topic = c.Topic(t, "chaos", partitions)
		r.count[*topic] = partitions
	}
	r.keyed = r.job("keyed", "order: key", r.json, r.transacted, r.boxes)
	r.named = r.job("named", "emit: {field: $.approved, values: [true]}", r.people)
	for i := range r.slots {
		r.slots[i] = &slot{static: r.random.IntN(2) == 0}
	}
	r.up.Store(true)
	r.began = time.Now()
	r.plan.Began = r.began
	return r
}

// job writes a job file and watches the job's commits.
func (r *run) job(name, more string, topics ...string) *chaosJob {
	r.Helper()
	j := &chaosJob{id: consumertest.Name(name), topics: topics}
	j.group = "streamer." + j.id
	text := fmt.Sprintf(`
id: %s
owner: chaos
type: PUT
topic: [%s]
datamap: {id: $.msg.id}
url: http://%s/rows/{id}
json_body: [id]
%s
delivery:
  timeout: %v
  drain: 6s
  concurrency: 64
  retry: {initial: 20ms, max: 1s, attempts: 30}
  breaker: {failures: 10, open: 1s}
`, j.id, strings.Join(topics, ", "), r.way.Addr(), more, attemptTimeout)
	if err := os.WriteFile(filepath.Join(r.dir, name+".yaml"), []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
	usualTimes(r.T, r.cluster, j.group)
	j.commits = r.cluster.WatchCommits(r, j.group, time.Second)
	return j
}

const attemptTimeout = 3 * time.Second

// answer is the plan's, but that poison is refused for good where it says yes.
func (r *run) answer(a *sinktest.Attempt) sinktest.Answer {
	an := r.plan.Answer(a)
	if an.Status == 0 && strings.Contains(a.Path, poison) {
		an.Status = 422
	}
	return an
}

// begin starts an instance in its slot.
func (r *run) begin(i int) {
	s := r.slots[i]
	if s.instance != nil && !s.dead {
		return
	}
	proxies := make([]string, 0, len(r.cluster.Proxies))
	for _, p := range r.cluster.Proxies {
		proxies = append(proxies, p.Addr())
	}
	env := []string{"STREAMER_JOBS_DIR=" + r.dir}
	if s.static {
		env = append(env, fmt.Sprint("STREAMER_INSTANCE_ID=slot-", i))
	}
	s.instance, s.dead = launch(r.T, fmt.Sprintf("instance %d, run %d", i, len(r.past)), r.dir, proxies, env...), false
	r.past = append(r.past, s.instance)
}

func (r *run) kill(i int) {
	s := r.slots[i]
	if s.dead {
		return
	}
	owned, began := s.read().owned(), time.Now()
	s.instance.kill()
	s.dead = true
	r.events = append(r.events, checker.Event{Cause: checker.Crash, At: began, Until: time.Now(), Where: owned})
}

func (r *run) freeze(i int) {
	if s := r.slots[i]; !s.dead {
		s.owned, s.frozen = s.read().owned(), time.Now()
		s.signal(syscall.SIGSTOP)
	}
}

func (r *run) thaw(i int) {
	s := r.slots[i]
	if s.frozen.IsZero() {
		return
	}
	s.signal(syscall.SIGCONT)
	e := checker.Event{Cause: checker.Freeze, At: s.frozen, Until: time.Now(), Where: s.owned}
	if e.Until.Sub(e.At) < sessionTimeout-time.Second { // only the time for answers that lay unread may have run out
		e.Within = commitMargin
	}
	r.events = append(r.events, e)
	s.frozen = time.Time{}
}

// restart stops an instance in good order and starts the next one.
func (r *run) restart(i int) {
	if s := r.slots[i]; !s.dead {
		s.terminate()
		s.dead = true
		r.begin(i)
	}
}

// killBroker kills one, if the others are up: of three, one may be down at a time.
func (r *run) killBroker(node int) {
	if r.down > 0 || !r.up.CompareAndSwap(true, false) {
		r.note("not killed: another broker is not back yet")
		return
	}
	r.cluster.Kill(r, node)
	r.down = node
	r.coordinatorsMove()
	r.blind(0)
}

// blind notes that acknowledgements of brokers may be lost for so long, and for as long after it as a client takes to notice.
func (r *run) blind(last time.Duration) {
	now := time.Now()
	r.events = append(r.events, checker.Event{Cause: checker.Blind, At: now.Add(-time.Second), Until: now.Add(last + 30*time.Second)})
}

// coordinatorsMove notes that what a new coordinator knows may, for a while, be older than what was seen. It explains no duplicate
// by itself.
func (r *run) coordinatorsMove() {
	now := time.Now()
	r.events = append(r.events, checker.Event{
		Cause: checker.Broker, At: now, Until: now.Add(10 * time.Second), Within: commitWithin, Where: []checker.Partition{}})
}

// startBroker starts it again and does not wait: a busy machine takes half a minute.
func (r *run) startBroker(node int) {
	if r.down != node {
		return
	}
	r.down = 0
	r.starting.Go(func() {
		r.cluster.Start(r, node)
		r.up.Store(true)
	})
}

// note adds to what the report says was done.
func (r *run) note(format string, args ...any) {
	r.did = append(r.did, fmt.Sprintf("%6.1f s: ", time.Since(r.began).Seconds())+fmt.Sprintf(format, args...))
}

// reassign gives some partitions, of Kafka's own too, another first replica, and makes it the leader.
func (r *run) reassign() {
	adm := r.cluster.Admin(r)
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	var moves kadm.AlterPartitionAssignmentsReq
	var elect kadm.TopicsSet
	for topic, n := range map[string]int32{r.json: r.count[r.json], r.people: r.count[r.people], "__consumer_offsets": 3} {
		for p := range n {
			if p > 0 && p%3 != 0 {
				continue
			}
			first := r.random.IntN(3)
			moves.Assign(topic, p, []int32{int32(first%3) + 1, int32((first+1)%3) + 1, int32((first+2)%3) + 1})
			elect.Add(topic, p)
		}
	}
	r.coordinatorsMove()
	// A broker may be down, and the rest goes on without it: what could not be moved is no matter of ours.
	_, err := adm.AlterPartitionAssignments(ctx, moves)
	if err == nil {
		_, err = adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, elect)
	}
	if err != nil {
		r.Logf("moving leaders: %v", err)
	}
}

// grow adds partitions to two topics.
func (r *run) grow() {
	for _, topic := range []string{r.json, r.people} {
		n := r.count[topic] + 1 + r.random.Int32N(2)
		r.cluster.Grow(r, topic, int(n))
		consumertest.WaitFor(r, within, "leaders for new partitions", func() (any, bool) {
			ends := r.cluster.EndOffsets(r, topic)
			return len(ends), len(ends) == int(n)
		})
		r.count[topic] = n
	}
}

// settle ends all trouble and waits until everything is committed.
func (r *run) settle() {
	r.way.Set(proxy.Faults{})
	for _, p := range r.cluster.Proxies {
		p.Set(proxy.Faults{})
	}
	if r.down > 0 {
		r.startBroker(r.down)
	}
	r.starting.Wait()
	for i := range r.slots {
		r.thaw(i)
		r.begin(i)
	}
	calm := time.Now()
	// What the last transaction left open ends when its time is up, and lag is 0 only then.
	for _, j := range []*chaosJob{r.keyed, r.named} {
		for _, topic := range j.topics {
			r.cluster.WaitForLag(r, settleWithin, j.group, topic)
		}
	}
	r.note("everything committed, %.1f s after the trouble", time.Since(calm).Seconds())
	for _, s := range r.slots {
		s.terminate()
	}
}

// settleWithin bounds the catching up: retries, sessions that time out, new partitions that are found within a minute.
const settleWithin = 4 * time.Minute

// readBack gives the rows of the topic that was written in transactions: those that were committed.
func (r *run) readBack() {
	for _, rec := range r.cluster.ReadAll(r, r.transacted, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		row := checker.Row{Position: checker.Position{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset}, Lane: string(rec.Key)}
		switch {
		case rec.Value == nil:
			row.Want = checker.Nothing
		case strings.Contains(string(rec.Value), poison):
			row.Want = checker.GivenUp
		}
		r.keyed.rows = append(r.keyed.rows, row)
	}
}
