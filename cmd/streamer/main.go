// Command streamer carries Kafka records to HTTP APIs. See `streamer help`.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Exit codes.
const (
	exitFine   = 0
	exitFailed = 1
	exitMisuse = 2
)

func main() {
	os.Exit(execute(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// execute runs one command line and gives the exit code.
func execute(args, environ []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot(environ)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.Execute()
	var failed failure
	switch {
	case err == nil:
		return exitFine
	case errors.Is(err, errShown):
		return exitFailed
	case errors.As(err, &failed):
		_, _ = fmt.Fprintln(errOut, "streamer:", err)
		return exitFailed
	}
	// Everything that no command has marked as its failure came from reading the command line and the settings.
	_, _ = fmt.Fprintln(errOut, "streamer:", err)
	return exitMisuse
}

// failure is what went wrong after the command line and the settings were understood.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// errShown is a failure that the command's own output has told already.
var errShown = errors.New("failed")
