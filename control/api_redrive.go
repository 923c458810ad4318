package control

import (
	"context"
	"errors"
	"net/http"
	"net/textproto"
	"strings"

	"streamer/consumer"
	"streamer/control/service"
	"streamer/sink"
)

// RedriveRequest says which dead letters are sent again, and how.
type RedriveRequest struct {
	LetterQuery
	// Limit is the most letters, Rate the most attempts per second; 0: all, and the job's own limit.
	Limit int     `json:"limit,omitempty" minimum:"0" doc:"the most letters" mend:"leave it out for all"`
	Rate  float64 `json:"rate,omitempty" minimum:"0" doc:"the most attempts per second" mend:"leave it out for the job's own limit"`
	// DryRun counts, shows the first requests, and sends nothing.
	DryRun bool `json:"dry_run,omitempty" doc:"count, show the first requests, and send nothing"`
	// KeepKeys sends the idempotency keys of the first delivery.
	KeepKeys bool `json:"keep_keys,omitempty" doc:"send the idempotency keys of the first delivery"`
	// PastGuard sends letters too that were redriven 5 times or more.
	PastGuard bool `json:"past_guard,omitempty" doc:"send letters too that were redriven 5 times or more"`
}

// RedriveLine is one line of the stream that answers a redrive: progress as it goes, and a report or a problem at the end.
type RedriveLine struct {
	Progress *consumer.RedriveProgress `json:"progress,omitempty"`
	Report   *RedriveReport            `json:"report,omitempty"`
	Problem  *service.Problem          `json:"problem,omitempty"`
}

// RedriveReport is what came of a redrive.
type RedriveReport struct {
	consumer.RedriveProgress
	// Left are matching letters that are open still.
	Left int `json:"left"`
	// Samples are what the first letters of a dry run would send.
	Samples []RedriveSample `json:"samples,omitempty"`
}

// RedriveSample is a dead letter with the requests that it would make.
type RedriveSample struct {
	Letter   consumer.LetterAddress `json:"letter"`
	Source   consumer.LetterSource  `json:"source"`
	Requests []SampleRequest        `json:"requests"`
	Problem  string                 `json:"problem,omitempty"`
}

// SampleRequest is what one row becomes. Values of headers are shown only where they cannot be secrets.
type SampleRequest struct {
	Row     int32          `json:"row"`
	Route   string         `json:"route,omitempty"`
	Verdict string         `json:"verdict"`
	Problem string         `json:"problem,omitempty"`
	Method  string         `json:"method,omitempty"`
	URL     string         `json:"url,omitempty"`
	Headers []LetterHeader `json:"headers,omitempty"`
	Body    Bytes          `json:"body,omitempty"`
}

// RedriveIn says which dead letters of a job are sent again.
type RedriveIn struct {
	JobIn
	RedriveRequest
}

// Redrive implements DeadLettersService.
func (a deadLettersService) Redrive(ctx context.Context, by service.Caller, in RedriveIn, emit func(RedriveLine) error) error {
	letters, f, err := a.chosen(ctx, in.Job, in.LetterQuery)
	if err != nil {
		return err
	}
	if !in.DryRun {
		if err := a.noteInAudit(ctx, by, in.Job, "redrive", map[string]any{"chosen": in.RedriveRequest}); err != nil {
			return err
		}
	}
	report, err := letters.Redrive(ctx, f, consumer.RedriveOptions{Limit: in.Limit, Rate: in.Rate, DryRun: in.DryRun, By: by.Name,
		KeepKeys: in.KeepKeys, PastGuard: in.PastGuard}, func(p consumer.RedriveProgress) {
		_ = emit(RedriveLine{Progress: &p}) // a caller who has gone is noticed by ctx
	})
	if err != nil {
		return redriveProblem(err)
	}
	cfg, _ := a.Jobs.Config(in.Job) // whose letters these are
	return emit(RedriveLine{Report: redriveReport(report, cfg.Sink)})
}

// GiveUpRequest says which dead letters become final without being sent.
type GiveUpRequest struct {
	LetterQuery
	// DryRun counts them, and changes nothing.
	DryRun bool `json:"dry_run,omitempty" doc:"count them, and change nothing"`
}

// LettersGivenUp says how many dead letters became final by an operator's decision, or would with DryRun.
type LettersGivenUp struct {
	GivenUp int  `json:"given_up"`
	DryRun  bool `json:"dry_run,omitempty"`
}

// GiveUpIn says which dead letters of a job become final.
type GiveUpIn struct {
	JobIn
	GiveUpRequest
}

// GiveUp implements DeadLettersService.
func (a deadLettersService) GiveUp(ctx context.Context, by service.Caller, in GiveUpIn) (LettersGivenUp, error) {
	if len(in.State) > 0 {
		return LettersGivenUp{}, service.Refuse(http.StatusBadRequest, "state", "open and parked letters can be given up, no others", "leave it out")
	}
	letters, f, err := a.chosen(ctx, in.Job, in.LetterQuery)
	if err != nil {
		return LettersGivenUp{}, err
	}
	if !in.DryRun {
		if err := a.noteInAudit(ctx, by, in.Job, "give-up", map[string]any{"dead_letters": in.LetterQuery}); err != nil {
			return LettersGivenUp{}, err
		}
	}
	n, err := letters.GiveUp(ctx, f, consumer.GiveUpOptions{By: by.Name, DryRun: in.DryRun})
	if err != nil {
		return LettersGivenUp{}, redriveProblem(err)
	}
	return LettersGivenUp{GivenUp: n, DryRun: in.DryRun}, nil
}

// chosen gives the dead letters of a job, and a filter for those that q means.
func (a API) chosen(ctx context.Context, id string, q LetterQuery) (DeadLetters, consumer.LetterFilter, error) {
	f, err := q.filter()
	if err != nil {
		return nil, f, err
	}
	letters, err := a.letters(ctx, id)
	return letters, f, err
}

// noteInAudit writes what an operator is about to do to a job, which changes nothing that is remembered of it, if he still may.
func (a API) noteInAudit(ctx context.Context, by service.Caller, job, action string, detail map[string]any) error {
	line := consumer.Audit{By: by.Name, Action: action, Detail: detail}
	_, err := a.Store.Remember(ctx, job, line, func(*consumer.Memory) error { return permits(a.owners(), by, job) })
	return logProblem(err)
}

// redriveProblem is lettersProblem, and tells of a redrive that runs.
func redriveProblem(err error) error {
	if errors.Is(err, consumer.ErrRedriving) {
		return service.Refuse(http.StatusConflict, "job", err.Error(), "wait for it, or stop it where it was started; it may be called again then")
	}
	return lettersProblem(err)
}

func redriveReport(r consumer.RedriveReport, to sink.Config) *RedriveReport {
	out := &RedriveReport{RedriveProgress: r.RedriveProgress, Left: r.Left}
	for _, s := range r.Samples {
		sample := RedriveSample{Letter: s.Letter, Source: s.Source, Problem: s.Problem, Requests: []SampleRequest{}}
		for _, row := range s.Rows {
			sample.Requests = append(sample.Requests, SampleRequest{Row: int32(row.Row), Route: row.Route, Verdict: row.Verdict, Problem: row.Problem, Method: row.Request.Method,
				URL: row.Request.URL, Headers: openHeaders(row.Request.Header, renderedLogin(to.AuthOf(row.Request.URL))), Body: row.Request.Body})
		}
		out.Samples = append(out.Samples, sample)
	}
	return out
}

// openHeaders hides what may be a secret: a job's headers may come from references. The login that the sink adds comes last, masked.
func openHeaders(headers []sink.Header, login RenderedHeader) []LetterHeader {
	var out []LetterHeader
	for _, h := range headers {
		name, value := textproto.CanonicalMIMEHeaderKey(h.Name), masked
		switch {
		case name == login.Name:
			continue
		case name == "Content-Type", name == "Accept", name == "Idempotency-Key", name == "Traceparent", strings.HasPrefix(name, "Streamer-"):
			value = h.Value
		}
		out = append(out, LetterHeader{Key: h.Name, Value: Bytes(value)})
	}
	if login.Name != "" && len(headers) > 0 {
		out = append(out, LetterHeader{Key: login.Name, Value: Bytes(login.Value)})
	}
	return out
}
