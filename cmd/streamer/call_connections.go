package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"streamer/control"
	"streamer/control/client"
	"streamer/control/job"
)

func connectionsCommand(environ []string) *cobra.Command {
	return group("connections", "shows the targets that jobs share, and stops deliveries to them", connectionsList(environ), connectionsGet(environ),
		connectionsApply(environ), connectionsDelete(environ),
		connectionsSwitch(environ, "pause", "stops every delivery to a connection",
			"Stops every delivery to a connection, by all jobs on all instances, within two seconds: no attempt starts, those in flight may end.\n"+
				"It stays so, also after a restart, until it is resumed. Its jobs are paused meanwhile, and nothing of them is lost or given up.",
			(*client.Client).PauseConnection),
		connectionsSwitch(environ, "resume", "lets deliveries to a connection go on",
			"Ends a pause of a connection. A job that is paused itself stays so: streamer jobs resume.", (*client.Client).ResumeConnection))
}

func oneConnection(c *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return fmt.Errorf("%s needs the name of one connection; usage: %s", c.CommandPath(), c.UseLine())
	}
	return nil
}

func connectionsList(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "shows every connection, and how many jobs use it", Args: cobra.NoArgs}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		page, err := api.Connections(ctx)
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), page, func(w io.Writer) {
			connectionsText(w, page.Connections)
			ageText(w, page.LogAge)
		})
	})
}

func connectionsText(w io.Writer, all []control.Connection) {
	if len(all) == 0 {
		_, _ = fmt.Fprintln(w, "there are no connections")
		return
	}
	var lines [][]string
	for _, n := range all {
		lines = append(lines, []string{n.Name, n.Owner, connectionState(n), strconv.Itoa(len(n.Jobs)), n.Revision})
	}
	table(w, "", []string{"CONNECTION", "OWNER", "STATE", "JOBS", "REVISION"}, lines)
}

func connectionState(n control.Connection) string {
	switch {
	case n.Unreadable != "":
		return n.Unreadable
	case n.Paused != nil:
		return "paused by " + n.Paused.By + ", " + ago(n.Paused.At) + " ago"
	}
	return "in use"
}

func connectionsGet(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use: "get CONNECTION", Short: "shows one connection, and its jobs", Args: oneConnection,
		Long: "Shows one connection: whether it is paused, which jobs use it, and its document. Secrets read ********; sent back by apply, that\n" +
			"means unchanged.",
	}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		n, err := api.Connection(ctx, args[0])
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), n, func(w io.Writer) { connectionText(w, n) })
	})
}

func connectionText(w io.Writer, n control.Connection) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	say("connection:  %s\nowner:       %s\nstate:       %s\nrevision:    %s\n", n.Name, n.Owner, connectionState(n), n.Revision)
	say("changed:     %s by %s\n", moment(n.Modified), n.By)
	jobs := strings.Join(n.Jobs, ", ")
	if jobs == "" {
		jobs = "none"
	}
	say("jobs:        %s\n", jobs)
	var document bytes.Buffer
	if json.Indent(&document, n.Document, "", "  ") == nil {
		say("\n%s\n", document.String())
	}
}

func connectionsApply(environ []string) *cobra.Command {
	c := &cobra.Command{
		Example: "  streamer connections apply -f crm.yaml\n" +
			"  streamer connections apply -f jobs/ --yes",
		Use: "apply -f FILE|DIR|-", Short: "creates or changes connections", Args: noneButFiles,
		Long: "Creates the connections of files (YAML or JSON; - is standard input), or makes those of their names what the files say, one after the\n" +
			"other; jobs that stand beside them are left alone. It shows what would change, and what that does to the rows of its jobs; then it\n" +
			"asks. Its jobs follow with their next request. One that somebody else changes meanwhile is left alone.",
	}
	files := filesFlag(c)
	var s sure
	s.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		all, err := readConnections(c, *files)
		if err != nil {
			return err
		}
		print := output.print
		if len(all) > 1 {
			print = output.one
		}
		for _, conn := range all {
			if err := applyConnection(ctx, c, api, conn, s, print); err != nil {
				return err
			}
		}
		return nil
	})
}

// readConnections reads the connections of the files of -f; there is at least one.
func readConnections(c *cobra.Command, files []string) ([]*job.Connection, error) {
	set, err := readFiles(c, files)
	switch {
	case err != nil:
		return nil, err
	case len(set.Broken) > 0:
		return nil, firstErrors(set.Broken)
	case len(set.Connections) == 0:
		return nil, fmt.Errorf("there is no connection in %s; one has a name and a base_url, and no topic", strings.Join(files, ", "))
	}
	return set.Connections, nil
}

// applyConnection does with one connection what apply does.
func applyConnection(ctx context.Context, c *cobra.Command, api *client.Client, conn *job.Connection, s sure, print func(io.Writer, any, func(io.Writer)) error) error {
	x, err := compareConnection(ctx, api, conn)
	if err != nil {
		return err
	}
	if s.dryRun || x.Action == toKeep {
		return print(c.OutOrStdout(), x, x.text)
	}
	if err := asText.print(c.ErrOrStderr(), x, x.text); err != nil {
		return err
	}
	if err := s.ask(c, string(x.Action)+" connection "+x.Connection+"?"); err != nil {
		return err
	}
	var n control.Connection
	if x.Action == toCreate {
		n, err = api.CreateConnection(ctx, conn.Canonical())
	} else {
		n, err = api.ReplaceConnection(ctx, conn.Name, x.Revision, conn.Canonical())
	}
	if err != nil {
		return err
	}
	x.Applied, x.Revision = true, n.Revision
	return print(c.OutOrStdout(), x, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s: %s, revision %s\n", x.Connection, done[x.Action], x.Revision)
	})
}

// appliedConnection is what apply finds and does, as it is printed.
type appliedConnection struct {
	Connection string `json:"connection"`
	Action     action `json:"action"`
	// Revision is the one that it was compared with, and after a change the new one; empty: there is no such connection yet.
	Revision string `json:"revision,omitempty"`
	// Changes are those of a connection that is there, Effect what they do to its Jobs together.
	Changes []control.Change `json:"changes,omitempty"`
	Effect  string           `json:"effect,omitempty"`
	Jobs    []string         `json:"jobs,omitempty"`
	// Applied says that it was done.
	Applied bool `json:"applied"`
}

// compareConnection finds out what is to be done with a connection.
func compareConnection(ctx context.Context, api *client.Client, conn *job.Connection) (appliedConnection, error) {
	x := appliedConnection{Connection: conn.Name, Action: toCreate}
	if conn.Name == "" { // what is wrong with it is found when it is created
		return x, nil
	}
	before, err := api.Connection(ctx, conn.Name)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return x, nil
	case err != nil:
		return x, err
	}
	diff, err := api.DiffConnection(ctx, conn.Name, conn.Canonical())
	if err != nil {
		return x, err
	}
	x.Action, x.Revision, x.Jobs = toKeep, diff.Revision, before.Jobs
	if len(diff.Changes) > 0 {
		x.Action, x.Changes, x.Effect = toChange, diff.Changes, diff.Effect.String()
	}
	return x, nil
}

// text is what would be done.
func (x appliedConnection) text(w io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	switch x.Action {
	case toCreate:
		say("%s: new\n", x.Connection)
	case toChange:
		say("%s: %s, effect on %s: %s (revision %s)\n", x.Connection, counted(len(x.Changes), "change"), counted(len(x.Jobs), "job"), x.Effect, x.Revision)
	default:
		say("%s: unchanged, revision %s\n", x.Connection, x.Revision)
	}
	for _, change := range x.Changes {
		changeText(w, change)
	}
}

func connectionsDelete(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use: "delete CONNECTION", Short: "removes a connection that no job uses", Args: oneConnection,
		Long: "Removes a connection that no job uses. It asks first. A connection that somebody changes meanwhile is left alone.",
	}
	var s sure
	s.declare(c)
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		n, err := api.Connection(ctx, args[0])
		if err != nil {
			return err
		}
		gone := map[string]any{"connection": n.Name, "deleted": !s.dryRun}
		if s.dryRun {
			return output.print(c.OutOrStdout(), gone, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s would be deleted; %d jobs use it\n", n.Name, len(n.Jobs)) })
		}
		if err := s.ask(c, fmt.Sprintf("delete connection %s of %s?", n.Name, n.Owner)); err != nil {
			return err
		}
		if err := api.DeleteConnection(ctx, n.Name, n.Revision); err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), gone, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s: deleted\n", n.Name) })
	})
}

func connectionsSwitch(environ []string, word, short, long string, do func(*client.Client, context.Context, string) (control.Connection, error)) *cobra.Command {
	c := &cobra.Command{Use: word + " CONNECTION", Short: short, Long: long, Args: oneConnection}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		n, err := do(api, ctx, args[0])
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), n, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s: %s; %d jobs\n", n.Name, connectionState(n), len(n.Jobs)) })
	})
}
