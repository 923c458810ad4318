package mapping

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/ohler55/ojg/jp"

	"streamer/schemas"
	"streamer/schemas/schemastest"
)

const benchJob = `{"type":"POST","url":"http://127.0.0.1:8080/visits/{id}","constant":{"source":"survey"},
	"datamap":{"id":"$.msg.id","village":"$.msg.village","age":"$.msg.age","lat":"$.msg.location.latitude"},
	"json_body":["id","village","age","lat"],"headers":{"X-Source":"{$.constant.source}"}}`

const benchSchema = `{"type":"record","name":"Visit","fields":[{"name":"id","type":"string"},{"name":"village","type":["null","string"]},{"name":"head","type":"string"},
	{"name":"age","type":"int"},{"name":"start","type":"long"},{"name":"end","type":"long"},{"name":"weight","type":"double"},{"name":"visited","type":"boolean"},
	{"name":"location","type":{"type":"record","name":"Location","fields":[{"name":"latitude","type":"double"},{"name":"longitude","type":"double"}]}},
	{"name":"crops","type":{"type":"array","items":"string"}},{"name":"note","type":["null","string"]},{"name":"modified","type":"string"}]}`

const benchRow = `{"id":"6f1c0e0a-9a57-4c39-8d1e-0f5b8a1c2d3e","village":"Dawakin Kudu","head":"Amina Bello","age":41,"start":1700000000123,"end":1700000360456,
	"weight":61.25,"visited":true,"location":{"latitude":11.83412,"longitude":8.59321},"crops":["maize","yam"],"note":null,"modified":"2026-01-02T03:04:05Z"}`

func benchMessage(tb testing.TB) *Message {
	tb.Helper()
	var row any
	if err := json.Unmarshal([]byte(benchRow), &row); err != nil {
		tb.Fatal(err)
	}
	d := schemas.NewDecoder(schemas.Config{}, schemas.NewCache(1<<20))
	b, err := d.Decode(schemastest.Container(benchSchema, "null", row), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return &Message{Msg: b.Row(0), Avro: b.Schema()}
}

// BenchmarkMap is a row of 12 fields with four values extracted: into URL and body by us, and by the plain way, ojg over maps and
// encoding/json, which does not even keep the key order.
func BenchmarkMap(b *testing.B) {
	msg := benchMessage(b)
	b.Run("tape", func(b *testing.B) {
		m := compileJob(b, benchJob).NewMapper()
		b.ReportAllocs()
		for b.Loop() {
			var r Request
			if v, err := mapOne(m, msg, &r); v != Send || err != nil {
				b.Fatal(v, err)
			}
		}
	})
	b.Run("walk", func(b *testing.B) {
		m := compileJob(b, `{"type":"POST","url":"http://127.0.0.1:8080/visits/{id}","datamap":{"id":"$.msg.id","crops":"$.msg.crops[*]","y":"$.msg.crops[?@ = 'yam']","n":"$.msg.start + 1"},
			"json_body":["id","crops","y","n"]}`).NewMapper()
		b.ReportAllocs()
		for b.Loop() {
			var r Request
			if v, err := mapOne(m, msg, &r); v != Send || err != nil {
				b.Fatal(v, err)
			}
		}
	})
	b.Run("ojg and encoding/json", func(b *testing.B) {
		var row any
		if err := json.Unmarshal([]byte(benchRow), &row); err != nil {
			b.Fatal(err)
		}
		paths := map[string]jp.Expr{
			"id": jp.MustParseString("$.msg.id"), "village": jp.MustParseString("$.msg.village"), "age": jp.MustParseString("$.msg.age"),
			"lat": jp.MustParseString("$.msg.location.latitude"),
		}
		whole := map[string]any{"msg": row}
		b.ReportAllocs()
		for b.Loop() {
			mapped := map[string]any{}
			for key, x := range paths {
				if found := x.Get(whole); len(found) == 1 {
					mapped[key] = found[0]
				}
			}
			body, err := json.Marshal(mapped)
			if err != nil || len(body) == 0 {
				b.Fatal(err)
			}
			_ = "http://127.0.0.1:8080/visits/" + url.PathEscape(fmt.Sprint(mapped["id"]))
		}
	})
}

// benchRecord is a published record as repositories announce it.
const benchRecord = `{"id":"abcde-12345","links":{"self_html":"https://repo.example.org/records/abcde-12345"},"created":"2026-01-02T03:04:05Z","updated":"2026-02-03T04:05:06Z",
	"access":{"record":"public","files":"restricted"},"parent":{"id":"fghij-67890","communities":{"ids":["a","b"]}},"versions":{"index":3,"is_latest":true},
	"metadata":{"title":"Soil moisture of <i>Kano</i>","description":"<p>Measured <b>weekly</b> at 41 places.</p>","publication_date":"2026-01-01","version":"1.2",
	"resource_type":{"id":"dataset","title":{"en":"Dataset"}},"languages":[{"id":"eng"},{"id":"hau"}],
	"creators":[{"person_or_org":{"type":"personal","given_name":"Amina","family_name":"Bello","identifiers":[{"scheme":"orcid","identifier":"0000-0001-5109-3700"}]},"role":{"id":"datamanager"}},
	{"person_or_org":{"type":"personal","given_name":"Jo","family_name":"Doe"},"role":{"id":"editor"}}],
	"subjects":[{"subject":"soil"},{"subject":"water"}],"identifiers":[{"scheme":"isbn","identifier":"9783161484100"}],
	"related_identifiers":[{"identifier":"10.1234/foo","scheme":"doi","relation_type":{"id":"cites"}}],"publisher":"Example"},
	"pids":{"doi":{"identifier":"10.1234/abcde-12345","provider":"datacite"}},"files":{"enabled":true,"order":[]},"media_files":{"enabled":false},"revision_id":7}`

// payloads are the same document by JSONPath and by a program. What a program costs beyond its own steps is a machine for the run, what it
// looks at as gojq's values, and what it gives as ours.
var payloads = []struct{ name, job string }{
	{"JSONPath", `{"type":"POST","url":"http://127.0.0.1:8080/documents","datamap":{},"payload":{"id":"$.msg.id","title":"$.msg.metadata.title","text":"$.msg.metadata.description",
		"names":"$.msg.metadata.creators[*].person_or_org.family_name","roles":"$.msg.metadata.creators[*].role.id","languages":"$.msg.metadata.languages[*].id",
		"subjects":"$.msg.metadata.subjects[*].subject","isbn":"$.msg.metadata.identifiers[?@.scheme == 'isbn'].identifier","type":"$.msg.metadata.resource_type.id",
		"doi":"$.msg.pids.doi.identifier","public":"$.msg.access.record","modified":"$.msg.updated","link":"$.msg.links.self_html"}}`},
	{"jq", `{"type":"POST","url":"http://127.0.0.1:8080/documents","datamap":{},"payload":{"$jq":".msg | .metadata as $m | {id, title: $m.title, text: $m.description,
		names: [$m.creators[].person_or_org.family_name], roles: [$m.creators[].role.id], languages: [$m.languages[].id],
		subjects: [$m.subjects[].subject], isbn: ($m.identifiers[] | select(.scheme == \"isbn\").identifier), type: $m.resource_type.id,
		doi: .pids.doi.identifier, public: .access.record, modified: .updated, link: .links.self_html}"}}`},
	{"four fields, JSONPath", `{"type":"POST","url":"http://127.0.0.1:8080/documents","datamap":{},"payload":{"id":"$.msg.id","access":"$.msg.access.record",
		"title":"$.msg.metadata.title","modified":"$.msg.updated"}}`},
	{"four fields, jq", `{"type":"POST","url":"http://127.0.0.1:8080/documents","datamap":{},"payload":{"$jq":".msg | {id, access: .access.record, title: .metadata.title, modified: .updated}"}}`},
}

func BenchmarkPayload(b *testing.B) {
	msg := &Message{Msg: parseJSON(b, benchRecord)}
	for _, p := range payloads {
		b.Run(p.name, func(b *testing.B) {
			m := compileJob(b, strings.NewReplacer("\n", " ", "\t", "").Replace(p.job)).NewMapper()
			b.ReportAllocs()
			for b.Loop() {
				var r Request
				if v, err := mapOne(m, msg, &r); v != Send || err != nil {
					b.Fatal(v, err)
				}
			}
		})
	}
}

// TestMapAllocates holds Map to what the request itself needs.
func TestMapAllocates(t *testing.T) {
	msg := benchMessage(t)
	for _, c := range []struct {
		name, job string
		most      float64
	}{
		{"URL and body", benchJob, 2},
		{"nothing that depends on the row", `{"type":"GET","url":"http://h/","datamap":{},"headers":{"A":"b"}}`, 0},
		{"URL with query", `{"type":"GET","url":"http://h/?a={a}","datamap":{"a":"$.msg.age","b":"$.msg.village"},"query_params":["b"]}`, 1},
		{"list of headers and one value", `{"type":"GET","url":"http://h/","datamap":{"a":"$.msg.age"},"headers":{"A":"x{a}"}}`, 2},
		{"body of a payload", `{"type":"GET","url":"http://h/","datamap":{},"payload":{"a":"$.msg.age","b":{"c":["$.msg.village"]}}}`, 1},
		{"emit rule", `{"type":"GET","url":"http://h/","datamap":{},"emit":{"field":"$.visited"}}`, 0},
		{"form", `{"type":"GET","url":"http://h/","datamap":{"a":"$.msg.crops"},"form_body":["a"]}`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := compileJob(t, c.job).NewMapper()
			var r Request
			if n := testing.AllocsPerRun(100, func() {
				r = Request{}
				if v, err := mapOne(m, msg, &r); v != Send || err != nil {
					t.Fatal(v, err)
				}
			}); n > c.most {
				t.Errorf("%v allocations, at most %v", n, c.most)
			}
		})
	}
}
