package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/control"
	"streamer/sink/sinktest"
)

// spawned is an instance that can be killed.
type spawned struct {
	cmd    *exec.Cmd
	listen string
}

// spawn starts the program as a process of its own: this test binary, which is streamer when it is called so.
func spawn(t *testing.T, jobs, brokers, id string) *spawned {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "streamer")
	if err := os.Symlink(self, binary); err != nil {
		t.Fatal(err)
	}
	p := &spawned{cmd: exec.Command(binary, "run")}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Env = []string{"STREAMER_KAFKA_BROKERS=" + brokers, "STREAMER_LISTEN=127.0.0.1:0", "STREAMER_LOG_FORMAT=json", "STREAMER_JOBS_DIR=" + jobs, "STREAMER_ALLOW_HOSTS=127.0.0.1",
		"STREAMER_INSTANCE_ID=" + id}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s\n%s", id, text)
		}
		_ = log.Close()
	})
	consumertest.WaitFor(t, 2*time.Minute, "the instance to say where it listens", func() (any, bool) {
		text, err := os.ReadFile(log.Name())
		for line := range bytes.Lines(text) {
			var said struct{ Listen string }
			if json.Unmarshal(line, &said) == nil && said.Listen != "" { // the last line may be half there
				p.listen = said.Listen
			}
		}
		return fmt.Sprintf("%s, %v", text, err), p.listen != ""
	})
	return p
}

// kill ends the process without a warning.
func (p *spawned) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// answers says that the instance is ready.
func (p *spawned) answers() bool {
	resp, err := http.Get("http://" + p.listen + "/readyz")
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode == http.StatusOK
}

// running gives the jobs that are running on the instance.
func (p *spawned) running() []string {
	resp, err := http.Get("http://" + p.listen + "/readyz")
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	var r control.Readiness
	if json.NewDecoder(resp.Body).Decode(&r) != nil {
		return nil
	}
	var ids []string
	for _, j := range r.Jobs {
		if j.State == control.Running {
			ids = append(ids, j.ID)
		}
	}
	return ids
}

// Three instances share six jobs, each for one instance. One is killed with SIGKILL: others deliver the rows of its jobs within 15 s, the
// rest stay where they are. The broker lets a new group wait as long as one does that nobody has set up for tests.
func TestKafkaJobsOfADeadInstanceRunElsewhere(t *testing.T) {
	t.Parallel()
	c := consumertest.Broker(t, "group.initial.rebalance.delay.ms=3000")
	api, err := sinktest.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	const jobs = 6
	dir, topics := t.TempDir(), []string{}
	for i := range jobs {
		topics = append(topics, c.Topic(t, "rows", 2))
		text := fmt.Sprintf("{id: job-%d, owner: o, type: PUT, topic: [%s], url: '%s/{id}', datamap: {id: $.msg.id}, order: key, instances: 1}", i, topics[i], api.URL())
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]*spawned{}
	for _, id := range []string{"x", "y", "z"} {
		all[id] = spawn(t, dir, strings.Join(c.Brokers, ","), id)
	}
	where := func() (map[string]string, bool) {
		at, n := map[string]string{}, 0
		for id, p := range all {
			for _, job := range p.running() {
				at[job] = id
				n++
			}
		}
		return at, len(at) == jobs && n == jobs
	}
	// home is where they run when each instance knows of all: the hash says so. Before that, those that are up have all of them.
	const home = "map[job-0:x job-1:z job-2:z job-3:x job-4:x job-5:z]"
	const dead = "x"
	producer := c.Producer(t)
	sent := 0
	deliver := func() {
		t.Helper()
		for _, topic := range topics {
			for partition := range int32(2) {
				consumertest.Produce(t, producer, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(`{"id": "a"}`)})
				sent++
			}
		}
		consumertest.WaitFor(t, 2*time.Minute, "every row", func() (any, bool) {
			seen := map[string]bool{} // one that was delivered just before the kill is delivered again
			for _, a := range api.Attempts() {
				seen[fmt.Sprintf("%s/%d/%d", a.Topic, a.Partition, a.Offset)] = true
			}
			return len(seen), len(seen) == sent
		})
	}
	// control/instances.go has the sum.
	consumertest.Claim(t, "every row of a dead instance's jobs is delivered within 15 s", func() (any, bool) {
		if all[dead] == nil { // once more
			all[dead] = spawn(t, dir, strings.Join(c.Brokers, ","), dead)
		}
		consumertest.WaitFor(t, 2*time.Minute, "every job to run once, at its place", func() (any, bool) {
			at, once := where()
			return at, once && fmt.Sprint(at) == home
		})
		deliver() // all are members of their groups now
		all[dead].kill()
		delete(all, dead)
		died := time.Now()
		deliver()
		took := time.Since(died)
		consumertest.WaitFor(t, 2*time.Minute, "every job to run once again", func() (any, bool) {
			at, once := where()
			for _, job := range []string{"job-1", "job-2", "job-5"} {
				if once && at[job] != "z" {
					t.Errorf("%s has moved to %s", job, at[job])
				}
			}
			return at, once
		})
		return took.Round(100 * time.Millisecond), took <= 15*time.Second
	})
}
