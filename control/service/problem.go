package service

import (
	"fmt"
	"net/http"
	"time"
)

// Problem is an error as RFC 9457 writes it, with what it is about and what to do. It is what every route answers that could not do
// what it was asked for.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong, in one sentence.
	Detail string `json:"detail,omitempty"`
	// Field is the argument it is about, as the route names it; empty: none, or the whole.
	Field string `json:"field,omitempty"`
	// Mend says what to do.
	Mend string `json:"mend,omitempty"`
	// Errors are all that is wrong with the arguments, when that is more than one thing; Detail, Field and Mend are the first of them.
	Errors []Fault `json:"errors,omitempty"`
	// RetryAfter is sent as a header; 0: none.
	RetryAfter time.Duration `json:"-"`
}

// Fault is one thing that is wrong with the arguments of a call.
type Fault struct {
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"`
}

// String gives the fault as one line: field: detail; mend.
func (f Fault) String() string {
	text := f.Detail
	if f.Field != "" {
		text = f.Field + ": " + text
	}
	if f.Mend != "" {
		text += "; " + f.Mend
	}
	return text
}

// Error gives the problem as one line: field: detail; mend. Further faults follow.
func (p *Problem) Error() string {
	detail := p.Detail
	if detail == "" {
		detail = p.Title
	}
	text := Fault{p.Field, detail, p.Mend}.String()
	for i, f := range p.Errors {
		if i > 0 {
			text += "; also " + f.String()
		}
	}
	return text
}

// Refuse makes a problem. field and mend may be empty.
func Refuse(status int, field, detail, mend string) *Problem {
	return &Problem{Status: status, Detail: detail, Field: field, Mend: mend}
}

// retryAfter is when a caller should ask again for what cannot be had now.
const retryAfter = 5 * time.Second

// Unavailable refuses what may go better a moment later: Kafka is away, or was not read yet.
func Unavailable(detail string) *Problem {
	p := Refuse(http.StatusServiceUnavailable, "", detail, "look at /readyz, and try again")
	p.RetryAfter = retryAfter
	return p
}

// Unmended is Unavailable where waiting alone is of no use: detail says what somebody has to mend first.
func Unmended(detail string) *Problem {
	p := Unavailable(detail)
	p.Mend = "then try again"
	return p
}

// Wrong refuses arguments with all that is wrong with them. There is at least one fault.
func Wrong(faults ...Fault) *Problem {
	p := Refuse(http.StatusBadRequest, faults[0].Field, faults[0].Detail, faults[0].Mend)
	if len(faults) > 1 {
		p.Errors = faults
	}
	return p
}

// Denied refuses what a caller may not do: p on an owner's jobs, or (owner empty) on the system. what says what that is: job "visits".
func Denied(by Caller, p Permission, what, owner string) *Problem {
	on, grant := what, "for the owner "+owner
	if owner != "" {
		on += " of " + owner
	} else {
		grant = "for every owner"
	}
	return Refuse(http.StatusForbidden, "", fmt.Sprintf("%s has not the permission %s on %s", by.Name, p, on), fmt.Sprintf("ask an admin for %s %s", p, grant))
}
