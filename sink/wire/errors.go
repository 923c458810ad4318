package wire

import (
	"errors"
	"fmt"
)

// What Do answers besides *Error and *RequestError.
var (
	// ErrAborted: Abort was called. What the server made of the request is unknown.
	ErrAborted = errors.New("aborted")
	// ErrNotStarted: the caller's last check forbade the request; nothing of it was sent.
	ErrNotStarted = errors.New("not started")
	// ErrStale: a kept connection ended before the first byte of an answer, as it does when the server closed it meanwhile. The
	// server may or may not have seen the request.
	ErrStale = errors.New("the kept connection had been closed")
	// ErrMalformed: the answer is no HTTP/1.1 response.
	ErrMalformed = errors.New("malformed response")
	// ErrTooLarge: the answer's head is larger than Options.HeadBytes. It is an ErrMalformed.
	ErrTooLarge = fmt.Errorf("%w: its head is too large", ErrMalformed)
	// ErrCut: the connection ended before the answer did.
	ErrCut = errors.New("the response broke off")
	// ErrClosed: the Client or the Host was closed.
	ErrClosed = errors.New("client closed")
)

// Op is the step of a call that failed.
type Op string

// The steps of a call.
const (
	OpDial  Op = "dial"
	OpTLS   Op = "tls"
	OpWrite Op = "write"
	OpRead  Op = "read"
)

// Error is a failed step; Unwrap gives the cause, for errors.Is and As. Its text can hold host names and addresses, and nothing
// of the request.
type Error struct {
	Op  Op
	Err error
}

func (e *Error) Error() string { return string(e.Op) + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }
