package job

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"streamer/schemas"
)

// executedElsewhere are examples without records beside them that other tests execute.
var executedElsewhere = []string{"search-document.yaml", "keycloak-groups.yaml", "people.yaml"} // TestSearchDocument, TestStepsOnThePage, TestReadmeRequest

// Every key of the schema occurs in an example that tests execute: one whose records become requests, or a login of docs/jobs.md, of which
// TestDocsOfLogins makes a sink.
func TestEveryKeyIsInAnExecutedExample(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	w := keyWalk{known: map[string]bool{}, seen: map[string]bool{}}
	if err := json.Unmarshal(src, &w.root); err != nil {
		t.Fatal(err)
	}
	w.names(w.root, "")
	set, err := Load(filepath.Join(docsDir, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range set.Jobs {
		records, _ := exampleRecords(t, strings.TrimSuffix(d.File, filepath.Ext(d.File)))
		if records == nil && !slices.Contains(executedElsewhere, filepath.Base(d.File)) {
			t.Errorf("nothing executes %s: lay records beside it", d.File)
			continue
		}
		w.values(w.root, d.value, "")
	}
	for _, login := range loginExamples(readDocs(t, "jobs.md")) {
		w.values(w.root, parseOne(t, "job.yaml", jobText("auth: "+login)).value, "")
	}
	if len(w.known) < 150 {
		t.Errorf("the schema has only %d keys", len(w.known))
	}
	for _, key := range slices.Sorted(maps.Keys(w.known)) {
		if !w.seen[key] {
			t.Errorf("%s is in no example that is executed", key)
		}
	}
}

// keyWalk notes which keys a schema knows, and which of them values have. A key goes by its place; one of a shared definition by that, as
// in #/$defs/condition.field.
type keyWalk struct {
	root        map[string]any
	known, seen map[string]bool
}

// each calls do with the schemas that stand for the same value as s: itself, what it refers to, and its alternatives.
func (w *keyWalk) each(s map[string]any, at string, do func(s map[string]any, at string)) {
	if ref, ok := s["$ref"].(string); ok {
		target := w.root
		for _, name := range strings.Split(ref, "/")[1:] {
			target, _ = target[name].(map[string]any)
		}
		at = ref
		if place, ok := strings.CutPrefix(ref, "#/properties/"); ok {
			at = place
		}
		w.each(target, at, do)
		return
	}
	do(s, at)
	for _, word := range []string{"oneOf", "anyOf"} {
		all, _ := s[word].([]any)
		for _, one := range all {
			if one, ok := one.(map[string]any); ok {
				w.each(one, at, do)
			}
		}
	}
}

// names notes the keys of a schema.
func (w *keyWalk) names(s map[string]any, at string) {
	w.each(s, at, func(s map[string]any, at string) {
		properties, _ := s["properties"].(map[string]any)
		for name, p := range properties {
			if at := member(at, name); !w.known[at] {
				w.known[at] = true
				w.inner(p, at)
			}
		}
		w.inner(s["items"], at+"[]")
		w.inner(s["additionalProperties"], at+".*")
	})
}

func (w *keyWalk) inner(s any, at string) {
	if s, ok := s.(map[string]any); ok {
		w.names(s, at)
	}
}

// values notes the keys that a value has.
func (w *keyWalk) values(s map[string]any, v schemas.Value, at string) {
	w.each(s, at, func(s map[string]any, at string) {
		properties, _ := s["properties"].(map[string]any)
		others, _ := s["additionalProperties"].(map[string]any)
		items, _ := s["items"].(map[string]any)
		switch v.Kind() {
		case schemas.Object:
			for name, m := range v.Members() {
				if p, ok := properties[name].(map[string]any); ok {
					w.seen[member(at, name)] = true
					w.values(p, m, member(at, name))
				} else if others != nil {
					w.values(others, m, at+".*")
				}
			}
		case schemas.Array:
			for e := range v.Elements() {
				if items != nil {
					w.values(items, e, at+"[]")
				}
			}
		}
	})
}
