package consumer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// An operator sets the offsets of a job anew in steps that any instance may take up from another one (control has their order):
//
//  1. The job's members leave its group, on every instance.
//  2. What was asked for becomes a ResetTable: an offset for each partition, by what the group has committed last.
//  3. The table is remembered, then committed from outside the group, which Kafka takes only while it has no members, and read back.
//     A table can be committed twice: nobody reads meanwhile.
//  4. The job is let go on.

// ResetSpec says where partitions of a job are to be set. A partition takes its own word before that of its topic, and that before To;
// one that nothing is said of stays where it is.
type ResetSpec struct {
	// To is for all partitions, in the words of ParseSeek; empty: only those of Parts and Table are set.
	To string `json:"to,omitempty"`
	// Parts are topics and partitions with a word of their own.
	Parts []ResetPart `json:"parts,omitempty"`
	// Table has offsets by topic and partition.
	Table map[string]map[int32]int64 `json:"table,omitempty"`
	// TopicIDs are Kafka's ids of topics, as its tools write them: what is said holds for those only. A topic that is not named may have any.
	TopicIDs map[string]string `json:"topic_ids,omitempty"`
	// KeepKeys sends the idempotency keys of before: an API that remembers keys answers what it answered then, and does nothing. Else they
	// end with /r and a number that rises.
	KeepKeys bool `json:"keep_keys,omitempty"`
}

// ResetPart is a topic, or one of its partitions, with where it is to be set.
type ResetPart struct {
	Topic string `json:"topic"`
	// Partition is nil for all of the topic.
	Partition *int32 `json:"partition,omitempty"`
	To        string `json:"to"`
}

// ResetError says that offsets cannot be set as they were asked for; asking again as Mend says may help, trying again does not.
type ResetError struct {
	// Field is the field of the ResetSpec that is wrong; empty: none.
	Field       string
	Cause, Mend string
	// Also are further faults of the same spec, which have none themselves.
	Also []*ResetError
}

func (e *ResetError) Error() string {
	text := e.Cause
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Mend != "" {
		text += "; " + e.Mend
	}
	for _, o := range e.Also {
		text += "; also " + o.Error()
	}
	return text
}

// joined makes one error of all faults of a spec; nil: there are none.
func joined(faults []*ResetError) error {
	if len(faults) == 0 {
		return nil
	}
	e := *faults[0]
	e.Also = faults[1:]
	return &e
}

// String gives the spec for a person.
func (s ResetSpec) String() string {
	var all []string
	if s.To != "" {
		all = append(all, s.To)
	}
	for _, p := range s.Parts {
		at := p.Topic
		if p.Partition != nil {
			at = TopicPartition{p.Topic, *p.Partition}.String()
		}
		all = append(all, at+" to "+p.To)
	}
	n := 0
	for _, offsets := range s.Table {
		n += len(offsets)
	}
	if n > 0 {
		all = append(all, fmt.Sprintf("a table of %d offsets", n))
	}
	return strings.Join(all, ", ")
}

// Fixed is s with times in place of what counts from now, so that it means the same later on. The error is a *ResetError.
func (s ResetSpec) Fixed(now time.Time) (ResetSpec, error) {
	if _, err := s.words(); err != nil {
		return s, err
	}
	fix := func(text string) string {
		if seek, err := ParseSeek(text); err == nil {
			return seek.fixed(now).String()
		}
		return text // empty
	}
	s.To, s.Parts = fix(s.To), slices.Clone(s.Parts)
	for i := range s.Parts {
		s.Parts[i].To = fix(s.Parts[i].To)
	}
	return s, nil
}

// Reckoned are the words of s that count from now, each once, with the point in time that Fixed takes it for.
func (s ResetSpec) Reckoned(now time.Time) (out []string) {
	texts := []string{s.To}
	for _, p := range s.Parts {
		texts = append(texts, p.To)
	}
	slices.Sort(texts)
	for _, text := range slices.Compact(texts) {
		if seek, err := ParseSeek(text); err == nil && seek.kind == seekAgo {
			out = append(out, text+" is "+seek.fixed(now).String())
		}
	}
	return out
}

// words are a spec that was read.
type words struct {
	all        *Seek
	topics     map[string]word
	partitions map[TopicPartition]word
}

// word is what a spec says of a topic or a partition, and in which of its fields.
type word struct {
	Seek
	field string
}

// of is the field of what a part names: its topic or partition. In a table one field names both.
func (w word) of(what string) string {
	if strings.HasPrefix(w.field, "parts") {
		return w.field + "." + what
	}
	return w.field
}

// words reads the spec. The error is a *ResetError with all that is wrong with it, each by its field.
func (s ResetSpec) words() (words, error) {
	w := words{topics: map[string]word{}, partitions: map[TopicPartition]word{}}
	if s.To == "" && len(s.Parts) == 0 && len(s.Table) == 0 {
		return w, &ResetError{Field: "to", Cause: "is missing", Mend: seekWords}
	}
	var faults []*ResetError
	read := func(field, text string) Seek {
		seek, err := ParseSeek(text)
		var wrong *ResetError
		if errors.As(err, &wrong) {
			faults = append(faults, &ResetError{Field: field, Cause: wrong.Cause, Mend: wrong.Mend})
		}
		return seek
	}
	twice := func(field, what string) {
		faults = append(faults, &ResetError{Field: field, Cause: what + " is named twice", Mend: "say one offset for it"})
	}
	if s.To != "" {
		seek := read("to", s.To)
		w.all = &seek
	}
	for i, p := range s.Parts {
		field := fmt.Sprintf("parts[%d]", i)
		one := word{read(field+".to", p.To), field}
		switch {
		case p.Topic == "":
			faults = append(faults, &ResetError{Field: field + ".topic", Cause: "is missing", Mend: "name the topic"})
		case p.Partition == nil:
			if _, known := w.topics[p.Topic]; known {
				twice(field, "topic "+p.Topic)
			}
			w.topics[p.Topic] = one
		default:
			at := TopicPartition{p.Topic, *p.Partition}
			if _, known := w.partitions[at]; known {
				twice(field, at.String())
			}
			w.partitions[at] = one
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(s.Table)) {
		for _, id := range slices.Sorted(maps.Keys(s.Table[topic])) {
			at, n, field := TopicPartition{topic, id}, s.Table[topic][id], fmt.Sprintf("table.%s.%d", topic, id)
			if _, known := w.partitions[at]; known {
				twice(field, at.String())
			}
			if n < 0 {
				faults = append(faults, &ResetError{Field: field, Cause: fmt.Sprintf("offset %d of %s is less than 0", n, at), Mend: "say an offset from 0 on"})
			}
			w.partitions[at] = word{Seek{kind: seekOffset, n: n}, field}
		}
	}
	return w, joined(faults)
}

// check refuses topics and partitions that the job does not have, a topic once.
func (w words) check(topics foundTopics) error {
	var faults []*ResetError
	told := map[string]bool{}
	unknown := func(topic, field string) {
		if !told[topic] {
			faults = append(faults, &ResetError{Field: field, Cause: fmt.Sprintf("%s is no topic of the job that exists", topic), Mend: "those are " + strings.Join(topics.names(), ", ")})
		}
		told[topic] = true
	}
	for _, topic := range slices.Sorted(maps.Keys(w.topics)) {
		if _, ok := topics[topic]; !ok {
			unknown(topic, w.topics[topic].of("topic"))
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(w.partitions), byTopic) {
		t, ok := topics[at.Topic]
		switch {
		case !ok:
			unknown(at.Topic, w.partitions[at].of("topic"))
		case at.Partition < 0 || at.Partition >= t.partitions:
			faults = append(faults, &ResetError{Field: w.partitions[at].of("partition"), Cause: fmt.Sprintf("topic %s has no partition %d", at.Topic, at.Partition),
				Mend: fmt.Sprintf("it has 0 to %d", t.partitions-1)})
		}
	}
	return joined(faults)
}

// of is what is said of a partition; false: nothing.
func (w words) of(at TopicPartition) (Seek, bool) {
	if one, ok := w.partitions[at]; ok {
		return one.Seek, true
	}
	if one, ok := w.topics[at.Topic]; ok {
		return one.Seek, true
	}
	if w.all == nil {
		return Seek{}, false
	}
	return *w.all, true
}

// ResetTable has the offsets that a reset sets, by topic. It holds for the topics of those ids only.
type ResetTable map[string]ResetTopic

// ResetTopic is one topic of a ResetTable.
type ResetTopic struct {
	// TopicID is Kafka's id of the topic, as Kafka's tools write it.
	TopicID string `json:"topic_id"`
	// Offsets has what was committed before, -1 for nothing, and what is to be, by partition.
	Offsets map[int32][2]int64 `json:"offsets"`
}

// all gives the table's partitions in order.
func (t ResetTable) all() []TopicPartition {
	var out []TopicPartition
	for topic, of := range t {
		for id := range of.Offsets {
			out = append(out, TopicPartition{topic, id})
		}
	}
	slices.SortFunc(out, byTopic)
	return out
}

func byTopic(a, b TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

func (t ResetTable) add(at TopicPartition, topicID string, before, after int64) {
	of, known := t[at.Topic]
	if !known {
		of = ResetTopic{topicID, map[int32][2]int64{}}
	}
	of.Offsets[at.Partition] = [2]int64{before, after}
	t[at.Topic] = of
}

// Back is the spec that sets what the table has set to what was committed before. left are partitions that had nothing then: they stay.
func (t ResetTable) Back() (spec ResetSpec, left []TopicPartition) {
	spec.Table, spec.TopicIDs = map[string]map[int32]int64{}, map[string]string{}
	for _, at := range t.all() {
		before := t[at.Topic].Offsets[at.Partition][0]
		if before < 0 {
			left = append(left, at)
			continue
		}
		if spec.Table[at.Topic] == nil {
			spec.Table[at.Topic], spec.TopicIDs[at.Topic] = map[int32]int64{}, t[at.Topic].TopicID
		}
		spec.Table[at.Topic][at.Partition] = before
	}
	return spec, left
}

// PendingReset is a reset that has not ended: its job runs nowhere meanwhile.
type PendingReset struct {
	ID string    `json:"id"`
	By string    `json:"by"`
	At time.Time `json:"at"`
	// Spec is what was asked for, with times in place of durations.
	Spec ResetSpec `json:"spec"`
	// Undoes is the id of the reset that this one takes back.
	Undoes string `json:"undoes,omitempty"`
	// Table is what is set; nil until the group was empty.
	Table ResetTable `json:"table,omitempty"`
}

// ResetOutcome is what became of the last reset of a job.
type ResetOutcome struct {
	ID string    `json:"id"`
	By string    `json:"by"`
	At time.Time `json:"at"`
	// Refused says why it was given up; empty: it was done.
	Refused string `json:"refused,omitempty"`
}

// Phase says what a reset does now.
func (p *PendingReset) Phase() string {
	if p.Table == nil {
		return "waiting for the group to be empty"
	}
	return "committing the new offsets"
}

// EndReset ends the pending reset: with a reason it was given up, without one its table was committed, and the job has begun to read
// what is in it. group is the job's.
func (m *Memory) EndReset(group, refused string) {
	p := m.Reset
	m.Reset = nil
	m.LastReset = &ResetOutcome{ID: p.ID, By: p.By, At: time.Now().UTC(), Refused: refused}
	if refused != "" {
		return
	}
	if !p.Spec.KeepKeys {
		m.Resets++
	}
	begun := map[string]Begun{}
	for topic, of := range p.Table {
		b := Begun{TopicID: of.TopicID}
		for ; ; b.Partitions++ {
			if _, ok := of.Offsets[b.Partitions]; !ok {
				break
			}
		}
		if before, known := m.begunBy(group)[topic]; known && before.TopicID != b.TopicID {
			m.Begun = maps.Clone(m.Begun)
			delete(m.Begun, topic) // the whole of the new topic is in the table
		}
		begun[topic] = b
	}
	m.mark(group, begun)
}

// resetKeys is how much a reset adds to the number that ends idempotency keys: redrives count by one, and no row is redriven so often.
const resetKeys = 1000

// keySuffix ends the idempotency keys of rows that are sent after so many resets and as many redrives of the row: /r and a number that
// neither a row's redrive nor a reset has had before.
func keySuffix(resets, redrives int) string {
	n := resets*resetKeys + redrives
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("/r%d", n)
}
