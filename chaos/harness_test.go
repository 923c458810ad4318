// Package chaos runs the built binary against a real Kafka and a failing API, kills and freezes it, and lets the checker judge what
// arrived. It holds tests only.
package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

// within bounds every wait; a group that lost a member without a farewell waits 10 s for it.
const within = 2 * time.Minute

// commitWithin is how long before a crash a row may have become final and still be sent again: commits come every 200 ms, and two
// busy cores may take a while longer.
const commitWithin = 2 * time.Second

// session is how long a group waits for a member that crashed.
const session = 10 * time.Second

var binary string

func TestMain(m *testing.M) { os.Exit(withBinary(consumertest.Main(m))) }

// withBinary builds the program as a user would, for as long as the tests run.
func withBinary(m interface{ Run() int }) int {
	dir, err := os.MkdirTemp("", "streamer-chaos")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // a folder for temporary files that stays is no failure
	binary = filepath.Join(dir, "streamer")
	if out, err := exec.Command("go", "build", "-o", binary, "streamer/cmd/streamer").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building streamer: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// world is a cluster, an API that fails now and then, one job, and instances of the program that run it.
type world struct {
	*testing.T
	random  *rand.Rand
	cluster *consumertest.Cluster
	api     *sinktest.Receiver
	dir     string
	topic   string
	job     string
	in      string // the namespace, which no other test has: the instances run no job that another one left
	group   string
	events  []checker.Event
	rows    []checker.Row
	routes  []string // of the job, each with a step before it; nil: it has none
	told    string   // the topic that is told of answers; empty: none
	started int
	delay   atomic.Int64 // of each answer, in milliseconds, besides the random one
}

// newWorld makes a world of so many partitions. STREAMER_SEED replays a run: it is printed with every one.
func newWorld(t *testing.T, c *consumertest.Cluster, partitions int32) *world {
	t.Helper()
	seed := seedOf(t)
	w := &world{T: t, random: rand.New(rand.NewPCG(seed, 0)), cluster: c, dir: t.TempDir()}
	var mu sync.Mutex
	faults := rand.New(rand.NewPCG(seed, 1))
	api, err := sinktest.Listen(func(*sinktest.Attempt) sinktest.Answer {
		mu.Lock()
		defer mu.Unlock()
		a := sinktest.Answer{Delay: time.Duration(w.delay.Load()+int64(faults.IntN(8))) * time.Millisecond}
		switch n := faults.IntN(100); {
		case n < 2:
			a.Status = 503
		case n < 3:
			a.Fault = sinktest.Reset
		}
		return a
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	w.api = api
	w.topic = c.Topic(t, "chaos", partitions)
	w.job, w.in = consumertest.Name("chaos"), consumertest.Name("chaos")
	w.group = w.in + "." + w.job
	usualTimes(t, c, w.group)
	w.define(fmt.Sprintf("url: %s/rows/{id}", api.URL()))
	return w
}

// define writes the job, with a few lines of its own.
func (w *world) define(lines string) {
	w.Helper()
	w.write("job.yaml", fmt.Sprintf(`
id: %s
owner: chaos
type: PUT
topic: [%s]
datamap: {id: $.msg.id, n: $.msg.n}
%s
json_body: [n]
order: key
delivery:
  timeout: 5s
  concurrency: 128
  retry: {initial: 20ms, max: 200ms}
  breaker: {failures: 1000}
`, w.job, w.topic, lines))
}

// tells gives the job two routes, a step before each, and a topic that is told of their answers, with the broker's time.
func (w *world) tells() {
	w.Helper()
	w.told = w.cluster.Topic(w, w.in+".out.told", 2, "message.timestamp.type=LogAppendTime")
	w.routes = []string{"search", "mail"}
	url := w.api.URL()
	w.define(fmt.Sprintf(`
steps: [{name: owner, url: "%[1]s/owners/{$.msg.id}"}]
routes:
  - {name: search, url: "%[1]s/search/{id}"}
  - {name: mail, url: "%[1]s/mail/{id}", headers: {X-Owner: "{$.steps.owner.status}"}}
callback: {topic: %[2]s}`, url, w.told))
}

// toldOf is what the topic was told.
func (w *world) toldOf() (out []checker.Told) {
	w.Helper()
	for _, r := range w.cluster.ReadAll(w, w.told) {
		var v struct {
			Source struct {
				Topic     string
				Partition int32
				Offset    int64
				Row       int
				Route     string
			}
		}
		if err := json.Unmarshal(r.Value, &v); err != nil {
			w.Fatal(err)
		}
		out = append(out, checker.Told{Position: checker.Position(v.Source), At: r.Timestamp, Where: checker.Place{Partition: r.Partition, Offset: r.Offset}})
	}
	return out
}

// usualTimes lets a group of the consumer protocol give members up as soon as the classic one does; it would be after 45 s. A freeze that
// is short for one is then short for both, and the checker takes no more for explained.
func usualTimes(t *testing.T, c *consumertest.Cluster, group string) {
	t.Helper()
	if consumertest.GroupProtocol == "consumer" {
		c.GroupTimes(t, group, sessionTimeout, 2*time.Second)
	}
}

// seedOf gives the seed of a run, and prints it.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("STREAMER_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (STREAMER_SEED=%d replays)", seed, seed)
	return seed
}

// start runs an instance on the world's job.
func (w *world) start() *instance {
	w.Helper()
	w.started++
	return launch(w.T, fmt.Sprint("instance ", w.started), w.dir, w.cluster.Brokers,
		"STREAMER_NAMESPACE="+w.in, "STREAMER_JOBS_DIR="+filepath.Join(w.dir, "job.yaml"))
}

// kill ends an instance as a crash would, and remembers it. While its group waits for the session of one that crashed before it, there were
// no commits of a classic group: docs/reliability.md says so, and this is how the checker knows.
func (w *world) kill(i *instance) {
	w.Helper()
	owned := i.read().owned()
	began, known := time.Now(), commitWithin
	for _, e := range w.events {
		if since := began.Sub(e.At); e.Cause == checker.Crash && since < session {
			known = max(known, since+commitWithin)
		}
	}
	i.kill()
	w.events = append(w.events, checker.Event{Cause: checker.Crash, At: began, Until: time.Now(), Within: known, Where: owned})
}

func (w *world) write(name, text string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

// produce writes each rows of so many keys, and remembers what should come of them.
func (w *world) produce(keys, each int) {
	w.Helper()
	partitions := len(w.cluster.EndOffsets(w, w.topic))
	producer := w.cluster.Producer(w)
	for n := range each {
		var batch []*kgo.Record
		for k := range keys {
			value, err := json.Marshal(map[string]any{"id": fmt.Sprint("k", k), "n": n})
			if err != nil {
				w.Fatal(err)
			}
			batch = append(batch, &kgo.Record{Topic: w.topic, Partition: int32(k % partitions), Key: fmt.Append(nil, "k", k), Value: value})
		}
		consumertest.Produce(w, producer, batch...)
		for _, r := range batch {
			row := checker.Row{Position: checker.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, Lane: string(r.Key)}
			if w.routes == nil {
				w.rows = append(w.rows, row)
			}
			for part, route := range w.routes {
				row.Route, row.Part, row.Told = route, part, true
				w.rows = append(w.rows, row)
			}
		}
	}
}

// attempts waits until the API has seen n.
func (w *world) attempts(n int) {
	w.Helper()
	consumertest.WaitFor(w, within, fmt.Sprint(n, " attempts"), func() (any, bool) { return w.api.Len(), w.api.Len() >= n })
}

// work writes each rows of 200 keys and waits until the API has seen n attempts more: of what was written now much is left then, however
// fast the machine is, and however long the test was busy otherwise.
func (w *world) work(each, n int) {
	w.Helper()
	before := w.api.Len()
	w.produce(200, each)
	w.attempts(before + n)
}

// split waits until two instances have the partitions between them.
func (w *world) split(a, b *instance, partitions int) {
	w.Helper()
	consumertest.WaitFor(w, within, fmt.Sprint("two owners of ", partitions, " partitions"), func() (any, bool) {
		one, two := len(a.read().owned()), len(b.read().owned())
		return fmt.Sprint(one, " and ", two), one > 0 && two > 0 && one+two == partitions
	})
}

// verdict waits for lag 0 and judges the run.
func (w *world) verdict(commits *consumertest.CommitWatch) *checker.Verdict {
	w.Helper()
	w.cluster.WaitForLag(w, within, w.group, w.topic)
	var told []checker.Told
	if w.told != "" {
		told = w.toldOf()
	}
	v := checker.Check(checker.History{
		Told: told, Rows: w.rows, Attempts: w.api.Attempts(), Commits: commits.Stop(w), Events: w.events, Timeout: 5 * time.Second,
		DeadLetters: w.cluster.DeadLetters(w, w.in+".dead-letters."+w.job),
	})
	v.Check(w)
	return v
}
