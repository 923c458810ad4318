package main

import (
	"embed"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

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
		Args: cobra.ExactArgs(1),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		text, err := presetFiles.ReadFile("presets/" + args[0] + ".yaml")
		if err != nil {
			mend := "it is one of " + strings.Join(presets, ", ")
			if n := nearest.Name(args[0], presets); n != "" {
				mend = "did you mean " + n + "?"
			}
			return fmt.Errorf("there is no preset %q; %s", args[0], mend)
		}
		_, err = c.OutOrStdout().Write(text)
		return err
	}
	return c
}
