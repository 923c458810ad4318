package consumer

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"streamer/sink"
)

// State is what a runner is doing.
type State string

// A runner starts (looks for its cluster, topics and group), runs (is a member of its group), and has stopped. Running as a member,
// it may be paused by an operator, or held: no row is sent but probes, and nothing is given up.
const (
	Starting State = "starting"
	Running  State = "running"
	Paused   State = "paused"
	Held     State = "held"
	Stopped  State = "stopped"
)

// Status is what an operator is told about a job on this instance.
type Status struct {
	State State
	// Cause says why the state is not the wanted one, or what a running job waits for; empty: nothing.
	Cause string
	Since time.Time
	// Holds say why the job as a whole sends nothing, or nothing to a target; partitions that are held alone say so themselves.
	Holds []Hold
	// Stalls are the partitions that have lag and make no progress, each with its cause.
	Stalls []Stall
	// Partitions are those assigned to this instance, by topic and number.
	Partitions []PartitionStatus
	// Lag is the sum over Partitions; -1 while no high watermark is known.
	Lag int64
	// OldestPending is how long ago the oldest record that is not finished was polled; 0: none.
	OldestPending time.Duration
	// Delivery says what the sink is doing.
	Delivery sink.Stats
	// Formats are what its records were found to be, on this instance, since the job began to run here.
	Formats []FormatCount
	// Rows are what became of them, likewise.
	Rows []RowCount
	// Unfinished is the number of rows that the stop left undelivered; they are sent again by their next owner.
	Unfinished int64
}

// PartitionStatus is one assigned partition.
type PartitionStatus struct {
	Topic     string
	Partition int32
	// Cause says why the partition is not read on; empty: it is. Since is when that began.
	Cause string
	Since time.Time
	// Hold is set when it will not be read on before an operator decides.
	Hold *Hold
	// Committed is the last acknowledged offset, HighWatermark the end of what may be read; -1: not known yet.
	Committed, HighWatermark int64
	// Polled, Final and Pending count records of this assignment: every one that was polled is final or pending, at any moment.
	Polled, Final int64
	Pending       int
	// Dropped counts finished work that did not fit into the metadata of the last commit: a crash now would send it again. A
	// finished record counts once, and so does a gap in the log that is dropped with it.
	Dropped int64
	// Paused is true while its buffer is full.
	Paused bool

	oldest time.Time
	open   string // the open transaction that the lag is behind
	unread string // what the next record's schema is waited for with
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// String gives topic/partition.
func (a TopicPartition) String() string { return a.Topic + "/" + strconv.Itoa(int(a.Partition)) }

// Lag is the records between the committed offset and the high watermark; -1 if one of them is unknown.
func (p PartitionStatus) Lag() int64 {
	if p.Committed < 0 || p.HighWatermark < 0 {
		return -1
	}
	return max(p.HighWatermark-p.Committed, 0)
}

// status holds the part of a runner's status that is no partition's.
type status struct {
	mu      sync.Mutex
	state   State
	cause   string
	since   time.Time
	topics  string // missing topics
	group   string // what the group answered last, if that was an error
	marks   string // why what was begun is not remembered
	commits string // what the last commit was refused with
	// why nobody can be told of answers; each for itself, since what the one topic takes says nothing of the other
	callbacks, responses string
	dead                 string // why dead letters cannot be written
	parked               string // why rows of parked keys wait
	delivery             string // why rows wait at the target
	change               string // that a change waits for attempts in flight
}

// set changes the state and reports whether state or cause are new.
func (s *status) set(state State, cause string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == state && s.cause == cause && !s.since.IsZero() {
		return false
	}
	s.state, s.cause, s.since = state, cause, time.Now()
	return true
}

// note replaces one of the causes and reports whether it is a new one.
func (s *status) note(field *string, cause string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := *field != cause
	*field = cause
	return fresh
}

// untold says why answers cannot be told of; empty: they can.
func (s *status) untold() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.callbacks, s.responses)
}

func (s *status) read() (State, string, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var causes []string
	for _, c := range []string{s.cause, s.topics, s.group, s.marks, s.commits, s.dead, s.callbacks, s.responses, s.parked, s.delivery, s.change} {
		if c != "" {
			causes = append(causes, c)
		}
	}
	return s.state, strings.Join(causes, "; "), s.since
}

// Status reads the runner's state; it may be a moment old.
func (r *Runner) Status() Status {
	state, cause, since := r.status.read()
	out := Status{State: cmp.Or(state, Starting), Cause: cause, Since: since, Formats: r.formats.read(), Rows: r.rowCounts(), Unfinished: r.unfinished.Load()}
	if o := r.now().outlet; o != nil {
		out.Delivery = o.sink.Stats()
	}
	for _, s := range r.watchdog.read() {
		if r.partition(s.Topic, s.Partition) != nil { // the watchdog looks every few seconds, and not between two sessions
			out.Stalls = append(out.Stalls, s)
		}
	}
	if out.State == Running || r.gate.held(HoldOffsetsLost) { // the latter before the group is joined
		paused, pausedSince, holds := r.gate.read()
		ofTargets := targetHolds(out.Delivery.Holds)
		out.Holds = slices.Concat(holds, ofTargets)
		switch {
		case len(holds) > 0:
			out.State, out.Since = Held, holds[0].Since
		case paused: // also while a target is on hold: no probe goes out
			out.State, out.Since = Paused, pausedSince
		case len(ofTargets) > 0:
			out.State, out.Since = Held, ofTargets[0].Since
		}
	}
	now := time.Now()
	for _, p := range r.all() {
		ps := p.status()
		if !ps.oldest.IsZero() {
			out.OldestPending = max(out.OldestPending, now.Sub(ps.oldest))
		}
		if lag := ps.Lag(); lag < 0 || out.Lag < 0 {
			out.Lag = -1
		} else {
			out.Lag += lag
		}
		out.Partitions = append(out.Partitions, ps)
	}
	slices.SortFunc(out.Partitions, func(a, b PartitionStatus) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	for _, notable := range []string{stalledText(out.Stalls), heldText(out.Partitions), unreadText(out.Partitions)} {
		switch {
		case out.Cause == "":
			out.Cause = notable
		case notable != "":
			out.Cause = notable + "; " + out.Cause
		}
	}
	return out
}

// stalledText says in a line which partitions make no progress, but for those that are held, for who looks at many jobs at once.
func stalledText(stalls []Stall) string {
	n, first := 0, ""
	for _, s := range stalls {
		if s.Cause != StallHeld && s.Cause != StallPaused {
			if n++; n == 1 {
				first = fmt.Sprintf("%s/%d makes no progress: %s", s.Topic, s.Partition, s.Cause)
			}
		}
	}
	return andMore(first, n)
}

// heldText says in a line which partitions are held.
func heldText(partitions []PartitionStatus) string {
	n, first := 0, ""
	for _, p := range partitions {
		if p.Hold != nil {
			if n++; n == 1 {
				first = fmt.Sprintf("%s/%d is held: %s", p.Topic, p.Partition, p.Hold.Cause)
			}
		}
	}
	return andMore(first, n)
}

func andMore(first string, n int) string {
	if n > 1 {
		first += fmt.Sprintf(", and %d more partitions", n-1)
	}
	return first
}

// unreadText says in a line which partitions wait for a schema.
func unreadText(partitions []PartitionStatus) string {
	n, first := 0, ""
	for _, p := range partitions {
		if p.unread != "" {
			if n++; n == 1 {
				first = fmt.Sprintf("%s/%d waits for a schema: %s", p.Topic, p.Partition, p.unread)
			}
		}
	}
	return andMore(first, n)
}

// targetHolds is what an operator is told of targets on hold.
func targetHolds(holds []sink.Hold) (out []Hold) {
	for _, h := range holds {
		own := Hold{Cause: HoldCredentials, Reason: h.Target + ": " + h.Cause, Since: h.Since}
		mend := "mend the credentials, or the rights they have"
		if h.Class == sink.Address {
			own.Cause, mend = HoldAddress, "allow the address, or mend the URL"
		}
		own.Next = mend + "; it is tried again at " + h.Next.UTC().Format(time.TimeOnly) + " UTC, and goes on by itself when that succeeds"
		out = append(out, own)
	}
	return out
}

func (p *partition) status() PartitionStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PartitionStatus{
		Topic: p.topic, Partition: p.id, Cause: p.wait.cause, Since: p.wait.since,
		Committed: p.committed, HighWatermark: p.highWater, Polled: p.polled, Final: p.final, Pending: len(p.queue) + int(p.taking), Dropped: p.told.left, Paused: p.paused,
	}
	if p.wait.hold {
		s.Hold = &Hold{Cause: p.wait.kind, Reason: p.wait.cause, Next: p.wait.next, Since: p.wait.since}
	}
	if s.unread = p.unread.cause; s.Cause == "" && s.unread != "" {
		s.Cause, s.Since = s.unread, p.unread.since
	}
	if s.Cause == "" && p.stuck > 0 {
		s.Cause, s.Since = fmt.Sprintf("dead letters are off: %d rows that cannot be delivered hold their lanes", p.stuck), p.stuckSince
	}
	if p.transaction != nil && p.transaction.cause != "" {
		s.open = p.transaction.cause
		if s.Cause == "" {
			s.Cause, s.Since = s.open, p.transaction.since
		}
	}
	if p.tracker != nil {
		s.Pending += p.tracker.Pending()
		if oldest := p.tracker.Oldest(); oldest != nil {
			s.oldest = oldest.Polled
		}
	}
	return s
}

// sayAgain is how long a cause that was logged is not logged again.
const sayAgain = time.Minute

// said remembers which causes were logged lately, so that two that take turns do not fill the log. The zero value is ready.
type said struct {
	mu   sync.Mutex
	when map[string]time.Time
}

// first says whether cause is to be logged now.
func (s *said) first(cause string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, at := range s.when {
		if now.Sub(at) > sayAgain {
			delete(s.when, c)
		}
	}
	if _, known := s.when[cause]; known || len(s.when) >= 32 {
		return false
	}
	if s.when == nil {
		s.when = map[string]time.Time{}
	}
	s.when[cause] = now
	return true
}
