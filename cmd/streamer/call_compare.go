package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"streamer/control"
	"streamer/control/client"
	"streamer/control/job"
	"streamer/control/service"
	"streamer/internal/fault"
)

// Job files against the jobs of an instance: what is wrong with them, what differs, and doing it.

// stdin is how what comes in is named in findings.
const stdin = "standard input"

// readFiles reads the files of -f. A file that cannot be read is in the set, with the reason.
func readFiles(c *cobra.Command, files []string) (job.Set, error) {
	if len(files) == 0 {
		return job.Set{}, misuse{fmt.Errorf("%s needs -f FILE, a directory, or - for what comes in", c.CommandPath())}
	}
	var all job.Set
	read := map[string]bool{}
	for _, file := range files {
		if read[file] {
			return job.Set{}, misuse{fmt.Errorf("-f %s stands twice", file)}
		}
		read[file] = true
		var set job.Set
		var err error
		if file == "-" {
			var src []byte
			if src, err = io.ReadAll(io.LimitReader(c.InOrStdin(), job.MaxFileBytes+1)); err == nil {
				set.Parse(stdin, src)
			}
		} else {
			set, err = job.Load(file)
		}
		if err != nil {
			return job.Set{}, err
		}
		all.Jobs, all.Connections, all.Broken = append(all.Jobs, set.Jobs...), append(all.Connections, set.Connections...), append(all.Broken, set.Broken...)
	}
	if len(all.Jobs)+len(all.Connections)+len(all.Broken) == 0 {
		return job.Set{}, fmt.Errorf("there is no job file in %s; they end in .yaml, .yml or .json", strings.Join(files, ", "))
	}
	return all, nil
}

// pruning says which jobs are deleted that stand in no file.
type pruning struct {
	wanted bool
	owner  string
}

// plan finds out what is wrong with jobs, and what is to be done. The error is about an instance that could not be asked.
func plan(ctx context.Context, api *client.Client, set job.Set, prune pruning) (applying, error) {
	p := applying{Jobs: []appliedJob{}}
	for _, f := range set.Broken {
		p.Findings = append(p.Findings, show(f))
	}
	for _, n := range set.Connections {
		p.Findings = append(p.Findings, show(job.Finding{File: n.File, Place: job.Place{Line: n.Line}, Connection: n.Name, Fault: fault.Fault{Warning: true,
			Problem: "connection " + n.Name + " is left as it is", Mend: "streamer connections apply -f " + n.File}}))
	}
	ids := map[string]*job.Definition{}
	for _, d := range set.Jobs {
		faults := d.Misread()
		plain := job.PlainID(d.ID)
		if other := ids[plain]; other != nil && plain != "" {
			faults.Add("id", fmt.Sprintf("job %q stands in %s:%d too, as %q", d.ID, other.File, other.Line, other.ID), "ids must differ by more than . and _")
		} else {
			ids[plain] = d
		}
		j, more, err := compare(ctx, api, d)
		if err != nil {
			return p, err
		}
		for _, f := range d.Findings(append(faults, more...)) {
			p.Findings = append(p.Findings, show(f))
		}
		p.Jobs = append(p.Jobs, j)
	}
	p.sorted()
	switch {
	case p.faults() > 0: // nothing is to be done
		p.Jobs = []appliedJob{}
		return p, nil
	case !prune.wanted:
		return p, nil
	}
	there, err := api.Definitions(ctx)
	if err != nil {
		return p, err
	}
	for _, d := range there {
		if ids[job.PlainID(d.ID)] != nil || d.Deleting != nil || d.Unreadable != "" || prune.owner != "" && d.Owner != prune.owner {
			continue
		}
		switch mine, err := mayEdit(ctx, api, d.ID); {
		case err != nil:
			return p, err
		case mine:
			p.Jobs = append(p.Jobs, appliedJob{Job: d.ID, Action: toDelete, Revision: d.Revision})
		}
	}
	return p, nil
}

// compare finds out what is to be done with a job, and what is wrong with it.
func compare(ctx context.Context, api *client.Client, d *job.Definition) (appliedJob, fault.List, error) {
	document := d.Canonical()
	j := appliedJob{Job: d.ID, File: d.File, Line: d.Line, Action: toCreate, document: document}
	if d.ID != "" {
		diff, err := api.DiffJob(ctx, d.ID, document)
		switch faults := refused(err); {
		case statusOf(err) == http.StatusNotFound: // there is no such job yet
		case faults != nil:
			return j, faults, nil
		case err != nil:
			return j, nil, err
		case diff.Revision != "":
			j.Action, j.Revision = toKeep, diff.Revision
			if len(diff.Changes) == 0 {
				return j, nil, nil
			}
			j.Action, j.Changes, j.Effect, j.Offsets, j.Uncounted = toChange, diff.Changes, diff.Effect.String(), diff.Offsets, diff.Uncounted
		}
	}
	v, err := api.ValidateJob(ctx, document)
	if faults := refused(err); err != nil {
		if faults != nil {
			err = nil
		}
		return j, faults, err
	}
	faults := faultList(v.Faults, false)
	return j, append(faults, faultList(v.Warnings, true)...), nil
}

// mayEdit finds out whether a job may be deleted. That is looked at before the document of a diff, so that what is wrong with that says yes.
func mayEdit(ctx context.Context, api *client.Client, id string) (bool, error) {
	text, err := json.Marshal(map[string]string{"id": id})
	if err != nil {
		return false, err
	}
	_, err = api.DiffJob(ctx, id, text)
	switch statusOf(err) {
	case http.StatusForbidden, http.StatusNotFound:
		return false, nil
	case 0:
		return err == nil, err
	}
	return true, nil
}

// carryOut does what was planned, job by job. What fails says so, and the others go on; when the instance is gone, or the command was
// stopped, all that is left fails.
func (p *applying) carryOut(ctx context.Context, api *client.Client) {
	var gone error
	for i := range p.Jobs {
		j := &p.Jobs[i]
		var d control.Definition
		err := gone
		switch {
		case j.Action == toKeep:
			continue
		case err != nil:
		case j.Action == toCreate:
			d, err = api.CreateJob(ctx, j.document)
		case j.Action == toChange:
			d, err = api.ReplaceJob(ctx, j.Job, j.Revision, j.document)
		case j.Action == toDelete:
			d, err = api.DeleteJob(ctx, j.Job, j.Revision, false, false)
		}
		var unreachable *client.UnreachableError
		switch {
		case err == nil:
			j.Revision = d.Revision
		case errors.As(err, &unreachable) && gone == nil:
			gone = errors.New("not tried, as the one before it got no answer")
			fallthrough
		default:
			j.Problem = err.Error()
		}
	}
	p.Applied = true
	p.count()
}

// statusOf is the status of a refusal; 0: err is none.
func statusOf(err error) int {
	var p *service.Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

// refused gives what an instance finds wrong with a job; nil: that is not what err is about.
func refused(err error) fault.List {
	var p *service.Problem
	switch {
	case !errors.As(err, &p):
		return nil
	case p.Status == http.StatusUnauthorized || p.Status >= http.StatusInternalServerError || p.Status == http.StatusTooManyRequests:
		return nil
	case len(p.Errors) > 0:
		return faultList(p.Errors, false)
	}
	return faultList([]service.Fault{{Field: p.Field, Detail: p.Detail, Mend: p.Mend}}, false)
}

func faultList(all []service.Fault, warnings bool) (list fault.List) {
	for _, f := range all {
		list = append(list, fault.Fault{Path: f.Field, Problem: f.Detail, Mend: f.Mend, Warning: warnings})
	}
	return list
}
