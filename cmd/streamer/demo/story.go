package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

// story tells what was observed. A kind of event is told in full a few times, and after that it only counts.
type story struct {
	screen *screen

	mu     sync.Mutex
	told   map[string]int
	failed map[string]failure // by idempotency key: attempts whose next one is to be told
	last   string             // the last event in a few words, for the live display
}

// failure is an attempt that did not make its row final.
type failure struct {
	at      time.Time
	request string
}

func newStory(s *screen) *story {
	return &story{screen: s, told: map[string]int{}, failed: map[string]failure{}}
}

// first says whether an event of this kind is among the first n.
func (s *story) first(kind string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[kind]++
	return s.told[kind] <= n
}

// was says whether an event of this kind has happened.
func (s *story) was(kind string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told[kind] > 0
}

func (s *story) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = fmt.Sprintf("%.1fs ", time.Since(s.screen.begun).Seconds()) + fmt.Sprintf(format, args...)
}

func (s *story) latest() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// produced is told by the producer, of every record that the broker has acknowledged.
func (s *story) produced(c container, partition int32, offset int64) {
	switch {
	case len(c.rows) == 1 && c.rows[0].index == checker.WholeRecord:
		s.screen.tell("producer", "On purpose: the record at %s/%d offset %d was cut off, so it is a damaged file.", c.topic, partition, offset)
		s.note("a damaged record was produced")
	case c.first != nil && s.first("record "+c.topic, 1):
		shown, _ := json.Marshal(c.first) // it has just been marshalled to make the container
		s.screen.tell("record", "%s, partition %d, offset %d: one Kafka record, without a key. Its value is an Avro container file as Aether writes it, "+
			"%s bytes (%s) with the schema inside, and holds %s. The first row:", c.topic, partition, offset, thousands(len(c.value)), c.codec, count(len(c.rows), "row"))
		s.screen.detail(string(shown))
	}
}

// attempt is told by an API, of every request it sees, before it is answered.
func (s *story) attempt(api, job string, at *sinktest.Attempt, re reply) {
	request := at.Method + " " + at.Path
	if at.Attempt == 1 && s.first("request "+job, 1) {
		s.firstRequest(api, job, at, re)
	}
	s.mu.Lock()
	before, retried := s.failed[at.Key]
	delete(s.failed, at.Key)
	s.mu.Unlock()
	if retried {
		answer := re.trouble
		if answer == "" {
			answer = fmt.Sprint(max(re.Status, 200))
		}
		s.screen.tell("retry", "%s came again %s, as attempt %d: %s.", before.request, later(time.Since(before.at)), at.Attempt, answer)
	}
	if re.trouble == "" || !s.first("trouble "+api+re.trouble, 1) {
		return
	}
	s.note("%s: %s", api, re.trouble)
	lost := ""
	if re.done {
		lost = " The API has done its work, but streamer cannot know that: it has to ask again, with the same Idempotency-Key."
	}
	s.screen.tell("retry", "%s, attempt %d, at the %s: %s. The row waits, and with it the later rows of its lane (the same %s); other lanes go on.%s",
		request, at.Attempt, api, re.trouble, laneNoun(job), lost)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[at.Key] = failure{at: time.Now(), request: request}
}

func (s *story) firstRequest(api, job string, at *sinktest.Attempt, re reply) {
	s.screen.tell("request", "The first one of job %s, for row %d of %s/%d offset %d, as the %s saw it:", job, at.Row, at.Topic, at.Partition, at.Offset, api)
	lines := []string{at.Method + " " + at.Path, "Idempotency-Key: " + at.Key}
	for _, h := range at.Header {
		switch strings.ToLower(h.Name) {
		case "content-type", "x-patient":
			lines = append(lines, h.Name+": "+h.Value)
		case "authorization":
			kind, _, _ := strings.Cut(h.Value, " ")
			lines = append(lines, h.Name+": "+kind+" ********")
		}
	}
	if len(at.Body) > 0 {
		lines = append(lines, "", string(at.Body))
	}
	s.screen.detail(append(lines, "", fmt.Sprintf("answered %d", max(re.Status, 200)))...)
	if job == roles[0].job && !bytes.Contains(at.Body, []byte("phone")) && s.first("mask", 1) {
		s.screen.tell("", "The field phone is not in it, although the job maps it: the schema marks it private, and the job's mask lets only public fields leave.")
	}
}

// outage is told by the registry.
func (s *story) outage(away bool) {
	if away {
		s.note("the registry is down")
		s.screen.tell("outage", "On purpose: the registry goes down. From now on it answers 502 or breaks connections.")
		return
	}
	s.note("the registry is back")
	s.screen.tell("outage", "The registry is back. Nobody has told streamer: its next probe will find out.")
}

// breakerOpened is told by the watcher, from the status of the job's runner.
func (s *story) breakerOpened(job, target, cause string, waiting int, others []string) {
	s.note("breaker of %s open", job)
	switch {
	case s.first("breaker open", 1):
		s.screen.tell("breaker", "OPEN in job %s for %s: too many failures in a row (the API: %s). Instead of trying every row, streamer now sends "+
			"a single probe now and then. %d rows wait; nothing is given up, since an outage is no row's fault. Jobs %s go on.",
			job, target, cause, waiting, strings.Join(others, " and "))
	case s.first("breaker open again", 5):
		s.screen.tell("breaker", "OPEN again in job %s (the API: %s). %d rows wait.", job, cause, waiting)
	}
}

// breakerClosed is told by the watcher: tries attempts of the job failed while it was open, and others of other jobs were accepted.
func (s *story) breakerClosed(job string, after time.Duration, tries, others int) {
	s.note("breaker of %s closed", job)
	if !s.first("breaker closed", 6) {
		return
	}
	s.screen.tell("breaker", "CLOSED in job %s after %.1f s: a probe succeeded. While it was open the API had to refuse only %s of this job, and took %s requests of the other jobs.",
		job, after.Seconds(), count(tries, "attempt"), thousands(others))
}

// deadLetter is told of every dead letter that was read back from its topic; n counts those of the job.
func (s *story) deadLetter(job string, n int, d checker.DeadLetter, rec *kgo.Record) {
	s.note("dead letter of %s: %s", job, d.Reason)
	if !s.first("dead letter "+d.Class, 1) {
		if s.first("more dead letters", 5) {
			s.screen.tell("dead letter", "Number %d of job %s: %s/%d offset %d, row %d: %s.", n, job, d.Topic, d.Partition, d.Offset, d.Row, d.Reason)
		}
		return
	}
	what := fmt.Sprintf("row %d of ", d.Row)
	if d.Row == checker.WholeRecord {
		what = "the record at "
	}
	s.screen.tell("dead letter", "Job %s has given up %s%s/%d offset %d. It was read back from topic %s: the record's original value, %s bytes, and these headers:",
		job, what, d.Topic, d.Partition, d.Offset, rec.Topic, thousands(len(rec.Value)))
	var lines []string
	for _, name := range []string{"streamer-class", "streamer-status", "streamer-attempts", "streamer-reason"} {
		if v, ok := header(rec, name); ok {
			lines = append(lines, name+": "+v)
		}
	}
	s.screen.detail(lines...)
	s.screen.tell("", "Trying again would not help, so its lane goes on, and the offset may move past it.")
}

// later writes the time from one attempt to the next.
func later(d time.Duration) string {
	if d < time.Millisecond {
		return "at once"
	}
	return fmt.Sprintf("%v later", d.Round(time.Millisecond))
}

// laneNoun is what the rows of a lane have in common, in the job's own words.
func laneNoun(job string) string {
	if job == roles[0].job {
		return "household"
	}
	return "patient"
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}
