package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/client"
)

func offsetsCommand(environ []string) *cobra.Command {
	return group("offsets", "shows and sets where jobs go on", offsetsShow(environ), offsetsReset(environ), offsetsUndo(environ), offsetsAccept(environ))
}

func offsetsAccept(environ []string) *cobra.Command {
	c := &cobra.Command{
		Example: "  streamer offsets accept people --at committed --dry-run",
		Use:     "accept JOB --at earliest|latest|committed|OFFSET [--topic NAME [--partition N]]",
		Short:   "lets held partitions go on, after a gap in the log",
		Long: "Lets partitions go on that are held because records expired, offsets were lost, a topic was made anew, a log was cut, or a batch\n" +
			"cannot be read. It shows where each would have gone on, where it goes on now, and how many records are skipped, and asks.\n" +
			"--at says where: earliest (the start of the log), latest (its end), committed (where the job was, or the start of the log if\n" +
			"that is later), or an offset. It is written to the audit.",
		Args: oneJob,
	}
	a := consumer.Acceptance{Partition: -1}
	c.Flags().StringVar(&a.Topic, "topic", "", "only partitions of this topic")
	c.Flags().Int32Var(&a.Partition, "partition", -1, "only this partition")
	c.Flags().StringVar(&a.At, "at", "", "where to go on: earliest, latest, committed, or an offset")
	var s sure
	s.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		switch given := c.Flags().Changed; {
		case !given("at"):
			return misuse{fmt.Errorf("%s needs --at earliest, latest, committed, or an offset; usage: %s", c.CommandPath(), c.UseLine())}
		case given("partition") && !given("topic"):
			return misuse{fmt.Errorf("--partition needs --topic")}
		case given("partition") && a.Partition < 0:
			return misuse{fmt.Errorf("--partition: %d is less than 0", a.Partition)}
		}
		a.DryRun = true
		page, err := api.Accept(ctx, args[0], a)
		if err != nil {
			return err
		}
		show := func(page control.AcceptedPage) error {
			return output.print(c.OutOrStdout(), page, func(w io.Writer) { acceptedText(w, page) })
		}
		switch {
		case len(page.Accepted) == 0: // an instance that may hold some was not reached
			return errors.Join(show(page), errShown)
		case s.dryRun:
			return show(page)
		}
		if !s.yes {
			if err := asText.print(c.ErrOrStderr(), page, func(w io.Writer) { acceptedText(w, page) }); err != nil {
				return err
			}
		}
		if err := s.ask(c, fmt.Sprintf("let %d partitions of %s go on there?", len(page.Accepted), args[0])); err != nil {
			return err
		}
		a.DryRun = false
		if page, err = api.Accept(ctx, args[0], a); err != nil {
			return err
		}
		return show(page)
	})
}

func acceptedText(w io.Writer, page control.AcceptedPage) {
	var lines [][]string
	for _, x := range page.Accepted {
		before := ""
		if x.Before >= 0 {
			before = strconv.FormatInt(x.Before, 10)
		}
		lines = append(lines, []string{x.Topic, strconv.Itoa(int(x.Partition)), string(x.Cause), before, strconv.FormatInt(x.After, 10), strconv.FormatInt(x.Skipped, 10)})
	}
	if len(lines) == 0 {
		_, _ = fmt.Fprintln(w, "nothing is held there")
	} else {
		table(w, "", []string{"TOPIC", "PARTITION", "HELD FOR", "BEFORE", "AFTER", "SKIPPED"}, lines)
	}
	unreachedText(w, page.Unreached)
}
