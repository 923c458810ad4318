package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/stored"
)

// Log is what control needs of the log in Kafka. *kafkalog.Log is one.
type Log interface {
	Objects
	Bulletin
	// Audit pages through the lines of the keys that keep accepts, newest first.
	Audit(ctx context.Context, before int64, limit int, keep func(key string) bool) ([]kafkalog.Entry, int64, error)
	// Problem says what is wrong with the log; empty: nothing.
	Problem() string
	// Age tells how old what is read may be.
	Age() time.Duration
}

// Objects are what the log keeps for ever. kafkalog.Log says what each method does.
type Objects interface {
	Wait(context.Context) error
	Get(key string) (kafkalog.Entry, bool)
	List(prefix string) []kafkalog.Entry
	Since(kafkalog.Mark) (changed []kafkalog.Entry, whole bool, now kafkalog.Mark)
	Age() time.Duration
	Transact(ctx context.Context, change func(read func(key string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error)) ([]kafkalog.Entry, error)
	Update(ctx context.Context, key string, change func(kafkalog.Entry, bool) (value, audit []byte, err error)) (kafkalog.Entry, error)
}

// Bulletin is where instances say how they are.
type Bulletin interface {
	Report(key string, value []byte)
	Reports(prefix string) []kafkalog.Entry
	Changed() <-chan struct{}
	// Sign names the instance that writes, for the audit.
	Sign(instance string)
}

const (
	// stateVersion is how a job's memory is written. An instance leaves alone what it cannot read.
	stateVersion = 1
	statePrefix  = "state/"
	// storeWait bounds the wait for the log to be read once.
	storeWait = 10 * time.Second
)

// Store keeps what jobs must not forget in the log. It implements consumer.Store.
type Store struct {
	log    Log
	writes batch

	mu     sync.Mutex
	looked map[string]remembered // by job, so that what has not changed is not decoded again
}

// remembered is what a revision of a job's object says.
type remembered struct {
	memory   consumer.Memory
	revision int64
	log      [16]byte // which log the revision is of
	err      error
}

// NewStore makes a store on a log that somebody runs.
func NewStore(log Log) *Store {
	return &Store{log: log, writes: newBatch(log), looked: map[string]remembered{}}
}

// storedMemory is the object of what is remembered of a job in the log.
type storedMemory struct {
	Version int `json:"version"`
	consumer.Memory
}

// UnreadableError says that something in the log is of another version of streamer, or damaged. The job is left alone.
type UnreadableError struct {
	// What is the thing, as in "the definition of job a".
	What  string
	Cause string
}

func (e *UnreadableError) Error() string {
	return e.What + " cannot be read: " + e.Cause + "; the job is left alone"
}

// decodeObject reads an object of the log. what names it in the error, an *UnreadableError.
func decodeObject[T any](e kafkalog.Entry, version int, what string) (T, error) {
	object, err := stored.Decode[T](e.Value, version)
	if err != nil {
		return object, &UnreadableError{What: what, Cause: err.Error()}
	}
	return object, nil
}

// written gives an object as the log keeps it, with its line of the audit, of now.
func written(object any, line AuditLine) (value, audit []byte, err error) {
	if value, err = stored.Encode(object); err != nil {
		return nil, nil, err
	}
	audit, err = line.now()
	return value, audit, err
}

// decode reads the object of a job; none is a Memory of nothing.
func decode(job string, e kafkalog.Entry, exists bool) (consumer.Memory, error) {
	if !exists {
		return consumer.Memory{Log: e.Log}, nil
	}
	s, err := decodeObject[storedMemory](e, stateVersion, "what the log remembers of job "+job)
	if err != nil {
		return consumer.Memory{}, err
	}
	s.Revision, s.Log = revisionOf(e, exists), e.Log
	return s.Memory, nil
}

// revisionOf is Memory.Revision, which is 0 where there is nothing; an offset may be 0.
func revisionOf(e kafkalog.Entry, exists bool) int64 {
	if !exists {
		return 0
	}
	return e.Revision + 1
}

// waitFor returns when a log was read once.
func waitFor(ctx context.Context, log Objects) error {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	return log.Wait(ctx)
}

// notRead says why a log was not read yet; nil: it was.
func notRead(log Objects) error {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	return log.Wait(now)
}

// Memory implements consumer.Store.
func (s *Store) Memory(ctx context.Context, job string) (consumer.Memory, error) {
	if err := waitFor(ctx, s.log); err != nil {
		return consumer.Memory{}, err
	}
	e, ok := s.log.Get(statePrefix + job)
	return decode(job, e, ok)
}

// Desired implements Memories.
func (s *Store) Desired(job string) (desired consumer.Desired, known bool) {
	m, _, err := s.look(job)
	return m.Desired, err == nil && notRead(s.log) == nil
}

// look gives what is remembered of a job as this instance knows it, and its revision, also of what cannot be read. The Memory is not
// to be changed.
func (s *Store) look(job string) (consumer.Memory, int64, error) {
	e, ok := s.log.Get(statePrefix + job)
	revision := revisionOf(e, ok)
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.looked[job]
	if !known || last.revision != revision || last.log != e.Log {
		last = remembered{revision: revision, log: e.Log}
		last.memory, last.err = decode(job, e, ok)
		s.looked[job] = last
	}
	return last.memory, last.revision, last.err
}

// Remember implements consumer.Store. What the program does by itself and what changes nothing is not written; what a person does is
// always in the audit.
func (s *Store) Remember(ctx context.Context, job string, a consumer.Audit, change func(*consumer.Memory) error) (consumer.Memory, error) {
	if a.By != consumer.BySelf { // somebody waits for it
		if err := away(s.log); err != nil {
			return consumer.Memory{}, fmt.Errorf("remember %s of job %s: %w", a.Action, job, err)
		}
	}
	e, err := s.writes.update(ctx, statePrefix+job, a.By == consumer.BySelf, func(e kafkalog.Entry, exists bool) (value, audit []byte, err error) {
		before, err := decode(job, e, exists)
		if err != nil {
			return nil, nil, err
		}
		after, err := decode(job, e, exists) // a second copy, as maps are shared
		if err != nil {
			return nil, nil, err
		}
		if err := change(&after); err != nil {
			return nil, nil, err
		}
		line := AuditLine{Job: job, By: a.By, Action: a.Action, Detail: a.Detail}
		if same := reflect.DeepEqual(before, after); !same {
			line.Before, line.After = &before, &after
		} else if a.By == consumer.BySelf {
			return e.Value, nil, nil
		}
		return written(storedMemory{stateVersion, after}, line)
	})
	if err != nil {
		var unreadable *UnreadableError
		if errors.As(err, &unreadable) {
			return consumer.Memory{}, err
		}
		return consumer.Memory{}, fmt.Errorf("remember %s of job %s: %w", a.Action, job, err)
	}
	return decode(job, e, e.Value != nil)
}

// AuditLine is one line of the audit: who did what.
type AuditLine struct {
	// Revision is its place in the audit.
	Revision int64 `json:"revision"`
	// At is when Kafka took it, by the broker's clock: one for all lines, in whose times they stand in their order. What is stored is the time
	// of the instance, which versions before this one show.
	At time.Time `json:"at"`
	// Instance is the one that wrote it: which was asked, or did it by itself. It stands beside the stored line; absent of one that an earlier
	// version wrote.
	Instance string `json:"instance,omitempty"`
	// Job is what it is about, or Connection.
	Job        string `json:"job"`
	Connection string `json:"connection,omitempty"`
	// By is a person, or "streamer".
	By     string         `json:"by"`
	Action string         `json:"action"`
	Detail map[string]any `json:"detail,omitempty"`
	// Before and After are what was remembered of the job; absent if that was not changed.
	Before *consumer.Memory `json:"before,omitempty"`
	After  *consumer.Memory `json:"after,omitempty"`
	// DocumentBefore and DocumentAfter are the job or connection itself, secrets masked; absent if that was not changed.
	DocumentBefore json.RawMessage `json:"document_before,omitempty"`
	DocumentAfter  json.RawMessage `json:"document_after,omitempty"`
}

// now gives the line as the log keeps it, of now.
func (l AuditLine) now() ([]byte, error) {
	l.At = time.Now().UTC()
	return stored.Encode(l)
}

// AuditOf makes a line of the audit about what is no job's.
func AuditOf(by, action string, detail map[string]any) ([]byte, error) {
	return AuditLine{By: by, Action: action, Detail: detail}.now()
}

// AuditSubject is what lines of the audit are about: a job, or a connection, or (neither is named) anything.
type AuditSubject struct{ Job, Connection string }

// has says that a line of a key is about it.
func (a AuditSubject) has(key string) bool {
	switch {
	case a.Job != "":
		return key == statePrefix+a.Job || key == definitionPrefix+a.Job
	case a.Connection != "":
		return key == connectionPrefix+a.Connection
	}
	return true
}

// Audit gives at most limit lines, newest first, about something, from before the given revision on (0: the newest). next is the revision
// to go on with; 0: there are no more. A line that cannot be read has only its place, its time and what it is about.
func (s *Store) Audit(ctx context.Context, about AuditSubject, before int64, limit int) (lines []AuditLine, next int64, err error) {
	entries, next, err := s.log.Audit(ctx, before, limit, about.has)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		var line AuditLine
		if json.Unmarshal(e.Value, &line) != nil {
			line = AuditLine{Action: "unreadable"}
			if kind, id, _ := strings.Cut(e.Key, "/"); kind+"/" == connectionPrefix {
				line.Connection = id
			} else {
				line.Job = id
			}
		}
		line.Revision, line.At, line.Instance = e.Revision, e.At.UTC(), e.Writer
		lines = append(lines, line)
	}
	return lines, next, nil
}
