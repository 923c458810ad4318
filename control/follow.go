package control

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"streamer/consumer/kafkalog"
)

const (
	// followMost bounds how often the log is looked at for changed definitions.
	followMost = 20 * time.Millisecond
	// mendEvery is how often definitions that do not run here are compiled again, and those whose secret files have changed.
	mendEvery = 10 * time.Second
)

// follow keeps the jobs of this instance as the log has them, until ctx ends: each definition is compiled once per revision, several at a
// time, and takes the place of the one before only if it can run.
func (s *Supervisor) follow(ctx context.Context) {
	var mark kafkalog.Mark
	mend := time.NewTicker(mendEvery)
	defer mend.Stop()
	defer s.pass.end()
	for {
		waiting := s.pass.begin()
		changed := s.options.Bulletin.Changed()
		objects, whole, now := s.options.Store.log.Since(mark)
		mark = now
		s.take(ctx, objects, whole)
		for _, caught := range waiting {
			close(caught)
		}
		select {
		case <-s.pass.asked:
			continue // somebody waits
		case <-changed:
		case <-mend.C:
			s.mend(ctx)
		case <-ctx.Done():
			return
		}
		select {
		case <-s.pass.asked:
		case <-time.After(followMost):
		case <-ctx.Done():
			return
		}
	}
}

// take brings changed definitions to their jobs. With whole, jobs whose definition is not among them are gone.
func (s *Supervisor) take(ctx context.Context, objects []kafkalog.Entry, whole bool) {
	var compile []kafkalog.Entry
	moved := map[string]kafkalog.Entry{} // as they were compiled last, by key; what is among objects is newer
	for _, e := range s.linked() {
		moved[e.Key] = e
	}
	there := map[string]bool{}
	for _, e := range objects {
		id, ok := strings.CutPrefix(e.Key, definitionPrefix)
		_, again := moved[e.Key]
		delete(moved, e.Key)
		switch {
		case !ok:
		case e.Value == nil:
			s.goes(id)
		default:
			there[id] = true
			if !s.knows(id, e) || again {
				compile = append(compile, e)
			}
		}
	}
	if whole {
		for _, j := range s.all() {
			j.mu.Lock()
			stored := j.revision > 0
			j.mu.Unlock()
			if stored && !there[j.ID] {
				delete(moved, definitionPrefix+j.ID)
				s.goes(j.ID)
			}
		}
	}
	compile = slices.AppendSeq(compile, maps.Values(moved))
	s.compile(ctx, compile)
}

// linked gives the definitions of jobs that are to be compiled anew since their connection is another one, and has those decided anew
// whose connection was paused or resumed.
func (s *Supervisor) linked() (compile []kafkalog.Entry) {
	moved, turned := s.options.Definitions.connections.news()
	if len(moved)+len(turned) == 0 {
		return nil
	}
	for _, j := range s.all() {
		j.mu.Lock()
		again := slices.ContainsFunc(j.connections, func(name string) bool { return moved[name] }) && j.revision > 0 && !j.gone && j.deleting == nil
		decide, object := turned[j.connection], j.object
		j.mu.Unlock()
		if again {
			compile = append(compile, object)
		}
		if decide {
			s.redecide(j.ID)
		}
	}
	return compile
}

// knows says that a job is as an object says.
func (s *Supervisor) knows(id string, e kafkalog.Entry) bool {
	j := s.job(id)
	if j == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.revision != revisionOf(e, true) || j.object.Log != e.Log || j.gone {
		return false
	}
	j.object = e // the same bytes once, when the log was read anew
	return true
}

// compile makes plans of definitions, as many at a time as there are processors, and brings each to its job.
func (s *Supervisor) compile(ctx context.Context, objects []kafkalog.Entry) {
	work := make(chan kafkalog.Entry)
	var workers sync.WaitGroup
	for range min(len(objects), runtime.GOMAXPROCS(0)) {
		workers.Go(func() { // ends with work
			for e := range work {
				s.apply(e)
			}
		})
	}
	for _, e := range objects {
		if ctx.Err() != nil {
			break
		}
		work <- e
	}
	close(work)
	workers.Wait()
	if len(objects) > 0 {
		s.size()
	}
}

// size asks measure for the extents of new jobs.
func (s *Supervisor) size() {
	select {
	case s.unsized <- struct{}{}:
	default:
	}
}

// apply compiles one definition and gives it to its job.
func (s *Supervisor) apply(e kafkalog.Entry) {
	definition, err := decodeDefinition(e)
	var p *plan
	if err == nil && definition.Deleting == nil {
		p, err = s.options.Definitions.compile(definition)
	}
	id := strings.TrimPrefix(e.Key, definitionPrefix)
	s.mu.Lock()
	j := s.jobs[id]
	if j == nil {
		j = newSupervised(Job{ID: id, Owner: definition.Owner}, s.options.Log)
		s.jobs[id] = j
	}
	j.mu.Lock() // before mu is let go: drop must not forget it meanwhile, as one that is still gone
	s.mu.Unlock()
	was, before := j.revision, j.broken
	j.revision, j.object, j.gone, j.refused = revisionOf(e, true), e, false, false
	j.connection, j.connections = definition.Connection, definition.Connections
	switch {
	case err == nil:
		j.owner, j.deleting, j.broken = definition.Owner, definition.Deleting, ""
		if p != nil {
			if j.plan != nil && !slices.Equal(j.plan.config.Topics, p.config.Topics) {
				j.extent = nil
			}
			j.plan = p
		}
	case j.plan != nil:
		j.broken = "its definition of revision " + revisionText(e) + " cannot run here, and the one before runs on: " + err.Error()
	default:
		j.broken = err.Error()
	}
	is := j.broken
	j.mu.Unlock()
	switch {
	case is != "" && is != before:
		j.log.Error("the job's definition cannot run here", "revision", revisionText(e), "cause", err)
	case is != "" || was == 0:
	case was != revisionOf(e, true):
		j.log.Info("the job's definition has changed", "revision", revisionText(e), "by", definition.By)
	case before != "":
		j.log.Info("the job's definition can run here now")
	default:
		j.log.Info("a secret file of the job, or its connection, has changed")
	}
	s.altered(id)
}

// goes lets a job end that the log has no more.
func (s *Supervisor) goes(id string) {
	j := s.job(id)
	if j == nil {
		return
	}
	j.mu.Lock()
	known := j.revision > 0
	j.gone = known
	j.mu.Unlock()
	if known {
		j.log.Info("the job was deleted")
		s.altered(id)
	}
}

// mend compiles again what did not run, and what refers to secret files that have changed.
func (s *Supervisor) mend(ctx context.Context) {
	s.options.Definitions.connections.mend()
	objects := s.linked()
	for _, j := range s.all() {
		j.mu.Lock()
		again, object := j.revision > 0 && j.broken != "" && !j.refused && !j.gone && j.deleting == nil, j.object
		p := j.plan
		j.mu.Unlock()
		if again || p != nil && p.watch.Changed(s.options.Definitions.process.Secrets) {
			objects = append(objects, object)
		}
	}
	s.compile(ctx, objects)
}
