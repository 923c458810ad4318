package control

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamer/control/service"
)

// While Kafka is known to be away, a write is refused at once. It took 15 s to say so. While a broker fails over, and on an instance that
// was frozen, it is tried.
func TestWritesAreRefusedAtOnceWhileKafkaIsAway(t *testing.T) {
	const problem = "the log in Kafka cannot be followed: connection refused"
	for name, c := range map[string]struct {
		age     time.Duration
		problem string
		refused bool
	}{
		"away":                {AwayAfter + time.Second, problem, true},
		"a broker fails over": {20 * time.Second, problem, false},
		"it was frozen":       {time.Hour, "", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			memory := newMemoryLog()
			i := newInstanceOn(t, memory, memory, &fakeKafka{})
			write := func(method string, args map[string]any) (string, int, string) {
				text, status, header := i.call(t, method, args)
				return text, status, header.Get("Retry-After")
			}
			crm := json.RawMessage(`{"name": "crm", "owner": "health", "base_url": "https://a.test"}`)
			for method, document := range map[string]json.RawMessage{"connections.create": crm, "jobs.create": document("visits", "health", "")} {
				if text, status, _ := write(method, map[string]any{"document": document}); status != http.StatusCreated {
					t.Fatalf("%s: %d %s", method, status, text)
				}
			}
			memory.mu.Lock()
			memory.age, memory.problem = c.age, c.problem
			lines := len(memory.audit)
			memory.mu.Unlock()
			begun := time.Now()
			for _, w := range []struct {
				method string
				args   map[string]any
			}{
				{"jobs.create", map[string]any{"document": json.RawMessage(document("others", "health", ""))}},
				{"jobs.replace", map[string]any{"job": "visits", "if_match": "*", "document": json.RawMessage(document("visits", "health", `, "order": "none"`))}},
				{"jobs.pause", map[string]any{"job": "visits"}},
				{"jobs.resume", map[string]any{"job": "visits"}},
				{"jobs.stop", map[string]any{"job": "visits"}},
				{"jobs.start", map[string]any{"job": "visits"}},
				{"jobs.delete", map[string]any{"job": "visits", "if_match": "*"}},
				{"connections.create", map[string]any{"document": json.RawMessage(`{"name": "erp", "owner": "health", "base_url": "https://a.test"}`)}},
				{"connections.replace", map[string]any{"connection": "crm", "if_match": "*", "document": json.RawMessage(`{"name": "crm", "owner": "health", "base_url": "https://b.test"}`)}},
				{"connections.pause", map[string]any{"connection": "crm"}},
				{"connections.resume", map[string]any{"connection": "crm"}},
				{"connections.delete", map[string]any{"connection": "crm", "if_match": "*"}},
				{"tokens.create", map[string]any{"name": "deploy", "grants": []service.Grant{{Permission: service.View, Owner: "health"}}}},
			} {
				text, status, again := write(w.method, w.args)
				switch {
				case c.refused && (status != http.StatusServiceUnavailable || again != "5" || !strings.Contains(text, "nothing was written: it was last read 31s ago: "+problem)):
					t.Errorf("%s: %s: %d %s, to come again after %q", name, w.method, status, text, again)
				case !c.refused && status >= 300:
					t.Errorf("%s: %s: %d %s", name, w.method, status, text)
				}
			}
			memory.mu.Lock()
			defer memory.mu.Unlock()
			if c.refused && (len(memory.audit) != lines || time.Since(begun) != 0) {
				t.Errorf("%s: %d lines more, after %v", name, len(memory.audit)-lines, time.Since(begun))
			}
		})
	}
}
