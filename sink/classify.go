package sink

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"streamer/sink/wire"
)

// result is what one attempt came to.
type result struct {
	class  Class
	status int
	reason string
	// after is the server's Retry-After, 0 if there is none.
	after time.Duration
	// again: try at once, without a back-off and without a word to the breaker. stale is its cause when a kept connection had been
	// closed; otherwise the permit was withdrawn in the last moment.
	again, stale bool
	// blames says that the row may be what made the target fail: a status of the class Target, no answer in time, or a broken one.
	// Being told to come later, and what fails before the request is written (refused, DNS, TLS), say nothing of a row.
	blames bool
	// unsent: there was no attempt, since the request cannot be written.
	unsent bool
	// login: it is about how to log in; the target was not asked.
	login bool
	// response is the answer, if it is wanted.
	response *Response
}

// holds says that the result puts the target on hold.
func (r result) holds() bool { return r.class == Credentials || r.class == Address }

// classOf is the table of statuses.
//
//	2xx                     delivered
//	401 403 407             credentials
//	408 425 429, 5xx, 1xx   target     (but 501 505; what is above 599 counts as 5xx: RFC 9110, 15)
//	3xx, other 4xx, 501 505 rejected
func classOf(status int) Class {
	switch {
	case status >= 200 && status <= 299:
		return Delivered
	case status == 401 || status == 403 || status == 407:
		return Credentials
	case status == 408 || status == 425 || status == 429:
		return Target
	case status == 501 || status == 505 || status >= 300 && status <= 499:
		return Rejected
	}
	return Target
}

// classes is the table with the job's own entries.
type classes map[int]Class

func newClasses(moved map[Class][]int) classes {
	t := classes{}
	for class, codes := range moved {
		for _, code := range codes {
			t[code] = class
		}
	}
	return t
}

func (t classes) of(status int) Class {
	if len(t) > 0 {
		if c, ok := t[status]; ok {
			return c
		}
	}
	return classOf(status)
}

// classify turns what the client gave into a result. An answer that broke off is a target failure whatever its status was: only
// a whole answer is one.
func (s *Sink) classify(d *Delivery, resp *wire.Response, err error) result {
	var r result
	if resp != nil {
		r.status = resp.Status
	}
	if err == nil {
		r.class = s.classes.of(r.status)
		accepted := slices.Contains(d.Accept, r.status)
		judge := d.target.access.success
		if accepted || r.class != Delivered || d.health {
			judge = nil
		}
		var answer *Response
		if d.Keep || judge != nil {
			answer = kept(resp)
		}
		if d.Keep {
			r.response = answer
		}
		switch {
		case accepted:
			r.class = Delivered
		case judge != nil:
			judge.apply(&r, answer)
		}
		if r.class != Delivered && r.reason == "" {
			r.reason = "answered " + statusText(r.status)
		}
		if r.class == Target || r.class == Credentials {
			r.after = retryAfter(resp.Header("Retry-After"), resp.Header("Date"), time.Now())
		}
		r.blames = r.class == Target && !comeLater(resp)
		return r
	}
	var refused *AddressError
	switch {
	case errors.Is(err, wire.ErrAborted):
		r.class, r.reason = Interrupted, "interrupted by our own stop"
	case errors.Is(err, wire.ErrNotStarted):
		r.class, r.reason, r.again = Interrupted, "not started", true
	case errors.Is(err, wire.ErrStale):
		r.class, r.reason, r.again, r.stale = Target, "a kept connection had been closed", true, true
	case errors.As(err, &refused):
		r.class, r.reason = Address, refused.Error()
	default:
		r.class = Target
		r.reason, r.blames = s.reasonOf(err)
		if r.status != 0 {
			r.reason = "answered " + strconv.Itoa(r.status) + ", but " + r.reason
			r.blames = r.blames && !comeLater(resp)
		}
	}
	return r
}

// kept copies an answer out of the call's memory.
func kept(resp *wire.Response) *Response {
	r := &Response{Status: resp.Status, Body: bytes.Clone(resp.Body()), Truncated: resp.Truncated}
	for name, value := range resp.Lines() {
		r.Header = append(r.Header, Header{name, value})
	}
	return r
}

// statusText is a status in words.
func statusText(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// comeLater says that an answer of the class Target is about the target's state and not about the request.
func comeLater(resp *wire.Response) bool {
	switch resp.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusServiceUnavailable:
		return resp.Header("Retry-After") != ""
	}
	return false
}

// reasonOf says what went wrong, in words of ours only: the texts of errors may repeat what was sent. sent says that the request
// was, in part or whole.
func (s *Sink) reasonOf(err error) (reason string, sent bool) {
	op := wire.OpRead
	var we *wire.Error
	if errors.As(err, &we) {
		op = we.Op
	}
	if reason = reasonOfTLS(err, op); reason != "" {
		return "TLS: " + reason, false
	}
	return reasonAt(err, op, s.c.Timeout), op == wire.OpWrite || op == wire.OpRead
}

// reasonAt says it of what is not about TLS. timeout is what the time was; 0: it is not told.
func reasonAt(err error, op wire.Op, timeout time.Duration) string {
	var dns *net.DNSError
	var late net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the host name does not resolve"
	case errors.As(err, &late) && late.Timeout():
		within := " in time"
		if timeout > 0 {
			within = " within " + timeout.String()
		}
		switch op {
		case wire.OpDial, wire.OpTLS:
			return "no connection" + within
		case wire.OpWrite:
			return "the request could not be sent" + within
		}
		return "no whole answer" + within
	case errors.As(err, &dns):
		return "the host name could not be looked up"
	case errors.Is(err, wire.ErrTooLarge):
		return "malformed response: its head is too large"
	case errors.Is(err, wire.ErrMalformed):
		return err.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to the host"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "too many open files on this machine"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no free local port on this machine"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return "connection reset"
	case errors.Is(err, wire.ErrCut):
		return "the connection was closed before the answer was whole"
	}
	return "the connection failed (" + string(op) + ")"
}

func reasonOfTLS(err error, op wire.Op) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		alert     *net.OpError
		record    tls.RecordHeaderError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &authority):
		return "the certificate is signed by an unknown authority"
	case errors.As(err, &name):
		return "the certificate is for another host name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate has expired or is not yet valid"
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "the certificate is not valid"
	case errors.As(err, &record):
		return "the port does not speak TLS"
	case errors.As(err, &alert) && alert.Op == "remote error": // as crypto/tls tells of an alert; its texts are a closed set
		return "the server refused the connection: " + strings.TrimPrefix(alert.Err.Error(), "tls: ")
	case op == wire.OpTLS && !(errors.As(err, &timeout) && timeout.Timeout()):
		return "the handshake failed"
	}
	return ""
}

// retryAfter reads Retry-After (RFC 9110, 10.2.3): seconds or a date. A date is measured by the server's own clock where its Date
// header gives it. 0: none, in the past, or not understood.
func retryAfter(value, date string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if most := int64(maxRetryAfter / time.Second); err != nil || seconds > most {
			seconds = most
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if served, err := http.ParseTime(date); err == nil {
		now = served
	}
	return min(max(0, at.Sub(now)), maxRetryAfter)
}

// maxRetryAfter keeps sums of times far from overflow; Config.Retry.MaxAfter clamps below it.
const maxRetryAfter = 365 * 24 * time.Hour

// backoff is the wait before the attempt after the n-th failure (n ≥ 1): full jitter
// (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/) on top of what the server asked for.
func (s *Sink) backoff(n int, after time.Duration) time.Duration {
	r := s.c.Retry
	most := r.Max
	if shift := n - 1; shift < 32 && r.Initial<<shift>>shift == r.Initial && r.Initial<<shift < r.Max {
		most = r.Initial << shift
	}
	return min(after, r.MaxAfter) + s.jitter(most)
}
