package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// A job in the fields of Aether's consumer, by its routes alone: made, looked at, paused over a restart, set back to an offset that one of
// its partitions does not have, and deleted.
func TestKafkaRoutesOfAether(t *testing.T) {
	t.Parallel()
	c := consumertest.Broker(t)
	api, err := sinktest.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	topic := c.Topic(t, "villages", 2)
	p := spawn(t, t.TempDir(), strings.Join(c.Brokers, ","), "one")
	ask := func(verb, path, body, want string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), verb, "http://"+p.listen+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("admin", "password")
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			t.Fatalf("%s %s: %d %s, %v", verb, path, resp.StatusCode, text, err)
		}
	}
	ready := func() {
		t.Helper()
		consumertest.WaitFor(t, 2*time.Minute, "the instance", func() (any, bool) { return nil, p.answers() })
	}
	got := func(want string) {
		t.Helper()
		consumertest.WaitFor(t, 2*time.Minute, want, func() (any, bool) {
			times := map[string]int{}
			for _, a := range api.Attempts() {
				times[strings.TrimPrefix(a.Path, "/")]++
			}
			return times, fmt.Sprint(times) == want
		})
	}
	runs := func(ids string) {
		t.Helper()
		consumertest.WaitFor(t, 2*time.Minute, "running: "+ids, func() (any, bool) { return p.running(), fmt.Sprint(p.running()) == ids })
	}

	ready()
	ask("POST", "/job/villages", fmt.Sprintf(`{"id": "villages", "owner": "demo", "type": "POST", "topic": [%q], "url": "%s/{id}", "datamap": {"id": "$.msg.id"}, "json_body": ["id"]}`,
		topic, api.URL()), "true")
	runs("[villages]")
	producer := c.Producer(t)
	for partition, ids := range [][]string{{"a0", "a1", "a2"}, {"b0"}} {
		for _, id := range ids {
			consumertest.Produce(t, producer, &kgo.Record{Topic: topic, Partition: int32(partition), Value: fmt.Appendf(nil, `{"id": %q}`, id)})
		}
	}
	got("map[a0:1 a1:1 a2:1 b0:1]")
	ask("GET", "/jobs/demo", "", `["villages"]`)
	ask("GET", "/jobs/list", "", `{"villages":"WorkerStatus.RUNNING"}`)
	ask("GET", "/jobs/get?id=villages", "", `"json_body":["id"]`)
	ask("GET", "/jobs/logs?id=villages", "", `"INFO"`)

	ask("GET", "/jobs/pause?id=villages", "", "true")
	c.WaitForLag(t, 2*time.Minute, "streamer.villages", topic) // else a kill has it delivered again
	p.kill()
	p = spawn(t, t.TempDir(), strings.Join(c.Brokers, ","), "one")
	ready()
	consumertest.WaitFor(t, 2*time.Minute, "the pause of before", func() (any, bool) {
		resp, err := http.Get("http://" + p.listen + "/jobs/status?id=villages")
		if err != nil {
			return err, false
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		return string(text), err == nil && string(text) == "\"JobStatus.PAUSED\"\n"
	})
	ask("GET", "/jobs/resume?id=villages", "", "true")
	runs("[villages]")

	ask("POST", "/job/villages/set_offset/2", "", `"partitions":[`)
	got("map[a0:1 a1:1 a2:2 b0:1]") // of b the log ends at 1
	runs("[villages]")
	ask("GET", "/jobs/delete?id=villages", "", "true")
	ask("GET", "/jobs/demo", "", `[]`)
	runs("[]")
	ask("GET", "/jobs/delete?id=villages", "", "false")
}
