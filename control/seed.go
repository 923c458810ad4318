package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
)

// Seeded is what became of the job of a file.
type Seeded struct {
	// Created: the log has it from now on.
	Created bool
	// Differs: the log has another job of that id, which wins.
	Differs bool
	// Refused says why the log cannot have it; nil: it can.
	Refused error
}

// bySelf is who does what nobody asked for.
var bySelf = service.Caller{Name: consumer.BySelf, Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}

// Seed takes the jobs of files into the log, all in one transaction. A job that the log has already is left as it is there. It gives what
// became of each, in their order; an error says that none was written, since the log could not be.
func (d *Definitions) Seed(ctx context.Context, jobs []*job.Definition) ([]Seeded, error) {
	for {
		out, more, err := d.seed(ctx, jobs)
		if err != nil || !more {
			return out, err
		}
	}
}

// seed writes as much as one transaction takes; more says that there was more.
func (d *Definitions) seed(ctx context.Context, jobs []*job.Definition) (out []Seeded, more bool, err error) {
	_, err = d.log.Transact(ctx, func(read func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error) {
		out, more = make([]Seeded, len(jobs)), false
		var writes []kafkalog.Write
		size, groups := 0, map[string]string{}
		for i, def := range jobs {
			key := definitionPrefix + def.ID
			if e, exists := read(key); exists {
				out[i].Differs = differs(def, e)
				continue
			}
			value, audit, err := d.change(bySelf, def.Bare(), kafkalog.Entry{}, false, func(kafkalog.Entry, *storedDefinition, []byte) error { return nil })
			if err != nil {
				out[i].Refused = err
				continue
			}
			s, err := decodeDefinition(kafkalog.Entry{Key: key, Value: value})
			if err != nil {
				return nil, err
			}
			if other := groups[s.Group]; other != "" {
				out[i].Refused = service.Refuse(http.StatusUnprocessableEntity, "group", fmt.Sprintf("group %q is that of job %q", s.Group, other), "")
				continue
			}
			if size += len(key) + len(value) + len(audit); len(writes) == kafkalog.MaxWrites || size > kafkalog.MaxTransactBytes {
				more = true
				break
			}
			groups[s.Group] = def.ID
			out[i].Created = true
			writes = append(writes, kafkalog.Write{Key: key, Value: value, Audit: audit})
		}
		return writes, nil
	})
	return out, more, err
}

// differs says that a file has another document than the log. Secrets are not compared.
func differs(def *job.Definition, e kafkalog.Entry) bool {
	s, err := decodeDefinition(e)
	return err != nil || !bytes.Equal(s.masked(), def.Bare().Masked())
}

// seedRetry is the longest wait before job files are taken into the log again, after it could not be written.
const seedRetry = 10 * time.Second

// seed takes the job files into the log, and tries until it can be written or ctx ends.
func (s *Supervisor) seed(ctx context.Context) {
	var files []Job
	var defs []*job.Definition
	for _, f := range s.options.Jobs {
		if f.Broken == "" && f.Definition != nil {
			files, defs = append(files, f), append(defs, f.Definition)
		}
	}
	if len(files) == 0 || s.options.Store.log.Wait(ctx) != nil {
		return
	}
	for wait := s.options.Backoff; ; wait = min(2*wait, seedRetry) {
		seeded, err := s.options.Definitions.Seed(ctx, defs)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			for i, f := range files {
				s.seeded(f, seeded[i])
			}
			return
		}
		s.options.Log.Error("the job files could not be taken into the log in Kafka; trying on", "cause", err)
		for _, f := range files {
			s.unseeded(f.ID, "its file could not be taken into the log in Kafka: "+err.Error())
		}
		if !sleep(ctx, wait/2+rand.N(wait/2+1)) {
			return
		}
	}
}

// seeded notes what became of a file's job.
func (s *Supervisor) seeded(f Job, is Seeded) {
	log := s.options.Log.With("job", f.ID, "file", f.File)
	switch {
	case is.Refused != nil:
		var p *service.Problem
		cause := is.Refused.Error()
		if errors.As(is.Refused, &p) && p.Status == http.StatusUnprocessableEntity {
			cause = f.File + ": " + cause
		}
		log.Error("the job of the file cannot be taken into the log in Kafka", "cause", cause)
		s.unseeded(f.ID, cause)
	case is.Created:
		log.Info("the job of the file was taken into the log in Kafka")
	case is.Differs:
		log.Info("the job of the file differs from the one in the log in Kafka, which runs; streamer jobs apply -f " + f.File + " changes it")
	}
}

// unseeded says why a file's job does not run. One that the log has is not concerned.
func (s *Supervisor) unseeded(id, cause string) {
	j := s.job(id)
	if j == nil {
		return
	}
	j.mu.Lock()
	if j.revision == 0 && !j.gone {
		j.broken = cause
	}
	j.mu.Unlock()
	s.redecide(id)
}
