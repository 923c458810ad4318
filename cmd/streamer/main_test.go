package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"streamer/consumer/consumertest"
)

func TestMain(m *testing.M) {
	testscript.Main(consumertest.Main(m), map[string]func(){"streamer": func() {
		if at, err := time.Parse(time.RFC3339, os.Getenv("CLOCK")); err == nil {
			clock = func() time.Time { return at }
		}
		main()
	}})
}

var update = flag.Bool("update", false, "write what is printed into the golden files of testdata/script")

// The scripts of testdata/script are what users type and see. Those that call an instance find one at STREAMER_URL, after the
// command instance.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "waitlog": waitlog,
			"instance": instance, "provider": provided},
	})
}

// exits CODE COMMAND… runs a command that has to end with this exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// waitlog FILE TEXT waits until a log has a text.
func waitlog(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		log, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && bytes.Contains(log, []byte(args[1])) {
			return
		}
		select {
		case <-deadline:
			ts.Fatalf("%s never said %q:\n%s", args[0], args[1], log)
		case <-tick.C:
		}
	}
}
