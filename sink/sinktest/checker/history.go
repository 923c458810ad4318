// Package checker tells from the outside whether streamer kept its promise: from what was produced, what the API saw, what went to
// the dead letters and what was committed. It knows nothing of how streamer works, so one checker serves the fake broker, the real
// one and long runs. The rules, in the words of the verdict:
//
//  1. A lane is (topic, partition, lane value). Its rows stand in the order of offset, row, then part: what a route makes of a row is
//     a row of its own here. Rows with an empty lane value have no order among themselves.
//  2. The API accepted a row when it gave an attempt on it a status of success. The row is delivered when that answer was also
//     handed over whole; it is given up when its dead letter is in the log. Either makes it final, at the answer's end or the
//     dead letter's time. A row that wants nothing is final from the beginning. The request of a step makes nothing final. Of a row
//     that is to be told of, only the record that tells of the answer makes it final, at that record's time.
//  3. lost: a row that is not final when the history ends.
//  4. wrong: a row that is final in another way than it wanted, or an attempt on a row that wanted nothing.
//  5. unknown: an attempt or a dead letter for a position that was not produced (an aborted record, say).
//  6. order: an attempt started before every earlier row of its lane was final. An attempt on a row that was final opens it
//     again until that attempt, or a later one on it, makes it final anew: what is sent again after a crash keeps its order too.
//     A second attempt on a row that starts while the first, later answered, was running, is out of order as well. A straggler counts
//     for neither, and is no duplicate: an attempt that the client had given up (it had started one with a higher number since) and that the API read only
//     now, and answered to nobody.
//  7. duplicate: an attempt or a dead letter for a row which the API had accepted, or which was given up, before; it is explained
//     by a lost answer (the accepted attempt's answer was broken off, or came when the client's time was up, or may have been lost
//     on its way) or by an event between the start of the accepted attempt and that of the new one, in a partition that the event
//     concerned, as long as no commit before the event covered the row, and the row became final no longer before the event than
//     its Within says. A commit covers the rows below its offset for good, and those that its metadata calls finished until the
//     next commit. After a crash, a lost session or a last commit that failed, the commits up to the new attempt count, and so they do while an instance is
//     frozen: who sends again has read them. While a broker is lost, those since its Within before may not have been known to who
//     read them: see rule 8. One event explains one repetition.
//  8. early: a committed offset was seen beyond a row which was not final by then, or metadata that calls such a row finished; or the broker
//     took one, in the order of its own log, before the record that tells of such a row. back: a
//     committed offset was seen behind an earlier one, without a reset or the loss of a broker in between (the coordinator that takes
//     over answers, for a while, with what it knows to be on all replicas, which may be the commit before the last).
//  9. empty: nothing was produced, so that the verdict would prove nothing.
package checker

import (
	"fmt"
	"strconv"
	"time"

	"streamer/sink/sinktest"
)

// WholeRecord is the Row of a record that is treated as one thing: it could not be decoded, or has no value.
const WholeRecord = -1

// Position is a row's address. Row counts from 0 within its record; Route names the part of it that a route makes.
type Position struct {
	Topic     string
	Partition int32
	Offset    int64
	Row       int
	Route     string
}

// Partition is a partition's name.
type Partition struct {
	Topic string
	ID    int32
}

// String gives topic/partition/offset/row, and the route behind it.
func (p Position) String() string {
	s := fmt.Sprintf("%s/%d/%d/%d", p.Topic, p.Partition, p.Offset, p.Row)
	if p.Route != "" {
		s += "/" + p.Route
	}
	return s
}

// Want is how a row should end.
type Want uint8

// Delivered is the zero value. Either is delivered or given up, Nothing is final without a request (filtered out, a skipped tombstone).
const (
	Delivered Want = iota
	GivenUp
	Either
	Nothing
)

// Row is one produced row.
type Row struct {
	Position
	// Lane is the value by which rows of a partition wait for each other; empty: the row waits for nobody.
	Lane string
	Want Want
	// Part is the place of the row's part among those of the row.
	Part int
	// Told says that a record is to tell of the answer before the row is final.
	Told bool
}

// Told is a record that tells of a row's answer.
type Told struct {
	Position
	// At is the record's timestamp, in milliseconds.
	At time.Time
	// Where the record itself stands; see Commit.Told.
	Where Place
}

// Place is an offset in a partition of the topic that is told.
type Place struct {
	Partition int32
	Offset    int64
}

// DeadLetter is a row given up, as its dead letter's headers describe it.
type DeadLetter struct {
	// Position is the row's; Row is WholeRecord where the headers name no row.
	Position
	// At is the dead letter's timestamp, in milliseconds.
	At time.Time
	// Class, Reason, Status and Attempts say why.
	Class, Reason    string
	Status, Attempts int
}

// ParseDeadLetter reads a dead letter's headers, which header looks up by name; at is the record's timestamp.
func ParseDeadLetter(header func(name string) (string, bool), at time.Time) (DeadLetter, error) {
	d := DeadLetter{At: at}
	var ok bool
	if d.Topic, ok = header("streamer-topic"); !ok {
		return d, fmt.Errorf("dead letter without header streamer-topic")
	}
	number := func(name string, bits int, absent int64) (int64, error) {
		text, ok := header(name)
		if !ok && absent < 0 {
			return absent, nil
		}
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return 0, fmt.Errorf("dead letter of %s: header %s: %w", d.Topic, name, err)
		}
		return n, nil
	}
	partition, err := number("streamer-partition", 32, 0)
	if err != nil {
		return d, err
	}
	offset, err := number("streamer-offset", 64, 0)
	if err != nil {
		return d, err
	}
	row, err := number("streamer-row", 32, WholeRecord)
	if err != nil {
		return d, err
	}
	d.Partition, d.Offset, d.Row = int32(partition), offset, int(row)
	d.Route, _ = header("streamer-route")
	d.Class, _ = header("streamer-class")
	d.Reason, _ = header("streamer-reason")
	for name, to := range map[string]*int{"streamer-status": &d.Status, "streamer-attempts": &d.Attempts} {
		if _, ok := header(name); !ok {
			continue
		}
		n, err := number(name, 32, 0)
		if err != nil {
			return d, err
		}
		*to = int(n)
	}
	return d, nil
}

// Commit is a committed offset that was seen: at At, when the broker took it or, later, when somebody asked for it, Offset was the
// next one the group would read.
type Commit struct {
	Topic     string
	Partition int32
	Offset    int64
	At        time.Time
	// Above, if set, begins to tell which rows beyond Offset the commit's metadata calls finished. Who asks must not go back to an
	// earlier offset; a record's rows may be asked for in any order.
	Above func() func(offset int64, row int) bool
	// Told, if set, is where the topic that is told ended when the broker took the commit, by its partition.
	Told map[int32]int64
}

// Causes of an Event.
const (
	Crash  = "crash"              // an instance was killed
	Freeze = "freeze"             // an instance was stopped past its session
	Drain  = "drain ran out"      // a revoke or stop cancelled attempts
	Lost   = "session lost"       // an instance was put out of its group
	Undone = "no last commit"     // of a stop or revoke: the brokers were not reached, or refused it
	Broker = "broker lost"        // a broker was killed or restarted; rule 8's "back" does not look across it, as with Reset
	Blind  = "broker unreachable" // the acknowledgement of a dead letter may have been lost; explains nothing but what follows one
	Away   = "leader away"        // what commit metadata called finished could not be confirmed, and was not believed: only offsets cover then
	Reset  = "offset reset"       // an operator moved the committed offsets; rule 8's "back" does not look across it
)

// Event is something the harness did, or saw, that may explain a duplicate.
type Event struct {
	Cause string
	// At is when it began, Until when it ended; a zero Until is At.
	At, Until time.Time
	// Where lists the only partitions it concerned; nil: it may have been any. An instance that owned none gives an empty list.
	Where []Partition
	// Within, if set, is how long before At a row may have become final and still be sent again: the time a commit may take.
	Within time.Duration
}

// History is a whole run of one job. Its clock is the receiver's process's: harness and receiver share it.
type History struct {
	Rows        []Row
	Attempts    []sinktest.Attempt
	DeadLetters []DeadLetter
	Told        []Told
	Commits     []Commit
	// Taken are commits as the broker took them, each with where the topic that is told ended then; none: it was not asked.
	Taken  []Commit
	Events []Event
	// Success says which statuses the job takes as delivered; nil: 200 to 299.
	Success func(status int) bool
	// Timeout is the job's bound for one attempt: an answer given later than that may have found nobody. 0: none.
	Timeout time.Duration
	// Slack is how much later than in truth a receiver may note the end of an answer. Default 2ms.
	Slack time.Duration
}
