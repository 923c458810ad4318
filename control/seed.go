package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
	"streamer/internal/fault"
)

// seedRetry is the longest wait before job files are taken into the log again, after it could not be written.
const seedRetry = 10 * time.Second

// seed takes the job files, and the connections among them, into the log, and tries until it can be written or ctx ends. Jobs that are refused
// with their connections as they are, or are not, are tried again when those change.
func (s *Supervisor) seed(ctx context.Context) {
	var jobs []Job
	for _, f := range s.options.Jobs {
		if f.Broken == "" && f.Definition != nil {
			jobs = append(jobs, f)
		}
	}
	if len(jobs)+len(s.options.Targets) == 0 || s.options.Store.log.Wait(ctx) != nil {
		return
	}
	_, _, mark := s.options.Store.log.Since(kafkalog.Mark{})
	late := s.sow(ctx, s.options.Targets, jobs)
	for len(late) > 0 {
		changed := s.options.Bulletin.Changed()
		objects, _, now := s.options.Store.log.Since(mark)
		mark = now
		if s.concern(objects, late) {
			late = s.sow(ctx, nil, late)
			continue
		}
		select {
		case <-changed:
		case <-time.After(mendEvery): // a secret file that a connection refers to is told of by nobody
		case <-ctx.Done():
			return
		}
		if !sleep(ctx, followMost) {
			return
		}
	}
}

// concern says that a connection which one of the jobs names is among changed objects, or can be used by now.
func (s *Supervisor) concern(changed []kafkalog.Entry, jobs []Job) bool {
	keys := map[string]bool{}
	for _, e := range changed {
		keys[e.Key] = true
	}
	return slices.ContainsFunc(jobs, func(f Job) bool {
		named := func(name string) bool { return keys[connectionPrefix+name] }
		return slices.ContainsFunc(f.Definition.Connections(), named) || s.options.Definitions.connections.missingFor(f.Definition) != f.missing
	})
}

// sow takes connections and jobs of files into the log as soon as it can be written. It gives the jobs that are refused and name
// a connection.
func (s *Supervisor) sow(ctx context.Context, connections []*job.Connection, jobs []Job) (late []Job) {
	seeds := Seeds{Connections: connections}
	for _, f := range jobs {
		seeds.Jobs = append(seeds.Jobs, f.Definition)
	}
	for wait := s.options.Backoff; ; wait = min(2*wait, seedRetry) {
		ofConnections, ofJobs, err := s.options.Definitions.Seed(ctx, seeds)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			s.sownConnections(connections, ofConnections)
			for i, f := range jobs {
				if f.missing = s.sownJob(f, ofJobs[i]); ofJobs[i].Refused != nil && len(f.Definition.Connections()) > 0 {
					late = append(late, f)
				}
			}
			return late
		}
		s.options.Log.Error("the job files could not be taken into the log in Kafka; trying on", "cause", err)
		for _, f := range jobs {
			s.unseeded(f.ID, "its file could not be taken into the log in Kafka: "+err.Error())
		}
		if !sleep(ctx, wait/2+rand.N(wait/2+1)) {
			return nil
		}
	}
}

// sownConnections notes what became of the connections of files.
func (s *Supervisor) sownConnections(connections []*job.Connection, are []Seeded) {
	for i, n := range connections {
		log := s.options.Log.With("connection", n.Name, "file", n.File)
		switch is := are[i]; {
		case is.Refused != nil:
			cause := whyRefused(n.Definition, is.Refused)
			log.Error("the connection of the file cannot be taken into the log in Kafka", "cause", cause)
			s.mu.Lock()
			s.unsown = append(s.unsown, cause)
			s.mu.Unlock()
		case is.Created:
			log.Info("the connection of the file was taken into the log in Kafka")
		case is.Differs:
			log.Info("the connection of the file differs from the one in the log in Kafka, which is used; streamer connections apply -f " + n.File + " changes it")
		}
	}
}

// sownJob notes what became of a file's job, and gives the connection that it waits for, if it does.
func (s *Supervisor) sownJob(f Job, is Seeded) (missing string) {
	log := s.options.Log.With("job", f.ID, "file", f.File)
	switch {
	case is.Refused != nil:
		cause := whyRefused(f.Definition, is.Refused)
		missing = s.options.Definitions.connections.missingFor(f.Definition)
		news := s.unseeded(f.ID, cause)
		switch {
		case missing == "" && news:
			log.Error("the job of the file cannot be taken into the log in Kafka", "cause", cause)
		case missing != f.missing:
			log.Warn("the job of the file waits for its connection", "missing", missing, "cause", cause)
		}
	case is.Created:
		log.Info("the job of the file was taken into the log in Kafka")
	case is.Differs:
		log.Info("the job of the file differs from the one in the log in Kafka, which runs; streamer jobs apply -f " + f.File + " changes it")
	}
	return missing
}

// whyRefused says why the log cannot have what stands in a file: with the place of what is wrong in it.
func whyRefused(d *job.Definition, refused error) string {
	var p *service.Problem
	if !errors.As(refused, &p) || p.Status != http.StatusUnprocessableEntity {
		return refused.Error()
	}
	all := p.Errors
	if len(all) == 0 {
		all = []service.Fault{{Field: p.Field, Detail: p.Detail, Mend: p.Mend}}
	}
	var faults fault.List
	for _, f := range all {
		faults = append(faults, fault.Fault{Path: f.Field, Problem: f.Detail, Mend: f.Mend})
	}
	text := d.Findings(faults)[0].Error()
	if more := len(all) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// unseeded says why a file's job does not run, and whether that is new. One that the log has is not concerned.
func (s *Supervisor) unseeded(id, cause string) (news bool) {
	j := s.job(id)
	if j == nil {
		return true
	}
	j.mu.Lock()
	if j.revision == 0 && !j.gone {
		news, j.broken = j.broken != cause, cause
	}
	j.mu.Unlock()
	s.redecide(id)
	return news
}
