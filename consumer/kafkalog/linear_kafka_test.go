package kafkalog

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
)

// writerEnv makes a process of this test binary a writer: "<namespace> <name> <number> <brokers>".
const writerEnv = "KAFKALOG_TEST_WRITER"

// writerProcess writes cells, and tells of it on its standard output, until its standard input ends.
func writerProcess(what string) error {
	fields := strings.Fields(what)
	number, err := strconv.Atoi(fields[2])
	if err != nil {
		return err
	}
	l, err := Open(Config{Namespace: fields[0], Options: []kgo.Opt{kgo.SeedBrokers(strings.Split(fields[3], ",")...), kgo.MetadataMinAge(50 * time.Millisecond)},
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel()
	run.Go(func() { l.Run(ctx) })
	if err := l.Wait(ctx); err != nil {
		return err
	}
	var ended atomic.Bool
	go func() { // ends with standard input
		_, _ = io.Copy(io.Discard, os.Stdin)
		ended.Store(true)
	}()
	out := json.NewEncoder(os.Stdout) // one write for each line
	writeCells(ctx, l, fields[1], number, uint64(number), func(l line) {
		if err := out.Encode(l); err != nil {
			panic(err)
		}
	}, func(int) bool { return ended.Load() })
	return nil
}

// writer is a running process.
type writer struct {
	cmd   *exec.Cmd
	input io.Closer
	told  chan struct{} // closed when all it told was read
	calls atomic.Int32
}

func startWriter(t *testing.T, c *consumertest.Cluster, h *history, name string, number int) *writer {
	t.Helper()
	w := &writer{cmd: exec.Command(os.Args[0]), told: make(chan struct{})}
	w.cmd.Env = append(os.Environ(), writerEnv+"=ns "+name+" "+strconv.Itoa(number)+" "+strings.Join(c.Brokers, ","))
	w.cmd.Stderr = os.Stderr
	input, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.input = input
	go func() { // ends with the process
		defer close(w.told)
		h.read(output, &w.calls)
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill() // it may have ended
		<-w.told
	})
	return w
}

// wait waits until the writer has got so many answers more.
func (w *writer) wait(t *testing.T, answers int32) {
	t.Helper()
	want := w.calls.Load() + answers
	consumertest.WaitFor(t, time.Minute, "answers to a writer", func() (any, bool) { return w.calls.Load(), w.calls.Load() >= want })
}

// Processes write the same objects at once; they are killed while they write, one after the other, and so is the broker that leads the
// log. All that anybody saw or was told is one history of single steps, in which what nobody was told of happened some time or never.
func TestKafkaLinearizable(t *testing.T) {
	t.Parallel()
	const writers, kills = 3, 5
	c, h := consumertest.ThreeBrokers(t), &history{}
	l := open(t, c, "ns")
	var all [writers]*writer
	for i := range all {
		all[i] = startWriter(t, c, h, strconv.Itoa(i), i)
	}
	meta, err := c.Admin(t).Metadata(t.Context(), "ns.jobs")
	if err != nil {
		t.Fatal(err)
	}
	leader := int(meta.Topics["ns.jobs"].Partitions[0].Leader)
	for n := range kills {
		for _, w := range all {
			w.wait(t, 3)
		}
		switch n {
		case kills / 3:
			c.Kill(t, leader)
		case 2 * kills / 3:
			c.Start(t, leader)
		}
		victim := n % writers
		if err := all[victim].cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-all[victim].told
		_ = all[victim].cmd.Wait() // it was killed
		all[victim] = startWriter(t, c, h, strconv.Itoa(victim)+"."+strconv.Itoa(n), victim+writers*(n+1))
	}
	for _, w := range all {
		w.wait(t, 3)
		if err := w.input.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range all {
		<-w.told
		if err := w.cmd.Wait(); err != nil {
			t.Errorf("a writer ended with %v", err)
		}
	}
	writeCells(t.Context(), l, "last", 1000, 1, h.tell, func(calls int) bool { return calls >= 5 })
	if open := h.check(t, 60, 5); open == 0 {
		t.Error("no writer was killed while it wrote")
	}
}
