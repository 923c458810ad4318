package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"streamer/internal/nearest"
	"streamer/schemas"
)

// shippedSchemas are what schema prints, by name.
var shippedSchemas = map[string]string{"job": schemas.Job, "record-event": schemas.RecordEventJSON, "record-event.avsc": schemas.RecordEvent}

func schemaCommand() *cobra.Command {
	names := []string{"job", "record-event", "record-event.avsc"}
	c := &cobra.Command{
		Use:       "schema NAME",
		Short:     "prints a schema: " + strings.Join(names, ", "),
		Long:      "Prints the JSON Schema of a job or of a record event, or the Avro schema of a record event.",
		Args:      cobra.ExactArgs(1),
		ValidArgs: names,
	}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		text := shippedSchemas[args[0]]
		if text == "" {
			mend := "it is one of " + strings.Join(names, ", ")
			if n := nearest.Name(args[0], names); n != "" {
				mend = "did you mean " + n + "?"
			}
			return fmt.Errorf("there is no schema %q; %s", args[0], mend)
		}
		return failed(output.print(c.OutOrStdout(), json.RawMessage(text), func(w io.Writer) { _, _ = io.WriteString(w, text) }))
	}
	return c
}
