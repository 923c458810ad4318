package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"streamer/cmd/streamer/settings"
	"streamer/control/client"
	"streamer/control/people"
	"streamer/control/service"
)

// Commands that call an instance: they find out what is meant, ask, and print the answer.

// clock is what ages in tables are counted to. Tests stop it.
var clock = time.Now

// calls makes a command one that calls an instance. do prints what it got; the context ends with the first SIGINT or SIGTERM.
func calls(c *cobra.Command, environ []string, do func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error) *cobra.Command {
	settings.ClientFlags(c.Flags())
	if words := strings.Fields(c.Use); len(words) > 1 && words[1] == "JOB" {
		c.ValidArgsFunction = completeJobs(environ)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		s, err := load(c, environ)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		api, err := connect(ctx, s, environ)
		if err != nil {
			return err
		}
		defer api.Close()
		return told(c, do(ctx, c, api, args))
	}
	return c
}

// misuse is a command line that was found wrong only after the settings were read.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

// noLogin is what to do about a call without a credential, in the words of this program.
const noLogin = "log in: streamer login --url URL; a program sets STREAMER_TOKEN"

// told makes an error of a call one with an exit code: what an instance finds wrong with arguments is wrong use. A problem's field is named
// as the flag it was given by.
func told(c *cobra.Command, err error) error {
	var wrong misuse
	var p *service.Problem
	switch {
	case err == nil || errors.Is(err, errShown) || errors.As(err, &wrong):
		return err
	case !errors.As(err, &p):
		return failure{err}
	}
	if p.Status == http.StatusUnauthorized && p.Detail == people.NoLogin {
		mended := *p
		mended.Mend = noLogin
		p, err = &mended, &mended
	}
	if p.Field != "" {
		err = renamed(p, func(field string) string { return flagName(c, field) })
	}
	if wrongInput(p) {
		return misuse{err}
	}
	return failure{err}
}

// renamed is a problem whose arguments have other names.
func renamed(p *service.Problem, name func(field string) string) *service.Problem {
	out := *p
	out.Field, out.Errors = name(p.Field), slices.Clone(p.Errors)
	for i := range out.Errors {
		out.Errors[i].Field = name(out.Errors[i].Field)
	}
	return &out
}

// flagName is the flag by which an argument was given: an element of a list by one that may be repeated. What the command has no flag for keeps
// its name, but for the job, which every command is about.
func flagName(c *cobra.Command, field string) string {
	name, inside := field, ""
	if i := strings.IndexAny(field, "[."); i >= 0 && field[i] == '.' {
		name, inside = field[:i], field[i:]
	} else if i > 0 {
		name = strings.TrimSuffix(field[:i], "s")
	}
	name = strings.ReplaceAll(name, "_", "-")
	switch {
	case field == "job":
		return ""
	case name == "" || c.Flags().Lookup(name) == nil:
		return field
	}
	return "--" + name + inside
}

// wrongInput says that a problem is with what was sent, so that the same command fails again however things are: docs/cli.md has the statuses.
func wrongInput(p *service.Problem) bool {
	switch p.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// print writes v as -o wants it; text is for people.
func (f format) print(w io.Writer, v any, text func(io.Writer)) error {
	if f != asText {
		return f.write(w, v)
	}
	var b strings.Builder
	text(&b)
	_, err := io.WriteString(w, strings.Map(printable, b.String()))
	return err
}

// printable keeps what stands in a record or an answer from steering the terminal.
func printable(r rune) rune {
	if unicode.IsControl(r) && r != '\n' && r != '\t' {
		return unicode.ReplacementChar
	}
	return r
}

// table prints lines of cells below a header, in columns. An empty cell is a dash.
func table(w io.Writer, indent string, header []string, lines [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, cells := range append([][]string{header}, lines...) {
		for i, cell := range cells {
			if cell == "" {
				cells[i] = "-"
			}
		}
		_, _ = fmt.Fprintln(t, indent+strings.Join(cells, "\t"))
	}
	_ = t.Flush() // what w is: a builder
}

// ago is how long something has been so: 12s, 4m10s, 3h, 12d.
func ago(t time.Time) string { return age(clock().Sub(t)) }

func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64) + "s"
	case d < 10*time.Minute:
		return strings.Replace(d.Round(time.Second).String(), "m0s", "m", 1)
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

// stamp is a point in time, for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// moment is a point in time with its age.
func moment(t time.Time) string { return stamp(t) + " (" + ago(t) + " ago)" }

// maybe is a number that may not be known.
func maybe(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}
