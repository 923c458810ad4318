// Package chaos runs the built binary against a real Kafka and a failing API, kills and freezes it, and lets the checker judge what
// arrived. It holds tests only.
package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	group   string
	events  []checker.Event
	rows    []checker.Row
	started int
	delay   atomic.Int64 // of each answer, in milliseconds, besides the random one
}

// newWorld makes a world of so many partitions. STREAMER_SEED replays a run: it is printed with every one.
func newWorld(t *testing.T, c *consumertest.Cluster, partitions int32) *world {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("STREAMER_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (STREAMER_SEED=%d replays)", seed, seed)
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
	id := consumertest.Name("chaos")
	w.group = "streamer." + id
	w.write("job.yaml", fmt.Sprintf(`
id: %s
owner: chaos
type: PUT
topic: [%s]
datamap: {id: $.msg.id, n: $.msg.n}
url: %s/rows/{id}
json_body: [n]
order: key
delivery:
  timeout: 5s
  concurrency: 128
  retry: {initial: 20ms, max: 200ms}
  breaker: {failures: 1000}
`, id, w.topic, api.URL()))
	return w
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
			w.rows = append(w.rows, checker.Row{Position: checker.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, Lane: string(r.Key)})
		}
	}
}

// instance is a running process of the program.
type instance struct {
	w     *world
	name  string
	cmd   *exec.Cmd
	log   *output
	ended chan struct{}
}

// output keeps what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// waitLog waits until the instance has logged one of these.
func (i *instance) waitLog(one ...string) {
	i.w.Helper()
	consumertest.WaitFor(i.w, within, fmt.Sprintf("%s to log one of %q", i.name, one), func() (any, bool) {
		log := i.log.String()
		return nil, slices.ContainsFunc(one, func(part string) bool { return strings.Contains(log, part) })
	})
}

// start runs an instance. It is killed with the test if it still runs.
func (w *world) start(env ...string) *instance {
	w.Helper()
	w.started++
	i := &instance{w: w, name: fmt.Sprint("instance ", w.started), log: &output{}, ended: make(chan struct{})}
	i.cmd = exec.Command(binary, "run")
	i.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir,
		"STREAMER_KAFKA_BROKERS=" + strings.Join(w.cluster.Brokers, ","),
		"STREAMER_JOBS_DIR=" + filepath.Join(w.dir, "job.yaml"),
		"STREAMER_LISTEN=127.0.0.1:0",
		"STREAMER_ALLOW_CIDRS=127.0.0.0/8",
		"STREAMER_LOG_FORMAT=text"}, env...)
	i.cmd.Stdout, i.cmd.Stderr = i.log, i.log
	if err := i.cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() { // ends with the process
		_ = i.cmd.Wait() // its exit is read from ProcessState
		close(i.ended)
	}()
	w.Cleanup(func() {
		_ = i.cmd.Process.Kill() // it may have ended
		<-i.ended
		if w.Failed() {
			w.Logf("%s:\n%s", i.name, i.log)
		}
	})
	return i
}

// kill ends the instance as a crash would.
func (i *instance) kill() {
	i.w.Helper()
	began := time.Now()
	if err := i.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		i.w.Fatal(err)
	}
	<-i.ended
	i.w.events = append(i.w.events, checker.Event{Cause: checker.Crash, At: began, Until: time.Now(), Within: commitWithin})
}

func (i *instance) signal(s syscall.Signal) {
	i.w.Helper()
	if err := i.cmd.Process.Signal(s); err != nil {
		i.w.Fatal(err)
	}
}

// terminate asks the instance to stop and waits until it has, with exit code 0.
func (i *instance) terminate() {
	i.w.Helper()
	i.signal(syscall.SIGTERM)
	select {
	case <-i.ended:
	case <-time.After(within):
		i.w.Fatalf("%s does not stop", i.name)
	}
	if code := i.cmd.ProcessState.ExitCode(); code != 0 {
		i.w.Errorf("%s: exit code %d", i.name, code)
	}
}

// attempts waits until the API has seen n.
func (w *world) attempts(n int) {
	w.Helper()
	consumertest.WaitFor(w, within, fmt.Sprint(n, " attempts"), func() (any, bool) { return w.api.Len(), w.api.Len() >= n })
}

// verdict waits for lag 0 and judges the run.
func (w *world) verdict(commits *consumertest.CommitWatch) *checker.Verdict {
	w.Helper()
	w.cluster.WaitForLag(w, within, w.group, w.topic)
	v := checker.Check(checker.History{
		Rows: w.rows, Attempts: w.api.Attempts(), Commits: commits.Stop(w), Events: w.events, Timeout: 5 * time.Second,
		DeadLetters: w.cluster.DeadLetters(w, strings.Replace(w.group, "streamer.", "streamer.dead-letters.", 1)),
	})
	v.Check(w)
	return v
}
