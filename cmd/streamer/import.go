package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"streamer/cmd/streamer/settings"
	"streamer/control/invenio"
)

func importCommand(environ []string) *cobra.Command {
	return group("import", "jobs out of what another program is configured with", importInvenioCommand(environ))
}

// importedJobs is what import prints.
type importedJobs struct {
	Jobs []importedJob `json:"jobs"`
	// Remarks say what is not carried, or is another thing now.
	Remarks []invenio.Remark `json:"remarks"`
}

type importedJob struct {
	ID       string `json:"id"`
	Endpoint string `json:"endpoint"`
	// Places is how many have to be filled in.
	Places int `json:"places"`
	// File is where the job was written; without a directory to write to Job has it, as YAML.
	File string `json:"file,omitempty"`
	Job  string `json:"job,omitempty"`
}

func importInvenioCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "invenio FILE",
		Short: "jobs out of an InvenioRDM site's " + invenio.Setting,
		Long: "Reads " + invenio.Setting + " out of a Python file (invenio.cfg, or the dict alone) or out of JSON, and makes a job of each\n" +
			"endpoint, so that one which fails holds none of the others. Nothing of the file is run: what only Python knows, such as functions,\n" +
			"becomes a place to fill in, and validate names each of them. Prints YAML, or with --out writes a file for each job.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("%s takes one file; usage: %s", c.CommandPath(), c.UseLine())
			}
			return nil
		},
	}
	output := outputFlag(c)
	settings.Flags(c.Flags())
	o := invenio.Options{}
	c.Flags().StringVar(&o.Owner, "owner", "invenio", "owner of the jobs")
	c.Flags().StringVar(&o.Topic, "topic", "record-events", "topic that has the record events")
	c.Flags().BoolVar(&o.Restricted, "restricted", false, "also send what is not public; the hooks of InvenioRDM do not")
	dir := c.Flags().String("out", "", "directory for a file of each job; files that exist are left alone")
	c.RunE = func(c *cobra.Command, args []string) error {
		s, err := load(c, environ)
		if err != nil {
			return err
		}
		o.Namespace = s.Namespace
		src, err := os.ReadFile(args[0])
		if err != nil {
			return failure{err}
		}
		r, err := invenio.Import(src, o)
		if err != nil {
			return failure{fmt.Errorf("%s: %w", args[0], err)}
		}
		all, err := writeImported(r, *dir)
		if err != nil {
			return failure{err}
		}
		if *output != asText {
			return failed(output.write(c.OutOrStdout(), all))
		}
		if err := failed(all.text(c.OutOrStdout())); err != nil {
			return err
		}
		return failed(all.remarks(c.ErrOrStderr(), args[0]))
	}
	return c
}

// failed makes an exit code of an error, if there is one.
func failed(err error) error {
	if err != nil {
		return failure{err}
	}
	return nil
}

// writeImported writes the jobs below dir, none of them when a file is there already. Without dir they stay in what is printed.
func writeImported(r invenio.Result, dir string) (importedJobs, error) {
	all := importedJobs{Jobs: []importedJob{}, Remarks: r.Remarks}
	if all.Remarks == nil {
		all.Remarks = []invenio.Remark{}
	}
	for _, j := range r.Jobs {
		src, err := j.YAML()
		if err != nil {
			return all, err
		}
		done := importedJob{ID: j.ID, Endpoint: j.Endpoint, Places: j.Places, Job: string(src)}
		if dir != "" {
			done.File = filepath.Join(dir, j.ID+".yaml")
		}
		all.Jobs = append(all.Jobs, done)
	}
	if dir == "" {
		return all, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return all, err
	}
	for _, j := range all.Jobs {
		if _, err := os.Lstat(j.File); !errors.Is(err, os.ErrNotExist) {
			return all, fmt.Errorf("%s is there already; nothing was written", j.File)
		}
	}
	for i := range all.Jobs {
		j := &all.Jobs[i]
		f, err := os.OpenFile(j.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // there may be a token in it
		if err != nil {
			return all, err
		}
		_, err = f.WriteString(j.Job)
		if err := errors.Join(err, f.Close()); err != nil {
			return all, err
		}
		j.Job = ""
	}
	return all, nil
}

func (all importedJobs) text(w io.Writer) error {
	for i, j := range all.Jobs {
		var err error
		switch {
		case j.File != "" && j.Places > 0:
			_, err = fmt.Fprintf(w, "%s: %s to fill in\n", j.File, counted(j.Places, "place"))
		case j.File != "":
			_, err = fmt.Fprintln(w, j.File)
		case i > 0:
			_, err = fmt.Fprintf(w, "---\n%s", j.Job)
		default:
			_, err = io.WriteString(w, j.Job)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remarks go where they do not come between the jobs.
func (all importedJobs) remarks(w io.Writer, file string) error {
	for _, r := range all.Remarks {
		if _, err := fmt.Fprintf(w, "%s:%d: %s\n", file, r.Line, r.Text); err != nil {
			return err
		}
	}
	return nil
}
