package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/client"
)

func lettersRedrive(environ []string) *cobra.Command {
	c := &cobra.Command{
		Example: "  streamer deadletters redrive people --dry-run\n" +
			"  streamer deadletters redrive people --class rejected --since 2d --rate 10",
		Use:   "redrive JOB",
		Short: "sends dead letters again, through the job as it is defined now",
		Long: "Sends open and parked dead letters again, through the job as it is defined now, whether it runs or not. It counts first, warns\n" +
			"where newer rows of a key were delivered meanwhile, and asks. Ctrl-C stops it: requests in flight may end, and what is left\n" +
			"stays open, so that the same command goes on with it. --dry-run shows the first requests. Exit code 1 if one failed again.",
		Args: oneJob,
	}
	var l letterFlags
	l.declare(c)
	var r control.RedriveRequest
	c.Flags().IntVar(&r.Limit, "limit", 0, "at most so many letters (default all)")
	c.Flags().Float64Var(&r.Rate, "rate", 0, "at most so many attempts per second (default the job's own limit)")
	c.Flags().BoolVar(&r.KeepKeys, "keep-keys", false, "send the idempotency keys of the first delivery: an API that has seen one may answer without doing the work")
	c.Flags().BoolVar(&r.PastGuard, "past-guard", false, "send letters too that were redriven 5 times or more")
	var s sure
	s.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		q, err := l.query(c)
		if err != nil {
			return err
		}
		r.LetterQuery, r.DryRun = q, true
		plan, err := api.Redrive(ctx, args[0], r, func(consumer.RedriveProgress) {})
		if err != nil {
			return err
		}
		switch {
		case s.dryRun:
			return output.print(c.OutOrStdout(), plan, func(w io.Writer) {
				planText(w, plan)
				samplesText(w, plan.Samples)
			})
		case plan.Left == 0:
			return output.print(c.OutOrStdout(), plan, func(w io.Writer) { planText(w, plan) })
		}
		if err := asText.print(c.ErrOrStderr(), plan, func(w io.Writer) { planText(w, plan) }); err != nil {
			return err
		}
		if err := s.ask(c, fmt.Sprintf("send %d dead letters of %s again?", letters(plan, r.Limit), args[0])); err != nil {
			return err
		}
		r.DryRun = false
		line := newProgress(c.ErrOrStderr())
		report, err := api.Redrive(ctx, args[0], r, line.show)
		line.end()
		stopped := ctx.Err() != nil
		if err != nil && !stopped {
			return fmt.Errorf("%w; what was sent is done, and the same command goes on with the rest", err)
		}
		if err := output.print(c.OutOrStdout(), report, func(w io.Writer) { reportText(w, report, stopped) }); err != nil {
			return err
		}
		if stopped || report.FailedAgain > 0 {
			return errShown
		}
		return nil
	})
}

// letters is how many a redrive will send.
func letters(plan control.RedriveReport, limit int) int {
	if limit > 0 {
		return min(limit, plan.Left)
	}
	return plan.Left
}

// planText is what a redrive would do, with what an operator should think about first.
func planText(w io.Writer, p control.RedriveReport) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	if p.Matching == 0 {
		say("no open dead letters match")
	} else {
		countsText(w, p.Classes)
	}
	if p.Refused > 0 {
		say("%d were redriven 5 times or more, and are left out: --past-guard sends them", p.Refused)
	}
	if p.Behind > 0 {
		say("%d stand behind a letter of their key that is left out, and are left out too", p.Behind)
	}
	if p.Beyond > 0 {
		say("%d do not fit into one redrive: the next one takes them", p.Beyond)
	}
	more := ""
	if !p.Newer.Complete {
		more = ", and not all were looked at"
	}
	switch {
	case p.Newer.Letters > 0:
		say("WARNING: %d of them have newer rows of their key%s: sent again, they bring an old state after a newer one", p.Newer.Letters, more)
	case more != "" && p.Matching > 0:
		say("whether newer rows of their keys were delivered meanwhile is not known%s", more)
	}
	if p.Problem != "" {
		say("%s", p.Problem)
	}
}

func samplesText(w io.Writer, samples []control.RedriveSample) {
	for _, s := range samples {
		_, _ = fmt.Fprintf(w, "\n# letter %d/%d, row %s", s.Letter.Partition, s.Letter.Offset, sourceText(s.Source))
		if s.Problem != "" {
			_, _ = fmt.Fprintf(w, ": %s", s.Problem)
		}
		_, _ = fmt.Fprintln(w)
		for _, r := range s.Requests {
			if r.Method == "" {
				_, _ = fmt.Fprintf(w, "# %s\n", strings.TrimSuffix(r.Verdict+": "+r.Problem, ": "))
				continue
			}
			_, _ = fmt.Fprintf(w, "%s %s\n", r.Method, r.URL)
			for _, h := range r.Headers {
				_, _ = fmt.Fprintf(w, "%s: %s\n", h.Key, h.Value)
			}
			switch {
			case len(r.Body) > 0 && utf8.Valid(r.Body):
				_, _ = fmt.Fprintf(w, "\n%s\n", r.Body)
			case len(r.Body) > 0:
				_, _ = fmt.Fprintf(w, "\n(%d bytes that are no text)\n", len(r.Body))
			}
		}
	}
}

func reportText(w io.Writer, r control.RedriveReport, stopped bool) {
	_, _ = fmt.Fprintf(w, "redriven %d, filtered %d, failed again %d", r.Redriven, r.Filtered, r.FailedAgain)
	if r.Unreadable > 0 {
		_, _ = fmt.Fprintf(w, ", %d cannot be read any more", r.Unreadable)
	}
	if stopped {
		_, _ = fmt.Fprintf(w, " when it was stopped; requests in flight may end\nwhat is left is open still: the same command goes on with it\n")
		return
	}
	_, _ = fmt.Fprintf(w, ", left %d\n", r.Left)
	if r.Problem != "" {
		_, _ = fmt.Fprintln(w, r.Problem)
	}
}

// progress is a line of a terminal that is written over and over; elsewhere it is nothing.
type progress struct {
	w     io.Writer
	wrote bool
}

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{w: w}
	}
	return &progress{}
}

func (p *progress) show(at consumer.RedriveProgress) {
	if p.w == nil {
		return
	}
	text := fmt.Sprintf("redriven %d, filtered %d, failed again %d of %d, in flight %d", at.Redriven, at.Filtered, at.FailedAgain, at.Matching, at.InFlight)
	if at.Problem != "" {
		text += ": " + at.Problem
	}
	_, _ = io.WriteString(p.w, "\r\x1b[K"+strings.Map(printable, text))
	p.wrote = true
}

// end leaves the line.
func (p *progress) end() {
	if p.wrote {
		_, _ = io.WriteString(p.w, "\n")
	}
}
