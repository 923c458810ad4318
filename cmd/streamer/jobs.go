package main

import (
	"fmt"
	"strings"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
	"streamer/consumer/registry"
	"streamer/control/job"
	"streamer/sink"
)

// process is what compiling jobs takes from the settings. masked jobs can be shown, and not run. Without a keyring of its own it opens no
// sealed secret.
func process(s settings.Settings, env func(string) (string, bool), masked bool) job.Process {
	return job.Process{
		Namespace: s.Namespace,
		Instance:  s.Instance,
		Secrets:   job.Secrets{Env: env, Dir: s.SecretsDir, Masked: masked},
		Guard:     sink.Guard{Hosts: s.AllowHosts, CIDRs: s.AllowCIDRs},
		Grants:    s.Owners,
	}
}

// openRegistry gives the schema registry, nil if there is none.
func openRegistry(s settings.Settings) (*registry.Registry, error) {
	o := s.Registry
	if o.URL == "" {
		return nil, nil
	}
	o.Guard = sink.Guard{Hosts: s.AllowHosts, CIDRs: s.AllowCIDRs}
	r, err := registry.New(o)
	if err != nil {
		return nil, fmt.Errorf("%w (STREAMER_SCHEMA_REGISTRY_URL, _CA_FILE)", err)
	}
	return r, nil
}

// summary is the faults of a job, or connection, in one line: the first error, and how many more there are.
func summary(errs []job.Finding) string {
	if len(errs) == 0 {
		return ""
	}
	first := errs[0].Error()
	if more := len(errs) - 1; more > 0 {
		first += fmt.Sprintf(" (and %d more; streamer validate %s shows all)", more, errs[0].File)
	}
	return first
}

// laneRule says in words which rows wait for each other.
func laneRule(o consumer.Order, expr string) string {
	switch o.By {
	case consumer.OrderKey:
		return "by record key"
	case consumer.OrderPartition:
		return "all rows of a partition one after another"
	case consumer.OrderNone:
		return "none: rows may overtake each other"
	case consumer.OrderPath:
		return "by " + expr
	}
	return "rows of container files by $.msg.id, all others by record key"
}

// findings are those of all files, connections and jobs, in order.
func findings(set job.Set, connections []job.CompiledConnection, compiled []job.Compiled) []job.Finding {
	all := append([]job.Finding(nil), set.Broken...)
	for _, c := range connections {
		all = append(all, c.Findings(c.Faults)...)
	}
	for _, c := range compiled {
		all = append(all, c.Findings(c.Faults)...)
	}
	return all
}

func anyError(all []job.Finding) bool {
	for _, f := range all {
		if !f.Warning {
			return true
		}
	}
	return false
}

// firstErrors is an error of all findings that are no warnings.
func firstErrors(all []job.Finding) error {
	var lines []string
	for _, f := range all {
		if !f.Warning {
			lines = append(lines, f.Error())
		}
	}
	return fmt.Errorf("%s", strings.Join(lines, "\n"))
}

// shownFinding is a finding as -o json and yaml have it.
type shownFinding struct {
	File       string `json:"file"`
	Line       int    `json:"line,omitempty"`
	Column     int    `json:"column,omitempty"`
	Job        string `json:"job,omitempty"`
	Connection string `json:"connection,omitempty"`
	Path       string `json:"path,omitempty"`
	Problem    string `json:"problem"`
	Mend       string `json:"mend,omitempty"`
	Severity   string `json:"severity"`
}

func show(f job.Finding) shownFinding {
	s := shownFinding{File: f.File, Line: f.Line, Column: f.Column, Job: f.Job, Connection: f.Connection, Path: f.Path, Problem: f.Problem, Mend: f.Mend, Severity: "error"}
	if f.Warning {
		s.Severity = "warning"
	}
	return s
}
