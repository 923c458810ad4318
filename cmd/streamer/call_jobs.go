package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/client"
)

func jobsCommand(environ []string) *cobra.Command {
	return group("jobs", "shows the jobs, and steers them", jobsList(environ), jobsShow(environ))
}

func jobsList(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "shows every job with its state and its lag", Args: cobra.NoArgs}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		jobs, err := api.Jobs(ctx)
		if err != nil {
			return err
		}
		page := control.JobPage{Jobs: append([]control.JobSummary{}, jobs...)}
		return output.print(c.OutOrStdout(), page, func(w io.Writer) { jobsText(w, jobs) })
	})
}

func jobsText(w io.Writer, jobs []control.JobSummary) {
	if len(jobs) == 0 {
		_, _ = fmt.Fprintln(w, "there are no jobs")
		return
	}
	var lines [][]string
	for _, j := range jobs {
		lines = append(lines, []string{j.ID, stateText(j), ago(j.Since), maybe(j.Lag), strconv.Itoa(j.InFlight), oldest(j), j.Cause})
	}
	table(w, "", []string{"JOB", "STATE", "FOR", "LAG", "IN FLIGHT", "OLDEST", "CAUSE"}, lines)
}

// stateText is the state with the causes of its holds.
func stateText(j control.JobSummary) string {
	text := string(j.State)
	for i, h := range j.Holds {
		if i == 0 {
			text += ": " + string(h.Cause)
		} else {
			text += ", " + string(h.Cause)
		}
	}
	return text
}

// oldest is how long ago the oldest record that is not finished was read.
func oldest(j control.JobSummary) string {
	if j.OldestPendingSeconds <= 0 {
		return ""
	}
	return age(time.Duration(j.OldestPendingSeconds * float64(time.Second)))
}

func jobsShow(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "show JOB",
		Short: "shows one job: what it waits for, its partitions, its instances",
		Long: "Shows one job: its state, since when and why; what holds it and what ends that; every partition with its committed\n" +
			"offset, lag and pending records; the targets whose breaker is open.",
		Args: oneJob,
	}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		v, err := api.Job(ctx, args[0])
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), v, func(w io.Writer) { jobText(w, v) })
	})
}

func jobText(w io.Writer, v control.JobView) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	say("job:             %s\n", v.ID)
	if v.Owner != "" {
		say("owner:           %s\n", v.Owner)
	}
	say("state:           %s\n", stateText(v.JobSummary))
	say("since:           %s\n", moment(v.Since))
	if v.Cause != "" {
		say("cause:           %s\n", v.Cause)
	}
	lag := maybe(v.Lag)
	if lag == "" {
		lag = "not known"
	}
	say("lag:             %s\nin flight:       %d\n", lag, v.InFlight)
	if o := oldest(v.JobSummary); o != "" {
		say("oldest pending:  %s\n", o)
	}
	if v.File != "" {
		say("file:            %s\n", v.File)
	}
	for _, h := range v.Holds {
		holdText(w, "held", h)
	}
	for _, b := range v.BreakersOpen {
		say("breaker open:    %s: %s\n", b.Target, b.Cause)
	}
	partitionsText(w, v.Partitions)
}

func holdText(w io.Writer, what string, h consumer.Hold) {
	_, _ = fmt.Fprintf(w, "%s: %s, since %s\n    %s\n    next: %s\n", what, h.Cause, moment(h.Since), h.Reason, h.Next)
}

func partitionsText(w io.Writer, partitions []control.PartitionView) {
	var lines [][]string
	for _, p := range partitions {
		what := "read"
		switch {
		case p.Hold != nil:
			what = "held: " + string(p.Hold.Cause)
		case p.Cause != "":
			what = "waits"
		case p.Full:
			what = "memory full"
		}
		lines = append(lines, []string{p.Topic, strconv.Itoa(int(p.Partition)), what, maybe(p.Committed), maybe(p.HighWatermark), maybe(p.Lag),
			strconv.Itoa(p.Pending)})
	}
	if len(lines) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w)
	table(w, "", []string{"TOPIC", "PARTITION", "STATE", "COMMITTED", "END", "LAG", "PENDING"}, lines)
	for _, p := range partitions {
		name := p.Topic + "/" + strconv.Itoa(int(p.Partition))
		switch {
		case p.Hold != nil:
			holdText(w, name+" held", *p.Hold)
		case p.Cause != "" && p.Since != nil:
			_, _ = fmt.Fprintf(w, "%s waits since %s: %s\n", name, moment(*p.Since), p.Cause)
		}
	}
}
