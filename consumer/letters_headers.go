package consumer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink"
)

// The dead-letter topic of a job is a log with two kinds of records.
//
// A dead letter is the original record with headers of ours behind its own: from the last streamer-job on. docs/operating.md has them.
//
// An outcome says what has become of a dead letter. It has the header streamer-outcome, no key, no value, and none of the headers of a
// dead letter, so that who reads dead letters only, and a job that reads the topic, passes it by. It stands in the partition of its
// letter, behind it.

// Words of streamer-outcome.
const (
	outcomeWordClaim     = "claim" // a redrive begins; outcomes of an earlier one that come behind it are void
	outcomeWordRedriven  = "redriven"
	outcomeWordFiltered  = "filtered"
	outcomeWordTombstone = "tombstone"
	outcomeWordGivenUp   = "given up"
	outcomeWordVoid      = "void"
)

// original is the record that a dead letter carries.
type original struct {
	key, value []byte
	headers    []kgo.RecordHeader
}

// envelope writes a dead letter: l's address, job and cause, around the original record.
func envelope(topic string, l *Letter, o original) *kgo.Record {
	headers := make([]kgo.RecordHeader, 0, len(o.headers)+20)
	headers = append(headers, o.headers...)
	add := func(name, value string) {
		headers = append(headers, kgo.RecordHeader{Key: "streamer-" + name, Value: []byte(value)})
	}
	add("job", l.Job) // jobHeader, the first one: what stands before it is the original's
	add("topic", l.Source.Topic)
	add("topic-id", l.Source.TopicID)
	add("partition", strconv.Itoa(int(l.Source.Partition)))
	add("offset", strconv.FormatInt(l.Source.Offset, 10))
	if l.Source.Row != wholeRecord {
		add("row", strconv.Itoa(int(l.Source.Row)))
	}
	if l.Source.Route != "" {
		add("route", l.Source.Route)
	}
	add("timestamp", strconv.FormatInt(l.Source.Timestamp.UnixMilli(), 10))
	add("class", string(l.Class))
	if l.Status > 0 {
		add("status", strconv.Itoa(l.Status))
	}
	add("attempts", strconv.Itoa(l.Attempts))
	add("reason", l.Reason)
	if !l.FirstAttempt.IsZero() {
		add("first-attempt", l.FirstAttempt.UTC().Format(time.RFC3339Nano))
	}
	add("redrives", strconv.Itoa(l.Redrives))
	if l.hops > 0 {
		add("hops", strconv.Itoa(l.hops))
	}
	if l.Resets > 0 {
		add("resets", strconv.Itoa(l.Resets))
	}
	if !l.lane.none {
		headers = append(headers, kgo.RecordHeader{Key: "streamer-lane", Value: l.lane.header()})
	}
	if l.behind != "" {
		add("parked-behind", l.behind)
	}
	if l.of != "" {
		add("redrive-of", l.of)
		add("redrive", l.claim)
	}
	out := &kgo.Record{Topic: topic, Key: o.key, Value: o.value}
	if l.LeftOut {
		add("value", "left out: larger than this topic takes; read it at its source address")
		out.Value = nil
	}
	out.Headers = headers
	return out
}

// header is a lane as a header: its value, a long one hashed; nil for the partition's own lane.
func (v laneValue) header() []byte {
	if v.own {
		return nil
	}
	return []byte(boundKey(v.value))
}

// letterOf reads a record of the dead-letter topic. One that is no dead letter, or a damaged one, is LetterForeign with a Problem.
// The key is the record's memory.
func letterOf(rec *kgo.Record) Letter {
	l := Letter{Partition: rec.Partition, Offset: rec.Offset, At: rec.Timestamp, Key: rec.Key, Bytes: len(rec.Value), State: LetterOpen}
	own := ownHeaders(rec)
	if own == nil {
		l.State, l.Problem = LetterForeign, "no dead letter: it has no header streamer-job"
		return l
	}
	h := letterHeaders{of: own}
	l.Job, l.Reason = h.text("job"), h.text("reason")
	l.Source = LetterSource{Topic: h.text("topic"), TopicID: h.text("topic-id"), Partition: int32(h.number("partition", 32)),
		Offset: h.number("offset", 64), Row: wholeRecord}
	if h.has("row") {
		l.Source.Row = int32(h.number("row", 32))
	}
	l.Source.Route = h.text("route")
	if h.has("timestamp") {
		l.Source.Timestamp = time.UnixMilli(h.number("timestamp", 64)).UTC()
	}
	l.Class = sink.Class(h.text("class"))
	if h.has("status") {
		l.Status = int(h.number("status", 32))
	}
	l.Attempts, l.Redrives = int(h.number("attempts", 32)), int(h.number("redrives", 32))
	if h.has("resets") {
		l.Resets = int(h.number("resets", 32))
	}
	if h.has("hops") {
		l.hops = int(h.number("hops", 64))
	}
	if h.has("first-attempt") {
		l.FirstAttempt = h.time("first-attempt")
	}
	l.lane = laneValue{none: true}
	if v, ok := h.find("lane"); ok {
		l.lane = laneValue{value: string(v), own: v == nil}
	}
	l.behind, l.of, l.claim, l.LeftOut = h.text("parked-behind"), h.text("redrive-of"), h.text("redrive"), h.has("value")
	switch {
	case h.problem == "" && l.Source.Topic == "":
		h.problem = "the header streamer-topic is missing"
	case h.problem == "" && l.Class == "":
		h.problem = "the header streamer-class is missing"
	}
	if h.problem != "" {
		return Letter{Partition: l.Partition, Offset: l.Offset, At: l.At, Job: l.Job, Key: l.Key, Bytes: l.Bytes, State: LetterForeign,
			Problem: "a damaged dead letter: " + h.problem}
	}
	if l.Class == ClassParked {
		l.State = LetterParked
	}
	return l
}

// ownHeaders are those that the last writer of a dead letter has added; nil: the record is none. The original may have been a dead
// letter itself.
func ownHeaders(rec *kgo.Record) []kgo.RecordHeader {
	for i, h := range slices.Backward(rec.Headers) {
		if h.Key == jobHeader {
			return rec.Headers[i:]
		}
	}
	return nil
}

// originalOf is the record that the dead letter rec carries.
func originalOf(rec *kgo.Record) original {
	return original{key: rec.Key, value: rec.Value, headers: rec.Headers[:len(rec.Headers)-len(ownHeaders(rec))]}
}

// letterHeaders reads headers of ours and keeps the first problem.
type letterHeaders struct {
	of      []kgo.RecordHeader
	problem string
}

func (h *letterHeaders) find(name string) ([]byte, bool) {
	for _, o := range h.of {
		if strings.HasPrefix(o.Key, "streamer-") && o.Key[len("streamer-"):] == name {
			return o.Value, true
		}
	}
	return nil, false
}

func (h *letterHeaders) has(name string) bool { _, ok := h.find(name); return ok }

func (h *letterHeaders) text(name string) string { v, _ := h.find(name); return string(v) }

func (h *letterHeaders) number(name string, bits int) int64 {
	n, err := strconv.ParseInt(h.text(name), 10, bits)
	if (err != nil || n < 0 && name != "timestamp") && h.problem == "" { // Kafka's timestamp of a record without one is -1
		h.problem = fmt.Sprintf("the header streamer-%s is no number", name)
	}
	return n
}

func (h *letterHeaders) time(name string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, h.text(name))
	if err != nil && h.problem == "" {
		h.problem = fmt.Sprintf("the header streamer-%s is no time", name)
	}
	return at
}

// outcome is a record that says what has become of a letter, or (outcomeWordClaim) that a redrive begins.
type outcome struct {
	word, job string
	of        LetterAddress
	source    rowAddress
	lane      laneValue
	claim     string // of the redrive that wrote it; empty: it is no redrive's
	by        string
	reason    string // more about it, for people
	at        time.Time
	offset    int64
}

// record writes an outcome. It goes to the partition of its letter.
func (o *outcome) record(topic string) *kgo.Record {
	rec := &kgo.Record{Topic: topic, Partition: o.of.Partition}
	add := func(name, value string) {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: "streamer-outcome" + name, Value: []byte(value)})
	}
	add("", o.word)
	add("-job", o.job)
	if o.claim != "" {
		add("-redrive", o.claim)
	}
	add("-by", o.by)
	if o.word == outcomeWordClaim {
		return rec
	}
	add("-of", o.of.String())
	add("-source", o.source.String())
	if !o.lane.none {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: "streamer-outcome-lane", Value: o.lane.header()})
	}
	if o.reason != "" {
		add("-reason", o.reason)
	}
	return rec
}

// outcomeOf reads an outcome; false if the record is none, or a damaged one, which counts for nothing.
func outcomeOf(rec *kgo.Record) (o outcome, ok bool) {
	o = outcome{at: rec.Timestamp, offset: rec.Offset, lane: laneValue{none: true}, of: LetterAddress{Partition: rec.Partition}}
	damaged := false
	for _, h := range rec.Headers {
		name, ours := strings.CutPrefix(h.Key, "streamer-outcome")
		if !ours {
			continue
		}
		var err error
		switch value := string(h.Value); name {
		case "":
			o.word = value
		case "-job":
			o.job = value
		case "-redrive":
			o.claim = value
		case "-by":
			o.by = value
		case "-of":
			o.of, err = parseLetterAddress(value)
		case "-source":
			o.source, err = parseRowAddress(value)
		case "-lane":
			o.lane = laneValue{value: value, own: h.Value == nil}
		case "-reason":
			o.reason = value
		}
		damaged = damaged || err != nil
	}
	return o, o.word != "" && !damaged && o.of.Partition == rec.Partition && ownHeaders(rec) == nil
}

// String gives partition/offset.
func (a LetterAddress) String() string { return fmt.Sprintf("%d/%d", a.Partition, a.Offset) }

func parseLetterAddress(s string) (a LetterAddress, err error) {
	partition, offset, _ := strings.Cut(s, "/")
	p, err := strconv.ParseInt(partition, 10, 32)
	if err != nil {
		return a, err
	}
	a.Partition = int32(p)
	a.Offset, err = strconv.ParseInt(offset, 10, 64)
	return a, err
}

// String gives topic/topic id/partition/offset/row, and behind it the route. Names and ids of topics, and names of routes, have no slash.
func (r rowAddress) String() string {
	s := fmt.Sprintf("%s/%s/%d/%d/%d", r.topic, r.topicID, r.partition, r.offset, r.row)
	if r.route != "" {
		s += "/" + r.route
	}
	return s
}

func parseRowAddress(s string) (r rowAddress, err error) {
	parts := strings.Split(s, "/")
	switch len(parts) {
	case 5:
	case 6:
		r.route = parts[5]
	default:
		return r, fmt.Errorf("%q has %d parts, not 5 or 6", s, len(parts))
	}
	r.topic, r.topicID = parts[0], parts[1]
	p, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil {
		return r, err
	}
	if r.offset, err = strconv.ParseInt(parts[3], 10, 64); err != nil {
		return r, err
	}
	row, err := strconv.ParseInt(parts[4], 10, 32)
	r.partition, r.row = int32(p), int32(row)
	return r, err
}
