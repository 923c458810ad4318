package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/client"
	"streamer/control/service"
)

func offsetsShow(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "show JOB",
		Short: "shows committed offsets, lag and the members of the group",
		Long:  "Shows the committed offset of each partition with the time of the record there, where the log begins and ends, and who is in the group.",
		Args:  oneJob,
	}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		v, err := api.Offsets(ctx, args[0])
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), v, func(w io.Writer) { offsetsText(w, v) })
	})
}

func offsetsText(w io.Writer, v control.OffsetsView) {
	_, _ = fmt.Fprintf(w, "group %s is %s, lag %d\n", v.Group, strings.ToLower(v.State), v.Lag)
	for _, m := range v.Members {
		_, _ = fmt.Fprintf(w, "member: %s\n", m)
	}
	if r := v.Reset; r != nil {
		_, _ = fmt.Fprintf(w, "%s resets to %s since %s: %s\n", r.By, r.To, whenText(&r.At), r.Phase)
	}
	if l := v.LastReset; l != nil {
		what := "was done"
		if l.Refused != "" {
			what = "was given up: " + l.Refused
		}
		_, _ = fmt.Fprintf(w, "the last reset, by %s, %s at %s\n", l.By, what, whenText(&l.At))
	}
	_, _ = fmt.Fprintln(w)
	var lines [][]string
	for _, p := range v.Partitions {
		lines = append(lines, []string{p.Topic, strconv.Itoa(int(p.Partition)), known(p.Committed), whenText(p.At), known(p.Start), known(p.HighWatermark), known(p.Lag),
			strconv.FormatInt(p.Finished, 10), p.Note})
	}
	table(w, "", []string{"TOPIC", "PARTITION", "COMMITTED", "TIME THERE", "LOG START", "END", "LAG", "FINISHED ABOVE", "NOTE"}, lines)
}

// known is a number, empty if it is -1.
func known(n int64) string {
	if n < 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func whenText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return stamp(*t)
}

// resetFlags are those of offsets reset.
type resetFlags struct {
	to, topic, file string
	partition       int32
	set             []string
	keepKeys        bool
}

func offsetsReset(environ []string) *cobra.Command {
	c := &cobra.Command{
		Example: "  streamer offsets reset people --to earliest --dry-run\n" +
			"  streamer offsets reset people --to -2h --topic Person\n" +
			"  streamer offsets reset people --set Person/3=1500 --yes",
		Use:   "reset JOB (--to WHERE [--topic NAME [--partition N]] | --set TOPIC[/N]=WHERE … | --table FILE)",
		Short: "sets offsets anew, while the job runs or not",
		Long: "Shows for each partition the committed offset before and after, and how many records are sent again or skipped, and asks. Then the job\n" +
			"leaves its group on every instance, its offsets are set, and it goes on as it was wanted before; a stopped job stays stopped.\n\n" +
			"WHERE is earliest, latest, an offset, +N or -N from the committed offset, a time (2026-01-31T12:00:00Z), or how long ago (-2h, -7d).\n" +
			"FILE (- for the input) is JSON: {\"topic\": {\"0\": 1500}}. What was done is undone by streamer offsets undo JOB.",
		Args: oneJob,
	}
	var f resetFlags
	var asked *control.ResetIn // by the flags, which are looked at once: a table may be read from the input
	c.Flags().StringVar(&f.to, "to", "", "where to set them: earliest, latest, an offset, +N, -N, a time, or how long ago")
	c.Flags().StringVar(&f.topic, "topic", "", "only partitions of this topic")
	c.Flags().Int32Var(&f.partition, "partition", -1, "only this partition")
	c.Flags().StringArrayVar(&f.set, "set", nil, "TOPIC=WHERE or TOPIC/N=WHERE, for a topic or a partition of its own; may be given again")
	c.Flags().StringVar(&f.file, "table", "", "a file with offsets by topic and partition, as JSON")
	c.Flags().BoolVar(&f.keepKeys, "keep-keys", false, "send the idempotency keys of before: an API that remembers them does nothing twice")
	return resets(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, job string, dryRun bool) (control.ResetAnswer, error) {
		if asked == nil {
			in, err := f.ask(c)
			if err != nil {
				return control.ResetAnswer{}, err
			}
			asked = &in
		}
		asked.Job, asked.DryRun = job, dryRun
		answer, err := api.ResetOffsets(ctx, *asked)
		var p *service.Problem
		if errors.As(err, &p) {
			err = renamed(p, func(field string) string { return f.argument(c, field) })
		}
		if answer.Fixed != nil { // what is shown is what is done: later, and maybe by another instance's clock, it would be another time
			asked.To, asked.Parts = answer.Fixed.To, answer.Fixed.Parts
		}
		return answer, err
	})
}

// argument is the flag that a part of the request was made of: --topic and --partition make the first one, with --to, and each --set another.
func (f *resetFlags) argument(c *cobra.Command, field string) string {
	at, of, part := strings.Cut(field, "].")
	switch {
	case !strings.HasPrefix(field, "parts["):
		return field
	case !c.Flags().Changed("topic") || strings.TrimSuffix(at, "]") != "parts[0":
		return "set"
	case part:
		return of
	case c.Flags().Changed("partition"):
		return "partition"
	}
	return "topic"
}

// ask makes a request of the flags.
func (f *resetFlags) ask(c *cobra.Command) (in control.ResetIn, err error) {
	given := c.Flags().Changed
	in.KeepKeys = f.keepKeys
	switch {
	case given("partition") && !given("topic"):
		return in, misuse{fmt.Errorf("--partition needs --topic")}
	case given("partition") && f.partition < 0:
		return in, misuse{fmt.Errorf("--partition: %d is less than 0", f.partition)}
	case given("topic") && !given("to"):
		return in, misuse{fmt.Errorf("--topic needs --to")}
	case !given("to") && !given("set") && !given("table"):
		return in, misuse{fmt.Errorf("%s needs --to, --set or --table; usage: %s", c.CommandPath(), c.UseLine())}
	case given("partition"):
		in.Parts = append(in.Parts, consumer.ResetPart{Topic: f.topic, Partition: &f.partition, To: f.to})
	case given("topic"):
		in.Parts = append(in.Parts, consumer.ResetPart{Topic: f.topic, To: f.to})
	default:
		in.To = f.to
	}
	for _, one := range f.set {
		at, to, ok := strings.Cut(one, "=")
		if !ok {
			return in, misuse{fmt.Errorf("--set: %q is not TOPIC=WHERE or TOPIC/N=WHERE", one)}
		}
		part := consumer.ResetPart{Topic: at, To: to}
		if topic, number, ok := strings.Cut(at, "/"); ok { // no topic has a slash
			n, err := strconv.ParseInt(number, 10, 32)
			if err != nil || n < 0 {
				return in, misuse{fmt.Errorf("--set: %q is no partition", number)}
			}
			id := int32(n)
			part.Topic, part.Partition = topic, &id
		}
		in.Parts = append(in.Parts, part)
	}
	if f.file == "" {
		return in, nil
	}
	var text []byte
	if f.file == "-" {
		text, err = io.ReadAll(c.InOrStdin())
	} else {
		text, err = os.ReadFile(f.file)
	}
	if err == nil {
		in.Table, err = readTable(text)
	}
	if err != nil {
		return in, misuse{fmt.Errorf("--table %s: %w", f.file, err)}
	}
	return in, nil
}

// readTable reads offsets by topic and partition. What is named twice would be set to one of two offsets, and nobody could tell to which.
func readTable(text []byte) (map[string]map[int32]int64, error) {
	const mend = `write {"topic": {"0": 1500}}; other words than offsets are for --to and --set`
	var topics map[string]map[string]json.RawMessage
	var other *json.UnmarshalTypeError
	switch err := json.Unmarshal(text, &topics); {
	case errors.As(err, &other):
		return nil, fmt.Errorf("character %d: a %s where an object is to be; %s", other.Offset, other.Value, mend)
	case err != nil:
		return nil, fmt.Errorf("no JSON: %w; %s", err, mend)
	case len(topics) == 0:
		return nil, fmt.Errorf("no topic is named; %s", mend)
	}
	if at := service.Twice(text); at != "" {
		return nil, fmt.Errorf("%s stands twice; keep one of them", at)
	}
	table := map[string]map[int32]int64{}
	var faults []string
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		table[topic] = map[int32]int64{}
		for _, partition := range slices.Sorted(maps.Keys(topics[topic])) {
			id, err := strconv.ParseInt(partition, 10, 32)
			if err != nil || id < 0 || partition != strconv.FormatInt(id, 10) {
				faults = append(faults, fmt.Sprintf("%s: %q is no partition", topic, partition))
				continue
			}
			value := string(topics[topic][partition])
			offset, err := strconv.ParseInt(value, 10, 64)
			if err != nil || offset < 0 {
				faults = append(faults, fmt.Sprintf("%s/%d: %s is no offset", topic, id, value))
			}
			table[topic][int32(id)] = offset
		}
	}
	if faults != nil {
		return nil, fmt.Errorf("%s; %s", strings.Join(faults, "; "), mend)
	}
	return table, nil
}

func offsetsUndo(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "undo JOB",
		Short: "sets offsets back to what they were before the last reset",
		Long: "Sets the partitions of the last reset that was done back to the offsets that were committed before it. It is a reset itself: it shows what\n" +
			"it would do and asks, and undoing it does the first one again.",
		Args: oneJob,
	}
	return resets(c, environ, func(ctx context.Context, _ *cobra.Command, api *client.Client, job string, dryRun bool) (control.ResetAnswer, error) {
		return api.UndoReset(ctx, job, dryRun)
	})
}

// resets makes a command that shows what a reset would do, asks, begins it, and waits for its end.
func resets(c *cobra.Command, environ []string, do func(ctx context.Context, c *cobra.Command, api *client.Client, job string, dryRun bool) (control.ResetAnswer, error)) *cobra.Command {
	var s sure
	s.declare(c)
	noWait := c.Flags().Bool("no-wait", false, "do not wait until it is done")
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		plan, err := do(ctx, c, api, args[0], true)
		if err != nil {
			return err
		}
		if s.dryRun {
			return output.print(c.OutOrStdout(), plan, func(w io.Writer) { resetText(w, plan) })
		}
		if err := asText.print(c.ErrOrStderr(), plan, func(w io.Writer) { resetText(w, plan) }); err != nil {
			return err
		}
		if err := s.ask(c, fmt.Sprintf("set %d partitions of %s?", len(plan.Partitions), args[0])); err != nil {
			return err
		}
		begun, err := do(ctx, c, api, args[0], false)
		if err != nil {
			return err
		}
		if *noWait {
			return output.print(c.OutOrStdout(), begun, func(w io.Writer) { _, _ = fmt.Fprintf(w, "reset %s begins\n", begun.ID) })
		}
		var last string
		outcome, err := api.ResetOutcome(ctx, args[0], begun.ID, func(r control.ResetStatus) {
			if now := strings.TrimSuffix(r.Phase+"; "+r.Cause, "; "); now != last {
				last = now
				_, _ = fmt.Fprintln(c.ErrOrStderr(), now)
			}
		})
		if err != nil {
			return fmt.Errorf("reset %s goes on without this command: %w", begun.ID, err)
		}
		if outcome.Refused != "" {
			return fmt.Errorf("reset %s was given up: %s", begun.ID, outcome.Refused)
		}
		return output.print(c.OutOrStdout(), outcome, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "done; streamer offsets undo %s takes it back\n", args[0])
		})
	})
}

func resetText(w io.Writer, plan control.ResetAnswer) {
	var lines [][]string
	for _, p := range plan.Partitions {
		lines = append(lines, []string{p.Topic, strconv.Itoa(int(p.Partition)), known(p.Before), whenText(p.BeforeTime), strconv.FormatInt(p.After, 10), whenText(p.AfterTime),
			strconv.FormatInt(p.Again, 10), strconv.FormatInt(p.Skipped, 10), p.Note})
	}
	table(w, "", []string{"TOPIC", "PARTITION", "BEFORE", "TIME THERE", "AFTER", "TIME THERE", "AGAIN AT MOST", "SKIPPED AT MOST", "NOTE"}, lines)
	for _, n := range plan.Notes {
		_, _ = fmt.Fprintln(w, n)
	}
}
