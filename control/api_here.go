package control

import (
	"cmp"
	"iter"
	"slices"

	"streamer/consumer"
)

// JobHere is a job as it is on one instance.
type JobHere struct {
	JobStatus
	// Holds say why it sends nothing. Unproven rows are described at JobSummary.
	Holds    []consumer.Hold
	Unproven int
	Formats  []consumer.FormatCount
	Rows     []consumer.RowCount
	// Assigned are its partitions here, by topic and number.
	Assigned []PartitionView
}

// JobName is a job that an instance knows.
type JobName struct{ ID, Owner, File string }

// Names gives the jobs that this instance knows, by id and file, without those whose ids come before from.
func (s *Supervisor) Names(from string) iter.Seq[JobName] {
	return func(yield func(JobName) bool) {
		for _, j := range within(s.all(), from, "") {
			j.mu.Lock()
			name := JobName{j.ID, j.owner, j.file}
			j.mu.Unlock()
			if !yield(name) {
				return
			}
		}
	}
}

// within gives those jobs whose ids are from from to to (empty: to the last one). They are in the order of ids.
func within(jobs []*supervised, from, to string) []*supervised {
	byID := func(j *supervised, id string) int { return cmp.Compare(j.ID, id) }
	first, _ := slices.BinarySearchFunc(jobs, from, byID)
	jobs = jobs[first:]
	if to != "" {
		end, _ := slices.BinarySearchFunc(jobs, to+"\x00", byID)
		jobs = jobs[:end]
	}
	return jobs
}

// Here gives the jobs whose ids are from from to to (empty: to the last one) as they are on this instance, by id and file.
func (s *Supervisor) Here(from, to string) []JobHere {
	jobs := within(s.all(), from, to)
	all := make([]JobHere, 0, len(jobs))
	for _, j := range jobs {
		st, rs := j.look()
		st.Since = st.Since.UTC()
		here := JobHere{JobStatus: st, Holds: rs.Holds, Unproven: rs.Delivery.Unproven, Formats: rs.Formats, Rows: rs.Rows,
			Assigned: make([]PartitionView, 0, len(rs.Partitions))}
		for _, p := range rs.Partitions {
			v := PartitionView{Topic: p.Topic, Partition: p.Partition, Committed: known(p.Committed), HighWatermark: known(p.HighWatermark),
				Lag: known(p.Lag()), Pending: p.Pending, Full: p.Paused, Cause: p.Cause, Hold: p.Hold}
			if p.Cause != "" {
				since := p.Since.UTC()
				v.Since = &since
			}
			for _, st := range rs.Stalls {
				if st.Topic == p.Topic && st.Partition == p.Partition {
					st.Since = st.Since.UTC()
					v.Stall = &st
				}
			}
			here.Assigned = append(here.Assigned, v)
		}
		all = append(all, here)
	}
	return all
}

// known is a number that is negative while it is not known.
func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// Me is this instance. It has no id before Run.
func (s *Supervisor) Me() Self {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.me
}

// Deliveries are the rows of a job, if it runs on this instance.
func (s *Supervisor) Deliveries(id string) (Deliveries, bool) {
	d, ok := s.runner(id).(Deliveries)
	return d, ok
}

// Gaps are what holds a job, if it runs on this instance.
func (s *Supervisor) Gaps(id string) (Gaps, bool) {
	g, ok := s.runner(id).(Gaps)
	return g, ok
}

// runner is that of a job now, nil if there is none.
func (s *Supervisor) runner(id string) Runner {
	j := s.job(id)
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.runner
}

// Config is what runs, of a job that is valid.
func (s *Supervisor) Config(id string) (consumer.Config, bool) {
	j := s.job(id)
	if j == nil {
		return consumer.Config{}, false
	}
	return j.config()
}

// job is the job of an id, nil if there is none; of broken ones that share an id, any.
func (s *Supervisor) job(id string) *supervised {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		return j
	}
	if i := slices.IndexFunc(s.strays, func(j *supervised) bool { return j.ID == id }); i >= 0 {
		return s.strays[i]
	}
	return nil
}
