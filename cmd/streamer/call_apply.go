package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/client"
)

func jobsApply(environ []string) *cobra.Command {
	c := &cobra.Command{
		Example: "  streamer jobs apply -f people.yaml\n" +
			"  streamer jobs apply -f jobs/ --prune --owner demo --dry-run",
		Use:   "apply -f FILE|DIR|-",
		Short: "makes jobs what their files say",
		Long: "Creates the jobs of files that are not there yet, and changes those that differ. It checks all files first and shows every fault with\n" +
			"its file and line; then what would change of each job, and what that does to its rows; then it asks. A job that somebody changed\n" +
			"meanwhile is left alone. --prune deletes the jobs that stand in none of the files, as far as you may edit them. What is the same\n" +
			"already is not touched, so that the command may be repeated.",
		Args: noneButFiles,
	}
	files := filesFlag(c)
	var r pruning
	c.Flags().BoolVar(&r.wanted, "prune", false, "delete the jobs that stand in none of the files; their offsets and dead letters stay")
	c.Flags().StringVar(&r.owner, "owner", "", "with --prune: only jobs of this owner")
	var s sure
	s.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		if r.owner != "" && !r.wanted {
			return misuse{errors.New("--owner says which jobs --prune deletes; give --prune too, or leave it out")}
		}
		set, err := readFiles(c, *files)
		if err != nil {
			return err
		}
		p, err := plan(ctx, api, set, r)
		if err != nil {
			return err
		}
		switch p.count(); {
		case p.faults() > 0:
			return errors.Join(output.print(c.OutOrStdout(), p, func(w io.Writer) {
				findingsText(w, p.Findings)
				_, _ = fmt.Fprintf(w, "%s; nothing was done\n", counted(p.faults(), "fault"))
			}), errShown)
		case s.dryRun || p.question() == "":
			return output.print(c.OutOrStdout(), p, p.text)
		}
		if err := asText.print(c.ErrOrStderr(), p, p.text); err != nil {
			return err
		}
		if err := s.ask(c, p.question()); err != nil {
			return err
		}
		p.carryOut(ctx, api)
		if err := output.print(c.OutOrStdout(), p, p.outcomeText); err != nil {
			return err
		}
		if p.Failed > 0 {
			return errShown
		}
		return nil
	})
}

func jobsDiff(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "diff -f FILE|DIR|-",
		Short: "shows what apply would change",
		Long: "Shows what apply would create and change, and what that does to rows. As diff(1) does it ends with 0 when there is no difference,\n" +
			"with 1 when there is one, and with 2 when that could not be found out.",
		Args: noneButFiles,
	}
	files := filesFlag(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		set, err := readFiles(c, *files)
		if err != nil {
			return trouble(c, err)
		}
		p, err := plan(ctx, api, set, pruning{})
		if err != nil {
			return trouble(c, err)
		}
		p.count()
		if err := output.print(c.OutOrStdout(), p, p.text); err != nil {
			return trouble(c, err)
		}
		switch {
		case p.faults() > 0:
			return trouble(c, errors.New(counted(p.faults(), "fault")))
		case p.question() != "":
			return errShown
		}
		return nil
	})
}

// trouble ends diff with 2, whatever it was: 1 says that there is a difference.
func trouble(c *cobra.Command, err error) error { return misuse{errors.New(told(c, err).Error())} }

// filesFlag adds -f to a command.
func filesFlag(c *cobra.Command) *[]string {
	files := c.Flags().StringArrayP("file", "f", nil, "job file, or directory of job files, or - for what comes in; may stand several times")
	return files
}

// noneButFiles refuses arguments, and says how files are given.
func noneButFiles(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes files with -f; usage: %s", c.CommandPath(), c.UseLine())
	}
	return nil
}

// action is what is to be done with a job.
type action string

const (
	toCreate action = "create"
	toChange action = "change"
	toDelete action = "delete"
	toKeep   action = "none"
)

// done is how an action reads afterwards.
var done = map[action]string{toCreate: "created", toChange: "changed", toDelete: "being deleted", toKeep: "unchanged"}

// applying is what apply finds and does, as it is printed.
type applying struct {
	Jobs     []appliedJob   `json:"jobs"`
	Findings []shownFinding `json:"findings,omitempty"`
	// Applied says that it was done; else the numbers are what would be. Failed are those that could not be; they are not in the other
	// numbers.
	Applied   bool `json:"applied"`
	Created   int  `json:"created"`
	Changed   int  `json:"changed"`
	Unchanged int  `json:"unchanged"`
	Deleted   int  `json:"deleted"`
	Failed    int  `json:"failed"`
}

// appliedJob is one job of it.
type appliedJob struct {
	Job    string `json:"job"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Action action `json:"action"`
	// Revision is the one that it was compared with, and after a change the new one; empty: there is no such job yet.
	Revision string `json:"revision,omitempty"`
	// Changes are those of a job that is there, Effect what they do together, and Offsets what that does to records where topics or group
	// change; Uncounted says why that is not known.
	Changes   []control.Change   `json:"changes,omitempty"`
	Effect    string             `json:"effect,omitempty"`
	Offsets   *consumer.MovePlan `json:"offsets,omitempty"`
	Uncounted string             `json:"uncounted,omitempty"`
	// Problem is why it could not be done.
	Problem string `json:"problem,omitempty"`

	document []byte
}

func (p *applying) faults() (n int) {
	for _, f := range p.Findings {
		if f.Severity == "error" {
			n++
		}
	}
	return n
}

// count brings the numbers up to the jobs.
func (p *applying) count() {
	p.Created, p.Changed, p.Unchanged, p.Deleted, p.Failed = 0, 0, 0, 0, 0
	for _, j := range p.Jobs {
		switch {
		case j.Problem != "":
			p.Failed++
		case j.Action == toCreate:
			p.Created++
		case j.Action == toChange:
			p.Changed++
		case j.Action == toDelete:
			p.Deleted++
		default:
			p.Unchanged++
		}
	}
}

// question asks for what is to be done; empty: there is nothing to do.
func (p *applying) question() string {
	var parts []string
	for _, part := range []struct {
		what string
		n    int
	}{{"create", p.Created}, {"change", p.Changed}, {"delete", p.Deleted}} {
		if part.n > 0 {
			parts = append(parts, part.what+" "+counted(part.n, "job"))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + "?"
}

// text is what would be done.
func (p *applying) text(w io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	findingsText(w, p.Findings)
	for _, j := range p.Jobs {
		switch j.Action {
		case toCreate:
			say("%s: new\n", j.Job)
		case toChange:
			say("%s: %s, effect: %s (revision %s)\n", j.Job, counted(len(j.Changes), "change"), j.Effect, j.Revision)
		case toDelete:
			say("%s: stands in no file and would be deleted; its offsets and dead letters stay\n", j.Job)
		default:
			say("%s: unchanged\n", j.Job)
		}
		for _, x := range j.Changes {
			changeText(w, x)
		}
		if j.Uncounted != "" {
			say("    %s\n", j.Uncounted)
		}
		if j.Offsets != nil {
			moveText(w, *j.Offsets)
		}
	}
}

// mostMoved is how many partitions of a job are shown.
const mostMoved = 20

// moveText is what happens to records.
func moveText(w io.Writer, plan consumer.MovePlan) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	say("    records: at most %d sent again, %d skipped, %d new\n", plan.Again, plan.Skipped, plan.New)
	for i, p := range plan.Partitions {
		if i == mostMoved {
			say("      and %d more partitions (-o json has all)\n", len(plan.Partitions)-i)
			break
		}
		say("      %s/%d: %s -> %s, %d sent again, %d skipped, %d new", p.Topic, p.Partition, moveEnd(p.Before), moveEnd(p.After), p.Again, p.Skipped, p.New)
		if p.Note != "" {
			say(" (%s)", p.Note)
		}
		say("\n")
	}
}

// moveEnd is an offset, or none.
func moveEnd(offset int64) string {
	if offset < 0 {
		return "none"
	}
	return fmt.Sprint(offset)
}

func changeText(w io.Writer, x control.Change) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	say("    %s: %s\n", x.Field, x.Effect)
	if x.Consequence != "" {
		say("      %s\n", x.Consequence)
	}
	if x.Before != nil {
		say("      - %s\n", x.Before)
	}
	if x.After != nil {
		say("      + %s\n", x.After)
	}
}

// outcomeText is what was done.
func (p *applying) outcomeText(w io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	for _, j := range p.Jobs {
		switch {
		case j.Problem != "":
			say("%s: failed: %s\n", j.Job, j.Problem)
		case j.Action == toCreate || j.Action == toChange:
			say("%s: %s, revision %s\n", j.Job, done[j.Action], j.Revision)
		default:
			say("%s: %s\n", j.Job, done[j.Action])
		}
	}
	say("%d created, %d changed, %d unchanged, %d deleted, %d failed\n", p.Created, p.Changed, p.Unchanged, p.Deleted, p.Failed)
}

// sorted brings findings into the order of files and lines.
func (p *applying) sorted() {
	slices.SortStableFunc(p.Findings, func(a, b shownFinding) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
}
