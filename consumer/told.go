package consumer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/mapping"
	"streamer/sink"
)

// Callback is the topic that is told of each answer to a row that was delivered; without a topic nobody is.
type Callback struct{ Topic string }

// Capture is the topic that gets answers; without a topic none does. On says which.
type Capture struct {
	Topic string
	On    CaptureOn
}

// CaptureOn says which answers a Capture is about.
type CaptureOn uint8

// CaptureAll are all of them, CaptureFailures those of rows that are given up.
const (
	CaptureAll CaptureOn = iota
	CaptureFailures
)

// tells says that somebody is told of answers.
func (c *Config) tells() bool { return c.Callback.Topic != "" || c.Response.Topic != "" }

// tellers are the topics that are told of an answer, delivered or not.
func (c *Config) tellers(t *mapping.Told, delivered bool) (topics []string) {
	if c.Callback.Topic != "" && delivered && !t.Quiet {
		topics = append(topics, c.Callback.Topic)
	}
	if c.Response.Topic != "" && (!delivered || c.Response.On == CaptureAll) {
		topics = append(topics, c.Response.Topic)
	}
	return topics
}

// notice is a record that tells of an answer.
type notice struct {
	key   []byte
	hops  int
	value toldValue
}

type toldValue struct {
	*mapping.Callback
	Source   toldSource `json:"source"`
	Attempts int        `json:"attempts"`
	// Of a row that is given up: the step that failed, if it was one, and why.
	Step   string     `json:"step,omitempty"`
	Class  sink.Class `json:"class,omitempty"`
	Reason string     `json:"reason,omitempty"`
}

type toldSource struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Row       int32  `json:"row"`
	Route     string `json:"route,omitempty"`
}

// teller is what makes a notice of an outcome, of one part of a record.
type teller struct {
	told *mapping.Told
	key  []byte
	hops int
}

func (t *teller) of(cfg *Config, at Position, step string, r *sink.Request, o sink.Outcome) *notice {
	secret := sink.SecretHeader
	if key := cfg.Sink.AuthOf(r.URL).APIKey; key != nil {
		secret = func(name string) bool { return strings.EqualFold(name, key.Header) || sink.SecretHeader(name) }
	}
	var answer *mapping.Response
	if o.Response != nil {
		answer = answerOf(o.Response)
	}
	v := toldValue{Callback: t.told.Callback(r.URL, r.Body, answer, secret), Source: toldSource(at), Attempts: o.Attempts}
	if o.Class != sink.Delivered {
		v.Step, v.Class, v.Reason = step, o.Class, o.Reason
	}
	return &notice{key: t.key, hops: t.hops, value: v}
}

// bareName is how long a name or a URL may be in a record that goes without what makes it large: the row may have put anything there.
const bareName = 1024

// record makes the record; bare without what makes it large: the record and what was sent and answered. In place of a key that the topic does
// not take, or of none where it takes none without, stands the row's address.
func (t *notice) record(topic string, s shape) *kgo.Record {
	v, key := t.value, t.key
	headers := []kgo.RecordHeader{{Key: hopsHeader, Value: []byte(strconv.Itoa(t.hops + 1))}, {Key: "content-type", Value: []byte("application/json")}}
	if s.bare {
		c := *v.Callback
		c.ResponseJSON, c.Payload, c.PayloadObject, c.Record, c.Draft, c.Data = nil, nil, nil, nil, nil, nil
		for _, name := range []*json.RawMessage{&c.ServiceType, &c.ServiceMethod, &c.RecordID, &c.DraftID} {
			if len(*name) > bareName {
				*name = nil
			}
		}
		if len(c.RequestURL) > bareName {
			c.RequestURL = ""
		}
		if c.Response != nil {
			r := *c.Response
			r.Headers, r.Body, r.Truncated = map[string]string{}, nil, true
			c.Response = &r
		}
		v.Callback = &c
		headers = append(headers, kgo.RecordHeader{Key: "streamer-value", Value: []byte("bodies, headers and record left out: larger than this topic takes")})
	}
	value, err := json.Marshal(v)
	if err != nil { // all of it is text, numbers and JSON that was looked at
		value = fmt.Appendf(nil, `{"reason": %q}`, "it cannot be written as JSON: "+err.Error())
	}
	if s.unkeyed {
		key = []byte(Position(v.Source).String())
		headers = append(headers, kgo.RecordHeader{Key: "streamer-key", Value: []byte("the row's address: this topic takes no record with the key of the row's")})
	}
	return &kgo.Record{Topic: topic, Key: key, Value: value, Headers: headers}
}

func (t *notice) bytes() int64 {
	payload, _ := t.value.Payload.(string)
	n := len(t.key) + len(payload) + len(t.value.ResponseJSON)
	if r := t.value.Response; r != nil {
		body, _ := r.Body.(string)
		n += len(body)
	}
	return int64(n)
}

// teller is that of a row; its told is nil where nobody is to be told.
func (r *row) teller() *teller {
	return &teller{told: r.told, key: r.record.key, hops: hops(r.record.headers)}
}

// delivered makes a row final whose own request was answered: at once, or when those have been told who are to be.
func (p *partition) delivered(r *row, o sink.Outcome) {
	if d := p.runner.now(); r.told != nil && len(d.tellers(r.told, true)) > 0 {
		r.said = r.teller().of(&d.Config, r.position(), "", &r.Request, o)
	}
	p.tell(r)
}

// tell makes a row final that is delivered, when the broker has all that tells of its answer. The request is not made again for a record
// that cannot be written: that is tried again alone, also by another definition of the job. Only a crash, or another owner, makes it again.
func (p *partition) tell(r *row) {
	d := p.runner.now()
	boxes := d.boxes(r.told, true)
	if r.said == nil || len(boxes) == 0 {
		p.ack(r, outcomeDelivered)
		return
	}
	p.mu.Lock()
	if p.past(r) {
		p.mu.Unlock()
		return
	}
	r.stage = telling
	p.letters++
	p.holds(r, r.said)
	p.mu.Unlock()
	p.post(r, r.said, boxes, func() { p.ack(r, outcomeDelivered); p.wrote() })
}

// post writes a notice into one box after the other and then calls over. The partition counts one record on its way when it is called, and
// when it calls over.
func (p *partition) post(r *row, n *notice, boxes []*outbox, over func()) {
	if len(boxes) == 0 {
		over()
		return
	}
	boxes[0].write(&post{of: r, record: n.record, taken: func(LetterAddress) {
		p.mu.Lock()
		p.letters++
		p.mu.Unlock()
		p.post(r, n, boxes[1:], over)
	}})
}

// captured tells of a row that is given up, if that is wanted, and then calls over: both as post. One that nobody was asked about has no
// answer, and its dead letter says all there is.
func (p *partition) captured(r *row, o sink.Outcome, over func()) {
	d := p.runner.now()
	boxes := d.boxes(r.told, false)
	if len(boxes) == 0 || !r.asked && o.Attempts == 0 {
		over()
		return
	}
	n := r.teller().of(&d.Config, r.position(), r.step, &r.Request, o)
	p.mu.Lock()
	past := p.past(r)
	if !past {
		p.holds(r, n)
	}
	p.mu.Unlock()
	if past {
		p.wrote()
		return
	}
	p.post(r, n, boxes, over)
}

// holds counts the memory of a notice with its row. The partition's lock is held.
func (p *partition) holds(r *row, n *notice) {
	more := n.bytes()
	r.bytes += more
	p.held += more
	p.runner.account.add(more)
}

// boxes are the outboxes of those that are told of an answer.
func (d *definition) boxes(t *mapping.Told, delivered bool) []*outbox {
	return boxesOf(d.told, &d.Config, t, delivered)
}

// boxesOf are those of all that are told of an answer, by cfg.
func boxesOf(all []*outbox, cfg *Config, t *mapping.Told, delivered bool) (boxes []*outbox) {
	if t == nil {
		return nil
	}
	topics := cfg.tellers(t, delivered)
	for _, b := range all {
		if slices.Contains(topics, b.topic) {
			boxes = append(boxes, b)
		}
	}
	return boxes
}

// newTold gives the outboxes of the topics that cfg wants told.
func newTold(r *Runner, cfg *Config) (boxes []*outbox) {
	for _, t := range []struct {
		topic, kind, what string
		said              *string
	}{{cfg.Callback.Topic, "callback", "callbacks", &r.status.callbacks}, {cfg.Response.Topic, "response", "responses", &r.status.responses}} {
		if t.topic == "" || slices.ContainsFunc(boxes, func(b *outbox) bool { return b.topic == t.topic }) {
			continue
		}
		// A body stands twice in it, as a text and as what its JSON says, and what was sent may have been made of the record.
		boxes = append(boxes, &outbox{runner: r, topic: t.topic, kind: t.kind, what: t.what, said: t.said, copies: 5,
			room: 3*cfg.Sink.ResponseBytes + outboxHeadroom, again: make(chan struct{}, 1)})
	}
	return boxes
}
