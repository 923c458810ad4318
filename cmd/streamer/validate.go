package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"streamer/cmd/streamer/settings"
	"streamer/control/job"
)

// validation is what validate prints.
type validation struct {
	Valid       bool                  `json:"valid"`
	Connections []validatedConnection `json:"connections"`
	Jobs        []validatedJob        `json:"jobs"`
	Findings    []shownFinding        `json:"findings"`
	// Note holds for every job.
	Note string `json:"note"`
}

// validatedJob says what a valid job comes to; of one with errors only where it stands.
type validatedJob struct {
	ID          string   `json:"id"`
	File        string   `json:"file"`
	Line        int      `json:"line"`
	Valid       bool     `json:"valid"`
	Group       string   `json:"group,omitempty"`
	Topics      []string `json:"topics,omitempty"`
	Order       string   `json:"order,omitempty"`
	DeadLetters string   `json:"dead_letters,omitempty"`
}

// validatedConnection says where a valid connection goes; of one with errors only where it stands.
type validatedConnection struct {
	Name    string `json:"name"`
	Owner   string `json:"owner"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Valid   bool   `json:"valid"`
	BaseURL string `json:"base_url,omitempty"`
}

const orderNote = "order holds within a partition only: rows of two partitions never wait for each other"

func validateCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Example: "  streamer validate jobs/",
		Use:     "validate FILE…",
		Short:   "checks job files and shows all faults at once",
		Long: "Checks job files (or directories of them), and the connections among them, and shows every fault with file, line, path and what to\n" +
			"write instead. A secret that is not there on this machine, or a connection that is not in the files, is a warning. Nothing is dialled.",
		Args: atLeastOne("a job file"),
	}
	output := outputFlag(c)
	settings.Flags(c.Flags())
	c.RunE = func(c *cobra.Command, files []string) error {
		s, err := load(c, environ)
		if err != nil {
			return err
		}
		set, err := job.Load(files...)
		if err != nil {
			return failure{err}
		}
		v := validate(set, process(s, lookup(environ), true))
		if *output == asText {
			err = v.text(c.OutOrStdout())
		} else {
			err = output.write(c.OutOrStdout(), v)
		}
		if err != nil {
			return failure{err}
		}
		if !v.Valid {
			return errShown
		}
		return nil
	}
	return c
}

func validate(set job.Set, p job.Process) validation {
	connections, compiled := set.CompileConnections(p), set.Compile(p)
	found := findings(set, connections, compiled)
	v := validation{Valid: !anyError(found), Connections: []validatedConnection{}, Jobs: []validatedJob{}, Findings: []shownFinding{}, Note: orderNote}
	for _, c := range connections {
		n := validatedConnection{Name: c.Name, Owner: c.Owner, File: c.File, Line: c.Line, Valid: c.Faults.Err() == nil}
		if n.Valid {
			n.BaseURL = c.Target.Base
		}
		v.Connections = append(v.Connections, n)
	}
	for _, c := range compiled {
		j := validatedJob{ID: c.ID, File: c.File, Line: c.Line, Valid: c.Faults.Err() == nil}
		if j.Valid {
			j.Group, j.Topics, j.DeadLetters = c.Config.Group, c.Config.Topics, c.Config.DeadLetterTopic
			j.Order = laneRule(c.Config.Order, c.Text("order"))
			if j.DeadLetters == "" {
				j.DeadLetters = "off: the row's lane waits instead"
			}
		}
		v.Jobs = append(v.Jobs, j)
	}
	for _, f := range found {
		v.Findings = append(v.Findings, show(f))
	}
	return v
}

func (v validation) text(w io.Writer) error {
	var b strings.Builder
	faults := findingsText(&b, v.Findings)
	for _, n := range v.Connections {
		if n.Valid {
			fmt.Fprintf(&b, "connection %s: valid\n    base_url: %s\n    for jobs of: %s\n", n.Name, n.BaseURL, n.Owner)
		}
	}
	for _, j := range v.Jobs {
		if !j.Valid {
			continue
		}
		fmt.Fprintf(&b, "job %s: valid\n    group: %s\n    topics: %s\n    order: %s\n    dead letters: %s\n",
			j.ID, j.Group, strings.Join(j.Topics, ", "), j.Order, j.DeadLetters)
	}
	if faults > 0 {
		b.WriteString(counted(faults, "fault") + "\n")
	} else {
		b.WriteString("note: " + v.Note + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// findingsText prints findings, each with its mend below, and gives how many of them are faults.
func findingsText(w io.Writer, all []shownFinding) (faults int) {
	for _, f := range all {
		at, path := f.File, f.Path
		if f.Line > 0 {
			at += fmt.Sprintf(":%d", f.Line)
		}
		if f.Severity == "warning" {
			at += ": warning"
		} else {
			faults++
		}
		if path != "" {
			path += ": "
		}
		_, _ = fmt.Fprintf(w, "%s: %s%s\n", at, path, f.Problem)
		if f.Mend != "" {
			_, _ = fmt.Fprintf(w, "    %s\n", f.Mend)
		}
	}
	return faults
}

// counted is 1 fault, 2 faults.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
