package main

import (
	"errors"

	"github.com/spf13/cobra"

	"streamer/cmd/streamer/demo"
)

// demoCommand gives the demo's failures their exit code.
func demoCommand() *cobra.Command {
	c := demo.Command()
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		err := run(c, args)
		switch {
		case errors.Is(err, demo.ErrVerdict):
			return errShown
		case err != nil:
			return failure{err}
		}
		return nil
	}
	return c
}
