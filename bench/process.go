package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
)

// rolePrefix begins the first argument of a process that was started by this program.
const rolePrefix = "role:"

// roles are what a process of this program can be. A role reads its settings from the second argument, writes what it has to tell
// as JSON values to its standard output, and ends when it is done or its standard input is closed: so none outlives the program.
var roles = map[string]func(settings []byte, s *stage) error{
	"broker":   brokerRole,
	"receiver": receiverRole,
	"floor":    floorRole,
	"producer": producerRole,
	"registry": registryRole,
	"streamer": streamerRole,
}

// stage is a role's side of its pipes.
type stage struct {
	// stopped ends when the parent closes the pipe or is gone.
	stopped context.Context
	out     *json.Encoder
}

func (s *stage) tell(v any) error { return s.out.Encode(v) }

// role runs a role if the arguments ask for one.
func role(args []string, in io.Reader, out io.Writer) (code int, asked bool) {
	if len(args) != 2 || !strings.HasPrefix(args[0], rolePrefix) {
		return 0, false
	}
	run := roles[strings.TrimPrefix(args[0], rolePrefix)]
	if run == nil {
		return 2, true
	}
	signal.Ignore(os.Interrupt) // a terminal sends it to all processes; the parent ends the others in good order
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	if err := run([]byte(args[1]), &stage{stopped: ctx, out: json.NewEncoder(out)}); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", args[0], err)
		return 1, true
	}
	return 0, true
}

// process is the parent's side of a role.
type process struct {
	name string
	cmd  *exec.Cmd
	in   io.Closer
	out  *json.Decoder
}

// start starts a role with its settings. End it.
func start(name string, settings any) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, rolePrefix+name, string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{name: name, cmd: cmd, in: in, out: json.NewDecoder(out)}, nil
}

// hear reads the next value the role tells. It kills the process when ctx ends, as a read of a pipe cannot be given up otherwise.
func (p *process) hear(ctx context.Context, v any) error {
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	if err := p.out.Decode(v); err != nil {
		return fmt.Errorf("process %s said nothing more: %w", p.name, errors.Join(ctx.Err(), err))
	}
	return nil
}

// kill ends the process as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	_ = p.cmd.Wait()         // says that it was killed
}

// endWithin is what a role may take to end; a real broker is the slowest.
const endWithin = time.Minute

// end closes the role's input, hears its last words into v unless v is nil, and waits for its end.
func (p *process) end(v any) error {
	_ = p.in.Close() // the process may be gone
	deadline := time.AfterFunc(endWithin, func() { _ = p.cmd.Process.Kill() })
	defer deadline.Stop()
	var err error
	if v != nil {
		err = p.out.Decode(v)
	}
	var exit *exec.ExitError
	if e := p.cmd.Wait(); errors.As(e, &exit) {
		err = fmt.Errorf("process %s: %w", p.name, e)
	}
	return err
}
