package control

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"streamer/consumer"
	"streamer/control/service"
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
	// PartitionCount is how many are read, InstanceCount on how many instances the job is not stopped.
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
	File         string    `json:"file,omitempty"`
	BreakersOpen []Breaker `json:"breakers_open,omitempty"`
	// Formats count what its records were found to be, on every instance since the job began to run there.
	Formats []consumer.FormatCount `json:"formats,omitempty"`
	// Rows count what became of its rows, likewise: unmatched and filtered ones ended without a request.
	Rows       []consumer.RowCount `json:"rows,omitempty"`
	Partitions []PartitionView     `json:"partitions"`
	Instances  []InstanceView      `json:"instances"`
	// Unreached are instances that run the job and did not answer; what they have is not in the rest.
	Unreached []Unreached `json:"unreached,omitempty"`
	LogAge
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
	LogAge
}

// JobsService is the service jobs: the jobs over all instances, and what is wanted of them.
type JobsService interface {
	// List gives one page of the jobs that the caller may view, by id.
	List(context.Context, service.Caller, service.Page) (JobPage, error)
	// Show gives one job with its partitions and instances.
	Show(context.Context, service.Caller, JobIn) (JobView, error)
	// Start lets a job run that was stopped or paused, and ends a hold of the dead-letter guard.
	Start(context.Context, service.Caller, JobIn) (DesiredChange, error)
	// Stop makes a job leave its group.
	Stop(context.Context, service.Caller, JobIn) (DesiredChange, error)
	// Pause starts no more attempts, and stays in the group.
	Pause(context.Context, service.Caller, JobIn) (DesiredChange, error)
	// Resume ends a pause, or a hold of the dead-letter guard.
	Resume(context.Context, service.Caller, JobIn) (DesiredChange, error)
}

func jobsMethods(s JobsService) []service.Method {
	desire := func(name, summary string, call func(context.Context, service.Caller, JobIn) (DesiredChange, error)) service.Method {
		return service.New(service.Method{Service: "jobs", Name: name, Verb: http.MethodPost, Route: "/jobs/{job}/" + name, Permission: service.Operate, On: "job",
			Summary: summary}, call)
	}
	return []service.Method{
		service.New(service.Method{Service: "jobs", Name: "list", Verb: http.MethodGet, Route: "/jobs", Permission: service.View, On: service.Any,
			Summary: "lists the jobs with their state and lag"}, s.List),
		service.New(service.Method{Service: "jobs", Name: "show", Verb: http.MethodGet, Route: "/jobs/{job}", Permission: service.View, On: "job",
			Summary: "shows a job with its partitions and instances"}, s.Show),
		desire("start", "lets a stopped or paused job run", s.Start),
		desire("stop", "makes a job leave its group", s.Stop),
		desire("pause", "starts no more attempts, and stays in the group", s.Pause),
		desire("resume", "ends a pause, or a hold of the dead-letter guard", s.Resume),
	}
}

// JobIn names a job. A method whose permission is on it is called only with one that this instance knows.
type JobIn struct {
	Job string `json:"job" doc:"id of the job"`
}

type jobsService struct{ API }

// List implements JobsService.
func (a jobsService) List(ctx context.Context, by service.Caller, in service.Page) (JobPage, error) {
	if a.knowsNone() { // without the log and without files nobody knows that there are none
		read, cancel := context.WithTimeout(ctx, noneTimeout)
		defer cancel()
		if err := a.owners().Wait(read); err != nil {
			return JobPage{}, service.Unavailable(err.Error())
		}
	}
	after := nameAt(in.Cursor)
	last, more := a.cut(by, after, in.Limit)
	asked := JobRange{From: after.ID, Brief: true}
	if more {
		asked.To = last.ID
	}
	views, missing := a.views(ctx, by, asked, a.peers(a.Fleet.Instances()))
	page := JobPage{Jobs: make([]JobSummary, 0, min(len(views), in.Limit)), Unreached: missing, LogAge: a.age()}
	var at JobName
	for _, v := range views {
		here := v.name()
		switch {
		case here.compare(after) <= 0 || more && here.compare(last) > 0 || !by.May(service.View, v.Owner):
			continue
		case len(page.Jobs) == in.Limit: // others know broken files that this instance does not
			page.Next = at.cursor()
			return page, nil
		}
		page.Jobs, at = append(page.Jobs, v.JobSummary), here
	}
	if more {
		page.Next = last.cursor()
	}
	return page, nil
}

// knowsNone says that this instance knows no job at all.
func (a jobsService) knowsNone() bool {
	for range a.Jobs.Names("") {
		return false
	}
	return true
}

// cut gives the last job of a page by what is known here, so that nobody is asked about the others; there is no more after the last page.
func (a jobsService) cut(by service.Caller, after JobName, limit int) (last JobName, more bool) {
	n := 0
	for j := range a.Jobs.Names(after.ID) {
		switch {
		case j.compare(after) <= 0 || !by.May(service.View, j.Owner):
			continue
		case n == limit:
			return last, true
		}
		last, n = j, n+1
	}
	return JobName{}, false
}

func (v *JobView) name() JobName { return JobName{v.ID, v.Owner, v.File} }

// compare is the order of the list. Broken jobs may share an id.
func (n JobName) compare(o JobName) int {
	return cmp.Or(cmp.Compare(n.ID, o.ID), cmp.Compare(n.File, o.File))
}

// cursor says where a job stands in the list, and nameAt reads that. An id of a broken file may be any text, with spaces.
func (n JobName) cursor() string { return url.PathEscape(n.ID) + " " + n.File }

func nameAt(cursor string) JobName {
	id, file, _ := strings.Cut(cursor, " ")
	if plain, err := url.PathUnescape(id); err == nil {
		id = plain
	}
	return JobName{ID: id, File: file}
}

// Show implements JobsService.
func (a jobsService) Show(ctx context.Context, by service.Caller, in JobIn) (JobView, error) {
	telling := a.Fleet.Telling(in.Job)
	if len(telling) == 0 { // it is stopped, or has begun just now
		telling = a.Fleet.Instances()
	}
	views, missing := a.views(ctx, by, JobRange{From: in.Job, To: in.Job}, a.peers(telling))
	for _, v := range views {
		if v.ID == in.Job && by.May(service.View, v.Owner) {
			v.Unreached, v.LogAge = missing, a.age()
			return *v, nil
		}
	}
	return JobView{}, service.UnknownJob(a.owners(), by, "job", in.Job)
}

// view is a job as it is on this instance, which is me. A brief one is its summary and its file.
func (j *JobHere) view(me string, brief bool) *JobView {
	v := &JobView{File: j.File, JobSummary: JobSummary{ID: j.ID, Owner: j.Owner, State: j.State, Cause: j.Cause, Since: j.Since, Holds: j.Holds,
		PartitionCount: len(j.Assigned), InstanceCount: 1, Lag: j.Lag, InFlight: j.InFlight, Unproven: j.Unproven, OldestPendingSeconds: j.OldestPendingSeconds}}
	if j.State == Stopped {
		v.InstanceCount = 0
	}
	if brief {
		return v
	}
	v.BreakersOpen, v.Formats, v.Rows, v.Partitions = j.BreakersOpen, j.Formats, j.Rows, append([]PartitionView{}, j.Assigned...)
	for i := range v.Partitions {
		v.Partitions[i].Instance = me
	}
	v.Instances = []InstanceView{{Instance: me, State: j.State, Cause: j.Cause, Since: j.Since, Partitions: len(j.Assigned), Lag: j.Lag,
		InFlight: j.InFlight, Unproven: j.Unproven}}
	return v
}

// viewsHere gives those jobs of a range that keep accepts, as they are on this instance, by id.
func (a API) viewsHere(in JobRange, keep func(*JobHere) bool) JobsHere {
	jobs, me := a.Jobs.Here(in.From, in.To), a.Fleet.Me().ID
	views := []*JobView{}
	for i := range jobs {
		if keep(&jobs[i]) {
			views = append(views, jobs[i].view(me, in.Brief))
		}
	}
	return JobsHere{views}
}

const (
	// noneTimeout bounds the wait for the log in Kafka before a list says that there are no jobs.
	noneTimeout = 200 * time.Millisecond
	// viewTimeout is what other instances get to tell of their jobs, so that one that is frozen does not hold up who looks.
	viewTimeout = time.Second
)

// views gives the jobs of a range as they are here and at peers, in the order of the list, and the peers that did not answer.
// An instance on which a job is stopped has nothing to say of it if another one has.
func (a API) views(ctx context.Context, by service.Caller, in JobRange, peers []Peer) (views []*JobView, missing []Unreached) {
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	there, missing := askAll[JobsHere](ctx, a, by, peers, "system.jobs", in)
	cancel()
	merged := map[string]*JobView{}
	for _, all := range append([]JobsHere{a.viewsHere(in, func(*JobHere) bool { return true })}, there...) {
		for i, v := range all.Jobs {
			same := v.ID
			if all.shares(i) { // else a job may stand in another file on another instance
				same += " " + v.File
			}
			switch m := merged[same]; {
			case m == nil:
				merged[same], views = v, append(views, v)
			case v.State == Stopped:
			case m.State == Stopped:
				v.File = m.File
				*m = *v
			default:
				m.merge(v)
			}
		}
	}
	for _, v := range views {
		if desired, known := a.Store.Desired(v.ID); known {
			v.Desired = desiredText(desired)
		}
		slices.SortFunc(v.Partitions, func(a, b PartitionView) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Instance, b.Instance))
		})
		slices.SortFunc(v.Instances, func(a, b InstanceView) int { return cmp.Compare(a.Instance, b.Instance) })
	}
	slices.SortFunc(views, func(a, b *JobView) int { return a.name().compare(b.name()) })
	return views, missing
}

// shares says that a job has its id in common with others of its instance, which are broken then.
func (h JobsHere) shares(i int) bool {
	same := func(k int) bool { return k >= 0 && k < len(h.Jobs) && h.Jobs[k].ID == h.Jobs[i].ID }
	return same(i-1) || same(i+1)
}

// telling are the states of a job, the most telling first: what one instance says of the group as a whole goes over what another one
// says of itself.
var telling = []State{Held, Paused, Running, Starting, Failed, Stopped}

// merge adds what another instance tells of the same job.
func (v *JobView) merge(o *JobView) {
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
	for _, f := range o.Formats {
		if i := slices.IndexFunc(v.Formats, func(have consumer.FormatCount) bool { return have.Format == f.Format }); i >= 0 {
			v.Formats[i].Records += f.Records
		} else {
			v.Formats = append(v.Formats, f)
		}
	}
	for _, r := range o.Rows {
		if i := slices.IndexFunc(v.Rows, func(have consumer.RowCount) bool { return have.Outcome == r.Outcome }); i >= 0 {
			v.Rows[i].Rows += r.Rows
		} else {
			v.Rows = append(v.Rows, r)
		}
	}
	v.PartitionCount += o.PartitionCount
	v.InstanceCount += o.InstanceCount
	v.InFlight += o.InFlight
	v.Unproven += o.Unproven
	v.OldestPendingSeconds = max(v.OldestPendingSeconds, o.OldestPendingSeconds)
	v.Partitions, v.Instances = append(v.Partitions, o.Partitions...), append(v.Instances, o.Instances...)
}
