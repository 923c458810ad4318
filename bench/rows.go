package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// contents says what a topic holds: rows of Household, one each record, by turns of so many keys, each key in one partition.
type contents struct {
	rows, keys int
	json       bool // JSON instead of containers with deflate
}

// value is the record of the i-th key; a key's records are all the same.
func (c contents) value(i int) ([]byte, error) {
	row := schemastest.HouseholdRow(i)
	if c.json {
		row["notes"] = strings.Repeat(row["remarks"].(string), 4)[:480] // up to 1 kB, which a container has with its schema
		return json.Marshal(row)
	}
	return schemastest.Container(schemastest.Household, "deflate", row), nil
}

func householdKey(i int) string { return schemastest.HouseholdRow(i)["id"].(string) }

// fill makes a topic and writes its contents. The values are made once for each key, so that this takes seconds.
func fill(ctx context.Context, brokers []string, topic string, c contents) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedBytes(64<<20), kgo.ProducerLinger(5*time.Millisecond),
		kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return fmt.Errorf("creating topic %s: %w", topic, err)
	}
	keys := min(c.keys, c.rows)
	values, names := make([][]byte, keys), make([][]byte, keys)
	for i := range keys {
		if values[i], err = c.value(i); err != nil {
			return err
		}
		names[i] = []byte(householdKey(i))
	}
	var mu sync.Mutex
	var failed error
	for i := range c.rows {
		k := i % keys
		cl.Produce(ctx, &kgo.Record{Topic: topic, Partition: int32(k % partitions), Key: names[k], Value: values[k]}, func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return failed
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

// jobText is the measured job, as an operator would write it: four fields into a small body, a POST for each row, order by key.
// All other settings are their defaults.
func jobText(id, topic, url string, concurrency int) string {
	return fmt.Sprintf(`
id: %s
owner: bench
topic: [%s]
type: POST
url: %s/households
datamap: {id: $.msg.id, village: $.msg.villageID, members: $.msg.members, approved: $.msg.approved}
json_body: [id, village, members, approved]
order: key
delivery: {concurrency: %d}
`, id, topic, url, concurrency)
}
