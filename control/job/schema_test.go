package job

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../../schemas/job.schema.json"

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func checkSchema(t *testing.T, s *jsonschema.Schema, d *Definition) error {
	t.Helper()
	text, err := d.value.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// The schema has the keys that the compiler has, each with a description.
func TestSchemaHasEveryKey(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(src, &root); err != nil {
		t.Fatal(err)
	}
	for path, known := range keys {
		at := root
		for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' }) {
			at, _ = at["properties"].(map[string]any)[name].(map[string]any)
			if one, ok := at["oneOf"].([]any); ok { // dead_letter
				at, _ = one[len(one)-1].(map[string]any)
			}
		}
		for at["properties"] == nil { // a list's elements, and what stands under names that the job chooses
			inner, ok := at["items"].(map[string]any)
			if !ok {
				inner, ok = at["additionalProperties"].(map[string]any)
			}
			if !ok {
				break
			}
			at = inner
		}
		properties, _ := at["properties"].(map[string]any)
		var want, got []string
		for _, k := range known {
			want = append(want, k.name)
			p, _ := properties[k.name].(map[string]any)
			if p["description"] == nil {
				t.Errorf("%s has no description", member(path, k.name))
			}
			if _, refused := p["not"].(map[string]any); refused && k.name != "id" {
				t.Errorf("%s is refused by the schema", member(path, k.name))
			}
		}
		for name := range properties {
			got = append(got, name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q: the schema has %v, the compiler %v", path, got, want)
		}
	}
}

// The jobs of the Aether consumer's own tests and documentation are valid as they stand.
func TestAetherJobs(t *testing.T) {
	t.Parallel()
	s := compileSchema(t)
	set, err := Load("testdata/aether")
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Jobs) < 5 || len(set.Broken) > 0 {
		t.Fatalf("%d jobs, broken %v", len(set.Jobs), set.Broken)
	}
	for _, d := range set.Jobs {
		t.Run(filepath.Base(d.File), func(t *testing.T) {
			t.Parallel()
			cfg, faults := d.Compile(Process{Namespace: "streamer"})
			checkFaults(t, faults, []string{`warning: owner: "the owner"`})
			if cfg.Program == nil {
				t.Error("no program")
			}
			if err := checkSchema(t, s, d); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where a schema can see a fault at all, it and the compiler agree.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	s := compileSchema(t)
	cases := []struct {
		name  string
		add   []string
		valid bool
	}{
		{"a plain job", nil, true},
		{"every field", []string{"format: json", "logical: text", "limits: {rows: 7}", "start: latest", "group: streamer.x", "filter: $.msg.a",
			"emit: {field: $.ok, values: [true], required: true}", "mask: {levels: [low, high], emit: low}", "order: key",
			"headers: {X-A: b}", "tombstone: reject", "constant: {a: 1}", "auth: {bearer: abc}", "json_body: [id]", "query_params: [id]",
			`delivery: {timeout: 2s, concurrency: 0, rate_limit: {rate: 3, per: 1m, burst: 2}, retry: {initial: 1s, max: 2m, max_after: 3h},
  breaker: {failures: 2, open: 4s, health: "https://api.example.org/up"}, statuses: {delivered: [404]}, drain: 9s, commit: 1s,
  idempotency_header: off, position_headers: false, response_bytes: 10}`,
			"dead_letter: {retention: 2d, key: continue}"}, true},
		{"dead letters off", []string{"dead_letter: off"}, true},
		{"unknown key, Aether's keys only", []string{"foo: 1"}, true},
		{"unknown key beside one of ours", []string{"foo: 1", "order: key"}, false},
		{"unknown key of delivery", []string{"delivery: {time_out: 3s}"}, false},
		{"answers that are told", []string{"callback: {}", "response: {topic: streamer.out.a, on: failures}"}, true},
		{"answers told on a whim", []string{"response: {on: never}"}, false},
		{"routes", []string{"routes: [{name: a, when: {field: $.msg.b, values: [1]}}, {name: c, url: 'https://c.example.org/', type: PUT, payload: null}]"}, true},
		{"routes in place of url", []string{"-url", "-type", "routes: [{name: a, url: 'https://c.example.org/', type: PUT}]"}, true},
		{"routes without a name", []string{"routes: [{when: $.msg.a}]"}, false},
		{"no routes", []string{"routes: []"}, false},
		{"events", []string{"-url", "-type", "-datamap", "events: {rdm_record: {'https://a.example.org/': {publish: {http_method: POST, suppress: {field: $.record.at, within: 5s}}}}}"}, true},
		{"events without a method's HTTP method", []string{"-url", "-type", "events: {rdm_record: {'https://a.example.org/': {publish: {}}}}"}, false},
		{"events without methods", []string{"-url", "-type", "events: {rdm_record: {'https://a.example.org/': {}}}"}, false},
		{"half a certificate", []string{"auth: {mtls: {cert: a}}"}, false},
		{"OAuth 2", []string{"auth: {oauth2: {token_url: 'https://idp.example.org/token', client_id: a, client_secret: b, scopes: [c], audience: d, grant: client_credentials}}"}, true},
		{"OAuth 2 without a client", []string{"auth: {oauth2: {token_url: 'https://idp.example.org/token', client_secret: b}}"}, false},
		{"another grant", []string{"auth: {oauth2: {token_url: 'https://idp.example.org/token', client_id: a, client_secret: b, grant: password}}"}, false},
		{"a token storage", []string{"auth: {token_storage: {url: 'https://storage.example.org', service: a, user: '{id}'}}"}, true},
		{"a token storage of nobody", []string{"auth: {token_storage: {url: 'https://storage.example.org', service: a}}"}, false},
		{"id with a blank", []string{"id: a b"}, false},
		{"id is a word of the API", []string{"id: list"}, false},
		{"owner with a blank, a key of ours", []string{"owner: the owner", "order: key"}, false},
		{"topic is text", []string{"topic: a"}, false},
		{"no topic", []string{"topic: []"}, false},
		{"url missing", []string{"-url"}, false},
		{"unknown method", []string{"type: POTS"}, false},
		{"a duration without its unit", []string{"delivery: {timeout: 30}"}, false},
		{"a duration that is none", []string{"delivery: {timeout: soon}"}, false},
		{"negative concurrency", []string{"delivery: {concurrency: -1}"}, false},
		{"a class that is none", []string{"delivery: {statuses: {lost: [404]}}"}, false},
		{"dead_letter on", []string{"dead_letter: on"}, false},
		{"format avro, and schemas", []string{"format: avro", "schemas: ['\"int\"', {type: record, name: A, fields: []}]"}, true},
		{"schemas that are no list", []string{"schemas: {}"}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := parseOne(t, "a.yaml", jobText(c.add...))
			_, faults := d.Compile(Process{Namespace: "streamer"})
			if valid := faults.Err() == nil; valid != c.valid {
				t.Errorf("the compiler says valid %v: %v", valid, faults)
			}
			if err := checkSchema(t, s, d); (err == nil) != c.valid {
				t.Errorf("the schema says %v", err)
			}
		})
	}
}

// The list of words that cannot be ids is the same in the schema.
func TestSchemaReservedWords(t *testing.T) {
	t.Parallel()
	s := compileSchema(t)
	for _, word := range append([]string{".", ".."}, routeWords...) {
		if checkSchema(t, s, parseOne(t, "a.yaml", jobText("id: "+word))) == nil {
			t.Errorf("the schema takes the id %q", word)
		}
	}
}
