package consumer

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/track"
	"streamer/mapping"
	"streamer/sink"
)

// record is a Kafka record with rows that are not final. It owns copies of what it holds: one client record kept alive would
// pin the whole fetch it came in.
type record struct {
	track.Record
	key, value []byte
	headers    []kgo.RecordHeader
	timestamp  time.Time
	bytes      int64 // what the copies take
	rows       *row  // that were not final when it was read; the others through their sibling
}

// newRecord copies what must outlive the client's record: a dead letter carries the original.
func newRecord(rec *kgo.Record) *record {
	own := &record{timestamp: rec.Timestamp, bytes: recordBytes(rec)}
	own.Offset, own.Epoch, own.Polled, own.Caller = rec.Offset, rec.LeaderEpoch, time.Now(), own
	size := len(rec.Key) + len(rec.Value)
	for i := range rec.Headers {
		size += len(rec.Headers[i].Value)
	}
	buf := make([]byte, 0, size)
	buf = append(append(buf, rec.Key...), rec.Value...)
	if rec.Key != nil {
		own.key = buf[:len(rec.Key):len(rec.Key)]
	}
	if rec.Value != nil {
		own.value = buf[len(rec.Key):len(buf):len(buf)]
	}
	if len(rec.Headers) > 0 {
		own.headers = make([]kgo.RecordHeader, len(rec.Headers))
		for i, h := range rec.Headers {
			own.headers[i].Key = h.Key
			if h.Value != nil {
				from := len(buf)
				buf = append(buf, h.Value...)
				own.headers[i].Value = buf[from:len(buf):len(buf)]
			}
		}
	}
	return own
}

// row is one row of a record on its way to its end; of a job with routes, what one of them makes of it.
type row struct {
	sink.Delivery
	part
	partition *partition
	scope     *sink.Scope // of the definition that it was mapped by
	record    *record
	index     int32 // of the part in the record: row × routes + route; wholeRecord if the record could not be decoded
	lane      *lane // nil: waits for nobody
	next      *row  // the row behind it in its lane
	sibling   *row  // another row of its record
	stage     stage // guarded by the partition's lock
	bytes     int64
	payload   *sink.Outcome // why it can make no request, with the answer that it cannot go on by; nil for a row that is delivered
	asked     bool          // a request was made for it, its own or a step's. It belongs to who has the row in hand
	told      *mapping.Told // what is told of it with an answer; nil: nobody is told
	said      *notice       // of its answer, since it is delivered
	way       *way          // through the steps of the job; nil: it has none
	step      string        // whose request it makes; empty: its own. Written under the partition's lock by who has the row in hand
	// endBy is who gave it up while it was in somebody's hands; see partition.endBy. It is set under the partition's lock, while the stage
	// is delivering, and stays.
	endBy atomic.Pointer[string]
}

// stage is how far a row has come.
type stage uint8

const (
	behind     stage = iota // another row of its lane
	delivering              // the sink has it, or is about to; or it finds no room among the parked rows
	kept                    // it would be given up, but the guard holds the job
	burying                 // its dead letter is on its way
	telling                 // it is delivered, and final when the broker has what tells of that
	shelving                // its letter is, behind a dead letter of its lane
	stuck                   // it cannot be delivered, and dead letters are off
	replaced                // its record is mapped anew, by another definition: the row is nobody's any more
	done
)

// wholeRecord is the index of the one row that stands for a record that could not be decoded.
const wholeRecord = -1

// lane holds the rows of one (partition, value) that are not final, in the order they were read. Only the first has been given
// to deliver; a lane without rows does not exist.
type lane struct {
	value       string
	own         bool // the partition's own lane, for rows without a value
	first, last *row
}

// join puts r at the end of its lane, which is made if need be, and reports whether r is the first and may be delivered now.
// The partition's lock is held.
func (p *partition) join(r *row, value string, own bool) bool {
	l := p.own
	if !own {
		l = p.lanes[value]
	}
	if l == nil {
		l = &lane{value: value, own: own}
		if own {
			p.own = l
		} else {
			p.lanes[value] = l
		}
	}
	r.lane = l
	if l.first == nil {
		l.first, l.last = r, r
		return true
	}
	l.last.next, l.last = r, r
	return false
}

// leave takes the final row r from the front of its lane and gives the row that may be delivered now, nil if there is none.
// The partition's lock is held.
func (p *partition) leave(r *row) *row {
	l := r.lane
	if l == nil {
		return nil
	}
	l.first = r.next
	if l.first == nil {
		if l.own {
			p.own = nil
		} else {
			delete(p.lanes, l.value)
		}
	}
	r.next = nil
	return l.first
}

// laneValue says for which rows r waits.
func (r *row) laneValue() laneValue {
	if r.lane == nil {
		return laneValue{none: true}
	}
	return laneValue{value: r.lane.value, own: r.lane.own}
}
