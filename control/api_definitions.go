package control

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"streamer/consumer"
	"streamer/control/service"
	"streamer/schemas"
)

// lastingTimeout bounds a write to the log in Kafka, which has a bound of its own.
const lastingTimeout = 35 * time.Second

// DefinitionStore keeps the definitions of jobs. *Definitions does.
type DefinitionStore interface {
	Get(ctx context.Context, id string) (Definition, error)
	List(ctx context.Context, by service.Caller, after string, limit int, documents bool) (DefinitionPage, error)
	Create(ctx context.Context, by service.Caller, document []byte) (Definition, error)
	Replace(ctx context.Context, by service.Caller, id, revision string, document []byte) (Definition, error)
	Delete(ctx context.Context, by service.Caller, id, revision string, how Deletion) (Definition, error)
	Diff(ctx context.Context, by service.Caller, id string, document []byte) (Difference, error)
	Validate(ctx context.Context, by service.Caller, document []byte) ([]service.Fault, error)
	Try(ctx context.Context, by service.Caller, id string, document []byte) (consumer.Config, error)
	Rotate(ctx context.Context, by service.Caller) (Rotation, error)
	OwnerOf(id string) (owner string, known bool)
}

// DefinitionsService is the part of the service jobs that is about what jobs are. Documents are jobs as their files have them, as JSON;
// a text is read as YAML or JSON.
type DefinitionsService interface {
	// Definition gives a job as it was defined, its secrets masked, with the revision that a change of it is bound to.
	Definition(context.Context, service.Caller, JobIn) (Definition, error)
	// Definitions pages through those of all jobs that the caller may view.
	Definitions(context.Context, service.Caller, DefinitionsIn) (DefinitionPage, error)
	// Create adds a job; every instance runs it within seconds.
	Create(context.Context, service.Caller, CreateIn) (CreatedDefinition, error)
	// Replace changes a job that still has the given revision.
	Replace(context.Context, service.Caller, ReplaceIn) (Definition, error)
	// Delete stops a job everywhere, and removes it.
	Delete(context.Context, service.Caller, DeleteIn) (Definition, error)
	// Diff tells what a document would change of a job, and what that does to its rows. Nothing is written.
	Diff(context.Context, service.Caller, DiffIn) (Difference, error)
	// Validate tells what is wrong with a document. Nothing is written.
	Validate(context.Context, service.Caller, DocumentIn) (Validation, error)
	// Test shows the requests that a job would make of a record, and makes none.
	Test(context.Context, service.Caller, TestIn) (Tested, error)
	// Schema gives the JSON Schema that editors check a job with.
	Schema(context.Context, service.Caller, struct{}) (json.RawMessage, error)
	// Logs gives the last lines of the log about a job, of all instances.
	Logs(context.Context, service.Caller, LogsIn) (LogPage, error)
}

func definitionsMethods(s DefinitionsService) []service.Method {
	return []service.Method{
		service.New(service.Method{Service: "jobs", Name: "definition", Verb: http.MethodGet, Route: "/jobs/{job}/definition", Permission: service.View, On: "job",
			Summary: "gives a job as it was defined, secrets masked"}, s.Definition),
		service.New(service.Method{Service: "jobs", Name: "definitions", Verb: http.MethodGet, Route: "/definitions", Permission: service.View, On: service.Any,
			Summary: "lists the definitions of jobs"}, s.Definitions),
		service.New(service.Method{Service: "jobs", Name: "create", Verb: http.MethodPost, Route: "/jobs", Permission: service.Edit, On: service.Any, Status: http.StatusCreated,
			Also: []int{http.StatusOK}, Location: "/jobs/{id}", Summary: "adds a job, which every instance runs within seconds"}, s.Create),
		service.New(service.Method{Service: "jobs", Name: "replace", Verb: http.MethodPut, Route: "/jobs/{job}", Permission: service.Edit, On: "job",
			Summary: "changes a job that still has the given revision"}, s.Replace),
		service.New(service.Method{Service: "jobs", Name: "delete", Verb: http.MethodDelete, Route: "/jobs/{job}", Permission: service.Edit, On: "job",
			Summary: "stops a job everywhere, and removes it"}, s.Delete),
		service.New(service.Method{Service: "jobs", Name: "diff", Verb: http.MethodPost, Route: "/jobs/{job}/diff", Permission: service.Edit, On: "job",
			Summary: "tells what a document would change of a job, and what that does"}, s.Diff),
		service.New(service.Method{Service: "jobs", Name: "validate", Verb: http.MethodPost, Route: "/validate", Permission: service.Edit, On: service.Any,
			Summary: "tells what is wrong with a job; writes nothing"}, s.Validate),
		service.New(service.Method{Service: "jobs", Name: "test", Verb: http.MethodPost, Route: "/jobs/{job}/test", Permission: service.Operate, On: "job",
			Summary: "shows the requests that a job would make of a record; sends nothing"}, s.Test),
		service.New(service.Method{Service: "jobs", Name: "schema", Verb: http.MethodGet, Route: "/schema",
			Summary: "gives the JSON Schema of a job"}, s.Schema),
		service.New(service.Method{Service: "jobs", Name: "logs", Verb: http.MethodGet, Route: "/jobs/{job}/logs", Permission: service.View, On: "job",
			Summary: "gives the last lines of the log about a job"}, s.Logs),
	}
}

// DocumentIn is a job.
type DocumentIn struct {
	Document json.RawMessage `json:"document" doc:"the job, as in its file; a text is read as YAML or JSON"`
}

// CreateIn is a job that is to be.
type CreateIn struct {
	DocumentIn
}

// DiffIn is what a job would be.
type DiffIn struct {
	JobIn
	DocumentIn
}

// ReplaceIn is what a job is to be.
type ReplaceIn struct {
	JobIn
	DocumentIn
	IfMatch string `json:"if_match,omitempty" doc:"revision that the job must have, * for any; also as the header If-Match"`
}

// DeleteIn names a job that is to go.
type DeleteIn struct {
	JobIn
	Offsets bool   `json:"offsets,omitempty" doc:"delete the consumer group with its committed offsets, too"`
	Letters bool   `json:"letters,omitempty" doc:"delete the dead-letter topic, too"`
	IfMatch string `json:"if_match,omitempty" doc:"revision that the job must have, * for any; also as the header If-Match"`
}

// DefinitionsIn says which definitions are wanted.
type DefinitionsIn struct {
	service.Page
	Documents bool `json:"documents,omitempty" doc:"whether they come with their documents"`
}

// CreatedDefinition is a definition that was made, or was there as it is.
type CreatedDefinition struct{ Definition }

// Status implements service.WithStatus: 200 if the very same job was there.
func (c CreatedDefinition) Status() int {
	if c.Created {
		return http.StatusCreated
	}
	return http.StatusOK
}

// Validation is what a job was found to be.
type Validation struct {
	Valid bool `json:"valid"`
	// Faults are all that is wrong, Warnings what may be.
	Faults   []service.Fault `json:"faults,omitempty"`
	Warnings []service.Fault `json:"warnings,omitempty"`
}

// LogsIn names a job whose log is wanted.
type LogsIn struct {
	JobIn
	Limit int `json:"limit,omitempty" minimum:"1" maximum:"100" default:"100" doc:"the most lines, the newest"`
}

// LogPage are lines of the log about a job, the oldest first.
type LogPage struct {
	Lines []InstanceLine `json:"lines"`
	// Unreached are instances that did not answer; their lines are missing.
	Unreached []Unreached `json:"unreached,omitempty"`
}

// InstanceLine is a line with the instance that wrote it.
type InstanceLine struct {
	LogLine
	Instance string `json:"instance"`
}

// text gives a document as it was written: one that is a JSON text is that text.
func (d DocumentIn) text() []byte {
	var text string
	if json.Unmarshal(d.Document, &text) == nil {
		return []byte(text)
	}
	return d.Document
}

// revision is what Definitions takes for an If-Match, which must be there: two people must not overwrite each other's changes unawares.
func revision(ifMatch string) (string, error) {
	switch ifMatch {
	case "":
		return "", service.Wrong(service.Fault{Field: "if_match", Detail: "is missing", Mend: "give the revision that you have seen (streamer jobs get), or * for any"})
	case "*":
		return "", nil
	}
	return ifMatch, nil
}

type definitionsService struct {
	API
	tries chan struct{} // one for each record that is looked at
}

// Definition implements DefinitionsService.
func (a definitionsService) Definition(ctx context.Context, _ service.Caller, in JobIn) (Definition, error) {
	d, err := a.API.Definitions.Get(ctx, in.Job)
	return d, logProblem(err)
}

// Definitions implements DefinitionsService.
func (a definitionsService) Definitions(ctx context.Context, by service.Caller, in DefinitionsIn) (DefinitionPage, error) {
	page, err := a.API.Definitions.List(ctx, by, in.Cursor, in.Limit, in.Documents)
	return page, logProblem(err)
}

// Create implements DefinitionsService.
func (a definitionsService) Create(ctx context.Context, by service.Caller, in CreateIn) (CreatedDefinition, error) {
	ctx, end := lasting(ctx)
	defer end()
	d, err := a.API.Definitions.Create(ctx, by, in.text())
	return CreatedDefinition{d}, a.written(ctx, err)
}

// Replace implements DefinitionsService.
func (a definitionsService) Replace(ctx context.Context, by service.Caller, in ReplaceIn) (Definition, error) {
	seen, err := revision(in.IfMatch)
	if err != nil {
		return Definition{}, err
	}
	ctx, end := lasting(ctx)
	defer end()
	d, err := a.API.Definitions.Replace(ctx, by, in.Job, seen, in.text())
	return d, a.written(ctx, err)
}

// Delete implements DefinitionsService.
func (a definitionsService) Delete(ctx context.Context, by service.Caller, in DeleteIn) (Definition, error) {
	seen, err := revision(in.IfMatch)
	if err != nil {
		return Definition{}, err
	}
	ctx, end := lasting(ctx)
	defer end()
	d, err := a.API.Definitions.Delete(ctx, by, in.Job, seen, Deletion{Offsets: in.Offsets, Letters: in.Letters})
	return d, a.written(ctx, err)
}

// Diff implements DefinitionsService.
func (a definitionsService) Diff(ctx context.Context, by service.Caller, in DiffIn) (Difference, error) {
	d, err := a.API.Definitions.Diff(ctx, by, in.Job, in.text())
	if err != nil || d.from == nil {
		return d, logProblem(err)
	}
	d.Offsets, d.Uncounted = a.moves(ctx, in.Job, *d.from, *d.to)
	return d, nil
}

// movesWithin bounds what Kafka is asked for a Difference, which is worth something without it.
const movesWithin = 10 * time.Second

// moves counts what happens to records when topics or group of a job change; the problem is why it cannot.
func (a API) moves(ctx context.Context, id string, from, to consumer.Config) (plan *consumer.MovePlan, problem string) {
	const cannot = "what is sent again or skipped cannot be counted: "
	ctx, cancel := context.WithTimeout(ctx, movesWithin)
	defer cancel()
	m, err := a.Store.Memory(ctx, id)
	if err != nil {
		return nil, cannot + err.Error()
	}
	moves, err := a.Moves(ctx, from, to, m)
	if err != nil {
		return nil, cannot + err.Error()
	}
	return &moves, ""
}

// Validate implements DefinitionsService.
func (a definitionsService) Validate(ctx context.Context, by service.Caller, in DocumentIn) (Validation, error) {
	warnings, err := a.API.Definitions.Validate(ctx, by, in.text())
	if faults := faultsOf(err); faults != nil {
		return Validation{Faults: faults}, nil
	}
	return Validation{Valid: err == nil, Warnings: warnings}, logProblem(err)
}

// faultsOf gives what is wrong with a document; nil if that is not what the error is about.
func faultsOf(err error) []service.Fault {
	p, refused := err.(*service.Problem) //nolint:errorlint // a refusal of the document comes as it is; what wraps one is about something else
	switch {
	case !refused || p.Status != http.StatusUnprocessableEntity && p.Status != http.StatusBadRequest:
		return nil
	case len(p.Errors) > 0:
		return p.Errors
	}
	return []service.Fault{{Field: p.Field, Detail: p.Detail, Mend: p.Mend}}
}

// Schema implements DefinitionsService.
func (definitionsService) Schema(context.Context, service.Caller, struct{}) (json.RawMessage, error) {
	return json.RawMessage(schemas.Job), nil
}

// Logs implements DefinitionsService.
func (a definitionsService) Logs(ctx context.Context, by service.Caller, in LogsIn) (LogPage, error) {
	page, me := LogPage{Lines: []InstanceLine{}}, a.Fleet.Me().ID
	for _, l := range a.Lines(in.Job) {
		page.Lines = append(page.Lines, InstanceLine{l, me})
	}
	if !by.Hopped() {
		var there []LogPage
		there, page.Unreached = askAll[LogPage](ctx, a.API, by, a.peers(a.Fleet.Instances()), "jobs.logs", in)
		for _, p := range there {
			page.Lines = append(page.Lines, p.Lines...)
		}
	}
	slices.SortStableFunc(page.Lines, func(a, b InstanceLine) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Instance, b.Instance)) })
	page.Lines = page.Lines[max(0, len(page.Lines)-in.Limit):]
	return page, nil
}

// lasting is ctx for a write, which goes on when the caller goes away: else nobody would know whether it was made.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), lastingTimeout)
}

// written gives what is answered to a write, when this instance shows it.
func (a API) written(ctx context.Context, err error) error {
	if err == nil && a.CatchUp != nil {
		a.CatchUp(ctx)
	}
	return logProblem(err)
}
