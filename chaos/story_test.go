package chaos

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"streamer/sink/sinktest/checker"
)

// story is what an instance's log says about its partitions, job by job.
type story struct {
	holds  map[string]map[checker.Partition]bool // owned by a job, by the job's id
	events []checker.Event                       // losses, which explain what was sent again
}

// noticed is how long before an instance notices a loss it may have come to pass: it may be cut off from its group.
const noticed = 40 * time.Second

func (i *instance) read() story { return read(i.log.String()) }

// read follows a log up to its end.
func read(log string) story {
	s := story{holds: map[string]map[checker.Partition]bool{}}
	refused := map[string]time.Time{} // by job: a last commit, of the partitions whose revoke is logged next or of all of them
	for line := range strings.Lines(log) {
		var said struct {
			Time       time.Time
			Msg, Job   string
			Topic      string
			Partition  int32
			Partitions map[string][]int32
		}
		if err := json.Unmarshal([]byte(line), &said); said.Job == "" || err != nil && !wrongType(err) {
			continue
		}
		held := s.holds[said.Job]
		if held == nil {
			held = map[checker.Partition]bool{}
			s.holds[said.Job] = held
		}
		var named []checker.Partition
		for topic, ids := range said.Partitions {
			for _, id := range ids {
				named = append(named, checker.Partition{Topic: topic, ID: id})
			}
		}
		lost := func(cause string, which []checker.Partition) {
			s.events = append(s.events, checker.Event{Cause: cause, At: said.Time.Add(-noticed), Until: said.Time, Where: which})
		}
		switch {
		case strings.HasPrefix(said.Msg, "partitions assigned"):
			for _, p := range named {
				held[p] = true
			}
		case strings.HasPrefix(said.Msg, "partitions revoked"):
			if _, ok := refused[said.Job]; ok {
				lost(checker.Undone, named)
				delete(refused, said.Job)
			}
			drop(held, named)
		case strings.HasPrefix(said.Msg, "partitions lost"):
			lost(checker.Lost, named)
			drop(held, named)
		case strings.HasPrefix(said.Msg, "put out of the group"):
			lost(checker.Lost, slices.Collect(maps.Keys(held)))
			clear(held)
		case strings.HasPrefix(said.Msg, "the leader does not say whether the log was cut"):
			s.events = append(s.events, checker.Event{Cause: checker.Away, At: said.Time, Where: []checker.Partition{{Topic: said.Topic, ID: said.Partition}}})
		case strings.HasPrefix(said.Msg, "the last commit was refused"):
			refused[said.Job] = said.Time
		}
	}
	for job, at := range refused { // a stop: it revokes all, and logs no revoke
		s.events = append(s.events, checker.Event{Cause: checker.Undone, At: at.Add(-noticed), Until: at, Where: slices.Collect(maps.Keys(s.holds[job]))})
	}
	return s
}

// wrongType: "partitions" is not a map of lists in every line.
func wrongType(err error) bool { return errors.As(err, new(*json.UnmarshalTypeError)) }

func drop(held map[checker.Partition]bool, which []checker.Partition) {
	for _, p := range which {
		delete(held, p)
	}
}

// owned gives all partitions that the instance holds.
func (s story) owned() []checker.Partition {
	all := []checker.Partition{}
	for _, held := range s.holds {
		for p := range held {
			all = append(all, p)
		}
	}
	return all
}

// What an instance owned when it was killed, and what it had lost before, is read from its log.
func TestOwnershipIsReadFromTheLog(t *testing.T) {
	s := read(`{"time":"2026-01-01T00:00:00Z","msg":"streamer started"}
{"time":"2026-01-01T00:00:01Z","msg":"partitions assigned","job":"a","partitions":{"x":[0,1,2],"y":[0]}}
{"time":"2026-01-01T00:00:01Z","msg":"partitions assigned","job":"b","partitions":{"z":[0]}}
{"time":"2026-01-01T00:00:02Z","msg":"partitions revoked","job":"a","partitions":{"x":[1]}}
{"time":"2026-01-01T00:00:03Z","msg":"the last commit was refused; …","job":"a","cause":"x"}
{"time":"2026-01-01T00:00:03Z","msg":"partitions revoked","job":"a","partitions":{"x":[2]}}
{"time":"2026-01-01T00:00:04Z","msg":"put out of the group; beginning anew","job":"b"}
{"time":"2026-01-01T00:00:05Z","msg":"partitions lost: …","job":"a","partitions":{"y":[0]}}
{"time":"2026-01-01T00:00:06Z","msg":"partitions ass`)
	if got := s.owned(); !slices.Equal(got, []checker.Partition{{Topic: "x"}}) {
		t.Errorf("owned %v", got)
	}
	var where []checker.Partition
	for _, e := range s.events {
		where = append(where, e.Where...)
	}
	if want := []checker.Partition{{Topic: "x", ID: 2}, {Topic: "z"}, {Topic: "y"}}; !slices.Equal(where, want) {
		t.Errorf("lost %v, want %v", where, want)
	}
}
