package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/schemas/schemastest"
)

const (
	partitions = 8
	namespace  = "bench"
)

// contents says what a topic holds: rows of Household by turns of so many keys, each key in one partition.
type contents struct {
	rows, keys int
	format     string // one of the formats; empty: formatContainer
	perRecord  int    // rows of a container, 0: one; keys is then a multiple of that and of the partitions
	pad        bool   // JSON up to 1 kB, which a container of one row has with its schema
	numbered   bool   // JSON whose rows are told apart by their number, from 1
}

// records is how many records the rows take: the last one is as full as the others.
func (c contents) records() int { return (c.rows + c.rowsEach() - 1) / c.rowsEach() }

func (c contents) rowsEach() int { return max(c.perRecord, 1) }

// value is the i-th of the records that differ, with its headers; after the last key they begin anew.
func (c contents) value(i int) ([]byte, []kgo.RecordHeader, error) {
	row := schemastest.HouseholdRow(i)
	switch c.format {
	case formatRegistry:
		return schemastest.Framed(schemaID, schemastest.Household, row), nil, nil
	case "", formatContainer, formatUnpacked:
		rows := make([]any, c.rowsEach())
		for n := range rows {
			rows[n] = schemastest.HouseholdRow(i*len(rows) + n)
		}
		codec := "deflate"
		if c.format == formatUnpacked {
			codec = "null"
		}
		return schemastest.Container(schemastest.Household, codec, rows...), nil, nil
	}
	if c.pad {
		row["notes"] = strings.Repeat(row["remarks"].(string), 4)[:480]
	}
	text, err := json.Marshal(row)
	switch c.format {
	case formatBinary:
		return text, binaryMode(i), err
	case formatStructured:
		text, headers := structuredMode(i, text)
		return text, headers, err
	}
	return text, nil, err
}

func householdKey(i int) string { return schemastest.HouseholdRow(i)["id"].(string) }

// batch is the records of a topic that differ, made once, so that filling a topic takes seconds.
type batch struct {
	topic        string
	keys, values [][]byte
	headers      [][]kgo.RecordHeader
}

func (c contents) batch(topic string) (b batch, err error) {
	b = batch{topic: topic}
	for i := range max(1, min(c.keys/c.rowsEach(), c.records())) {
		value, headers, err := c.value(i)
		if err != nil {
			return b, err
		}
		b.keys, b.values = append(b.keys, []byte(householdKey(i*c.rowsEach()))), append(b.values, value)
		b.headers = append(b.headers, headers)
	}
	return b, nil
}

// record is the i-th record of the topic. A number other than 0 takes the place of a JSON row's members.
func (b batch) record(i int, number int64) *kgo.Record {
	k := i % len(b.keys)
	rec := &kgo.Record{Topic: b.topic, Partition: int32(k % partitions), Key: b.keys[k], Value: b.values[k], Headers: b.headers[k]}
	if number != 0 {
		rec.Value = withNumber(rec.Value, number)
	}
	return rec
}

var members = []byte(`"members":`)

// withNumber gives a JSON row another number of members.
func withNumber(row []byte, number int64) []byte {
	at := bytes.Index(row, members) + len(members)
	end := at + bytes.IndexByte(row[at:], ',')
	out := make([]byte, 0, len(row)+20)
	out = strconv.AppendInt(append(out, row[:at]...), number, 10)
	return append(out, row[end:]...)
}

// producer is a client that writes at once what it is given.
func producer(brokers []string, linger time.Duration) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedBytes(64<<20), kgo.ProducerLinger(linger),
		kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
}

// fill makes a topic and writes its contents.
func fill(ctx context.Context, brokers []string, topic string, c contents) error {
	cl, err := producer(brokers, 5*time.Millisecond)
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return fmt.Errorf("creating topic %s: %w", topic, err)
	}
	b, err := c.batch(topic)
	if err != nil {
		return err
	}
	var failed failure
	for i := range c.records() {
		var number int64
		if c.numbered {
			number = int64(i) + 1
		}
		cl.Produce(ctx, b.record(i, number), failed.note)
	}
	return errors.Join(cl.Flush(ctx), failed.get())
}

// failure keeps the last error of many records.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) note(_ *kgo.Record, err error) {
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = err
	}
}

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// remove deletes a topic.
func remove(brokers []string, topic string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := kadm.NewClient(cl).DeleteTopics(ctx, topic)
	return errors.Join(err, r.Error())
}

// orders are what rows wait for: those of their key, or none. The rows of a container of many are told apart by their own ids.
var orders = map[string]string{"key": "key", "id": "$.msg.id", "none": "none"}

// fields is how the measured job makes its body.
const fields = `datamap: {id: $.msg.id, village: $.msg.villageID, members: $.msg.members, approved: $.msg.approved}
json_body: [id, village, members, approved]`

// jobText is the measured job, as an operator would write it: four fields into a small body, a POST for each row. All other settings
// are their defaults, but for what is given as more lines.
func jobText(id, topic, url string, concurrency int, order, delivery string) string {
	return jobWith(fields, id, topic, url, concurrency, order, delivery)
}

// jobWith is that job with other lines for its body.
func jobWith(body, id, topic, url string, concurrency int, order, delivery string) string {
	return fmt.Sprintf(`
id: %s
owner: bench
topic: [%s]
type: POST
url: %s/households
%s
order: %s
delivery: {concurrency: %d%s}
`, id, topic, url, body, orders[order], concurrency, delivery)
}
