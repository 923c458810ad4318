package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"streamer/control"
	"streamer/control/client"
)

// goneEvery is how often is looked whether a deleted job is gone.
const goneEvery = 300 * time.Millisecond

func jobsGet(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "get JOB",
		Short: "prints a job as it was defined",
		Long: "Prints a job as it was defined, as YAML, or with -o json as JSON: a job file, for apply. A secret reads ********, which apply takes\n" +
			"for \"as it is\" while the job calls the same targets.",
		Args: oneJob,
	}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		d, err := api.Definition(ctx, args[0])
		switch {
		case err != nil:
			return err
		case d.Unreadable != "":
			return errors.New(d.Unreadable)
		case *output != asText:
			return output.write(c.OutOrStdout(), d.Document)
		}
		var failed error
		err = output.print(c.OutOrStdout(), d, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "# revision %s, by %s, %s\n", d.Revision, d.By, moment(d.Modified))
			if d.Deleting != nil {
				_, _ = fmt.Fprintf(w, "# it is being deleted, by %s, since %s\n", d.Deleting.By, moment(d.Deleting.At))
			}
			failed = asYAML.write(w, d.Document)
		})
		return errors.Join(err, failed)
	})
}

// deleted is what became of a job that was deleted.
type deleted struct {
	Job     string `json:"job"`
	Offsets bool   `json:"offsets"`
	Letters bool   `json:"letters"`
	// Gone says that it is removed; else its instances still leave its group.
	Gone bool `json:"gone"`
}

func jobsDelete(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "delete JOB",
		Short: "stops a job on every instance, and removes it",
		Long: "Lets every instance leave the job's group, and removes the job then. It asks first, and waits until the job is gone. The group's\n" +
			"committed offsets and the dead letters stay, so that a job with the same group goes on where this one ended, unless --offsets\n" +
			"and --letters delete them. A job whose file is still there comes back with the next start of an instance.",
		Args: oneJob,
	}
	var offsets, letters, noWait bool
	c.Flags().BoolVar(&offsets, "offsets", false, "delete the consumer group with its committed offsets, too")
	c.Flags().BoolVar(&letters, "letters", false, "delete the dead-letter topic, too")
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is gone")
	var s sure
	s.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		d, err := api.Definition(ctx, args[0])
		if err != nil {
			return err
		}
		out := deleted{Job: d.ID, Offsets: offsets, Letters: letters}
		if s.dryRun {
			return output.print(c.OutOrStdout(), out, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s would be deleted; %s\n", d.ID, out.what()) })
		}
		if err := s.ask(c, fmt.Sprintf("delete %s of %s? %s", d.ID, d.Owner, out.what())); err != nil {
			return err
		}
		if _, err := api.DeleteJob(ctx, d.ID, d.Revision, offsets, letters); err != nil {
			return err
		}
		if !noWait {
			out.Gone, err = gone(ctx, api, d.ID)
		}
		if err := output.print(c.OutOrStdout(), out, out.text); err != nil {
			return err
		}
		if err != nil {
			return fmt.Errorf("whether it is gone is not known: %w", err)
		}
		if !noWait && !out.Gone {
			return errShown
		}
		return nil
	})
}

// what says what goes with the job, and what stays.
func (d deleted) what() string {
	switch {
	case d.Offsets && d.Letters:
		return "its committed offsets and its dead letters go with it"
	case d.Offsets:
		return "its committed offsets go with it, its dead letters stay"
	case d.Letters:
		return "its dead letters go with it, its committed offsets stay"
	}
	return "its committed offsets and its dead letters stay"
}

func (d deleted) text(w io.Writer) {
	if d.Gone {
		_, _ = fmt.Fprintf(w, "%s: deleted; %s\n", d.Job, d.what())
		return
	}
	_, _ = fmt.Fprintf(w, "%s: being deleted: it is gone when every instance has left its group; %s\n", d.Job, d.what())
}

// gone waits until a job that is being deleted is gone, or is another one; false: ctx ended before.
func gone(ctx context.Context, api *client.Client, id string) (bool, error) {
	tick := time.NewTicker(goneEvery)
	defer tick.Stop()
	for {
		switch d, err := api.Definition(ctx, id); {
		case ctx.Err() != nil:
			return false, nil
		case statusOf(err) == http.StatusNotFound, err == nil && d.Deleting == nil && d.Unreadable == "":
			return true, nil
		case err != nil:
			return false, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, nil
		}
	}
}

func jobsLogs(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "logs JOB",
		Short: "prints the last lines of the log about a job, of all instances",
		Long: "Prints the last lines of the log that are about a job, of all instances, the oldest first. Each instance keeps 100 of a job.\n" +
			"--follow prints new ones as they come, until Ctrl-C.",
		Args: oneJob,
	}
	var follow bool
	c.Flags().BoolVarP(&follow, "follow", "f", false, "print new lines as they come")
	limit := c.Flags().Int("limit", 0, "at most so many lines, the newest (default 100)")
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		if c.Flags().Changed("limit") && *limit < 1 {
			return misuse{fmt.Errorf("--limit: %d is less than 1", *limit)}
		}
		page, err := api.JobLog(ctx, args[0], *limit)
		if err != nil {
			return err
		}
		if !follow {
			return output.print(c.OutOrStdout(), page, func(w io.Writer) {
				linesText(w, page.Lines)
				if len(page.Lines) == 0 {
					_, _ = fmt.Fprintln(w, "no lines")
				}
				unreachedText(w, page.Unreached)
			})
		}
		var seen followed
		return every(ctx, func() error {
			for _, l := range seen.news(page.Lines) {
				if err := output.one(c.OutOrStdout(), l, func(w io.Writer) { linesText(w, []control.InstanceLine{l}) }); err != nil {
					return err
				}
			}
			return nil
		}, func() (err error) {
			page, err = api.JobLog(ctx, args[0], 0)
			return err
		})
	})
}

func linesText(w io.Writer, lines []control.InstanceLine) {
	for _, l := range lines {
		_, _ = fmt.Fprintf(w, "%s %-5s %s: %s\n", l.At.UTC().Format("2006-01-02 15:04:05.000Z"), l.Level, l.Instance, l.Text)
	}
}

// followed knows which lines were printed: those of an instance come in the order of their time.
type followed struct {
	last map[string]time.Time
	// at are the lines of that time, as several may have it.
	at map[control.InstanceLine]bool
}

// news gives the lines that were not there before.
func (f *followed) news(page []control.InstanceLine) (lines []control.InstanceLine) {
	if f.last == nil {
		f.last, f.at = map[string]time.Time{}, map[control.InstanceLine]bool{}
	}
	for _, l := range page {
		last, known := f.last[l.Instance]
		if known && (l.At.Before(last) || f.at[l]) {
			continue
		}
		lines = append(lines, l)
	}
	for _, l := range lines {
		if l.At.After(f.last[l.Instance]) {
			for old := range f.at {
				if old.Instance == l.Instance {
					delete(f.at, old)
				}
			}
			f.last[l.Instance] = l.At
		}
		f.at[l] = true
	}
	return lines
}

// one prints v as one of several that follow each other: JSON in a line, YAML as a document.
func (f format) one(w io.Writer, v any, text func(io.Writer)) error {
	switch f {
	case asJSON:
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	case asYAML:
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
	}
	return f.print(w, v, text)
}
