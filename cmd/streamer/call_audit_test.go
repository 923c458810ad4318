package main

import (
	"strings"
	"testing"

	"streamer/control"
)

// An operator sees in the table what a change was about; the documents themselves are in -o json.
func TestAuditNamesWhatChanged(t *testing.T) {
	for _, c := range []struct {
		name, before, after, want string
		detail                    map[string]any
	}{
		{"fields", `{"id":"a","url":"x","type":"PUT"}`, `{"id":"a","url":"y","datamap":{}}`, "datamap, type, url", nil},
		{"a secret", `{"id":"a","token":"********"}`, `{"id":"a","token":"********"}`, "what does not show", nil},
		{"with a detail", `{"url":"x"}`, `{"url":"y"}`, "url, effect drain", map[string]any{"effect": "drain"}},
		{"made", "", `{"id":"a"}`, "-", nil},
		{"no document", "", "", "row visit/0", map[string]any{"row": "visit/0"}},
	} {
		var b strings.Builder
		auditText(&b, control.AuditPage{Lines: []control.AuditLine{{Job: "a", By: "b", Action: "change", Detail: c.detail,
			DocumentBefore: []byte(c.before), DocumentAfter: []byte(c.after)}}})
		if !strings.HasSuffix(b.String(), "  change  "+c.want+"\n") {
			t.Errorf("%s: %s", c.name, b.String())
		}
	}
}
