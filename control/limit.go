package control

import (
	"cmp"
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"streamer/consumer"
	"streamer/sink"
)

// Limits divides the rate limits of jobs on this instance. *consumer.Instance is one.
type Limits interface {
	// Load says which partitions of a job this instance has, which of them have something to do now, and what was sent so far.
	Load(job string) consumer.Load
	// Divide says which part of a job's rate limit this instance may take from now on.
	Divide(job string, rows, redrive float64)
}

const (
	workPrefix = "work/"
	// sampleEvery is how often, on average, it is looked whether partitions have work; tellEvery bounds how often that is told.
	sampleEvery = 100 * time.Millisecond
	tellEvery   = 500 * time.Millisecond
)

// dividing is a job with a rate limit.
type dividing struct {
	*division
	job   *supervised
	key   string // of our own claim
	said  claim  // without partitions: nothing, or taken back
	at    time.Time
	heard map[string]heard
}

// heard is a claim of another instance, decoded once.
type heard struct {
	revision int64
	claim    claim
}

// limits keeps the jobs with a rate limit as they are now; each begins with the least share until there is a better one. A job that
// is no more, or has no limit any more, has the whole.
func (s *Supervisor) limits(before map[string]*dividing) map[string]*dividing {
	all := map[string]*dividing{}
	for _, j := range s.all() {
		config, ok := j.config()
		if !ok || config.Sink.Rate.Count <= 0 {
			continue
		}
		limit := perSecond(config.Sink.Rate)
		d := before[j.ID]
		if d == nil || d.job != j {
			s.options.Limits.Divide(j.ID, leastShare, leastShare)
			d = &dividing{division: newDivision(time.Now(), limit), job: j, key: workPrefix + j.ID + "/" + s.me.ID, heard: map[string]heard{}}
		}
		d.limit = limit
		all[j.ID] = d
	}
	for id, d := range before {
		if all[id] == nil {
			s.unclaim(d)
			s.options.Limits.Divide(id, 1, 1)
		}
	}
	return all
}

// divide keeps this instance's shares of rate limits right until ctx ends, and takes back what it said then.
func (s *Supervisor) divide(ctx context.Context) {
	if s.options.Limits == nil {
		return
	}
	var all map[string]*dividing
	for known := -1; ; {
		s.mu.Lock()
		changes := s.changes
		s.mu.Unlock()
		if changes != known {
			known, all = changes, s.limits(all)
		}
		live, now := s.liveIDs(), time.Now()
		for _, d := range all {
			d.sample(now, s.options.Limits.Load(d.job.ID))
			if live != nil { // else the log does not know the present yet
				rows, redrive := d.share(now, d.job.partitions(), s.claims(d, live))
				s.options.Limits.Divide(d.job.ID, rows, redrive)
			}
			s.claim(d, now)
		}
		if !sleep(ctx, sampleEvery/2+rand.N(sampleEvery)) {
			break
		}
	}
	for _, d := range all {
		s.unclaim(d)
	}
}

// unclaim takes back what was said of a job.
func (s *Supervisor) unclaim(d *dividing) {
	if len(d.said.Work) > 0 {
		s.options.Bulletin.Report(d.key, nil)
	}
	d.said = claim{}
}

// perSecond is a rate in attempts a second, as the sink takes it.
func perSecond(r sink.Rate) float64 {
	r = sink.Config{Rate: r}.Defaults().Rate
	return r.Count / r.Per.Seconds()
}

// claim says what our partitions of a job need, if that is news, or was not said for long.
func (s *Supervisor) claim(d *dividing, now time.Time) {
	c := d.claim()
	if since := now.Sub(d.at); since < tellEvery || since < repeatEvery && !c.differs(d.said) {
		return
	}
	if d.at = now; len(c.Work) == 0 {
		s.unclaim(d)
		return
	}
	d.said = c
	s.report(d.key, c)
}

// claims gives what the other live instances said of a job, the latest last.
func (s *Supervisor) claims(d *dividing, live []string) []claim {
	var all []heard
	before := d.heard
	d.heard = map[string]heard{}
	prefix := workPrefix + d.job.ID + "/"
	for _, e := range s.options.Bulletin.Reports(prefix) {
		if e.Key == d.key || !slices.Contains(live, strings.TrimPrefix(e.Key, prefix)) {
			continue
		}
		h, known := before[e.Key]
		if !known || h.revision != e.Revision {
			h = heard{revision: e.Revision}
			if json.Unmarshal(e.Value, &h.claim) != nil {
				continue // of a version that says it in another way
			}
		}
		d.heard[e.Key] = h
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b heard) int { return cmp.Compare(a.revision, b.revision) })
	claims := make([]claim, len(all))
	for i, h := range all {
		claims[i] = h.claim
	}
	return claims
}

// partitions is how many the job has, 0 if that is not known.
func (j *supervised) partitions() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.extent == nil {
		return 0
	}
	return j.extent.partitions
}
