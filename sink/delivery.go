package sink

import "time"

// Class says what the result of an attempt means for its row.
type Class string

// The classes. Delivered, Rejected and Payload are final. Target waits and is tried again, until it is proven that the row and not
// the target is to blame (evidence.go); the row is then final with it. Credentials and Address wait and are tried again without end.
// Payload is for what never became a request. Interrupted is our own stop: no attempt is counted, the row was not finished here.
const (
	Delivered   Class = "delivered"
	Rejected    Class = "rejected"
	Credentials Class = "credentials"
	Target      Class = "target"
	Payload     Class = "payload"
	Address     Class = "address"
	Interrupted Class = "interrupted"
)

// final says that an attempt with this result is the row's last.
func (c Class) final() bool { return c == Delivered || c == Rejected || c == Payload }

// Request is one row's request. URL is absolute, http or https; Header keeps its order. Headers that belong to the connection
// (Host, Content-Length, Transfer-Encoding, Connection and their like) are the sink's and left out if given. A request that cannot
// be written (a line break in a header, a URL without host) ends as Payload with Status 0 and no attempt.
type Request struct {
	Method, URL string
	Header      []Header
	Body        []byte
	// User is whose access token goes along, where Auth has a TokenStorage.
	User string
}

// Header is one header line.
type Header struct{ Name, Value string }

// Delivery carries one row through the sink. The caller fills the exported fields, hands it to Deliver and leaves it alone until
// Final, from whose call on it is the caller's again. The zero private state is ready; a Delivery may be used again.
type Delivery struct {
	Request Request
	// Final is told the outcome, exactly once, from a worker's goroutine, without any lock of the sink held. It may call Deliver.
	// It must be quick and must not call Drain, Cancel or Close, which wait for it. It is not called at all for a row that had no
	// attempt running when its scope was drained or cancelled; one whose attempt was running then, and did not become final by it,
	// is told Interrupted.
	Final func(*Delivery, Outcome)
	// Row is the caller's.
	Row any
	// Made is how many attempts were made before this Deliver, of a row that comes back: they are counted on.
	Made int
	// Accept are status codes that are taken as Delivered for this request, before Config.Statuses: a 404 that is an answer.
	Accept []int
	// Keep asks for Outcome.Response.
	Keep bool

	state
}

// Outcome is what became of a row, or for Observer.Waiting what its last attempt came to.
type Outcome struct {
	Class Class
	// Status is the response's status code, 0 if no status line was read.
	Status int
	// Reason says in words what happened, without URL, headers, tokens or contents; empty for Delivered.
	Reason string
	// Attempts counts requests made so far for this row: interrupted ones and refused addresses do not count.
	Attempts int
	// Counted is how many of them failed although the target took other rows; Config.Retry.Attempts of them end the row. Unproven
	// says that as many failed without such evidence: nothing shows whether the target or the row is to blame.
	Counted  int
	Unproven bool
	// First is when the first attempt began; zero if there was none.
	First time.Time
	// Response is the answer to the last attempt, if Delivery.Keep asked for it and a whole answer came. Only Final is told it.
	Response *Response
}

// Response is an answer that was kept. What it repeats of the credentials that were sent reads as ********.
type Response struct {
	Status int
	// Header are its header lines in their order.
	Header []Header
	// Body is what was read of the body, at most Config.ResponseBytes; Truncated says that there may be more.
	Body      []byte
	Truncated bool
}

// Observer is told what the sink does. Its methods are called from workers' goroutines, at the same time, without any lock of the
// sink held; they must be quick and must not wait for the sink.
type Observer interface {
	// Attempt: an attempt ended, also an interrupted one. took is from its start to the last byte.
	Attempt(c Class, status int, took time.Duration)
	// Waiting: an attempt of d was not final; the next one starts at until or later. Rows that only queue behind an open breaker, a
	// hold, the rate or the permit are not told one by one: BreakerOpen, Held and Stats show them.
	Waiting(d *Delivery, o Outcome, until time.Time)
	// BreakerOpen: the breaker of target (scheme://host:port) opened or closed. Calls come in the order of the changes.
	BreakerOpen(target string, open bool)
	// Held: target was put on hold, or is on hold no more. Calls come in the order of the changes. A hold is told from the second
	// refused attempt on, and ends as well when no row waits for the target any more.
	Held(target string, h Hold, on bool)
}

// Stats is a snapshot of a sink.
type Stats struct {
	// InFlight rows have an attempt running. Waiting rows wait for their back-off, the rate, the permit or a breaker; Ready ones
	// only for a free slot.
	InFlight, Waiting, Ready int
	// Unproven rows are those of them that failed as often as a row may, without evidence that they are to blame.
	Unproven int
	// Started attempts since the sink was made, probes of a health URL left out.
	Started uint64
	// Held says that a row waits for nothing but its turn in the rate.
	Held bool
	// Targets are those in use or remembered, sorted by name.
	Targets []TargetState
	// Holds are the targets on hold, by name.
	Holds []Hold
}

// Hold says that a target gets no attempts but probes, one at a time, since it refuses the credentials, or our own guard its address.
// Nothing is given up meanwhile.
type Hold struct {
	// Target is scheme://host:port.
	Target string
	// Class is Credentials or Address.
	Class Class
	// Cause is the reason of the last refused attempt.
	Cause string
	// Since is when the hold began, Next when the next probe is due.
	Since, Next time.Time
}

// TargetState is one target of a sink.
type TargetState struct {
	// Target is scheme://host:port.
	Target string
	// Open says that its breaker lets nothing but probes pass.
	Open bool
	// Cause is the reason of the last target outcome, empty after a better one. While Open it is what opened the breaker, or what
	// its last probe failed with; results of attempts that had begun before do not change it.
	Cause string
	// Rows counts its rows.
	Rows int
}
