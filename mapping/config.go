package mapping

import (
	"time"

	"streamer/schemas"
)

// Config is the part of a job document that says what request a row becomes, as it stands in the document; Absent is not given.
type Config struct {
	Type, URL, DataMap, Constant, QueryParams, JSONBody, FormBody, Headers, Payload, Filter, Emit, Mask schemas.Value
	// User is a text with placeholders that gives Request.User; Absent: there is none. A route's is in its auth.
	User schemas.Value
	// Steps is the list of requests before a row's own.
	Steps schemas.Value
	// Routes is the list of routes; Absent: the job is its only one.
	Routes schemas.Value
	// Events says which record events become which requests, in place of Routes, Type and URL; Absent: the job is none of record events.
	Events schemas.Value
	// Told asks for Part.Told. Quiet: routes are quiet unless they say callback: true, else if they say callback: false.
	Told, Quiet bool
	// Reference gives the text behind ${env:NAME} and ${file:NAME} in headers, once, when the job is compiled; kind is env or file.
	// It is never asked about what comes from a row. Without it such a header is refused.
	Reference func(kind, name string) (string, error)
}

// Message is one row with what belongs to it. Its values need to be valid until Map returns, no longer.
type Message struct {
	// Msg is the row, Null for a tombstone.
	Msg schemas.Value
	// Kafka is the record's address, key and headers; needed only if UsesKafka. Event is the CloudEvents attributes, if any.
	Kafka, Event schemas.Value
	// Avro is the writer's schema, nil if there is none: $.schema, and the masking levels.
	Avro *schemas.Schema
	// Tombstone is a record without a value: emit rule, filter and mask do not apply.
	Tombstone bool
}

// Part is what one route makes of a row.
type Part struct {
	// Route is its place in Program.Routes.
	Route int
	// Call is the first request to make: a step's, if there is a Flow.
	Call Call
	// Flow gives the requests after it; nil: there is none.
	Flow *Flow
	// Told is what a callback says of the row; nil unless Config.Told asks for it.
	Told *Told
	// Err, an *Error, says why the route cannot be mapped. The other parts of the row are not concerned.
	Err error
}

// Call is a request, and how its answer is taken.
type Call struct {
	Request
	// Step is the step it belongs to, with the item and what is done, as in groups/2/create: another one for each call of a row. Empty: it is
	// the row's own request, the last one.
	Step string
	// Accept are status codes that are an answer here and no failure.
	Accept []int
	// Keep says that the answer is wanted, by Flow.Next.
	Keep bool
	// CacheKey, if it is not empty, is what an answer with a status of 2xx is kept under for TTL, and then stands for the call. Forget is one
	// that has to be forgotten before the call is made, for the call changes what was asked.
	CacheKey, Forget string
	TTL              time.Duration
}

// Request is what is sent. Its memory is its owner's; Header may be appended to.
type Request struct {
	Method, URL string
	Header      []Header
	// Body is nil for none.
	Body []byte
	// User is whose access token goes along; empty: nobody's.
	User string
}

// Header is one line of a request's header.
type Header struct{ Name, Value string }

// Verdict says what becomes of a row.
type Verdict uint8

const (
	// Send means that the request is to be made.
	Send Verdict = iota
	// NotEmitted means that the emit rule keeps the row in; it is final without a request.
	NotEmitted
	// Filtered means that the filter found nothing; the row is final without a request.
	Filtered
	// Unmatched means that no route matches; the row is final without a request.
	Unmatched
	// Suppressed means that the only routes that match are for events that are not the echo of an own write; the row is final without a
	// request.
	Suppressed
)

// String gives the verdict in a word.
func (v Verdict) String() string {
	switch v {
	case Send:
		return "send"
	case NotEmitted:
		return "not emitted"
	case Filtered:
		return "filtered"
	case Unmatched:
		return "unmatched"
	case Suppressed:
		return "suppressed"
	}
	return "unknown"
}

// Error says why a row cannot become a request: a payload error, the same at every try. It never holds what the row holds.
type Error struct {
	// Key is the mapped key, or where in the job the expression stands: url, headers.X-Id, payload.a.
	Key string
	// Expr is the expression, empty where there is none.
	Expr string
	// Problem says what is wrong, by the kind of value found.
	Problem string
}

// Error gives it as one line: key (expression): problem.
func (e *Error) Error() string {
	if e.Expr == "" || e.Expr == e.Key {
		return e.Key + ": " + e.Problem
	}
	return e.Key + " (" + e.Expr + "): " + e.Problem
}
