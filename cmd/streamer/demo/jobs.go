package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"streamer/control"
	"streamer/control/job"
	"streamer/sink"
	"streamer/sink/sinktest/checker"
)

// namespace is what topics and groups of streamer's own begin with.
const namespace = "streamer"

//go:embed jobs/*.yaml
var jobFiles embed.FS

// role is what the demo itself knows of a job, without reading it: so that the check at the end does not believe the job.
type role struct {
	job, topic, api string
	// path begins the path of every request of the job.
	path string
	// want says how a row of the topic has to end in this job.
	want func(row) checker.Want
}

var roles = []role{
	{job: "households", topic: householdTopic, api: registryName, path: "/households/", want: func(r row) checker.Want {
		if r.poison {
			return checker.GivenUp
		}
		return checker.Delivered
	}},
	{job: "measurements", topic: measurementTopic, api: dashboardName, path: "/measurements", want: func(r row) checker.Want {
		if r.approved {
			return checker.Delivered
		}
		return checker.Nothing
	}},
	{job: "fever-alerts", topic: measurementTopic, api: dashboardName, path: "/alerts/", want: func(r row) checker.Want {
		if r.fever {
			return checker.Delivered
		}
		return checker.Nothing
	}},
}

// roleOf finds the job that a request is of, by its path.
func roleOf(path string) (role, bool) {
	for _, r := range roles {
		if strings.HasPrefix(path, r.path) {
			return r, true
		}
	}
	return role{}, false
}

func (r role) group() string       { return namespace + "." + r.job }
func (r role) deadLetters() string { return namespace + ".dead-letters." + r.job }

// jobText is a job file with the addresses of the APIs filled in.
type jobText struct{ name, text string }

func readJobs(files fs.FS, addresses map[string]string) ([]jobText, error) {
	var texts []jobText
	for _, r := range roles {
		src, err := fs.ReadFile(files, "jobs/"+r.job+".yaml")
		if err != nil {
			return nil, err
		}
		text := string(src)
		for name, address := range addresses {
			text = strings.ReplaceAll(text, "http://"+strings.ToUpper(name), address)
		}
		texts = append(texts, jobText{r.job + ".yaml", text})
	}
	return texts, nil
}

// process is what the jobs are compiled with.
var process = job.Process{
	Namespace: namespace,
	Secrets:   job.Secrets{Env: secret},
	Guard:     sink.Guard{Hosts: []string{"127.0.0.1"}},
}

// compile does with the texts what `run` does with files.
func compile(texts []jobText) ([]control.Job, error) {
	var set job.Set
	for _, t := range texts {
		set.Parse(t.name, []byte(t.text))
	}
	for _, f := range set.Broken {
		return nil, fmt.Errorf("job file: %w", f)
	}
	var jobs []control.Job
	for _, c := range set.Compile(process) {
		for _, f := range c.Findings(c.Faults) {
			return nil, fmt.Errorf("job file: %w", f)
		}
		jobs = append(jobs, control.Job{ID: c.ID, Owner: c.Owner, File: c.File, Definition: c.Definition})
	}
	return jobs, nil
}

// secret stands for the environment that ${env:…} of a job reads.
func secret(name string) (string, bool) { return "open-sesame", name == "STREAMER_VALUE_DEMO" }
