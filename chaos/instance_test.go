package chaos

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"streamer/consumer/consumertest"
)

// instance is a running process of the program.
type instance struct {
	t     *testing.T
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

// launch runs an instance. It is killed with the test if it still runs.
func launch(t *testing.T, name, dir string, brokers []string, env ...string) *instance {
	t.Helper()
	i := &instance{t: t, name: name, log: &output{}, ended: make(chan struct{})}
	i.cmd = exec.Command(binary, "run")
	i.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"STREAMER_KAFKA_BROKERS=" + strings.Join(brokers, ","),
		"STREAMER_LISTEN=127.0.0.1:0",
		"STREAMER_ALLOW_CIDRS=127.0.0.0/8",
		"STREAMER_KAFKA_GROUP_PROTOCOL=" + cmp.Or(consumertest.GroupProtocol, "classic"),
		"STREAMER_LOG_FORMAT=json"}, env...)
	i.cmd.Stdout, i.cmd.Stderr = i.log, i.log
	if err := i.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		_ = i.cmd.Wait() // its exit is read from ProcessState
		close(i.ended)
	}()
	t.Cleanup(func() {
		_ = i.cmd.Process.Kill() // it may have ended
		<-i.ended
		if t.Failed() {
			t.Logf("%s:\n%s", i.name, i.log)
		}
	})
	return i
}

// waitLog waits until the instance has logged one of these.
func (i *instance) waitLog(one ...string) {
	i.t.Helper()
	consumertest.WaitFor(i.t, within, fmt.Sprintf("%s to log one of %q", i.name, one), func() (any, bool) {
		log := i.log.String()
		return nil, slices.ContainsFunc(one, func(part string) bool { return strings.Contains(log, part) })
	})
}

// kill ends the instance as a crash would.
func (i *instance) kill() {
	i.t.Helper()
	if err := i.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		i.t.Fatal(err)
	}
	<-i.ended
}

func (i *instance) signal(s syscall.Signal) {
	i.t.Helper()
	if err := i.cmd.Process.Signal(s); err != nil {
		i.t.Fatal(err)
	}
}

// terminate asks the instance to stop and waits until it has, with exit code 0.
func (i *instance) terminate() {
	i.t.Helper()
	i.signal(syscall.SIGTERM)
	select {
	case <-i.ended:
	case <-time.After(within):
		i.signal(syscall.SIGQUIT) // what it waits for is in its log then
		<-i.ended
		i.t.Fatalf("%s does not stop", i.name)
	}
	if code := i.cmd.ProcessState.ExitCode(); code != 0 {
		i.t.Errorf("%s: exit code %d", i.name, code)
	}
}
