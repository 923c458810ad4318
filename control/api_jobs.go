package control

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"streamer/consumer"
	"streamer/internal/nearest"
)

// JobSummary is a job as a list has it: how it is over all instances that run it.
type JobSummary struct {
	ID    string `json:"id"`
	Owner string `json:"owner,omitempty"`
	// Desired is what an operator wants of it: running, paused or stopped. Absent while the log in Kafka was not read.
	Desired string `json:"desired,omitempty"`
	State   State  `json:"state"`
	// Cause says why the state is not the wanted one, or what a running job waits for.
	Cause string    `json:"cause,omitempty"`
	Since time.Time `json:"since"`
	// Holds say why the job sends nothing, what happens next, and what an operator can do.
	Holds []consumer.Hold `json:"holds,omitempty"`
	// PartitionCount is how many are read, InstanceCount by how many instances.
	PartitionCount int `json:"partition_count"`
	InstanceCount  int `json:"instance_count"`
	// Lag in records; absent while it is not known.
	Lag *int64 `json:"lag,omitempty"`
	// InFlight rows have an attempt running or wait for the next one; Unproven ones of them failed as often as a row may, and nothing
	// shows whether they or their target are to blame.
	InFlight             int     `json:"in_flight"`
	Unproven             int     `json:"unproven"`
	OldestPendingSeconds float64 `json:"oldest_pending_seconds"`
}

// JobView is a job with its partitions and the instances that run it.
type JobView struct {
	JobSummary
	File         string          `json:"file,omitempty"`
	BreakersOpen []Breaker       `json:"breakers_open,omitempty"`
	Partitions   []PartitionView `json:"partitions"`
	Instances    []InstanceView  `json:"instances"`
	// Unreached are instances that run the job and did not answer; what they have is not in the rest.
	Unreached []Unreached `json:"unreached,omitempty"`
}

// InstanceView is a job as it is on one instance.
type InstanceView struct {
	Instance   string    `json:"instance"`
	State      State     `json:"state"`
	Cause      string    `json:"cause,omitempty"`
	Since      time.Time `json:"since"`
	Partitions int       `json:"partitions"`
	Lag        *int64    `json:"lag,omitempty"`
	InFlight   int       `json:"in_flight"`
	Unproven   int       `json:"unproven"`
}

// PartitionView is one partition of a job.
type PartitionView struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Instance reads it.
	Instance string `json:"instance"`
	// Committed is the last acknowledged offset, HighWatermark the end of what may be read; absent while they are not known.
	Committed     *int64 `json:"committed,omitempty"`
	HighWatermark *int64 `json:"high_watermark,omitempty"`
	Lag           *int64 `json:"lag,omitempty"`
	// Pending records were read and are not finished.
	Pending int `json:"pending"`
	// Full says that its records fill the memory, so that it is not read on until some are final.
	Full bool `json:"full,omitempty"`
	// Cause says why it is not read on, Since since when.
	Cause string     `json:"cause,omitempty"`
	Since *time.Time `json:"since,omitempty"`
	// Hold is set when it will not be read on before an operator decides.
	Hold *consumer.Hold `json:"hold,omitempty"`
	// Stall is set when it has lag and has made no progress for a while.
	Stall *consumer.Stall `json:"stall,omitempty"`
}

// JobPage is one page of jobs, by id.
type JobPage struct {
	Jobs []JobSummary `json:"jobs"`
	// Next is the cursor of the next page; absent on the last one.
	Next string `json:"next,omitempty"`
	// Unreached are instances that did not answer; what they know is not in the list.
	Unreached []Unreached `json:"unreached,omitempty"`
}

// jobsHere is what an instance answers another one that asks for all of its jobs.
type jobsHere struct {
	Views []JobView `json:"views"`
}

func (a API) listJobs(c echo.Context) error {
	q := queryOf(c, "limit", "cursor")
	limit, after := q.page()
	if q.err != nil {
		return q.err
	}
	if hopped(c) {
		return c.JSON(http.StatusOK, jobsHere{a.viewsHere()})
	}
	views, missing := a.views(c.Request().Context())
	page := JobPage{Jobs: []JobSummary{}, Unreached: missing}
	last := ""
	for _, v := range views {
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
	id := jobOf(c)
	views, missing := a.views(c.Request().Context())
	ids := make([]string, len(views))
	for i, v := range views {
		if v.ID == id {
			v.Unreached = missing
			return c.JSON(http.StatusOK, v)
		}
		ids[i] = v.ID
	}
	return unknownJob(id, ids)
}

// known gives the job in the route's path, if this instance has it.
func (a API) known(c echo.Context) (string, error) {
	id := jobOf(c)
	var ids []string
	for _, j := range a.Jobs.Here() {
		if j.ID == id {
			return id, nil
		}
		ids = append(ids, j.ID)
	}
	return "", unknownJob(id, ids)
}

// unknownJob names the job that a misspelt one is near to.
func unknownJob(id string, known []string) *Problem {
	mend := "streamer jobs list shows all"
	if meant := nearest.Name(id, known); meant != "" {
		mend = fmt.Sprintf("did you mean %s?", meant)
	}
	return refuse(http.StatusNotFound, "job", fmt.Sprintf("there is no job %q", id), mend)
}

// viewsHere gives every job as it is on this instance.
func (a API) viewsHere() []JobView {
	views, me := []JobView{}, a.Fleet.Me().ID
	for _, j := range a.Jobs.Here() {
		v := JobView{
			JobSummary: JobSummary{ID: j.ID, Owner: j.Owner, State: j.State, Cause: j.Cause, Since: j.Since, Holds: j.Holds, PartitionCount: len(j.Assigned),
				InstanceCount: 1, Lag: j.Lag, InFlight: j.InFlight, Unproven: j.Unproven, OldestPendingSeconds: j.OldestPendingSeconds},
			File: j.File, BreakersOpen: j.BreakersOpen, Partitions: append([]PartitionView{}, j.Assigned...),
			Instances: []InstanceView{{Instance: me, State: j.State, Cause: j.Cause, Since: j.Since, Partitions: len(j.Assigned), Lag: j.Lag,
				InFlight: j.InFlight, Unproven: j.Unproven}},
		}
		for i := range v.Partitions {
			v.Partitions[i].Instance = me
		}
		views = append(views, v)
	}
	return views
}

// desiredTimeout bounds the wait for the log in Kafka, for all jobs together: what it says is good to know, and no more.
const desiredTimeout = 200 * time.Millisecond

// views gives every job over all instances, in the order of the list, and the instances that did not answer.
func (a API) views(ctx context.Context) ([]JobView, []Unreached) {
	there, missing := askAll[jobsHere](ctx, a.peers(""), http.MethodGet, "/api/v1/jobs", "")
	merged := map[string]*JobView{}
	for _, views := range append([]jobsHere{{a.viewsHere()}}, there...) {
		here := map[string]int{}
		for _, v := range views.Views {
			here[v.ID]++
		}
		for _, v := range views.Views {
			same := v.ID
			if here[v.ID] > 1 { // broken ones that share an id; else a job may stand in another file on another instance
				same = v.place()
			}
			if m := merged[same]; m != nil {
				m.merge(v)
			} else {
				merged[same] = &v
			}
		}
	}
	views := make([]JobView, 0, len(merged))
	log, cancel := context.WithTimeout(ctx, desiredTimeout)
	defer cancel()
	for _, v := range merged {
		if m, err := a.Store.Memory(log, v.ID); err == nil {
			v.Desired = desiredText(m.Desired)
		}
		slices.SortFunc(v.Partitions, func(a, b PartitionView) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Instance, b.Instance))
		})
		slices.SortFunc(v.Instances, func(a, b InstanceView) int { return cmp.Compare(a.Instance, b.Instance) })
		views = append(views, *v)
	}
	slices.SortFunc(views, func(a, b JobView) int { return cmp.Compare(a.place(), b.place()) })
	return views, missing
}

// telling are the states of a job, the most telling first: what one instance says of the group as a whole goes over what another one
// says of itself.
var telling = []State{Held, Paused, Running, Starting, Failed, Stopped}

// merge adds what another instance tells of the same job.
func (v *JobView) merge(o JobView) {
	if slices.Index(telling, o.State) < slices.Index(telling, v.State) || o.State == v.State && v.Cause == "" {
		v.State, v.Cause, v.Since = o.State, o.Cause, o.Since
	}
	for _, h := range o.Holds {
		if !slices.ContainsFunc(v.Holds, func(k consumer.Hold) bool { return k.Cause == h.Cause && k.Reason == h.Reason }) {
			v.Holds = append(v.Holds, h)
		}
	}
	for _, b := range o.BreakersOpen {
		if !slices.ContainsFunc(v.BreakersOpen, func(k Breaker) bool { return k.Target == b.Target }) {
			v.BreakersOpen = append(v.BreakersOpen, b)
		}
	}
	switch {
	case o.Lag == nil: // it has no partition, or knows nothing of it yet
	case v.Lag == nil:
		v.Lag = o.Lag
	default:
		sum := *v.Lag + *o.Lag
		v.Lag = &sum
	}
	v.PartitionCount += o.PartitionCount
	v.InstanceCount += o.InstanceCount
	v.InFlight += o.InFlight
	v.Unproven += o.Unproven
	v.OldestPendingSeconds = max(v.OldestPendingSeconds, o.OldestPendingSeconds)
	v.Partitions, v.Instances = append(v.Partitions, o.Partitions...), append(v.Instances, o.Instances...)
}
