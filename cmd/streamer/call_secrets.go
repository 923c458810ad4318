package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"streamer/control"
	"streamer/control/client"
)

func secretsCommand(environ []string) *cobra.Command {
	return group("secrets", "seals the secrets of jobs", secretsRotateCommand(environ))
}

func secretsRotateCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "rotate",
		Short: "seals the secrets of every job with the first key of the instance",
		Long: "Seals the secrets of every job anew with the first key of STREAMER_SECRET_KEY of the instance that is called, so that the\n" +
			"others can be taken away. It ends with 1 when secrets were left that no key of that instance opens.",
		Args: cobra.NoArgs,
	}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		var done control.Rotation
		if err := api.Call(ctx, "system.rotate-secrets", struct{}{}, &done); err != nil {
			return err
		}
		err := output.print(c.OutOrStdout(), done, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "key %s: secrets of %d jobs sealed anew, %d jobs had nothing to seal\n", done.Key, done.Resealed, done.Current)
			for _, f := range done.Left {
				_, _ = fmt.Fprintf(w, "left    job %s\n", f)
			}
		})
		if err == nil && len(done.Left) > 0 {
			err = errShown
		}
		return err
	})
}
