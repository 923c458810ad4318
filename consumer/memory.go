package consumer

import (
	"context"
	"sync"
	"time"
)

// Memory is what a job must not forget: what a restart must not lose and what all instances have to agree on. Its home is the log
// (consumer/kafkalog); how it is stored is control's to say.
type Memory struct {
	// Desired is what the operator wants of the job.
	Desired Desired `json:"desired,omitempty"`
	// Group is the consumer group that Begun is of: a job that was given another group begins anew.
	Group string `json:"group,omitempty"`
	// Begun has, by topic name, the log that the job has begun to read. A partition of it without a commit has lost its offset; one
	// that is not in it is new and begins at its log start.
	Begun map[string]Begun `json:"begun,omitempty"`
	// Hold stops the whole job on every instance until an operator resumes it; nil: none.
	Hold *Hold `json:"hold,omitempty"`
	// Reset is under way: the job runs nowhere until it has ended, whatever is desired. Nil: none.
	Reset *PendingReset `json:"reset,omitempty"`
	// LastReset is what became of the one before.
	LastReset *ResetOutcome `json:"last_reset,omitempty"`
	// Resets counts those that gave rows other idempotency keys.
	Resets int `json:"resets,omitempty"`

	// Revision rises with every change; 0: nothing was ever remembered. It orders what is read of one Log. The Store fills in both.
	Revision int64 `json:"-"`
	// Log is the id of the log that the Revision is of: one that was deleted and made anew counts from 0 again.
	Log [16]byte `json:"-"`
}

// older says that the log said m before it said known.
func (m Memory) older(known Memory) bool { return m.Log == known.Log && m.Revision < known.Revision }

// Desired is what an operator wants a job to do.
type Desired string

// A job runs unless it was stopped (it leaves its group) or paused (it stays a member and starts no attempts).
const (
	WantRunning Desired = ""
	WantPaused  Desired = "paused"
	WantStopped Desired = "stopped"
)

// Begun is one topic as a job found it when it began to read it.
type Begun struct {
	// TopicID is Kafka's id of the topic, as Kafka's tools write it. A topic that was made anew has another one.
	TopicID string `json:"topic_id"`
	// Partitions is how many were begun, counted from partition 0 on: each of them had a committed offset.
	Partitions int32 `json:"partitions"`
}

// HoldCause says why no row of a job, or of a partition, is sent although nothing is wrong with its group.
type HoldCause string

// The causes. Credentials and address end by themselves, when a probe succeeds; the others end when an operator decides.
const (
	HoldCredentials HoldCause = "credentials"
	HoldAddress     HoldCause = "address"
	HoldGuard       HoldCause = "dead-letter guard"
	HoldOffsetsLost HoldCause = "offsets lost"
	HoldExpired     HoldCause = "records expired"
	HoldRecreated   HoldCause = "topic recreated"
	HoldLogCut      HoldCause = "log cut"
	HoldUnreadable  HoldCause = "batch unreadable"
)

// Hold is a wait that an operator should know of: rows are kept, and nothing is given up.
type Hold struct {
	Cause HoldCause `json:"cause"`
	// Reason says what was seen, Next what happens next or what an operator can do.
	Reason string    `json:"reason"`
	Next   string    `json:"next"`
	Since  time.Time `json:"since"`
}

// Audit says who did what to a job.
type Audit struct {
	// By is a person, or "streamer" for what the program does by itself.
	By string `json:"by"`
	// Action is a word such as "resume", "begin", "hold", "accept", "give-up".
	Action string `json:"action"`
	// Detail is more about it: positions, counts; before and after where something was changed.
	Detail map[string]any `json:"detail,omitempty"`
}

// BySelf is Audit.By of what the program does by itself.
const BySelf = "streamer"

// Store keeps Memory. Its methods may be called from any goroutine.
type Store interface {
	// Memory gives what is remembered of a job; the zero Memory if nothing is. It waits until the log was read once.
	Memory(ctx context.Context, job string) (Memory, error)
	// Remember changes it: change gets the newest Memory, and is called again when another instance was faster. Its error ends the
	// attempt and is returned. The audit line is written together with the change, or neither is. It gives what is remembered then.
	Remember(ctx context.Context, job string, a Audit, change func(*Memory) error) (Memory, error)
}

// processStore is the Store of an instance that was given none: it remembers until the process ends.
type processStore struct {
	mu   sync.Mutex
	jobs map[string]Memory
}

// Memory implements Store.
func (s *processStore) Memory(_ context.Context, job string) (Memory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[job].clone(), nil
}

// Remember implements Store.
func (s *processStore) Remember(_ context.Context, job string, _ Audit, change func(*Memory) error) (Memory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.jobs[job].clone()
	if err := change(&m); err != nil {
		return Memory{}, err
	}
	if s.jobs == nil {
		s.jobs = map[string]Memory{}
	}
	m.Revision++
	s.jobs[job] = m
	return m.clone(), nil
}

func (m Memory) clone() Memory {
	begun := make(map[string]Begun, len(m.Begun))
	for topic, b := range m.Begun {
		begun[topic] = b
	}
	m.Begun = begun
	if m.Hold != nil {
		h := *m.Hold
		m.Hold = &h
	}
	if m.Reset != nil {
		p := *m.Reset // its table never changes
		m.Reset = &p
	}
	return m
}
