package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/client"
)

func auditCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "shows who did what to jobs and connections, the newest first",
		Long: "Shows what operators decided, and what streamer did by itself that an operator may ask about: the newest line first. WHEN is by\n" +
			"Kafka's clock, ON the instance that wrote it. Lines are kept for 90 days.",
		Args: cobra.NoArgs,
	}
	var about control.AuditSubject
	c.Flags().StringVar(&about.Job, "job", "", "only lines of this job")
	c.Flags().StringVar(&about.Connection, "connection", "", "only lines of this connection")
	limit := c.Flags().Int("limit", 0, "at most so many, up to 1000 (default 100)")
	cursor := c.Flags().String("cursor", "", "where to go on: what the last page named")
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		page, err := api.Audit(ctx, about, *cursor, *limit)
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), page, func(w io.Writer) { auditText(w, page) })
	})
}

func auditText(w io.Writer, page control.AuditPage) {
	var lines [][]string
	for _, l := range page.Lines {
		lines = append(lines, []string{l.At.UTC().Format("2006-01-02 15:04:05Z"), l.Instance, cmp.Or(l.Job, l.Connection), l.By, l.Action, whatText(l)})
	}
	if len(lines) == 0 {
		_, _ = fmt.Fprintln(w, "no lines")
		return
	}
	table(w, "", []string{"WHEN", "ON", "ABOUT", "BY", "DID", "WHAT"}, lines)
	if page.Next != "" {
		_, _ = fmt.Fprintf(w, "\nolder: --cursor %s\n", page.Next)
	}
}

// whatText is what stands behind the action: its detail, or of a document that was changed the fields that are not what they were.
func whatText(l control.AuditLine) string {
	var before, after map[string]json.RawMessage
	if json.Unmarshal(l.DocumentBefore, &before) != nil || json.Unmarshal(l.DocumentAfter, &after) != nil {
		return detailText(l.Detail)
	}
	var fields []string
	all := maps.Clone(before)
	maps.Copy(all, after)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !bytes.Equal(before[name], after[name]) {
			fields = append(fields, name)
		}
	}
	if len(fields) == 0 { // what is masked reads the same
		fields = []string{"what does not show"}
	}
	detail := detailText(l.Detail)
	if detail != "" {
		detail = ", " + detail
	}
	return strings.Join(fields, ", ") + detail
}

// mostDetail is how much of one detail is shown, such as the table of a reset.
const mostDetail = 200

// detailText is the detail of a line in one cell: name value, with commas between.
func detailText(detail map[string]any) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(detail)) {
		value, plain := detail[name].(string)
		if !plain {
			raw, err := json.Marshal(detail[name])
			if err != nil {
				continue
			}
			value = valueText(raw)
		}
		if len(value) > mostDetail {
			value = strings.ToValidUTF8(value[:mostDetail], "") + "… (-o json has all)"
		}
		parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+value)
	}
	return strings.Join(parts, ", ")
}

// valueText is a value as JSON has it; the address of a row as all commands write it.
func valueText(raw []byte) string {
	var at *consumer.Position
	exact := json.NewDecoder(bytes.NewReader(raw))
	exact.DisallowUnknownFields()
	if err := exact.Decode(&at); err == nil && at != nil && at.Topic != "" {
		return at.String()
	}
	return string(raw)
}
