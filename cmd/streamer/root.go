package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"streamer/cmd/streamer/settings"
	"streamer/internal/nearest"
)

// newRoot builds the commands. environ is NAME=value, as os.Environ gives it.
func newRoot(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "streamer",
		Short: "carries Kafka records to HTTP APIs, in order per key",
		Long: "streamer carries Kafka records to HTTP APIs, in order per key, and never moves a committed offset past a row that is\n" +
			"not final. Jobs say which topics are read, what is taken from a row, and which request is made.",
		Args:          noOtherCommand,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(runCommand(environ), demoCommand(), validateCommand(environ), testCommand(environ), importCommand(environ), presetCommand(), schemaCommand(), jobsCommand(environ), connectionsCommand(environ), deliveriesCommand(environ),
		lettersCommand(environ), offsetsCommand(environ), auditCommand(environ),
		servicesCommand(environ), secretsCommand(environ), tokensCommand(environ), loginCommand(environ), logoutCommand(environ), contextsCommand(environ),
		versionCommand(), settingsCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() { // cobra's own, in our words
		switch c.Name() {
		case "help":
			c.Short = "shows what a command does"
		case "completion":
			c.Short = "prints what makes a shell complete these commands"
		}
	}
	return root
}

// settingsCommand prints what `streamer help settings` says.
func settingsCommand() *cobra.Command {
	c := &cobra.Command{Use: "settings", Short: "every setting: flag, environment variable, key in the file, default", Long: settings.Help(), Args: cobra.NoArgs}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return failed(output.print(c.OutOrStdout(), settings.Table, func(w io.Writer) { _, _ = io.WriteString(w, settings.Help()) }))
	}
	return c
}

// flagError names the flag that a misspelt one is near to.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if n := nearest.Name(unknown.GetSpecifiedName(), names); n != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, n)
	}
	return fmt.Errorf("%w; see streamer help %s", err, strings.TrimPrefix(c.CommandPath(), "streamer "))
}

// group is a command that only holds others. What it does not know is wrong use, and not an occasion for the help.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noOtherCommand}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.AddCommand(commands...)
	return c
}

// noOtherCommand refuses a word that is none of the commands that a command holds, and names those.
func noOtherCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	if n := nearest.Name(args[0], names); n != "" {
		return fmt.Errorf("unknown command %q for %q; did you mean %s?", args[0], c.CommandPath(), n)
	}
	return fmt.Errorf("unknown command %q for %q; it has %s", args[0], c.CommandPath(), strings.Join(names, ", "))
}

// oneJob wants the id of a job.
func oneJob(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return fmt.Errorf("%s needs the id of a job; usage: %s", c.CommandPath(), c.UseLine())
	case len(args) > 1:
		return fmt.Errorf("%s takes one job, not %d; usage: %s", c.CommandPath(), len(args), c.UseLine())
	case args[0] == "":
		return fmt.Errorf("%s: the id of the job is empty; usage: %s", c.CommandPath(), c.UseLine())
	}
	return nil
}

// atLeastOne wants arguments, and names what they are.
func atLeastOne(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s needs %s; usage: %s", c.Name(), what, c.UseLine())
		}
		return nil
	}
}

// load reads the settings for a command.
func load(c *cobra.Command, environ []string) (settings.Settings, error) {
	s, err := settings.Load(c.Flags(), environ)
	if err != nil {
		return s, fmt.Errorf("settings:\n  %s", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	return s, nil
}

// lookup finds a variable for references in jobs.
func lookup(environ []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, pair := range environ {
			if value, ok := strings.CutPrefix(pair, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}
