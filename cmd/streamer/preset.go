package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"streamer/control/job"
	"streamer/internal/nearest"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// presets are the jobs that preset prints, by name.
var presets = []string{"fileStorage", "metadata"}

func presetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "preset NAME",
		Short: "prints a job to begin with: " + strings.Join(presets, ", "),
		Long: "Prints a job for one of the interfaces that connectors of Research Data Services (RDS) implement: fileStorage or metadata.\n" +
			"Save it, change what is yours (id, owner, connection, topic), and look at what it does with streamer validate and streamer test.",
		Args: cobra.ExactArgs(1), ValidArgs: presets,
	}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		text, err := presetFiles.ReadFile("presets/" + args[0] + ".yaml")
		if err != nil {
			mend := "it is one of " + strings.Join(presets, ", ")
			if n := nearest.Name(args[0], presets); n != "" {
				mend = "did you mean " + n + "?"
			}
			return fmt.Errorf("there is no preset %q; %s", args[0], mend)
		}
		var set job.Set
		set.Parse(args[0]+".yaml", text)
		if len(set.Broken) > 0 {
			return failure{firstErrors(set.Broken)}
		}
		return failed(output.print(c.OutOrStdout(), json.RawMessage(set.Jobs[0].Canonical()), func(w io.Writer) { _, _ = w.Write(text) }))
	}
	return c
}
