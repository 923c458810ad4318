package consumer

import (
	"time"

	"streamer/mapping"
	"streamer/schemas"
	"streamer/sink"
)

// Config is one job as the data path needs it: compiled, checked, without secrets in clear text outside Sink.
type Config struct {
	// Job is the job's id, Namespace the installation's prefix for topics and groups.
	Job, Namespace string
	// Group is the consumer group; Instance, when not empty, makes its membership static.
	Group, Instance string
	// Topics are names, or one regular expression ^…$ each when Pattern is set.
	Topics  []string
	Pattern bool
	// Start says where a new group begins.
	Start Start
	// Order says which rows wait for each other.
	Order Order
	// Schemas says how a value becomes rows.
	Schemas schemas.Config
	// Registry gives the schemas of ids; nil: there is none. It is the process's.
	Registry schemas.Registry
	// Program maps a row to a request.
	Program *mapping.Program
	// Sink delivers it.
	Sink sink.Config
	// Tombstone says what a record without a value becomes.
	Tombstone Tombstone
	// DeadLetterTopic receives rows given up; empty means off: the row's lane waits instead.
	DeadLetterTopic string
	// DeadLetterRetention is set on the topic when it is created. Default 14 days.
	DeadLetterRetention time.Duration
	// DeadLetterShare is the part of the last outcomes that may be given up before the whole job is held instead, from 0 to 1 (never
	// held). Default 0.5.
	DeadLetterShare float64
	// DeadLetterPark sends later rows of a key after its dead letter, until that is redriven or given up; else the key goes on.
	DeadLetterPark bool
	// Callback and Response say who is told of answers; the Program is to be compiled with mapping.Config.Told where one of them has a topic.
	Callback Callback
	Response Capture
	// Instances is the most instances that run the job; 0: as many as it has partitions.
	Instances int
	// Drain is how long revoke and stop wait for attempts in flight. Default: Sink.Timeout, at most 5m.
	Drain time.Duration
	// Commit is how often finished work is committed while something changed. Default 200ms.
	Commit time.Duration
	// IdempotencyHeader names the header of the idempotency key. Empty: none. Default in a job file: Idempotency-Key.
	IdempotencyHeader string
	// PositionHeaders adds Streamer-Topic, -Partition, -Offset, -Row. Default in a job file: true.
	PositionHeaders bool
}

// Start says where a new group begins: at the log's start (the zero value), its end, or the first record at or after Time.
type Start struct {
	Latest bool
	Time   time.Time
}

// Order says which rows of a partition wait for each other. A lane is (partition, value).
type Order struct {
	By OrderBy
	// Path is the lane's value when By is OrderPath.
	Path *mapping.Path
}

// OrderBy is the kind of an Order.
type OrderBy uint8

// The kinds of order. OrderAuto, the default, is by $.msg.id for rows of container files and by key for all else.
const (
	OrderAuto OrderBy = iota
	OrderKey
	OrderPartition
	OrderNone
	OrderPath
)

// Tombstone says what happens to a record without a value.
type Tombstone uint8

// TombstoneSkip, the default, makes it final without a request; TombstoneDeliver maps it with msg null, without emit rule and
// filter; TombstoneReject makes it a payload error.
const (
	TombstoneSkip Tombstone = iota
	TombstoneDeliver
	TombstoneReject
)

// String gives the start as it is written in a job.
func (s Start) String() string {
	switch {
	case s.Latest:
		return "latest"
	case !s.Time.IsZero():
		return s.Time.Format(time.RFC3339)
	}
	return "earliest"
}
