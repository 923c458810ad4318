package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/control"
	"streamer/control/service"
	"streamer/sink/sinktest"
)

// Two jobs share a connection with a rate limit, on two instances. A pause stops both on both within two seconds, and holds on an instance
// that starts during it. A changed base URL reaches the next request, and no row is lost in all that.
func TestKafkaConnection(t *testing.T) {
	t.Parallel()
	c := consumertest.Broker(t)
	api, err := sinktest.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	brokers := strings.Join(c.Brokers, ",")
	all := map[string]*spawned{}
	for _, id := range []string{"x", "y"} {
		all[id] = spawn(t, t.TempDir(), brokers, id)
	}
	consumertest.WaitFor(t, 2*time.Minute, "the instances", func() (any, bool) { return nil, all["x"].answers() && all["y"].answers() })
	file := filepath.Join(t.TempDir(), "crm.yaml")
	command := func(args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := execute(append([]string{"connections"}, args...), []string{"STREAMER_URL=http://" + all["x"].listen}, strings.NewReader(""), &out, &errOut); code != exitFine {
			t.Fatalf("%v ended with %d: %s", args, code, errOut.String())
		}
		return out.String()
	}
	apply := func(path string, rate int) string {
		t.Helper()
		text := fmt.Sprintf("{name: crm, owner: o, base_url: '%s%s', limits: {rate_limit: {rate: %d}}}", api.URL(), path, rate)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return command("apply", "-f", file, "--yes")
	}
	if got := apply("/one", 20); !strings.Contains(got, "crm: created") {
		t.Error(got)
	}
	topics := map[string]string{"a": c.Topic(t, "rows", 2), "b": c.Topic(t, "rows", 2)}
	defs := openDefinitions(t, c.Brokers)
	admin := service.Caller{Name: "test", Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}
	for id, topic := range topics {
		document := fmt.Sprintf(`{"id": %q, "owner": "o", "type": "PUT", "topic": [%q], "connection": "crm", "url": "/{id}", "datamap": {"id": "$.msg.id"}, "order": "none"}`, id, topic)
		if _, err := defs.Create(t.Context(), admin, []byte(document)); err != nil {
			t.Fatal(err)
		}
	}
	producer, sent := c.Producer(t), 0
	send := func(n int) {
		t.Helper()
		for _, topic := range topics {
			for i := range n {
				consumertest.Produce(t, producer, &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: fmt.Appendf(nil, `{"id": "%d"}`, i)})
				sent++
			}
		}
	}
	by := func(topic string) (n int) {
		for _, a := range api.Attempts() {
			if a.Topic == topic {
				n++
			}
		}
		return n
	}
	send(300)
	consumertest.WaitFor(t, 2*time.Minute, "rows of both jobs", func() (any, bool) {
		return nil, by(topics["a"]) > 20 && by(topics["b"]) > 20
	})
	// Two instances, 20 a second each. What waited while the machine stood still comes at once when it goes on.
	consumertest.Claim(t, "two jobs share 40 requests a second", func() (any, bool) {
		a, b, begun := by(topics["a"]), by(topics["b"]), time.Now()
		consumertest.WaitFor(t, 2*time.Minute, "some more", func() (any, bool) { return nil, by(topics["a"])+by(topics["b"]) >= a+b+60 })
		a, b = by(topics["a"])-a, by(topics["b"])-b
		perSecond := float64(a+b) / time.Since(begun).Seconds()
		return fmt.Sprintf("%d of one, %d of the other, %.0f a second", a, b, perSecond), perSecond <= 48 && max(a, b) <= 2*min(a, b)+20
	})

	states := func(p *spawned) string {
		var here control.JobsHere
		_, text := exchange(t, "GET", "http://"+p.listen+"/api/v1/system/jobs", "", nil)
		if json.Unmarshal([]byte(text), &here) != nil {
			return text
		}
		var out []string
		for _, j := range here.Jobs {
			out = append(out, j.ID+" "+string(j.State)+": "+j.Cause)
		}
		return strings.Join(out, ", ")
	}
	const paused = "a paused: connection crm is paused by local:operator, b paused: connection crm is paused by local:operator"
	tries := 0
	consumertest.Claim(t, "a pause stops both on both within two seconds, and on one that starts during it", func() (any, bool) {
		if tries++; tries > 1 {
			seen := len(api.Attempts())
			send(50)
			command("resume", "crm")
			consumertest.WaitFor(t, 2*time.Minute, "both to go on", func() (any, bool) {
				return nil, len(api.Attempts()) > seen && !strings.Contains(states(all["x"])+states(all["y"]), "paused")
			})
		}
		if got := command("pause", "crm"); !strings.Contains(got, "paused by") {
			t.Error(got)
		}
		begun := time.Now()
		consumertest.WaitFor(t, 2*time.Minute, "the pause on both", func() (any, bool) {
			x, y := states(all["x"]), states(all["y"])
			return x + "; " + y, x == paused && y == paused
		})
		took := time.Since(begun)
		all["y"].kill()
		all["y"] = spawn(t, t.TempDir(), brokers, "y")
		consumertest.WaitFor(t, 2*time.Minute, "the pause after a restart", func() (any, bool) {
			if !all["y"].answers() {
				return "no answer", false
			}
			y := states(all["y"])
			return y, y == paused
		})
		last := time.Duration(0)
		for _, a := range api.Attempts() {
			last = max(last, a.Start.Sub(begun))
		}
		return fmt.Sprintf("paused after %v, the last request after %v", took, last), max(took, last) <= 2*time.Second
	})

	if got := apply("/two", 1000); !strings.Contains(got, "crm: changed") {
		t.Error(got)
	}
	before := len(api.Attempts())
	command("resume", "crm")
	consumertest.WaitFor(t, 2*time.Minute, "every row", func() (any, bool) {
		seen := map[string]bool{}
		for _, a := range api.Attempts() {
			seen[fmt.Sprint(a.Topic, "/", a.Partition, "/", a.Offset)] = true
		}
		return fmt.Sprint(len(seen), " of ", sent), len(seen) == sent
	})
	for _, a := range api.Attempts()[before:] {
		if !strings.HasPrefix(a.Path, "/two/") {
			t.Errorf("a request after the change goes to %s", a.Path)
			break
		}
	}
}
