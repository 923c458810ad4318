package control

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"streamer/consumer"
	"streamer/internal/nearest"
)

// JobHere is a job as it is on one instance.
type JobHere struct {
	JobStatus
	// Holds say why it sends nothing.
	Holds []consumer.Hold
	// Held are its partitions, by topic and number.
	Held []PartitionView
}

// JobSummary is a job as a list has it: how it is over all instances that were asked.
type JobSummary struct {
	ID    string `json:"id"`
	Owner string `json:"owner,omitempty"`
	State State  `json:"state"`
	// Cause says why the state is not the wanted one, or what a running job waits for.
	Cause string    `json:"cause,omitempty"`
	Since time.Time `json:"since"`
	// Holds say why the job sends nothing, what happens next, and what an operator can do.
	Holds []consumer.Hold `json:"holds,omitempty"`
	// Lag in records; absent while it is not known.
	Lag *int64 `json:"lag,omitempty"`
	// InFlight rows have an attempt running or wait for the next one.
	InFlight             int     `json:"in_flight"`
	OldestPendingSeconds float64 `json:"oldest_pending_seconds"`
}

// JobView is a job with its partitions and the instances that run it.
type JobView struct {
	JobSummary
	File         string          `json:"file,omitempty"`
	BreakersOpen []Breaker       `json:"breakers_open,omitempty"`
	Partitions   []PartitionView `json:"partitions"`
}

// PartitionView is one partition of a job.
type PartitionView struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Committed is the last acknowledged offset, HighWatermark the end of what may be read; absent while they are not known.
	Committed     *int64 `json:"committed,omitempty"`
	HighWatermark *int64 `json:"high_watermark,omitempty"`
	Lag           *int64 `json:"lag,omitempty"`
	// Pending records were read and are not finished.
	Pending int `json:"pending"`
	// Full says that its records fill the memory, so that it is not read on for now.
	Full bool `json:"full,omitempty"`
	// Cause says why it is not read on, Since since when.
	Cause string     `json:"cause,omitempty"`
	Since *time.Time `json:"since,omitempty"`
	// Hold is set when it will not be read on before an operator decides.
	Hold *consumer.Hold `json:"hold,omitempty"`
}

// Here gives every job as it is on this instance.
func (s *Supervisor) Here() []JobHere {
	all := make([]JobHere, 0, len(s.jobs))
	for _, j := range s.jobs {
		st, rs := j.look()
		st.Since = st.Since.UTC()
		here := JobHere{JobStatus: st, Holds: rs.Holds}
		for _, p := range rs.Partitions {
			v := PartitionView{Topic: p.Topic, Partition: p.Partition, Committed: known(p.Committed), HighWatermark: known(p.HighWatermark),
				Lag: known(p.Lag()), Pending: p.Pending, Full: p.Paused, Cause: p.Cause, Hold: p.Hold}
			if p.Cause != "" {
				since := p.Since.UTC()
				v.Since = &since
			}
			here.Held = append(here.Held, v)
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

// JobPage is one page of jobs, by id.
type JobPage struct {
	Jobs []JobSummary `json:"jobs"`
	// Next is the cursor of the next page; absent on the last one.
	Next string `json:"next,omitempty"`
}

func (a API) listJobs(c echo.Context) error {
	q := queryOf(c, "limit", "cursor")
	limit, after := q.page()
	if q.err != nil {
		return q.err
	}
	page := JobPage{Jobs: []JobSummary{}}
	last := ""
	for _, v := range a.jobs() {
		if v.place() <= after {
			continue
		}
		if len(page.Jobs) == limit {
			page.Next = last
			break
		}
		page.Jobs, last = append(page.Jobs, v.JobSummary), v.place()
	}
	return c.JSON(http.StatusOK, page)
}

// place is where a job stands in the list. Broken jobs may share an id.
func (v JobView) place() string { return v.ID + " " + v.File }

func (a API) showJob(c echo.Context) error {
	if q := queryOf(c); q.err != nil {
		return q.err
	}
	id, views := jobOf(c), a.jobs()
	for _, v := range views {
		if v.ID == id {
			return c.JSON(http.StatusOK, v)
		}
	}
	ids := make([]string, len(views))
	for i, v := range views {
		ids[i] = v.ID
	}
	return unknownJob(id, ids)
}

// unknownJob names the job that a misspelt one is near to.
func unknownJob(id string, known []string) *Problem {
	mend := "streamer jobs list shows all"
	if meant := nearest.Name(id, known); meant != "" {
		mend = fmt.Sprintf("did you mean %s?", meant)
	}
	return refuse(http.StatusNotFound, "job", fmt.Sprintf("there is no job %q", id), mend)
}

// jobs gives every job, by id.
func (a API) jobs() []JobView {
	var views []JobView
	for _, j := range a.Jobs.Here() {
		views = append(views, JobView{
			JobSummary: JobSummary{ID: j.ID, Owner: j.Owner, State: j.State, Cause: j.Cause, Since: j.Since, Holds: j.Holds, Lag: j.Lag,
				InFlight: j.InFlight, OldestPendingSeconds: j.OldestPendingSeconds},
			File: j.File, BreakersOpen: j.BreakersOpen, Partitions: append([]PartitionView{}, j.Held...),
		})
	}
	slices.SortFunc(views, func(a, b JobView) int { return cmp.Compare(a.place(), b.place()) })
	return views
}
