package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/client"
)

func deliveriesCommand(environ []string) *cobra.Command {
	return group("deliveries", "says where a record is on its way, and decides about a row", deliveriesFind(environ),
		deliveriesDecide(environ, consumer.Retry, "starts a row's next attempt now",
			"Starts the next attempt of a row now that waits for it. Its lane, its breaker and the job's pause or hold still hold it back."),
		deliveriesDecide(environ, consumer.GiveUp, "ends a row that is not delivered",
			"Ends a row: it becomes a dead letter, and its lane goes on. Where dead letters are off, it is gone but for the line in the audit.\n"+
				"An attempt that runs may end first; if it delivers the row, that counts."))
}

// positionFlags say which record or row is meant.
type positionFlags struct{ at consumer.Position }

func (p *positionFlags) declare(c *cobra.Command) {
	c.Flags().StringVar(&p.at.Topic, "topic", "", "topic of the record")
	c.Flags().Int32Var(&p.at.Partition, "partition", -1, "partition of the record")
	c.Flags().Int64Var(&p.at.Offset, "offset", -1, "offset of the record")
	c.Flags().Int32Var(&p.at.Row, "row", -1, "row of the record, from 0")
	c.Flags().StringVar(&p.at.Route, "route", "", "route that is meant, of a job with routes")
}

// need names the flags that are missing or cannot be meant.
func (p *positionFlags) need(c *cobra.Command, names ...string) error {
	var missing []string
	for _, name := range names {
		if !c.Flags().Changed(name) {
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) > 0 {
		return misuse{fmt.Errorf("%s needs %s; usage: %s", c.CommandPath(), strings.Join(missing, ", "), c.UseLine())}
	}
	for name, n := range map[string]int64{"partition": int64(p.at.Partition), "offset": p.at.Offset, "row": int64(p.at.Row)} {
		if c.Flags().Changed(name) && n < 0 {
			return misuse{fmt.Errorf("--%s: %d is less than 0", name, n)}
		}
	}
	return nil
}

func deliveriesFind(environ []string) *cobra.Command {
	c := &cobra.Command{
		Example: "  streamer deliveries find people --topic Person --partition 3 --offset 1500\n" +
			"  streamer deliveries find people --key hh-044",
		Use:   "find JOB (--topic NAME --partition N --offset N [--row N] [--route NAME] | --key KEY)",
		Short: "says where a record is: in flight, waiting and for what, final, not read",
		Long: "Says where a record is on its way, row by row: committed, finished above the committed offset, in flight with the number of its\n" +
			"attempt, waiting and for what, behind which row, filtered, dead-lettered, parked, expired, not read yet; also while the job is\n" +
			"stopped. With --key it shows the rows of that key (or of that lane) that are not final, and its open dead letters, in all\n" +
			"partitions; delivered ones are not listed.",
		Args: oneJob,
	}
	var p positionFlags
	p.declare(c)
	key := c.Flags().String("key", "", "key of the records, or value of the lane")
	limit := c.Flags().Int("limit", 0, "with --key: at most so many rows, up to 1000 (default 100)")
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		var page control.FoundPage
		var err error
		given := c.Flags().Changed
		switch {
		case given("key") && (given("topic") || given("partition") || given("offset") || given("row") || given("route")):
			return misuse{fmt.Errorf("%s takes either --key or --topic, --partition and --offset", c.CommandPath())}
		case given("key"):
			page, err = api.FindKey(ctx, args[0], *key, *limit)
		default:
			if err := p.need(c, "topic", "partition", "offset"); err != nil {
				return err
			}
			page, err = api.FindRecord(ctx, args[0], p.at)
		}
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), page, func(w io.Writer) {
			foundText(w, page)
			if given("key") {
				_, _ = fmt.Fprintln(w, "rows of the key that are delivered, filtered, or not read yet are not listed; ask for them by --topic, --partition and --offset")
			}
		})
	})
}

func foundText(w io.Writer, page control.FoundPage) {
	if len(page.Found) == 0 {
		_, _ = fmt.Fprintln(w, "no row of it is on its way, and no dead letter of it is open")
	}
	for _, f := range page.Found {
		_, _ = fmt.Fprintf(w, "%s: %s\n", f.Position, f.State)
		line := func(name, format string, args ...any) {
			_, _ = fmt.Fprintf(w, "    %-10s "+format+"\n", append([]any{name + ":"}, args...)...)
		}
		if f.Reason != "" {
			line("reason", "%s", f.Reason)
		}
		if f.Step != "" {
			line("step", "%s", f.Step)
		}
		if f.Behind != nil {
			line("behind", "%s", *f.Behind)
		}
		if f.BehindLetter != nil {
			line("behind", "dead letter %s", *f.BehindLetter)
		}
		if l := f.Letter; l != nil {
			line("letter", "%s, written %s, %s: %s", l.LetterAddress, moment(l.At), l.Class, l.Reason)
		}
		if f.Attempts > 0 {
			line("attempts", "%d, %d of them counted", f.Attempts, f.Counted)
		}
		if f.Last != "" {
			line("last", "%s", f.Last)
		}
		if f.Next != nil {
			line("next", "%s (in %s)", stamp(*f.Next), age(f.Next.Sub(clock())))
		}
		if f.Polled != nil {
			line("read", "%s", moment(*f.Polled))
		}
		if f.Committed >= 0 || f.HighWatermark >= 0 {
			line("partition", "committed %s, end %s", offsetText(f.Committed), offsetText(f.HighWatermark))
		}
		if f.Instance != "" {
			line("instance", "%s", f.Instance)
		}
	}
	if page.Problem != "" {
		_, _ = fmt.Fprintf(w, "not everything is shown: %s\n", page.Problem)
	}
	unreachedText(w, page.Unreached)
}

func offsetText(n int64) string {
	if n < 0 {
		return "not known"
	}
	return fmt.Sprint(n)
}

// unreachedText names the instances that may know more.
func unreachedText(w io.Writer, missing []control.Unreached) {
	for _, m := range missing {
		_, _ = fmt.Fprintf(w, "not asked: %s: %s\n", m.Instance, m.Cause)
	}
}

func deliveriesDecide(environ []string, d consumer.Decision, short, long string) *cobra.Command {
	c := &cobra.Command{Use: string(d) + " JOB --topic NAME --partition N --offset N --row N [--route NAME]", Short: short, Long: long, Args: oneJob}
	var p positionFlags
	p.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		if err := p.need(c, "topic", "partition", "offset", "row"); err != nil {
			return err
		}
		done, err := api.Decide(ctx, args[0], p.at, d)
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), done, func(w io.Writer) {
			text := "its next attempt starts now"
			if d == consumer.GiveUp {
				text = "given up; its lane goes on when its dead letter is written"
			}
			_, _ = fmt.Fprintf(w, "%s: %s\n", done.Position, text)
		})
	})
}
