package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// sure is how a command is told to do what cannot be undone: it shows what it would do, and asks.
type sure struct{ dryRun, yes bool }

func (s *sure) declare(c *cobra.Command) {
	c.Flags().BoolVar(&s.dryRun, "dry-run", false, "show what would be done, and stop")
	c.Flags().BoolVar(&s.yes, "yes", false, "do not ask")
}

var errDeclined = errors.New("nothing was done")

// ask waits for a yes on the terminal. Where nobody can answer, --yes has to say it.
func (s *sure) ask(c *cobra.Command, question string) error {
	if s.yes {
		return nil
	}
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) { // its descriptor is small
		return misuse{fmt.Errorf("%s would ask, and there is no terminal; say --yes, or look with --dry-run", c.CommandPath())}
	}
	_, _ = fmt.Fprintf(c.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err == nil && (strings.EqualFold(strings.TrimSpace(answer), "y") || strings.EqualFold(strings.TrimSpace(answer), "yes")) {
		return nil
	}
	return errDeclined
}
