package mapping

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"streamer/schemas"
	"streamer/schemas/schemastest"
)

// The jobs of the original's own tests, and what its worker sent for their messages.
func TestAetherJobsRunAsTheyStand(t *testing.T) {
	for _, c := range []struct{ name, job, msg, schema, want string }{
		{
			name: "fake_job",
			job: `{"id":"x","owner":"the owner","type":"POST","topic":["a","b"],"datamap":{"id":"$.msg.id","key1":"$.msg.val1","key2":"$.msg.val2"},
				"url":"http://someurl.com/api/{id}/","query_params":["key1","key2"],"json_body":["key1","key2"]}`,
			msg: `{"id":"theid","val1":"value1","val2":"value2"}`,
			want: "POST http://someurl.com/api/theid/?key1=value1&key2=value2\n  Content-Type: application/json\n" +
				`  {"key1":"value1","key2":"value2"}` + "\n",
		},
		{
			name: "integration_job",
			job: `{"id":"x","owner":"the owner","type":"POST","topic":["Person"],"datamap":{"type":"$.schema.name","doc":"$.schema.doc","id":"$.msg.id","age":"$.msg.age"},
				"url":"http://someurl.com/api/{type}/","query_params":["id","age"],"json_body":["type","doc","id","age"]}`,
			msg:    `{"id":"7","age":31}`,
			schema: `{"name":"Person","type":"record","fields":[{"name":"id","type":"string"},{"name":"age","type":"int"}]}`,
			want: "POST http://someurl.com/api/Person/?id=7&age=31\n  Content-Type: application/json\n" +
				`  {"type":"Person","id":"7","age":31}` + "\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, faults := Compile(configOf(parseJSON(t, c.job)))
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			m := &Message{Msg: parseJSON(t, c.msg)}
			if c.schema != "" {
				m = messageOf(t, c.schema, c.msg)
			}
			var r Request
			v, err := mapOne(p.NewMapper(), m, &r)
			if got := show(v, r, err); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// The data map of the original's unit test, over a document that is the message itself.
func TestAetherDataMap(t *testing.T) {
	doc := parseJSON(t, `{"_id":"an_id","a_list":[1,2,3,4],"b_list":{"a":1,"b":"two","c":"3po"},"c_item":1.2,"d_item":false}`)
	for expr, want := range map[string]string{
		"$.id": "[]", "$.a_list": "[[1,2,3,4]]", "$.a.list[0]": "[]", "$.b_list.a": "[1]", "$.b_list": `[{"a":1,"b":"two","c":"3po"}]`,
		"$.c_item": "[1.2]", "$.d_item": "[false]",
	} {
		if got := foundIn(t, expr, doc); got != want {
			t.Errorf("%s finds %s, want %s", expr, got, want)
		}
	}
}

func TestLane(t *testing.T) {
	p := compileJob(t, `{"type":"GET","url":"http://h/","datamap":{},"constant":{"c":"k"}}`)
	msg := &Message{Msg: parseJSON(t, `{"id":"a\"b","n":1.0,"null":null,"l":[1,2],"o":{"b":1,"a":2}}`), Kafka: parseJSON(t, `{"key":"kk"}`)}
	for _, c := range []struct {
		expr, lane string
		ok         bool
	}{
		{"$.msg.id", `"a\"b"`, true}, {"$.msg.n", "1.0", true}, {"$.msg.null", "", false}, {"$.msg.no", "", false}, {"$.msg.l[*]", "[1,2]", true},
		{"$.msg.o", `{"b":1,"a":2}`, true}, {"$.kafka.key", `"kk"`, true}, {"$.constant.c", `"k"`, true},
	} {
		path, err := CompilePath(c.expr)
		if err != nil {
			t.Fatal(err)
		}
		lane, ok, err := p.NewMapper().Lane(path, msg)
		if lane != c.lane || ok != c.ok || err != nil {
			t.Errorf("%s: %s, %v, %v; want %s, %v", c.expr, lane, ok, err, c.lane, c.ok)
		}
	}
	path, err := CompilePath("$.msg.d")
	if err != nil {
		t.Fatal(err)
	}
	b := schemas.NewBuilder()
	b.BeginObject()
	b.Key("d")
	b.Float(nan())
	b.End()
	var e *Error
	if _, _, err := p.NewMapper().Lane(path, &Message{Msg: b.Value()}); !errors.As(err, &e) || e.Key != "order" {
		t.Errorf("a lane of NaN: %v", err)
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

func TestUsesKafka(t *testing.T) {
	for expr, want := range map[string]bool{
		"$.msg.a": false, "$.kafka.key": true, "kafka.key": true, "$['msg','kafka']": true, "$": true, "$..a": true, "$.*": true, "$.msg..kafka": false,
		"$.msg.l[?a = $.kafka.key]": true, "$.msg.a + $.kafka.offset": true, "$[?(@.a)]": true, "$.constant.kafka": false, "$[0]": false, "`len`": true,
	} {
		p, err := CompilePath(expr)
		if err != nil {
			t.Fatal(err)
		}
		if p.UsesKafka() != want {
			t.Errorf("%s: %v", expr, !want)
		}
	}
	for job, want := range map[string]bool{
		`"headers":{"A":"{$.kafka.topic}"}`: true, `"filter":"$.kafka.headers.x"`: true, `"payload":{"a":"$.kafka"}`: true, `"payload":{"a":"$.msg"}`: false,
		`"emit":{"field":"$.kafka"}`: false,
	} {
		if p := compileJob(t, `{"type":"GET","url":"http://h/","datamap":{},`+job+`}`); p.UsesKafka() != want {
			t.Errorf("%s: %v", job, !want)
		}
	}
}

// What Map gives is its owner's: it outlives the row's memory, and appending a header to one request leaves the next one alone.
func TestRequestOwnsItsMemory(t *testing.T) {
	p := compileJob(t, `{"type":"POST","url":"http://h/{id}","datamap":{"id":"$.msg.id"},"json_body":["id"],"headers":{"X-Fixed":"f","X-Id":"{id}"}}`)
	src := []byte(`{"id":"abcdef"}`)
	row, err := schemas.ParseJSON(src, schemas.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	m := p.NewMapper()
	var first, second Request
	if _, err := mapOne(m, &Message{Msg: row}, &first); err != nil {
		t.Fatal(err)
	}
	for i := range src {
		src[i] = '!'
	}
	first.Header = append(first.Header, Header{"A", "a"})
	if _, err := mapOne(m, &Message{Msg: parseJSON(t, `{"id":"ghi"}`)}, &second); err != nil {
		t.Fatal(err)
	}
	second.Header = append(second.Header, Header{"B", "b"})
	const want = "POST http://h/abcdef\n  X-Fixed: f\n  Content-Type: application/json\n  X-Id: abcdef\n  A: a\n  {\"id\":\"abcdef\"}\n"
	if got := show(Send, first, nil); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	static := compileJob(t, `{"type":"POST","url":"http://h/","datamap":{},"payload":{"a":1}}`).NewMapper()
	var one, two Request
	for _, r := range []*Request{&one, &two} {
		if _, err := mapOne(static, &Message{Msg: row}, r); err != nil {
			t.Fatal(err)
		}
	}
	one.Header = append(one.Header, Header{"A", "a"})
	two.Header = append(two.Header, Header{"B", "b"})
	one.Body[0] = '?'
	if one.Header[1].Name != "A" || two.Body[0] != '{' {
		t.Errorf("requests share memory: %v %s", one, two.Body)
	}
}

// A Program outlives the document it was compiled from.
func TestProgramOwnsItsMemory(t *testing.T) {
	src := []byte(`{"type":"POST","url":"http://h/{id}","datamap":{"id":"$.msg.id","c":"$.constant.c"},"constant":{"c":"const"},"json_body":["id","c"],"headers":{"X-A":"{id}"},"emit":{"field":"$.ok","values":["yes"]}}`)
	job, err := schemas.ParseJSON(src, schemas.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p, faults := Compile(configOf(job))
	if p == nil {
		t.Fatal(faults)
	}
	for i := range src {
		src[i] = '!'
	}
	var r Request
	v, err := mapOne(p.NewMapper(), &Message{Msg: parseJSON(t, `{"id":1,"ok":"yes"}`)}, &r)
	const want = "POST http://h/1\n  Content-Type: application/json\n  X-A: 1\n  {\"id\":1,\"c\":\"const\"}\n"
	if got := show(v, r, err); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Errors tell key, expression and kind, never what the row holds.
func TestErrorsHoldNoRow(t *testing.T) {
	const secret = "s3cr3t"
	p := compileJob(t, `{"type":"POST","url":"http://h/{a}/{+b}?q={c}-{d}","datamap":{"a":"$.msg.a","b":"$.msg.b","c":"$.msg.c","d":"$.msg.d"},"headers":{"H":"{c}"}}`)
	for _, row := range []string{
		`{"a":["s3cr3t"],"b":"x"}`, `{"a":{"s3cr3t":1},"b":"x"}`, `{"a":"s3cr3t/../s3cr3t","b":"x"}`, `{"a":"x","b":"%2e%2e/s3cr3t"}`,
		`{"a":"x","b":"y","c":["s3cr3t"],"d":1}`, `{"a":"x","b":"y","c":"s3cr3t\r\ns3cr3t","d":1}`,
		`{"a":"x","b":"` + strings.Repeat(secret, 20000) + `"}`, `{"a":"x","b":"y","d":"z","c":"` + strings.Repeat(secret, 20000) + `"}`,
	} {
		var r Request
		_, err := mapOne(p.NewMapper(), &Message{Msg: parseJSON(t, row)}, &r)
		var e *Error
		if !errors.As(err, &e) || strings.Contains(err.Error(), secret) || e.Key == "" || e.Expr == "" {
			t.Errorf("error %v", err)
		}
		if r.URL != "" || r.Method != "" {
			t.Errorf("the request was touched: %v", r)
		}
	}
}

// One Program serves many workers.
func TestMappersShareAProgram(t *testing.T) {
	p := compileJob(t, `{"type":"POST","url":"http://h/{id}","datamap":{"id":"$.msg.id","any":"$.msg..n","f":"$.msg.l[?(@.n > 1 && @.n has true)]"},"json_body":["any","f"],
		"mask":{"levels":[0,1],"emit":0},"constant":{"a":1}}`)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			m := p.NewMapper()
			for i := range 200 {
				row, err := schemas.ParseJSON(fmt.Appendf(nil, `{"id":%d,"l":[{"n":1},{"n":%d}]}`, worker, i+2), schemas.Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				var r Request
				v, err := mapOne(m, &Message{Msg: row}, &r)
				want := fmt.Sprintf(`{"any":[1,%d],"f":{"n":%d}}`, i+2, i+2)
				if v != Send || err != nil || string(r.Body) != want || r.URL != fmt.Sprintf("http://h/%d", worker) {
					t.Errorf("%v %v %s %s, want %s", v, err, r.URL, r.Body, want)
					return
				}
			}
			if w := m.Warnings(); len(w) != 1 {
				t.Errorf("warnings %q, want one: rows have no schema", w)
			}
			if w := m.Warnings(); len(w) != 0 {
				t.Errorf("warned again: %q", w)
			}
		})
	}
	wg.Wait()
}

// Mask plans are kept by schema and bounded, and an unknown level is warned of once, whatever the number of rows.
func TestMaskPlansAreBounded(t *testing.T) {
	p := compileJob(t, `{"type":"POST","url":"http://h/","datamap":{"m":"$.msg"},"json_body":["m"],"mask":{"levels":["low","high"],"emit":"low"}}`)
	m := p.NewMapper()
	d := schemas.NewDecoder(schemas.Config{}, schemas.NewCache(1<<20))
	for i := range 3 * maxPlans {
		schema := fmt.Sprintf(`{"type":"record","name":"R%d","fields":[{"name":"a","type":"int","aetherMaskingLevel":"odd"},{"name":"b","type":"int"}]}`, i)
		b, err := d.Decode(schemastest.Container(schema, "null", map[string]any{"a": 1, "b": 2}, map[string]any{"a": 3, "b": 4}), nil)
		if err != nil {
			t.Fatal(err)
		}
		for row := range b.Len() {
			var r Request
			if _, err := mapOne(m, &Message{Msg: b.Row(row), Avro: b.Schema()}, &r); err != nil || strings.Contains(string(r.Body), `"a"`) {
				t.Fatalf("%s %v", r.Body, err)
			}
		}
	}
	if len(m.masker.plans) > maxPlans || len(m.masker.warned) > maxWarnings {
		t.Errorf("%d plans, %d warnings kept", len(m.masker.plans), len(m.masker.warned))
	}
	if n := len(m.Warnings()); n != maxWarnings {
		t.Errorf("%d warnings", n)
	}
}

func TestMaskOfNothingLeavesWhatIsNotAnnotated(t *testing.T) {
	p := compileJob(t, `{"type":"POST","url":"http://h/","datamap":{"m":"$.msg"},"json_body":["m"],"mask":{"levels":["public","private"],"emit":null,"annotation":"@aether_masking"}}`)
	var r Request
	m := messageOf(t, `{"type":"record","name":"R","fields":[{"name":"a","type":"int","@aether_masking":"public"},{"name":"b","type":"int"}]}`, `{"a":1,"b":2}`)
	if _, err := mapOne(p.NewMapper(), m, &r); err != nil || string(r.Body) != `{"m":{"b":2}}` {
		t.Errorf("%s %v", r.Body, err)
	}
}

// A hostile row or a clumsy expression ends in an error, soon.
func TestWorkIsBounded(t *testing.T) {
	deep := strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100)
	wide := "[" + strings.Repeat(`{"a":1},`, 2000) + `{"a":1}]`
	for name, c := range map[string]struct{ expr, row string }{
		"every way down":        {"$..*..*..*..*..*", deep},
		"all pairs":             {"$.msg[?a = $.msg[*].a].a", wide},
		"a filter at any depth": {"$..[?@..a = 2]", strings.Repeat("[", 100) + wide + strings.Repeat("]", 100)},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := CompilePath(c.expr)
			if err != nil {
				t.Fatal(err)
			}
			msg := message{}
			msg.parts[0] = parseJSON(t, c.row)
			s := search{most: 50_000}
			if _, err := s.find(p, &msg); !errors.Is(err, errVisits) && !errors.Is(err, errFound) {
				t.Errorf("not stopped: %v", err)
			}
		})
	}
}

func TestReference(t *testing.T) {
	c := configOf(parseJSON(t, `{"type":"GET","url":"http://h/","datamap":{"id":"$.msg.id"},"headers":{"X-Key":"k=${env:STREAMER_VALUE_K};{id}","X-File":"${file:a}"}}`))
	c.Reference = func(kind, name string) (string, error) {
		if kind == "file" {
			return "", errors.New("no such file")
		}
		return "{" + kind + "/" + name + "}", nil
	}
	if _, faults := Compile(c); len(faults) != 1 || faults[0].Path != "headers.X-File" || !strings.Contains(faults[0].Problem, "no such file") {
		t.Errorf("faults %v", faults)
	}
	c.Headers = parseJSON(t, `{"X-Key":"k=${env:STREAMER_VALUE_K};{id}"}`)
	p, faults := Compile(c)
	if p == nil {
		t.Fatal(faults)
	}
	var r Request
	_, err := mapOne(p.NewMapper(), &Message{Msg: parseJSON(t, `{"id":"${env:STREAMER_VALUE_K}"}`)}, &r)
	if want := "k={env/STREAMER_VALUE_K};${env:STREAMER_VALUE_K}"; err != nil || r.Header[0].Value != want {
		t.Errorf("%v %v, want %s", r.Header, err, want)
	}
}

// mapOne maps a row of a job without routes.
func mapOne(m *Mapper, msg *Message, out *Request) (Verdict, error) {
	var room [1]Part
	parts, verdict, err := m.Map(msg, room[:0])
	if err != nil || verdict != Send {
		return verdict, err
	}
	if err := parts[0].Err; err != nil {
		return verdict, err
	}
	*out = parts[0].Call.Request
	return verdict, nil
}

// Programs of the same texts are the same, also after one was used, and whatever is behind $jq; those of other texts are not.
func TestSame(t *testing.T) {
	t.Parallel()
	const job = `{"type":"POST","url":"https://a.example.org/","datamap":{},"payload":{"$jq":".msg.a"},"headers":{"X-A":"${env:STREAMER_VALUE_A}"},
		"steps":[{"name":"s","url":"https://a.example.org/{$.msg.a}"}]}`
	compile := func(text, reference string) *Program {
		c := configOf(parseJSON(t, text))
		c.Reference = func(string, string) (string, error) { return reference, nil }
		p, faults := Compile(c)
		if p == nil {
			t.Fatal(faults)
		}
		return p
	}
	p := compile(job, "r")
	parts, _, err := p.NewMapper().Map(&Message{Msg: parseJSON(t, `{"a":1}`)}, nil)
	if err != nil || len(parts) != 1 || parts[0].Flow == nil {
		t.Fatal(parts, err)
	}
	if _, _, err := parts[0].Flow.Next(&Response{Status: 200}); err != nil {
		t.Fatal(err)
	}
	if !p.Same(compile(job, "r")) {
		t.Error("the same texts give another program")
	}
	for what, other := range map[string]*Program{"reference": compile(job, "s"), "program": compile(strings.Replace(job, ".msg.a", ".msg.b", 1), "r"), "nothing": nil} {
		if p.Same(other) || other.Same(p) {
			t.Errorf("another %s is the same", what)
		}
	}
}

// Which routes of a job are quiet: by what the job says, and by what they say.
func TestQuietRoutes(t *testing.T) {
	t.Parallel()
	const job = `{"type":"PUT","url":"https://a.example.org/","datamap":{},"routes":[{"name":"said","callback":true},{"name":"denied","callback":false},{"name":"silent"}]}`
	const events = `{"events":{"rdm_record":{"https://a.example.org/":{"publish":{"http_method":"PUT","callback":true}},"https://b.example.org/":{"publish":{"http_method":"PUT"}}}}}`
	for _, c := range []struct {
		job   string
		quiet bool
		want  string
	}{
		{job, false, "[false true false]"}, {job, true, "[false true true]"}, {events, false, "[false false]"}, {events, true, "[false true]"},
	} {
		config := configOf(parseJSON(t, c.job))
		config.Told, config.Quiet = true, c.quiet
		p, faults := Compile(config)
		if p == nil {
			t.Fatal(faults)
		}
		parts, _, err := p.NewMapper().Map(&Message{Msg: parseJSON(t, `{"service_type":"rdm_record","service_method":"publish","record":{"id":1}}`)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var quiet []bool
		for _, part := range parts {
			quiet = append(quiet, part.Told.Quiet)
		}
		if got := fmt.Sprint(quiet); got != c.want {
			t.Errorf("quiet %v: %s, want %s", c.quiet, got, c.want)
		}
	}
}
