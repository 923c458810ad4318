package sink

import (
	"crypto/x509"
	"net/netip"
	"time"
)

// Config is one job's way of delivering. The zero value of a field means its default, which Defaults fills in.
type Config struct {
	// Timeout bounds one attempt, from dial to the last byte of the response body. Default 30s, at most 5m.
	Timeout time.Duration
	// Concurrency is the number of attempts in flight at once, on this instance. Default 64.
	Concurrency int
	// Rate limits attempts, retries included; Sink.SetShare says which part of it this sink may take.
	Rate Rate
	// Retry says how a target failure is tried again.
	Retry Retry
	// Breaker opens per target.
	Breaker Breaker
	// Statuses moves status codes into another class than the table's: {Delivered: {404}}.
	Statuses map[Class][]int
	// Auth is added to every request of the job; a header of the same name in the request is replaced.
	Auth Auth
	// AttemptHeader adds Streamer-Attempt (from 1) to every request. Its default is true in a job file.
	AttemptHeader bool
	// ResponseBytes bounds what is read of a response body; the rest closes the connection. Default 64 KiB.
	ResponseBytes int64
	// Guard says which addresses may be dialled; it is the process's, not the job's.
	Guard Guard
	// RootCAs are the authorities that a server's certificate may be signed by; nil: the system's, unless TLS names some.
	RootCAs *x509.CertPool
	// Target, when not empty, is what the one target of the job is called, Origin the only place that requests and probes may go to, as
	// scheme://host:port: a request to another one is never sent.
	Target, Origin string
	// TLS is how https is spoken.
	TLS TLS
	// Success, when not nil, judges answers that are Delivered by their status.
	Success *Success
	// Places are the origins that have their own of Target, Auth, TLS, Success and Shared. Requests may go to them too where Origin is set.
	Places []Place
	// Hidden are secrets that headers of the job's requests hold: what an answer that is kept repeats of them is taken out, as what it
	// repeats of a login is.
	Hidden []Secret
	// Shared are limits that the sink has in common with others; nil: none. It stands last: comparing two Configs need not look into it.
	Shared *Shared
}

// TLS is how https is spoken. All of it is text, so that two are easily compared.
type TLS struct {
	// CA are the certificates of authorities, as PEM, in place of the system's. Empty: the system's.
	CA string
	// ServerName is the name that the server's certificate has to have; empty: that of the URL.
	ServerName string
	// Cert and Key are the client's certificate, as PEM. Both or none.
	Cert string
	Key  Secret
}

// Rate allows Count attempts per Per, Burst of them at once. Count 0 means no limit. Burst 0 means 1.
type Rate struct {
	Count float64
	Per   time.Duration
	Burst int
}

// Retry is exponential back-off with full jitter: attempt n waits a random time up to min(Max, Initial·2ⁿ⁻¹).
type Retry struct {
	// Initial defaults to 500ms, Max to 1m.
	Initial, Max time.Duration
	// MaxAfter clamps a Retry-After from the server, which is a lower bound for the wait. Default 1h.
	MaxAfter time.Duration
	// Attempts is how many counted attempts a row gets; evidence.go says which count. Default 10.
	Attempts int
	// GiveUpUnproven ends a row after Attempts tries although nothing shows whether the target or the row is to blame. Where there
	// is a health URL, that decides and this does nothing.
	GiveUpUnproven bool
}

// Breaker opens after Failures consecutive target outcomes, a row counted once until it is final, and probes after Open.
type Breaker struct {
	// Failures defaults to 5.
	Failures int
	// Open defaults to 30s.
	Open time.Duration
	// Health is an URL probed by GET instead of a waiting row; empty: rows are the probes, each time another one.
	Health string
}

// Auth is at most one of its parts; OAuth2 wins over TokenStorage, that over Basic, Basic over Token, Token over Bearer.
type Auth struct {
	OAuth2       *OAuth2
	TokenStorage *TokenStorage
	// APIKey is sent in a header of its own.
	APIKey *APIKey
	Basic  *Basic
	// Token sends "Authorization: access_token <token>", as Aether's consumer does.
	Token Secret
	// Bearer sends "Authorization: Bearer <bearer>".
	Bearer Secret
}

// APIKey is a header with a secret value.
type APIKey struct {
	Header string
	Value  Secret
}

// Basic is a user with a password.
type Basic struct {
	User     string
	Password Secret
}

// Guard says which addresses may be dialled. Link-local and metadata addresses never are; private ranges and loopback only by
// these lists; everything public always is.
type Guard struct {
	// Hosts are names (as written in the URL, lower case, without port) whose addresses may be private.
	Hosts []string
	// CIDRs are private ranges that may be dialled.
	CIDRs []netip.Prefix
	// Narrowed, when not nil, has to allow a private address too.
	Narrowed *Narrowed
}

// Narrowed is the part of a Guard's lists that one owner may use.
type Narrowed struct {
	// Owner is whose part it is, for what is said when it refuses.
	Owner string
	Hosts []string
	CIDRs []netip.Prefix
}
