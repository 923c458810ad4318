package control

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/consumer"
)

// Whoever has written something, and asks the same instance right after the answer, finds it there: no time passes between the two. For a
// moment after jobs.create the job was unknown to it.
func TestAWriteIsSeenWhenItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog()
		i := newInstanceOn(t, log, log, &fakeKafka{})
		write := func(method string, args map[string]any) {
			t.Helper()
			if text, status, _ := i.call(t, method, args); status >= 300 {
				t.Fatalf("%s: %d %s", method, status, text)
			}
		}
		shows := func(method, want string) {
			t.Helper()
			text, status, _ := i.call(t, method, map[string]any{"job": "visits"})
			if status != http.StatusOK || !strings.Contains(text, want) {
				t.Errorf("%s: %d %s, want %s", method, status, text, want)
			}
		}
		time.Sleep(time.Second)
		begun := time.Now()
		write("connections.create", map[string]any{"document": json.RawMessage(target("crm", "health", "https://a.test", ""))})
		write("jobs.create", map[string]any{"document": json.RawMessage(linkedTo("visits", "health", "crm"))})
		shows("jobs.show", `"id":"visits"`)
		if text, status, _ := i.call(t, "offsets.show", map[string]any{"job": "visits"}); status == http.StatusNotFound || status == http.StatusConflict {
			t.Errorf("offsets: %d %s", status, text)
		}
		if text, status, _ := i.call(t, "deadletters.list", map[string]any{"job": "visits"}); status == http.StatusNotFound || status == http.StatusConflict {
			t.Errorf("dead letters: %d %s", status, text)
		}
		at := func(want string) {
			t.Helper()
			if c, ok := i.Config("visits"); !ok || c.Sink.Origin != want {
				t.Errorf("it goes to %s, want %s", c.Sink.Origin, want)
			}
		}
		at("https://a.test:443")
		write("connections.replace", map[string]any{"connection": "crm", "if_match": "*", "document": json.RawMessage(target("crm", "health", "https://b.test", ""))})
		at("https://b.test:443")
		write("jobs.replace", map[string]any{"job": "visits", "if_match": "*", "document": json.RawMessage(strings.Replace(string(linkedTo("visits", "health", "crm")), `"t"`, `"other"`, 1))})
		if c, _ := i.Config("visits"); len(c.Topics) != 1 || c.Topics[0] != "other" {
			t.Errorf("it reads %q", c.Topics)
		}
		write("jobs.delete", map[string]any{"job": "visits", "if_match": "*"})
		j := i.job("visits")
		if j != nil {
			j.mu.Lock()
			if j.deleting == nil && !j.gone {
				t.Error("it is not being deleted")
			}
			j.mu.Unlock()
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("writes were held up for %v", took)
		}
	})
}

// A write is answered also while this instance does not get to it, or follows no more.
func TestAWriteIsNotHeldUpForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog()
		s := NewSupervisor(Options{Definitions: NewDefinitions(log, testProcess(t)), Kafka: &fakeKafka{}, Store: NewStore(log), Bulletin: log, Metrics: prometheus.NewRegistry(),
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)), NewRunner: func(consumer.Config) Runner { return &fakeRunner{run: untilSoft} }})
		for _, want := range []time.Duration{caughtWithin, 0} {
			begun := time.Now()
			s.CatchUp(t.Context())
			if took := time.Since(begun); took != want {
				t.Errorf("held up for %v, want %v", took, want)
			}
			s.pass.end()
		}
	})
}
