package consumer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/schemas"
	"streamer/schemas/schemastest"
)

// awayRegistry is a registry that can be away.
type awayRegistry struct {
	mu    sync.Mutex
	away  chan struct{} // closed when it is back; nil: it is here
	asked int
}

func (r *awayRegistry) schema(id int) (schemas.Registered, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	switch {
	case id == 1 && r.away != nil:
		return schemas.Registered{}, &schemas.UnavailableError{Cause: "the registry is away", Again: r.away}
	case id > 2:
		return schemas.Registered{}, errors.New("the registry knows none")
	}
	return schemas.Registered{Text: idSchema}, nil
}

func (r *awayRegistry) back() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.away)
	r.away = nil
}

func framedRec(topic string, partition int32, id uint32, key string, n int) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: schemastest.Framed(id, idSchema, map[string]any{"id": key, "n": n})}
}

// While a schema is not here its partition waits and says so; nothing is given up, the other partition goes on, and order holds when the
// schema is there. An id that the registry does not know is a dead letter.
func TestARegistryThatIsAway(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 2)
	registry := &awayRegistry{away: make(chan struct{})}
	cfg := f.job(topic, func(c *Config) { c.Registry, c.DeadLetterShare = registry.schema, 1 })
	consumertest.Produce(t, f.producer, framedRec(topic, 0, 2, "a", 1), framedRec(topic, 0, 1, "a", 2), framedRec(topic, 0, 2, "a", 3),
		framedRec(topic, 1, 2, "b", 1), framedRec(topic, 1, 9, "b", 2), rec(topic, 1, "b", 3))
	j := f.run(cfg)
	f.committedTo(cfg, topic, map[int32]int64{0: 1, 1: 3})
	j.waitCause(topic + "/0 waits for a schema: the registry is away")
	if n := registry.asked; n > 6 { // it waits to be told, and does not ask all the time
		t.Errorf("asked %d times", n)
	}
	if got := sent(f.api.Attempts()); strings.Contains(got, "a2") || strings.Contains(got, "a3") {
		t.Errorf("sent %s", got)
	}
	const waits = "-1 read, waiting to be decoded (its partition waits for a schema: the registry is away)"
	tells(t, func(q Query) ([]Found, error) { return j.runner.Find(t.Context(), q) }, topic, map[string]string{"1": waits, "2": waits})
	key := "a"
	found, err := j.runner.Find(t.Context(), Query{Key: &key})
	if err != nil || len(found) != 2 || found[0].Offset != 1 || inShort(found[:1]) != waits || found[1].Offset != 2 {
		t.Errorf("of the key: %v, %v", found, err)
	}
	registry.back()
	f.committed(cfg, topic)
	var ofA []string
	for _, row := range strings.Fields(sent(f.api.Attempts())) {
		if row[0] == 'a' {
			ofA = append(ofA, row)
		}
	}
	if !slices.Equal(ofA, []string{"a1", "a2", "a3"}) {
		t.Errorf("sent %v", ofA)
	}
	letters := f.cluster.DeadLetters(t, cfg.DeadLetterTopic)
	if len(letters) != 1 || letters[0].Offset != 1 || letters[0].Partition != 1 {
		t.Errorf("dead letters %+v", letters)
	}
	s := j.runner.Status()
	if s.Cause != "" || fmt.Sprint(s.Formats) != "[{avro (registry) 4} {json 1}]" {
		t.Errorf("status %q, formats %v", s.Cause, s.Formats)
	}
	if fmt.Sprint(s.Rows) != "[{delivered 5} {dead_lettered 1}]" {
		t.Errorf("rows %v", s.Rows)
	}
}

// Stop, and a change of the job, find a record that waits where it was.
func TestStopAndChangeWhileASchemaIsAwaited(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	registry := &awayRegistry{away: make(chan struct{})}
	cfg := f.job(topic, func(c *Config) { c.Registry, c.Drain = registry.schema, time.Minute })
	consumertest.Produce(t, f.producer, framedRec(topic, 0, 2, "a", 1), framedRec(topic, 0, 1, "a", 2))
	j := f.run(cfg)
	j.waitCause("waits for a schema")
	changed := cfg
	changed.Program = f.program(`{"id": "$.msg.id", "n": "$.msg.n"}`, f.api.URL()+"/other/{id}", `["n"]`, "")
	if err := j.runner.Change(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	j.waitCause("waits for a schema")
	began := time.Now()
	if err := j.stop(); err != nil || time.Since(began) > changed.Drain {
		t.Errorf("stopped after %v: %v", time.Since(began), err)
	}
	f.committedTo(cfg, topic, map[int32]int64{0: 1})
	j = f.run(changed)
	j.waitCause("waits for a schema")
	registry.back()
	f.committed(cfg, topic)
	a := f.api.Attempts()
	if len(a) != 2 || !strings.HasSuffix(a[1].Path, "/other/a") {
		t.Errorf("%d attempts, the last one at %s", len(a), a[len(a)-1].Path)
	}
}

// A dead letter whose schema is not here stays open; a dry run says what is missing.
func TestRedriveWhileTheRegistryIsAway(t *testing.T) {
	t.Parallel()
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	registry := &awayRegistry{}
	cfg := f.job(topic, func(c *Config) { c.Registry, c.Schemas.Format, c.DeadLetterShare = registry.schema, "json", 1 })
	consumertest.Produce(t, f.producer, framedRec(topic, 0, 1, "a", 1))
	f.run(cfg)
	f.committed(cfg, topic)
	cfg.Schemas.Format = "avro"
	d := f.letters(cfg)
	registry.mu.Lock()
	registry.away = make(chan struct{})
	registry.mu.Unlock()
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Unreadable != 1 || rep.Redriven != 0 {
		t.Errorf("%+v", rep)
	}
	rows := Render(cfg, Record{Topic: topic, Value: schemastest.Framed(1, idSchema, map[string]any{"id": "a", "n": 1})})
	if len(rows) != 1 || rows[0].Verdict != "waits for its schema" || rows[0].unwanted() ||
		rows[0].Problem != "the registry is away; it goes on when the registry answers" {
		t.Errorf("%+v", rows)
	}
	registry.back()
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Redriven != 1 {
		t.Errorf("%+v", rep)
	}
}

// Attributes of an event reach expressions, also those of a tombstone.
func TestEventsReachTheRequest(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 1)
	headers := []kgo.RecordHeader{{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte("e1")}, {Key: "ce_source", Value: []byte("/s")},
		{Key: "ce_type", Value: []byte("made")}, {Key: "content-type", Value: []byte("application/json")}}
	consumertest.Produce(t, f.producer,
		&kgo.Record{Topic: topic, Key: []byte("a"), Headers: headers, Value: []byte(`{"id":"x"}`)},
		&kgo.Record{Topic: topic, Key: []byte("a"), Value: []byte(`{"specversion":"1.0","id":"e2","source":"/s","type":"changed","data":{"id":"x"}}`)},
		&kgo.Record{Topic: topic, Key: []byte("a"), Headers: headers})
	cfg := f.job(topic, func(c *Config) {
		c.Tombstone = TombstoneDeliver
		c.Program = f.program(`{"id": "$.event.id", "n": "$.event.type"}`, f.api.URL()+"/rows/{id}", `["n"]`, "")
	})
	f.run(cfg)
	f.committed(cfg, topic)
	var got []string
	for _, a := range f.api.Attempts() {
		got = append(got, a.Path+" "+string(a.Body))
	}
	if want := []string{`/rows/e1 {"n":"made"}`, `/rows/e2 {"n":"changed"}`, `/rows/e1 {"n":"made"}`}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
