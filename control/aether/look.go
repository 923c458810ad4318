package aether

import (
	"time"

	"streamer/control/service"
)

// workerStatus are the states of a job in the words of the REST consumer; paused and stopped are new there, since its jobs could be neither.
var workerStatus = map[string]string{
	"starting": "WorkerStatus.STARTED", "resetting": "WorkerStatus.STARTED", "running": "WorkerStatus.RUNNING", "held": "WorkerStatus.ERR_DELIVERY",
	"failed": "WorkerStatus.ERR_CONFIG", "paused": "WorkerStatus.PAUSED", "stopped": "WorkerStatus.STOPPED",
}

// jobStatus are those of the library.
var jobStatus = map[string]string{
	"starting": "JobStatus.RECONFIGURE", "resetting": "JobStatus.RECONFIGURE", "running": "JobStatus.NORMAL", "held": "JobStatus.PAUSED",
	"failed": "JobStatus.DEAD", "paused": "JobStatus.PAUSED", "stopped": "JobStatus.STOPPED",
}

// seen is what is asked of a job.
type seen struct{ ID, State, Desired string }

// word is a state in the words of the original. As there, what somebody has asked for holds from the answer on: a script that pauses a job and
// looks does not find it at work, though the instances follow within seconds.
func (j seen) word(of map[string]string) string {
	state := j.State
	switch at := state == "running" || state == "starting"; {
	case j.Desired == "paused" && at, j.Desired == "stopped" && (at || state == "paused"):
		state = j.Desired
	case j.Desired == "running" && (state == "paused" || state == "stopped"):
		state = "starting"
	}
	if w, known := of[state]; known {
		return w
	}
	return "unknown"
}

// statuses gives the jobs that the caller may view, with their states.
func statuses(c call) (any, error) {
	all := map[string]string{}
	for cursor := ""; ; {
		var page struct {
			Jobs []seen
			Next string
		}
		if err := c.ask("jobs.list", args{"limit": service.MaxPage, "cursor": cursor}, &page); err != nil {
			return nil, err
		}
		for _, j := range page.Jobs {
			all[j.ID] = j.word(workerStatus)
		}
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// ofOwner gives the ids of an owner's jobs, of those that the caller may view.
func ofOwner(c call) (any, error) {
	owner, _, err := c.inPath("owner")
	if err != nil {
		return nil, err
	}
	ids := []string{}
	for cursor := ""; ; {
		var page struct {
			Definitions []struct{ ID, Owner string }
			Next        string
		}
		if err := c.ask("jobs.definitions", args{"limit": service.MaxPage, "cursor": cursor}, &page); err != nil {
			return nil, err
		}
		for _, d := range page.Definitions {
			if d.Owner == owner {
				ids = append(ids, d.ID)
			}
		}
		if cursor = page.Next; cursor == "" {
			return ids, nil
		}
	}
}

// status gives the state of a job as one text.
func status(c call) (any, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	var job seen
	if err := c.ask("jobs.show", args{"job": id}, &job); err != nil {
		return nil, err
	}
	return job.word(jobStatus), nil
}

// logs gives the last lines of the log about a job, the oldest first: each its time, level and text.
func logs(c call) (any, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	var page struct {
		Lines []struct {
			At          time.Time
			Level, Text string
		}
	}
	if err := c.ask("jobs.logs", args{"job": id}, &page); err != nil {
		return nil, err
	}
	lines := [][3]string{}
	for _, l := range page.Lines {
		lines = append(lines, [3]string{l.At.UTC().Format(time.RFC3339Nano), l.Level, l.Text})
	}
	return lines, nil
}
