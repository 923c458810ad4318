package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"streamer/control"
	"streamer/control/client"
)

func lettersGiveUp(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "give-up JOB",
		Short: "makes dead letters final without sending them",
		Long: "Makes open and parked dead letters final: nothing is sent, no redrive takes them any more, and a key that was parked behind them\n" +
			"goes on. They stay in the topic. It counts first, and asks.",
		Args: oneJob,
	}
	var l letterFlags
	l.declare(c)
	var s sure
	s.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		q, err := l.query(c)
		if err != nil {
			return err
		}
		plan, err := api.GiveUpLetters(ctx, args[0], control.GiveUpRequest{LetterQuery: q, DryRun: true})
		if err != nil {
			return err
		}
		if s.dryRun || plan.GivenUp == 0 {
			return output.print(c.OutOrStdout(), plan, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "%d would be given up\n", plan.GivenUp)
			})
		}
		if err := s.ask(c, fmt.Sprintf("give %d dead letters of %s up?", plan.GivenUp, args[0])); err != nil {
			return err
		}
		given, err := api.GiveUpLetters(ctx, args[0], control.GiveUpRequest{LetterQuery: q})
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), given, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%d given up\n", given.GivenUp) })
	})
}
