package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"streamer/consumer"
	"streamer/sink"
)

// RedriveRequest says which dead letters are sent again, and how.
type RedriveRequest struct {
	LetterQuery
	// Limit is the most letters, Rate the most attempts per second; 0: all, and the job's own limit.
	Limit int     `json:"limit,omitempty"`
	Rate  float64 `json:"rate,omitempty"`
	// DryRun counts, shows the first requests, and sends nothing.
	DryRun bool `json:"dry_run,omitempty"`
	// KeepKeys sends the idempotency keys of the first delivery.
	KeepKeys bool `json:"keep_keys,omitempty"`
	// PastGuard sends letters too that were redriven 5 times or more.
	PastGuard bool `json:"past_guard,omitempty"`
}

// RedriveLine is one line of the stream that answers a redrive: progress as it goes, and a report or a problem at the end.
type RedriveLine struct {
	Progress *consumer.RedriveProgress `json:"progress,omitempty"`
	Report   *RedriveReport            `json:"report,omitempty"`
	Problem  *Problem                  `json:"problem,omitempty"`
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
	Verdict string         `json:"verdict"`
	Problem string         `json:"problem,omitempty"`
	Method  string         `json:"method,omitempty"`
	URL     string         `json:"url,omitempty"`
	Headers []LetterHeader `json:"headers,omitempty"`
	Body    Bytes          `json:"body,omitempty"`
}

// lineTimeout is how long a caller may take to read a line.
const lineTimeout = 30 * time.Second

// redrive answers with a stream of lines. It ends when the caller goes away: then letters in flight may end, and the rest stays open.
func (a API) redrive(c echo.Context) error {
	var asked RedriveRequest
	if err := bodyOf(c, &asked); err != nil {
		return err
	}
	switch {
	case asked.Limit < 0:
		return refuse(http.StatusBadRequest, "limit", "is less than 0", "leave it out for all")
	case asked.Rate < 0:
		return refuse(http.StatusBadRequest, "rate", "is less than 0", "leave it out for the job's own limit")
	}
	letters, f, err := a.chosen(c, asked.LetterQuery)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if !asked.DryRun {
		if err := a.noteInAudit(ctx, jobOf(c), "redrive", map[string]any{"chosen": asked}); err != nil {
			return err
		}
	}
	lines := lineWriter{c: c}
	report, err := letters.Redrive(ctx, f, consumer.RedriveOptions{Limit: asked.Limit, Rate: asked.Rate, DryRun: asked.DryRun, By: operator,
		KeepKeys: asked.KeepKeys, PastGuard: asked.PastGuard}, func(p consumer.RedriveProgress) { lines.write(RedriveLine{Progress: &p}) })
	if err != nil {
		err = redriveProblem(err)
		if !c.Response().Committed {
			return err
		}
		p := problemOf(err, c.Request())
		lines.write(RedriveLine{Problem: &p})
		return nil
	}
	lines.write(RedriveLine{Report: redriveReport(report)})
	return nil
}

// GiveUpRequest says which dead letters become final without being sent.
type GiveUpRequest struct {
	LetterQuery
	// DryRun counts them, and changes nothing.
	DryRun bool `json:"dry_run,omitempty"`
}

// LettersGivenUp says how many dead letters became final by an operator's decision, or would with DryRun.
type LettersGivenUp struct {
	GivenUp int  `json:"given_up"`
	DryRun  bool `json:"dry_run,omitempty"`
}

// giveUpLetters makes final what is chosen as for a redrive, and sends nothing.
func (a API) giveUpLetters(c echo.Context) error {
	var asked GiveUpRequest
	if err := bodyOf(c, &asked); err != nil {
		return err
	}
	if len(asked.State) > 0 {
		return refuse(http.StatusBadRequest, "state", "open and parked letters can be given up, no others", "leave it out")
	}
	letters, f, err := a.chosen(c, asked.LetterQuery)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if !asked.DryRun {
		if err := a.noteInAudit(ctx, jobOf(c), "give-up", map[string]any{"dead_letters": asked.LetterQuery}); err != nil {
			return err
		}
	}
	n, err := letters.GiveUp(ctx, f, consumer.GiveUpOptions{By: operator, DryRun: asked.DryRun})
	if err != nil {
		return redriveProblem(err)
	}
	return c.JSON(http.StatusOK, LettersGivenUp{GivenUp: n, DryRun: asked.DryRun})
}

// chosen gives the dead letters of the job in the route's path, and a filter for those that q means.
func (a API) chosen(c echo.Context, q LetterQuery) (DeadLetters, consumer.LetterFilter, error) {
	f, err := q.filter()
	if err != nil {
		return nil, f, err
	}
	letters, err := a.letters(c)
	return letters, f, err
}

// noteInAudit writes what an operator is about to do to a job, which changes nothing that is remembered of it.
func (a API) noteInAudit(ctx context.Context, job, action string, detail map[string]any) error {
	line := consumer.Audit{By: operator, Action: action, Detail: detail}
	if _, err := a.Store.Remember(ctx, job, line, func(*consumer.Memory) error { return nil }); err != nil {
		return notRemembered(err)
	}
	return nil
}

// redriveProblem is lettersProblem, and tells of a redrive that runs.
func redriveProblem(err error) error {
	if errors.Is(err, consumer.ErrRedriving) {
		return refuse(http.StatusConflict, "job", err.Error(), "wait for it, or stop it where it was started; it may be called again then")
	}
	return lettersProblem(err)
}

// lineWriter writes lines of JSON, each at once.
type lineWriter struct{ c echo.Context }

// write sends a line. A caller who has gone is noticed by the request's context, so the error tells nothing.
func (l lineWriter) write(line RedriveLine) {
	resp := l.c.Response()
	if !resp.Committed {
		resp.Header().Set(echo.HeaderContentType, "application/x-ndjson")
		resp.WriteHeader(http.StatusOK)
	}
	connection := http.NewResponseController(resp)
	_ = connection.SetWriteDeadline(time.Now().Add(lineTimeout))
	_ = json.NewEncoder(resp).Encode(line)
	_ = connection.Flush()
}

func redriveReport(r consumer.RedriveReport) *RedriveReport {
	out := &RedriveReport{RedriveProgress: r.RedriveProgress, Left: r.Left}
	for _, s := range r.Samples {
		sample := RedriveSample{Letter: s.Letter, Source: s.Source, Problem: s.Problem, Requests: []SampleRequest{}}
		for _, row := range s.Rows {
			sample.Requests = append(sample.Requests, SampleRequest{Row: int32(row.Row), Verdict: row.Verdict, Problem: row.Problem, Method: row.Request.Method,
				URL: row.Request.URL, Headers: openHeaders(row.Request.Header), Body: row.Request.Body})
		}
		out.Samples = append(out.Samples, sample)
	}
	return out
}

// openHeaders hides what may be a secret: a job's headers may come from references.
func openHeaders(headers []sink.Header) []LetterHeader {
	var out []LetterHeader
	for _, h := range headers {
		name, value := textproto.CanonicalMIMEHeaderKey(h.Name), "********"
		switch {
		case name == "Content-Type", name == "Accept", name == "Idempotency-Key", name == "Traceparent", strings.HasPrefix(name, "Streamer-"):
			value = h.Value
		}
		out = append(out, LetterHeader{Key: h.Name, Value: Bytes(value)})
	}
	return out
}
