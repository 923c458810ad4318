package consumer

import (
	"time"

	"streamer/mapping"
	"streamer/sink"
)

// ClassParked is the class of a dead letter whose row was never tried: it came after a dead letter of its key. See Config.DeadLetterPark.
const ClassParked sink.Class = "parked"

// LetterState says what has become of a dead letter.
type LetterState string

// The states. Open and parked letters wait for a redrive or for an operator who gives them up; the others are final.
const (
	LetterOpen        LetterState = "open"
	LetterParked      LetterState = "parked"       // behind an open letter of its key, and never tried
	LetterRedriven    LetterState = "redriven"     // final by a redrive; Outcome says how
	LetterGivenUp     LetterState = "given up"     // final by an operator's decision
	LetterFailedAgain LetterState = "failed again" // by a redrive; a newer dead letter has its place
	LetterVoid        LetterState = "void"         // written when its row was already on its way elsewhere: counts for nothing
	LetterForeign     LetterState = "foreign"      // no dead letter of streamer, or a damaged one; Problem says why
)

// Letter is a record of a dead-letter topic.
type Letter struct {
	// Partition and Offset are its own address in the dead-letter topic; At is when it was written.
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	At        time.Time `json:"at"`
	// Job gave the row up; Source is where the row stands.
	Job    string       `json:"job,omitempty"`
	Source LetterSource `json:"source,omitzero"`
	// Class, Status, Attempts, Reason and FirstAttempt say why, as its headers do.
	Class        sink.Class `json:"class,omitempty"`
	Status       int        `json:"status,omitempty"`
	Attempts     int        `json:"attempts"`
	Reason       string     `json:"reason,omitempty"`
	FirstAttempt time.Time  `json:"first_attempt,omitzero"`
	// Redrives is how often the row was redriven before this letter was written.
	Redrives int `json:"redrives"`
	// Resets is how often the job's offsets had been reset when the row was first delivered: its idempotency key ends with it.
	Resets int `json:"resets,omitempty"`
	// State is what has become of it; Outcome, OutcomeAt, OutcomeBy and OutcomeReason say more once it is final.
	State         LetterState `json:"state"`
	Outcome       string      `json:"outcome,omitempty"`
	OutcomeAt     time.Time   `json:"outcome_at,omitzero"`
	OutcomeBy     string      `json:"outcome_by,omitempty"`
	OutcomeReason string      `json:"outcome_reason,omitempty"`
	// Bytes is the size of the value; LeftOut says that it is not here, since it was too large, but at its source.
	Bytes   int  `json:"bytes"`
	LeftOut bool `json:"left_out,omitempty"`
	// Problem says why a record is foreign, or why where could not be tried on it.
	Problem string `json:"problem,omitempty"`
	// Key is the record's, nil for none.
	Key []byte `json:"-"`
	// Value and Headers are the original record's; only Show gives them.
	Value   []byte         `json:"-"`
	Headers []RecordHeader `json:"-"`

	hops   int // see letterHops
	lane   laneValue
	behind string // address of the letter it was parked behind
	of     string // address of the letter that was redriven, when it failed again
	claim  string // of the redrive that wrote it; empty: none
}

// LetterSource is the address of a dead letter's row.
type LetterSource struct {
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	// Row counts from 0; -1 is a record that could not be decoded.
	Row int32 `json:"row"`
	// Route is the one that was given up of the row; empty: the row has no routes, or is given up as a whole.
	Route     string    `json:"route,omitempty"`
	Timestamp time.Time `json:"timestamp,omitzero"`
}

// rowAddress tells rows apart, also those of a topic that was made anew. It is small and comparable.
type rowAddress struct {
	topic, topicID string
	partition      int32
	offset         int64
	part
}

// has says whether a part of the record is the source's: all are of a record as a whole, all of its row of a row as a whole.
func (s LetterSource) has(x part) bool {
	return s.Row == wholeRecord || x.row == wholeRecord || s.Row == x.row && (s.Route == x.route || s.Route == "" || x.route == "")
}

func (s LetterSource) part() part { return part{s.Row, s.Route} }

func (s LetterSource) address() rowAddress {
	return rowAddress{s.Topic, s.TopicID, s.Partition, s.Offset, s.part()}
}

// LetterFilter chooses dead letters; the zero value all of them. Its parts must hold together.
type LetterFilter struct {
	// Class is any of these; none: all.
	Class []sink.Class
	// Since and Until bound the time at which the letter was written: Since ≤ t < Until. Zero: no bound.
	Since, Until time.Time
	// Key is the record's key; nil: any. A record without a key has the key "".
	Key *string
	// Where chooses rows in which the path finds something, by the rules of a job's filter. It looks at the message as the job sees it.
	// A value that cannot be decoded never matches.
	Where *mapping.Path
	// State is any of these; none: all. A redrive takes open and parked letters only, whatever is said here.
	State []LetterState
	// At is one letter, by its own address.
	At *LetterAddress
}

// LetterAddress is the place of a letter in its topic.
type LetterAddress struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// LetterPage is part of a list.
type LetterPage struct {
	// Counts says how many letters match, by class and state, of those that Scanned records hold.
	Counts []LetterCount `json:"counts"`
	// Letters stand in the order of their address.
	Letters []Letter `json:"letters"`
	// Next is the cursor of the following page; empty: there is none.
	Next string `json:"next,omitempty"`
	// Scanned is the number of records that were looked at, from the cursor on. Complete says that those were all; else counts and
	// states are those of the part that was looked at: what has become of a letter may stand behind it.
	Scanned  int  `json:"scanned"`
	Complete bool `json:"complete"`
	// Undecodable counts letters on which where could not be tried, since their value cannot be decoded or is left out.
	Undecodable int `json:"undecodable,omitempty"`
	// Foreign counts records that are no dead letters of streamer, or damaged ones. OtherJobs counts letters of other jobs in the same topic.
	Foreign   int `json:"foreign,omitempty"`
	OtherJobs int `json:"other_jobs,omitempty"`
	// Problem says why the topic could not be read to where Scanned should have come; empty: it could.
	Problem string `json:"problem,omitempty"`
}

// LetterCount is a number of letters.
type LetterCount struct {
	Class sink.Class  `json:"class"`
	State LetterState `json:"state"`
	Count int         `json:"count"`
}

// DeadLetters is the dead-letter topic of one job, to be read and redriven. Its methods may be called from any goroutine, and need no
// runner.
type DeadLetters struct {
	instance *Instance
	cfg      Config
}

// DeadLetters gives those of the job that cfg defines, as it is defined now.
func (i *Instance) DeadLetters(cfg Config) *DeadLetters {
	return &DeadLetters{instance: i, cfg: cfg.Defaults()}
}
