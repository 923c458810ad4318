package mapping

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"streamer/schemas"
)

const fuzzRow = `{"a":[{"b":1,"n":"x"},{"b":"2","n":null},[1,[2]]],"id":"a/b é","s":"a-b-c","n":-1.5e3,"o":{"a b":{"@t":true}},"big":123456789012345678901}`

// FuzzExpression: any expression on any row gives values or an error, never a panic, and the same on the same row.
func FuzzExpression(f *testing.F) {
	for _, expr := range []string{
		"$.msg.a[0].b", "$..b", "$.msg.a[?b > 1 & n = \"x\"]", "$.msg.a[?(@.b in [1,'2'] || !n)]", "$.msg.s.`split(-, 1, -1)`",
		"$.msg.s.`sub(/(a)-(b)/, \\\\2\\\\g<1>)`", "$.msg.s.`len` * 2 + $.msg.n", "$.msg.o.'a b'.@t", "$.msg[a,'s']", "$.msg.a[::-1]",
		"$.msg.a[?(@.b + 1 > 2)]", "$.msg.a[?match(@.n, 'x+')]", "$..*..*", "`this`", "$.msg.big * $.msg.big",
	} {
		f.Add(expr, fuzzRow)
	}
	f.Fuzz(func(t *testing.T, expr, row string) {
		p, err := CompilePath(expr)
		if err != nil {
			if e, ok := err.(*PathError); !ok || e.Position < 1 || e.Problem == "" { //nolint:errorlint // the type is the promise
				t.Fatalf("%q: %v", expr, err)
			}
			return
		}
		v, err := schemas.ParseJSON([]byte(row), schemas.Limits{Nesting: 60, Values: 2000})
		if err != nil {
			return
		}
		m := message{}
		m.parts[0] = v
		var s search
		first, err := s.find(p, &m)
		if err != nil {
			return
		}
		text, err := appendFound(nil, &first)
		if err != nil {
			return
		}
		var again search
		second, err := again.find(p, &m)
		if err != nil {
			t.Fatalf("%q: %v at the second try", expr, err)
		}
		if other, err := appendFound(nil, &second); err != nil || string(other) != string(text) {
			t.Fatalf("%q finds %s, then %s, %v", expr, text, other, err)
		}
	})
}

// FuzzJQ: any program on any row gives a value or an error, never a panic, the same on the same row, and the same when it is given the
// whole message and not only what it was found to read.
func FuzzJQ(f *testing.F) {
	for _, program := range []string{
		".", ".msg.a[0].b", "$msg | .a[1:] | length", ".msg.a[] | select(.b?) | {b, n}", "[.msg.o[\"a b\"][]]", ".msg as {s: $x, a: [$y]} | [$x, $y]",
		"def f(g): g | .b; .msg.a[0] | f(.)", "reduce .msg.a[:2][] as $x (0; . + ($x.b | tonumber))", "foreach .msg.a[] as $x (0; . + 1; [., $x])", "[..]",
		"try error(.msg.id) catch .", ".msg | to_entries", "[.msg.a | .. | numbers]", "if .msg.s == \"a-b-c\" then .msg.o else .msg.a end | length",
		".msg.s | gsub(\"-(?<x>.)\"; \"+\\(.x)\")", ".msg.a[0].b = 2 | .msg.a", ".msg.a |= map(.b?)", "del(.msg.a[0], .msg.o)", "path(.msg.a[].b?)",
		"label $out | .msg.a[] | if .b == 1 then ., break $out else . end", ".msg.big + 1, .msg.n * 2", "[.msg.a[] | .b?] | join(\",\")", ".msg | keys, has(\"a\")",
		"(.msg.a, .msg.o) | .b? // 5", "[limit(3; repeat(.msg.id))]", "map(1)", "def select(f): .; .msg | select(.x)", "def map(f): .; .msg.a | map(.x)",
		"$__loc__", ".msg[\"a\", \"s\"]", "{(.msg.s): .msg.n, \"x\\(.msg.s)\": 1}", "@base64 \"\\(.msg.s)\"", ".msg.a | first, last, .[-1:], .[0:1][]", ".. |= .", "[paths]",
		".msg | with_entries(.value |= tostring)", ".msg.a | getpath([0, \"b\"])", "[splits(\"x\")?]", ". as [$a] ?// $a | $a", ".msg?.a?[0]?", ".msg.s[1:2]", "limit(2; .msg.a[])",
		".msg | input_line_number", ".msg.a | INDEX(.n?)", "[.msg.a[]?] | group_by(type)", "ltrimstr(1)", ".msg.a | tojson | fromjson", ".constant, .event, .schema",
	} {
		f.Add(program, fuzzRow)
	}
	f.Fuzz(func(t *testing.T, program, row string) {
		v, err := schemas.ParseJSON([]byte(row), schemas.Limits{Nesting: 60, Values: 2000})
		if err != nil {
			return
		}
		k := &compiler{prog: &Program{}}
		p := k.compileJQ("payload", program)
		for _, fault := range k.faults {
			if fault.Path == "" || fault.Problem == "" {
				t.Fatalf("%q: a fault without path or problem: %+v", program, fault)
			}
		}
		if p == nil {
			if k.faults.Err() == nil {
				t.Fatalf("%q: neither a program nor a fault", program)
			}
			return
		}
		run := func(reads *reach) (string, error) {
			m := k.prog.NewMapper()
			m.begin(&Message{Msg: v})
			m.jq.convert(&m.msg, reads)
			_, err := m.jqAppend(p)
			return string(m.buf), err
		}
		pruned, err := run(&k.prog.jqReads)
		all, again := run(wholeReach)
		if fmt.Sprint(err) != fmt.Sprint(again) || err == nil && pruned != all {
			t.Fatalf("%q on %s gives %s, %v; with the whole message %s, %v", program, row, pruned, err, all, again)
		}
		if err == nil && pruned != "" {
			if _, err := schemas.ParseJSON([]byte(pruned), schemas.Limits{Nesting: 2000}); err != nil {
				t.Fatalf("%q gives %q: %v", program, pruned, err)
			}
		}
	})
}

// FuzzSteps: any answers meet any steps; a call or an *Error comes of it, never a panic, and the way ends.
func FuzzSteps(f *testing.F) {
	files, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil || !strings.Contains(string(a.Files[0].Data), `"steps"`) {
			continue
		}
		for _, answers := range []string{"", "404\n201", `200[{"id":1,"name":"ann"}]` + "\n" + `409{"id":"x"}`, "200<html>\n200nul\n204", `200{"id":[1],"name":{"a":null}}`} {
			f.Add(string(a.Files[0].Data), `{"id":1,"owner":"ann","name":"ann","group":"a__b__c","tags":[{"t":1},{"t":2}]}`, answers)
		}
	}
	f.Fuzz(func(t *testing.T, job, row, answers string) {
		j, err := schemas.ParseJSON([]byte(job), schemas.Limits{Nesting: 60, Values: 2000})
		if err != nil {
			return
		}
		v, err := schemas.ParseJSON([]byte(row), schemas.Limits{Nesting: 60, Values: 500})
		if err != nil {
			return
		}
		p, faults := Compile(configOf(j))
		if (p == nil) != (faults.Err() != nil) {
			t.Fatalf("program %v with faults %v", p != nil, faults)
		}
		if p == nil {
			return
		}
		parts, _, _ := p.NewMapper().Map(&Message{Msg: v}, nil)
		list := strings.Split(answers, "\n")
		for _, part := range parts {
			call, done, err := part.Call, part.Flow == nil, part.Err
			seen := map[string]bool{}
			for n := 0; err == nil && !done; n++ {
				if n > 10*maxItems || seen[call.Step] {
					t.Fatalf("call %d is for %s, which was made before", n, call.Step)
				}
				seen[call.Step] = true
				if u, err := url.Parse(call.URL); err != nil || u.Host == "" {
					t.Fatalf("URL %q: %v", call.URL, err)
				}
				text := list[n%len(list)]
				r := &Response{Status: 200, Header: []Header{{"Location", text}, {"Content-Type", text}}}
				if len(text) >= 3 {
					if code, err := strconv.Atoi(text[:3]); err == nil {
						r.Status, r.Body = code, []byte(text[3:])
					}
				}
				call, done, err = part.Flow.Next(r)
				if part.Flow.Bytes() <= 0 {
					t.Fatal("a flow without a size")
				}
			}
			if e, ok := err.(*Error); err != nil && (!ok || e.Key == "" || e.Problem == "") { //nolint:errorlint // the type is the promise
				t.Fatalf("%T: %v", err, err)
			}
		}
	})
}

// FuzzTemplate: whatever a row holds, the URL of a template has its host, stays under its path and is one that net/url reads; headers
// stay on their line.
func FuzzTemplate(f *testing.F) {
	for _, value := range []string{"1", "../..", "%2e%2e/", "a\\b", "x;y?z#w", "%252e", "\r\nX: y", "é", "//evil", "..;/"} {
		f.Add("https://h.example:8080/base/{id}/{+id}/end?q={id}&r={+id}#{id}", value)
	}
	f.Add("http://h/{id}{+id}.{id}?{id}={id}", "..")
	f.Add("http://h/{{{id}}}", "%")
	f.Fuzz(func(t *testing.T, template, value string) {
		job := schemas.NewBuilder()
		job.BeginObject()
		job.Key("id")
		job.String("$.msg")
		job.End()
		head := schemas.NewBuilder()
		head.BeginObject()
		head.Key("X-A")
		head.String("{id}")
		head.End()
		p, _ := Compile(Config{Type: textValue("GET"), URL: textValue(template), DataMap: job.Value(), Headers: head.Value()})
		if p == nil {
			return
		}
		var r Request
		if _, err := mapOne(p.NewMapper(), &Message{Msg: textValue(value)}, &r); err != nil {
			return
		}
		u, err := url.Parse(r.URL)
		if err != nil {
			t.Fatalf("%q with %q gives %q: %v", template, value, r.URL, err)
		}
		scheme, rest, _ := strings.Cut(template, "://")
		host, _, _ := strings.Cut(rest, "/")
		host, _, _ = strings.Cut(host, "?")
		host, _, _ = strings.Cut(host, "#")
		want, err := url.Parse(scheme + "://" + host)
		if err != nil || !strings.EqualFold(u.Host, strings.TrimSuffix(want.Host, ":")) || u.User != nil {
			t.Fatalf("%q with %q leads to %q of %q", template, value, u.Host, r.URL)
		}
		for decoded, i := u.EscapedPath(), 0; i < 4; i++ {
			for _, name := range strings.FieldsFunc(decoded, func(c rune) bool { return c == '/' || c == '\\' }) {
				if name == ".." || name == "." {
					t.Fatalf("%q with %q climbs: %q", template, value, r.URL)
				}
			}
			if next, err := url.PathUnescape(decoded); err == nil {
				decoded = next
			}
		}
		for _, h := range r.Header {
			if strings.ContainsAny(h.Value, "\r\n\x00") {
				t.Fatalf("header %q", h.Value)
			}
		}
	})
}

// FuzzJob: any JSON as a job is compiled or refused with faults that have paths; what is compiled maps any row or gives an *Error.
func FuzzJob(f *testing.F) {
	f.Add(`{"type":"POST","url":"http://h/{id}?a={b}","datamap":{"id":"$.msg.id","b":null},"query_params":["b"],"json_body":["id"]}`, fuzzRow)
	f.Add(`{"type":{"when":"$.msg.a","then":"PUT","else":"POST"},"url":"http://h/","datamap":{},"payload":{"a":["$.msg.a","$$x",{"b":"$..b"}]}}`, fuzzRow)
	f.Add(`{"type":"GET","url":{"when":"$.msg.no","then":"http://h/1","else":"http://g/2"},"datamap":{"c":"$.constant.x"},"constant":{"x":[1]},"form_body":["c"],"headers":{"A":"{c}"},"emit":{"values":[null]},"filter":"$.msg","mask":{"levels":[1],"emit":1}}`, fuzzRow)
	f.Fuzz(func(t *testing.T, job, row string) {
		j, err := schemas.ParseJSON([]byte(job), schemas.Limits{Nesting: 60, Values: 2000})
		if err != nil {
			return
		}
		v, err := schemas.ParseJSON([]byte(row), schemas.Limits{Nesting: 60, Values: 2000})
		if err != nil {
			return
		}
		p, faults := Compile(configOf(j))
		for _, fault := range faults {
			if fault.Path == "" || fault.Problem == "" {
				t.Fatalf("fault without path or problem: %+v", fault)
			}
		}
		if (p == nil) != (faults.Err() != nil) {
			t.Fatalf("program %v with faults %v", p != nil, faults)
		}
		if p == nil {
			return
		}
		var r Request
		verdict, err := mapOne(p.NewMapper(), &Message{Msg: v}, &r)
		if err != nil {
			if _, ok := err.(*Error); !ok { //nolint:errorlint // the type is the promise
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if verdict != Send {
			return
		}
		if u, err := url.Parse(r.URL); err != nil || u.Host == "" {
			t.Fatalf("URL %q: %v", r.URL, err)
		}
		if r.Body != nil && (p.routes[0].body.object != nil || p.routes[0].body.payload != nil) {
			if _, err := schemas.ParseJSON(r.Body, schemas.Limits{Nesting: 200}); err != nil {
				t.Fatalf("body %q: %v", r.Body, err)
			}
		}
	})
}
