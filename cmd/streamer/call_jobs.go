package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/client"
)

func jobsCommand(environ []string) *cobra.Command {
	return group("jobs", "shows the jobs, changes and steers them", jobsList(environ), jobsShow(environ), jobsGet(environ), jobsApply(environ),
		jobsDiff(environ), jobsDelete(environ), jobsLogs(environ),
		jobsDesire(environ, "start", "lets a stopped or paused job run",
			"Lets a job run that was stopped or paused, on all instances, also after a restart. It ends a hold of the dead-letter guard too."),
		jobsDesire(environ, "stop", "makes a job leave its group",
			"Makes a job leave its group, on all instances: attempts in flight may end, finished rows are committed. It stays stopped, also after\n"+
				"a restart, until it is started. Its offsets stay; Kafka forgets those of a group without members after a while\n"+
				"(offsets.retention.minutes), so they are committed anew every day."),
		jobsDesire(environ, "pause", "starts no more attempts, and stays in the group",
			"Starts no more attempts of a job, on all instances; those in flight may end. It stays a member of its group and keeps what was\n"+
				"read. It stays paused, also after a restart, until it is resumed."),
		jobsDesire(environ, "resume", "ends a pause, or a hold of the dead-letter guard",
			"Lets a paused job start attempts again. If the dead-letter guard holds it, the hold ends, and the rows that were to be given up\n"+
				"are delivered again."))
}

// jobsDesire is the command for one word of control's API.
func jobsDesire(environ []string, word, short, long string) *cobra.Command {
	c := &cobra.Command{Use: word + " JOB", Short: short, Long: long, Args: oneJob}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		d, err := api.Desire(ctx, args[0], word)
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), d, func(w io.Writer) { desiredText(w, d) })
	})
}

func desiredText(w io.Writer, d control.DesiredChange) {
	switch {
	case d.Before != d.Desired:
		_, _ = fmt.Fprintf(w, "%s: wanted %s, was %s\n", d.Job, d.Desired, d.Before)
	case d.HoldEnded == nil:
		_, _ = fmt.Fprintf(w, "%s: wanted %s, as before\n", d.Job, d.Desired)
	}
	if h := d.HoldEnded; h != nil {
		_, _ = fmt.Fprintf(w, "%s: no longer held: %s, since %s\n    %s\n", d.Job, h.Cause, moment(h.Since), h.Reason)
	}
	_, _ = fmt.Fprintf(w, "all instances follow within seconds: streamer jobs show %s\n", d.Job)
}

func jobsList(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "shows every job with its state and its lag", Args: cobra.NoArgs}
	var x watching
	x.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		return showing(ctx, c, x, *output, func() (control.JobPage, error) {
			page, err := api.Jobs(ctx)
			x.ageless(*output, &page.LogAge)
			return page, err
		}, func(w io.Writer, page control.JobPage) {
			jobsText(w, page.Jobs)
			unreachedText(w, page.Unreached)
			ageText(w, page.LogAge)
		})
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
		Use: "show JOB", Aliases: []string{"status"},
		Short: "shows one job: what it waits for, its partitions, its instances",
		Long: "Shows one job: its state, since when and why; what holds it and what ends that; every partition with its committed\n" +
			"offset, lag and pending records, and why it makes no progress; the targets whose breaker is open.",
		Args: oneJob,
	}
	var x watching
	x.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		return showing(ctx, c, x, *output, func() (control.JobView, error) {
			v, err := api.Job(ctx, args[0])
			x.ageless(*output, &v.LogAge)
			return v, err
		}, jobText)
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
	if v.Desired != "" && v.Desired != string(v.State) {
		say("wanted:          %s\n", v.Desired)
	}
	if v.Cause != "" {
		say("cause:           %s\n", v.Cause)
	}
	lag := maybe(v.Lag)
	if lag == "" {
		lag = "not known"
	}
	say("lag:             %s\nin flight:       %d\n", lag, v.InFlight)
	if v.Unproven > 0 {
		say("unproven:        %d rows: retry or give-up decides about one (streamer deliveries)\n", v.Unproven)
	}
	if len(v.Formats) > 0 {
		var found []string
		for _, f := range v.Formats {
			found = append(found, fmt.Sprintf("%s %d", f.Format, f.Records))
		}
		say("records read:    %s\n", strings.Join(found, ", "))
	}
	if len(v.Rows) > 0 {
		var ended []string
		for _, r := range v.Rows {
			ended = append(ended, fmt.Sprintf("%s %d", r.Outcome, r.Rows))
		}
		say("rows final:      %s\n", strings.Join(ended, ", "))
	}
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
	instancesText(w, v.Instances)
	unreachedText(w, v.Unreached)
	ageText(w, v.LogAge)
}

// ageText says how old that may be which an instance has out of the log in Kafka, from when on it refuses changes for that.
func ageText(w io.Writer, of control.LogAge) {
	if d := time.Duration(of.LogAgeSeconds * float64(time.Second)); d >= control.AwayAfter {
		_, _ = fmt.Fprintf(w, "as of %s ago: the log in Kafka could not be read since, and there may be changes that are not shown\n", age(d))
	}
}

func instancesText(w io.Writer, instances []control.InstanceView) {
	var lines [][]string
	for _, i := range instances {
		lines = append(lines, []string{i.Instance, string(i.State), ago(i.Since), strconv.Itoa(i.Partitions), maybe(i.Lag), strconv.Itoa(i.InFlight),
			strconv.Itoa(i.Unproven), i.Cause})
	}
	if len(lines) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w)
	table(w, "", []string{"INSTANCE", "STATE", "FOR", "PARTITIONS", "LAG", "IN FLIGHT", "UNPROVEN", "CAUSE"}, lines)
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
		case p.Stall != nil:
			what = "stalled: " + string(p.Stall.Cause)
		case p.Cause != "":
			what = "waits"
		case p.Full:
			what = "memory full"
		}
		lines = append(lines, []string{p.Topic, strconv.Itoa(int(p.Partition)), what, maybe(p.Committed), maybe(p.HighWatermark), maybe(p.Lag),
			strconv.Itoa(p.Pending), p.Instance})
	}
	if len(lines) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w)
	table(w, "", []string{"TOPIC", "PARTITION", "STATE", "COMMITTED", "END", "LAG", "PENDING", "INSTANCE"}, lines)
	for _, p := range partitions {
		name := p.Topic + "/" + strconv.Itoa(int(p.Partition))
		switch {
		case p.Hold != nil:
			holdText(w, name+" held", *p.Hold)
		case p.Cause != "" && p.Since != nil:
			_, _ = fmt.Fprintf(w, "%s waits since %s: %s\n", name, moment(*p.Since), p.Cause)
		}
		if p.Stall != nil && p.Hold == nil {
			_, _ = fmt.Fprintf(w, "%s no progress since %s: %s: %s\n", name, moment(p.Stall.Since), p.Stall.Cause, p.Stall.Reason)
		}
	}
}
