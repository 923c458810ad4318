package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/client"
)

func lettersCommand(environ []string) *cobra.Command {
	return group("deadletters", "shows rows that were given up, sends them again, or makes them final", lettersList(environ), lettersShow(environ),
		lettersRedrive(environ), lettersGiveUp(environ))
}

// letterFlags choose dead letters.
type letterFlags struct {
	class, state             []string
	since, until, key, where string
}

func (l *letterFlags) declare(c *cobra.Command) {
	c.Flags().StringSliceVar(&l.class, "class", nil, "only these classes: rejected, payload, target, parked")
	c.Flags().StringVar(&l.since, "since", "", "only letters written since then: RFC 3339, or a duration ago such as 90m or 2d")
	c.Flags().StringVar(&l.until, "until", "", "only letters written before then, written like --since")
	c.Flags().StringVar(&l.key, "key", "", "only letters of records with this key")
	c.Flags().StringVar(&l.where, "where", "", "only rows in which this JSONPath finds something, such as '$.msg.village'")
}

// query is what the flags say.
func (l *letterFlags) query(c *cobra.Command) (control.LetterQuery, error) {
	q := control.LetterQuery{Class: l.class, State: l.state, Where: l.where}
	var err error
	if q.Since, err = moments("since", l.since); err != nil {
		return q, err
	}
	if q.Until, err = moments("until", l.until); err != nil {
		return q, err
	}
	if c.Flags().Changed("key") {
		q.Key = &l.key
	}
	return q, nil
}

// moments reads a point in time: RFC 3339, or how long ago it was; days may be given as 2d.
func moments(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if days, err := strconv.ParseUint(strings.TrimSuffix(text, "d"), 10, 16); err == nil && strings.HasSuffix(text, "d") {
		return clock().UTC().AddDate(0, 0, -int(days)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, misuse{fmt.Errorf("--%s: %q is no time; write 2026-01-31T12:00:00Z, or how long ago it was, such as 90m or 2d", flag, text)}
	}
	return clock().UTC().Add(-d), nil
}

func lettersList(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "list JOB",
		Short: "lists dead letters, with what has become of each",
		Long: "Lists the dead letters of a job in the order they were written, with what has become of each: open, parked behind another\n" +
			"letter of its key, redriven, failed again, given up. Counts come first.",
		Args: oneJob,
	}
	var l letterFlags
	l.declare(c)
	c.Flags().StringSliceVar(&l.state, "state", nil, "only these states: open, parked, redriven, given up, failed again, void, foreign")
	limit := c.Flags().Int("limit", 0, "at most so many, up to 1000 (default 100)")
	cursor := c.Flags().String("cursor", "", "where to go on: what the last page named")
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		q, err := l.query(c)
		if err != nil {
			return err
		}
		page, err := api.DeadLetters(ctx, args[0], q, *cursor, *limit)
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), page, func(w io.Writer) { lettersText(w, page) })
	})
}

func lettersText(w io.Writer, page control.LetterPage) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	countsText(w, page.Counts)
	if page.Undecodable > 0 {
		say("%d values cannot be decoded, or are left out: --where cannot choose them\n", page.Undecodable)
	}
	if page.Foreign > 0 {
		say("%d records of the topic are no dead letters of streamer: --state foreign shows them\n", page.Foreign)
	}
	if page.OtherJobs > 0 {
		say("%d are of other jobs in the same topic\n", page.OtherJobs)
	}
	if page.Problem != "" {
		say("the topic was not read to its end: %s\n", page.Problem)
	}
	var lines [][]string
	for _, l := range page.Letters {
		lines = append(lines, []string{letterAddress(l), stamp(l.At), string(l.Class), letterState(l), sourceText(l.Source),
			keyText(l.Key), strings.TrimSpace(l.Reason + " " + l.Problem)})
	}
	if len(lines) > 0 {
		say("\n")
		table(w, "", []string{"LETTER", "WRITTEN", "CLASS", "STATE", "ROW", "KEY", "REASON"}, lines)
	}
	switch {
	case page.Next != "" && page.Complete:
		say("\nmore: --cursor %s\n", page.Next)
	case page.Next != "":
		say("\n%d records were looked at; more: --cursor %s. What has become of these may stand further on.\n", page.Scanned, page.Next)
	}
}

// countsText is a line for each class and state.
func countsText(w io.Writer, counts []consumer.LetterCount) {
	if len(counts) == 0 {
		_, _ = fmt.Fprintln(w, "no dead letters")
		return
	}
	var lines [][]string
	for _, n := range counts {
		lines = append(lines, []string{strconv.Itoa(n.Count), string(n.Class), string(n.State)})
	}
	table(w, "", []string{"COUNT", "CLASS", "STATE"}, lines)
}

func letterAddress(l control.LetterView) string { return fmt.Sprintf("%d/%d", l.Partition, l.Offset) }

// letterState is the state with what a redrive came to.
func letterState(l control.LetterView) string {
	if l.Outcome == "" || l.Outcome == string(l.State) {
		return string(l.State)
	}
	return string(l.State) + ": " + l.Outcome
}

// sourceText is where a letter's row stands.
func sourceText(s consumer.LetterSource) string {
	if s.Topic == "" {
		return ""
	}
	return consumer.Position{Topic: s.Topic, Partition: s.Partition, Offset: s.Offset, Row: s.Row, Route: s.Route}.String()
}

// keyText is a key in one short cell.
func keyText(key control.Bytes) string {
	text := string(key)
	if !utf8.Valid(key) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		text = "base64:" + base64.StdEncoding.EncodeToString(key)
	}
	if runes := []rune(text); len(runes) > 40 {
		text = string(runes[:39]) + "…"
	}
	return text
}

func lettersShow(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "show JOB PARTITION/OFFSET",
		Short: "shows one dead letter with its value and headers",
		Long:  "Shows one dead letter, by the address that the list gives: why it was given up, what has become of it, and the original record.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == "" {
				return fmt.Errorf("%s needs a job and the address of a dead letter; usage: %s", c.CommandPath(), c.UseLine())
			}
			_, _, err := letterOf(args[1])
			return err
		},
	}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		partition, offset, err := letterOf(args[1])
		if err != nil {
			return err
		}
		l, err := api.DeadLetter(ctx, args[0], partition, offset)
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), l, func(w io.Writer) { letterText(w, l) })
	})
}

// letterOf reads the address of a dead letter.
func letterOf(text string) (int32, int64, error) {
	partition, offset, ok := strings.Cut(text, "/")
	p, err1 := strconv.ParseUint(partition, 10, 31)
	o, err2 := strconv.ParseUint(offset, 10, 63)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("%q is no address of a dead letter; write partition/offset as the list has it, such as 0/17", text)
	}
	return int32(p), int64(o), nil
}

func letterText(w io.Writer, l control.LetterView) {
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%-15s "+format+"\n", append([]any{name + ":"}, args...)...)
	}
	line("letter", "%s", letterAddress(l))
	line("written", "%s", moment(l.At))
	line("state", "%s", letterState(l))
	if !l.OutcomeAt.IsZero() {
		line("decided", "%s", strings.TrimSpace(moment(l.OutcomeAt)+" by "+l.OutcomeBy+" "+l.OutcomeReason))
	}
	if l.Source.Topic != "" {
		line("row", "%s", sourceText(l.Source))
		line("job", "%s", l.Job)
		line("class", "%s", l.Class)
		line("reason", "%s", l.Reason)
		line("attempts", "%d", l.Attempts)
	}
	if !l.FirstAttempt.IsZero() {
		line("first attempt", "%s", moment(l.FirstAttempt))
	}
	if l.Redrives > 0 {
		line("redrives", "%d", l.Redrives)
	}
	if l.Problem != "" {
		line("problem", "%s", l.Problem)
	}
	line("key", "%s", keyText(l.Key))
	for _, h := range l.Headers {
		line("header", "%s: %s", h.Key, keyText(h.Value))
	}
	if utf8.Valid(l.Value) {
		_, _ = fmt.Fprintf(w, "\n%s\n", l.Value)
	} else {
		_, _ = fmt.Fprintf(w, "\n(%d bytes that are no text; -o json has them as base64)\n", len(l.Value))
	}
}
