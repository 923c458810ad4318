package control

import (
	"net/textproto"
	"unicode/utf8"

	"streamer/consumer"
	"streamer/sink"
)

// RenderedRow is what a job makes of one row of a record, as people may see it: logins, and headers that carry one, are masked.
type RenderedRow struct {
	Row   int    `json:"row"`
	Route string `json:"route,omitempty"`
	// Step is the step whose request it is; empty: the row's own. Open says that what comes after it depends on the answer.
	Step string `json:"step,omitempty"`
	Open bool   `json:"open,omitempty"`
	// Format is what the record was found to be: "json", "cloudevent binary: avro (registry)".
	Format string `json:"format,omitempty"`
	// Lane says which rows wait for each other: those with the same one.
	Lane    string `json:"lane,omitempty"`
	Verdict string `json:"verdict"`
	Problem string `json:"problem,omitempty"`
	// Misses say why routes make nothing of the row; they stand with what is made of it last.
	Misses []consumer.Miss `json:"misses,omitempty"`
	Method string          `json:"method,omitempty"`
	URL    string          `json:"url,omitempty"`
	// Headers are in the order they are sent in; a name may stand twice.
	Headers []RenderedHeader `json:"headers,omitempty"`
	// Body is text; one that is no UTF-8 is in BodyBase64 instead.
	Body       string `json:"body,omitempty"`
	BodyBase64 []byte `json:"body_base64,omitempty"`
}

// RenderedHeader is a header of a request.
type RenderedHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Rendered shows what a job makes of a record. It sends nothing. cfg is better compiled without its secrets (job.Secrets.Masked): what a
// template puts into a URL or a body is shown as it is.
func Rendered(cfg consumer.Config, rec consumer.Record) []RenderedRow {
	rows := []RenderedRow{}
	for _, row := range consumer.Render(cfg, rec) {
		s := RenderedRow{Row: row.Row, Route: row.Route, Step: row.Step, Open: row.Open, Format: row.Format, Lane: row.Lane, Verdict: row.Verdict, Problem: row.Problem, Misses: row.Misses, Method: row.Request.Method, URL: row.Request.URL}
		if s.Method != "" {
			s.Headers = renderedHeaders(row.Request.Header, cfg.Sink.AttemptHeader, renderedLogin(cfg.Sink.AuthOf(s.URL)))
		}
		if utf8.Valid(row.Request.Body) {
			s.Body = string(row.Request.Body)
		} else {
			s.BodyBase64 = row.Request.Body
		}
		rows = append(rows, s)
	}
	return rows
}

const masked = "********"

// renderedHeaders are those of the request with what the sink adds: the number of the attempt, and the login, masked.
func renderedHeaders(given []sink.Header, attempt bool, login RenderedHeader) []RenderedHeader {
	var shown []RenderedHeader
	for _, h := range given {
		name := textproto.CanonicalMIMEHeaderKey(h.Name)
		switch {
		case name == login.Name:
		case sink.SecretHeader(name):
			shown = append(shown, RenderedHeader{h.Name, masked})
		default:
			shown = append(shown, RenderedHeader(h))
		}
	}
	if attempt {
		shown = append(shown, RenderedHeader{"Streamer-Attempt", "1"})
	}
	if login.Name != "" {
		shown = append(shown, login)
	}
	return shown
}

// renderedLogin is the header of a login; without a name there is none.
func renderedLogin(auth sink.Auth) RenderedHeader {
	authorization := func(scheme string) RenderedHeader { return RenderedHeader{"Authorization", scheme + " " + masked} }
	switch {
	case auth.Basic != nil:
		return authorization("Basic")
	case auth.Token != "":
		return authorization("access_token")
	case auth.Bearer != "", auth.OAuth2 != nil, auth.TokenStorage != nil:
		return authorization("Bearer")
	case auth.APIKey != nil:
		return RenderedHeader{textproto.CanonicalMIMEHeaderKey(auth.APIKey.Header), masked}
	}
	return RenderedHeader{}
}
