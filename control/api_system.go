package control

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"streamer/control/service"
)

// SystemService is the service system: the instances, and this one.
type SystemService interface {
	// Readiness tells how this instance is, as /readyz does, with the jobs that the caller may view.
	Readiness(context.Context, service.Caller, struct{}) (Readiness, error)
	// Instances are all that are alive, with the jobs that the caller may view.
	Instances(context.Context, service.Caller, struct{}) (InstancePage, error)
	// Jobs are those of a range that the caller may view, as they are on this instance alone. Instances ask each other.
	Jobs(context.Context, service.Caller, JobRange) (JobsHere, error)
	// Rotate seals the secrets of every job with this instance's first key.
	Rotate(context.Context, service.Caller, struct{}) (Rotation, error)
	// Version is that of this instance.
	Version(context.Context, service.Caller, struct{}) (Version, error)
}

func systemMethods(s SystemService) []service.Method {
	return []service.Method{
		service.New(service.Method{Service: "system", Name: "readiness", Verb: http.MethodGet, Route: "/system/readiness", Permission: service.View, On: service.Any,
			Summary: "tells how this instance is, as /readyz does"}, s.Readiness),
		service.New(service.Method{Service: "system", Name: "instances", Verb: http.MethodGet, Route: "/system/instances", Permission: service.View, On: service.Any,
			Summary: "lists the instances that are alive"}, s.Instances),
		service.New(service.Method{Service: "system", Name: "jobs", Verb: http.MethodGet, Route: "/system/jobs", Permission: service.View, On: service.Any,
			Summary: "gives the jobs as they are on this instance alone"}, s.Jobs),
		service.New(service.Method{Service: "system", Name: "rotate-secrets", Verb: http.MethodPost, Route: "/system/rotate-secrets", Permission: service.Admin,
			Summary: "seals the secrets of every job with the first key of this instance"}, s.Rotate),
		service.New(service.Method{Service: "system", Name: "version", Verb: http.MethodGet, Route: "/system/version", Summary: "tells the version of this instance"}, s.Version),
	}
}

// InstancePage are the instances that are alive, by id.
type InstancePage struct {
	Instances []Self `json:"instances"`
}

// JobRange are the jobs whose ids are from From to To, both included.
type JobRange struct {
	From string `json:"from,omitempty" doc:"no jobs whose ids come before it"`
	To   string `json:"to,omitempty" doc:"no jobs whose ids come after it; left out: to the last one"`
	// Brief ones are what a list shows.
	Brief bool `json:"brief,omitempty" doc:"without partitions and what else jobs.list does not show"`
}

// JobsHere are jobs as they are on one instance, by id.
type JobsHere struct {
	Jobs []*JobView `json:"jobs"`
}

// Version is that of an instance.
type Version struct {
	Instance string `json:"instance"`
	Version  string `json:"version"`
}

type systemService struct{ API }

// mayView says that a caller may view a job that may be another instance's.
func (a API) mayView(by service.Caller, id string) bool {
	owner, _ := a.owners().OwnerOf(id)
	return by.May(service.View, owner)
}

// Readiness implements SystemService. What is wrong with files is for those who see every job.
func (a systemService) Readiness(_ context.Context, by service.Caller, _ struct{}) (Readiness, error) {
	r := a.API.Readiness()
	r.Jobs = slices.DeleteFunc(append([]JobStatus{}, r.Jobs...), func(j JobStatus) bool { return !by.May(service.View, j.Owner) })
	if !by.May(service.View, "") {
		r.Files = nil
	}
	return r, nil
}

// Instances implements SystemService.
func (a systemService) Instances(_ context.Context, by service.Caller, _ struct{}) (InstancePage, error) {
	page := InstancePage{Instances: []Self{}}
	for _, i := range a.Fleet.Instances() {
		i.Proof = "" // it is for instances
		i.Jobs = slices.DeleteFunc(append([]string{}, i.Jobs...), func(id string) bool { return !a.mayView(by, id) })
		page.Instances = append(page.Instances, i)
	}
	slices.SortFunc(page.Instances, func(a, b Self) int { return cmp.Compare(a.ID, b.ID) })
	return page, nil
}

// Jobs implements SystemService.
func (a systemService) Jobs(_ context.Context, by service.Caller, in JobRange) (JobsHere, error) {
	return a.viewsHere(in, func(j *JobHere) bool {
		return by.May(service.View, j.Owner) && !(by.Hopped() && j.State == Stopped) // which another instance need not be told
	}), nil
}

// Version implements SystemService.
func (a systemService) Version(context.Context, service.Caller, struct{}) (Version, error) {
	return Version{Instance: a.Fleet.Me().ID, Version: a.API.Version}, nil
}

// Rotate implements SystemService.
func (a systemService) Rotate(ctx context.Context, by service.Caller, _ struct{}) (Rotation, error) {
	if a.Definitions == nil {
		return Rotation{}, service.Refuse(http.StatusConflict, "", "jobs of this instance are not in the log", "")
	}
	out, err := a.Definitions.Rotate(context.WithoutCancel(ctx), by)
	return out, logProblem(err)
}
