package consumer

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Jobs may read what other jobs write: what tells of answers, and dead letters. Where that goes round, a record would go round without end,
// so each counts its hops, and what came through MaxHops of them goes no further: nobody is told of it, and it gets no dead letter.
//
// Dead letters that go round are refused when a job is defined, as far as that can be seen from this namespace. This is for the rest: topics
// that are mirrored, other namespaces, topics that a pattern takes later.

const (
	// hopsHeader counts the jobs that have written of a record what the next one read: that of an answer, or the dead letter of a dead letter.
	hopsHeader = "streamer-hops"
	// jobHeader begins the headers of a dead letter.
	jobHeader = "streamer-job"
	// MaxHops ends loops of jobs that read what each other writes.
	MaxHops = 8
)

var (
	errLoop        = fmt.Errorf("it came through %d jobs that tell each other of answers: that is a loop; look where callback and response of these jobs go", MaxHops)
	errLettersLoop = fmt.Errorf("its record is a dead letter that came through %d jobs which read each other's: that is a loop; look where the dead letters of these jobs go", MaxHops)
)

// hops is how many a record with these headers has made. A dead letter carries the headers of its record, so the most counts that one says.
// What is no number says none.
func hops(headers []kgo.RecordHeader) (n int) {
	for _, h := range headers {
		if h.Key != hopsHeader {
			continue
		}
		if said, err := strconv.Atoi(string(h.Value)); err == nil {
			n = max(n, said)
		}
	}
	return n
}

// isLetter says that a record with these headers is a dead letter, of whatever job.
func isLetter(headers []kgo.RecordHeader) bool {
	return slices.ContainsFunc(headers, func(h kgo.RecordHeader) bool { return h.Key == jobHeader })
}

// letterHops is how many the dead letter of a record with these headers has made: one more than the record if that is a dead letter itself.
func letterHops(headers []kgo.RecordHeader) int {
	n := hops(headers)
	if isLetter(headers) {
		n++
	}
	return n
}

// looped says that a record with these headers is a dead letter that gets none of its own any more.
func looped(headers []kgo.RecordHeader) bool { return hops(headers) >= MaxHops && isLetter(headers) }
