package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// One job writes rows to an API and tells of the answers, another one delivers what it tells. The process is killed with SIGKILL in between:
// each row that the first job has committed was told of, and in the end the second has delivered what came of each row.
func TestKafkaCallbacksAreDeliveredByAnotherJob(t *testing.T) {
	t.Parallel()
	c := consumertest.Broker(t)
	const rows, partitions, held = 400, 2, 40 // less than the job's concurrency
	killed := make(chan struct{})
	let := sync.OnceFunc(func() { close(killed) })
	api, err := sinktest.Listen(func(a *sinktest.Attempt) sinktest.Answer {
		id, search := strings.CutPrefix(a.Path, "/search/")
		if search && a.Offset >= (rows-held)/partitions { // in flight until the process is killed
			<-killed
		}
		return sinktest.Answer{Status: 201, Body: fmt.Appendf(nil, `{"made": "document of %s"}`, id)}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	t.Cleanup(let)
	topic, dir := c.Topic(t, "records", partitions), t.TempDir()
	for name, text := range map[string]string{
		"search": fmt.Sprintf("{id: search, owner: o, type: PUT, topic: [%s], url: '%s/search/{id}', datamap: {id: $.msg.id}, order: key, callback: {}}", topic, api.URL()),
		"note": fmt.Sprintf("{id: note, owner: o, type: PUT, topic: [streamer.out.search], url: '%s/notes/{id}', datamap: {id: $.msg.data.id}, order: key, "+
			"payload: {document: $.msg.response_json.made}}", api.URL()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := c.Producer(t)
	for i := range rows {
		consumertest.Produce(t, p, &kgo.Record{Topic: topic, Partition: int32(i % partitions), Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, `{"id": "r%d"}`, i)})
	}
	told := func() map[string]bool {
		at := map[string]bool{}
		for _, r := range c.ReadAll(t, "streamer.out.search") {
			var v struct {
				Source struct {
					Partition int32
					Offset    int64
				}
			}
			if err := json.Unmarshal(r.Value, &v); err != nil {
				t.Fatalf("%s: %v", r.Value, err)
			}
			at[fmt.Sprint(v.Source.Partition, "/", v.Source.Offset)] = true
		}
		return at
	}
	delivered := func() map[string]string {
		notes := map[string]string{}
		for _, a := range api.Attempts() {
			if id, ok := strings.CutPrefix(a.Path, "/notes/"); ok && a.Answered {
				notes[id] = string(a.Body)
			}
		}
		return notes
	}
	first := spawn(t, dir, strings.Join(c.Brokers, ","), "x")
	consumertest.WaitFor(t, 2*time.Minute, "most rows to come through both jobs", func() (any, bool) { n := len(delivered()); return n, n == rows-held })
	first.kill()
	let()
	all := told()
	if len(all) != rows-held {
		t.Errorf("%d rows are told of", len(all))
	}
	for id, committed := range c.Committed(t, "streamer.search")[topic] {
		for offset := range committed {
			if !all[fmt.Sprint(id, "/", offset)] {
				t.Errorf("committed %d of partition %d, and %d is not told of", committed, id, offset)
			}
		}
	}
	spawn(t, dir, strings.Join(c.Brokers, ","), "x")
	consumertest.WaitFor(t, 2*time.Minute, "every row to come through both jobs", func() (any, bool) { n := len(delivered()); return n, n == rows })
	for id, body := range delivered() {
		if want := fmt.Sprintf(`{"document":"document of %s"}`, id); body != want {
			t.Errorf("%s: %s, want %s", id, body, want)
		}
	}
}
