package invenio

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamer/control/job"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s", file, got)
	}
}

// text shows all that came of an import.
func text(t *testing.T, r Result) string {
	t.Helper()
	var b strings.Builder
	for _, j := range r.Jobs {
		src, err := j.YAML()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n%s", src)
	}
	for _, m := range r.Remarks {
		fmt.Fprintf(&b, "# line %d: %s\n", m.Line, m.Text)
	}
	return b.String()
}

// A site's file becomes jobs, and everything that only Python knows a marked place or a remark.
func TestImportSite(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("testdata/site.py")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Import(src, Options{Owner: "repository", Topic: "record-events"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "site.yaml", text(t, r))
}

// A value that was written as JSON makes the job that Python would.
func TestImportJSON(t *testing.T) {
	t.Parallel()
	const method = `"https://a.example.org/": {"publish": {"http_method": "post", "payload": {"a": "\ud83d\ude00\/", "b": [true, null, -1.5e3]}}}`
	want := text(t, imported(t, `X = 1
REMOTE_API_PROVISIONER_EVENTS = {"rdm_record": {"https://a.example.org/": {"publish": {
  'http_method': 'post', 'payload': dict_of, "payload": {'a': '\U0001F600/', 'b': (True, None, -1.5e3)}}}}}`))
	for name, src := range map[string]string{
		"alone":             `{"rdm_record": {` + method + `}}`,
		"under its name":    `{"REMOTE_API_PROVISIONER_EVENTS": {"rdm_record": {` + method + `}}}`,
		"without a service": `{` + method + `}`,
	} {
		got := text(t, imported(t, src))
		_, got, _ = strings.Cut(got, "\nid:")
		_, wanted, _ := strings.Cut(want, "\nid:")
		got, _, _ = strings.Cut(got, "# line")
		wanted, _, _ = strings.Cut(wanted, "# line")
		if got != wanted {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, wanted)
		}
	}
}

func imported(t *testing.T, src string) Result {
	t.Helper()
	r, err := Import([]byte(src), Options{Owner: "o", Topic: "t"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// By whichever of its names a service stands in the file, only what is public is sent.
func TestImportOnlyPublic(t *testing.T) {
	t.Parallel()
	for service, field := range map[string]string{"rdm_record": "record", "records": "record", "record": "record", "rdm_records": "record",
		"community": "visibility", "communities": "visibility", "pages": ""} {
		got := text(t, imported(t, `{"`+service+`": {"https://a.example.org/": {"create": {"http_method": "POST", "payload": {"a": 1}}}}}`))
		want := "field: $.record.access." + field + "\n"
		if strings.Contains(got, want) != (field != "") || field == "" && strings.Contains(got, "when:") {
			t.Errorf("%s: got\n%s", service, got)
		}
	}
}

// What is no setting is refused, with the line where that shows.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, src, want string }{
		{"nothing", "", "found no REMOTE_API_PROVISIONER_EVENTS"},
		{"another file", "import os\nX = {1: 2}\n", "found no REMOTE_API_PROVISIONER_EVENTS"},
		{"made by a call", "\nREMOTE_API_PROVISIONER_EVENTS = load()", "line 2: the value of REMOTE_API_PROVISIONER_EVENTS is no dict"},
		{"made by a loop", "REMOTE_API_PROVISIONER_EVENTS = {k: v for k, v in x}", "is no dict that is written out"},
		{"a list", "[1]", "found no"},
		{"empty", "REMOTE_API_PROVISIONER_EVENTS = {}", "line 1: REMOTE_API_PROVISIONER_EVENTS has no endpoint"},
		{"open bracket", "REMOTE_API_PROVISIONER_EVENTS = {\n'a': {'b': f(1, \n", "line 2: ( that begins here has no end"},
		{"wrong bracket", "REMOTE_API_PROVISIONER_EVENTS = {\n'a': f(1]}", "line 2: found ] where ( of line 2 must end with )"},
		{"open dict", "REMOTE_API_PROVISIONER_EVENTS = {\n'a': {'b': 1", "line 2: { that begins here has no end"},
		{"open string", "\n{'a': 'b\n}", "line 2: a string that begins here has no end"},
		{"open long string", "{'a': '''b\n}", "line 1: a string that begins here has no end"},
		{"no value", "{'a': }", "line 1: an expression is missing before }"},
		{"bytes", "{'a': \xff}", "is no UTF-8"},
		{"deep", strings.Repeat("{1:", 1000), "nested deeper than 64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := Import([]byte(c.src), Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v and %d jobs, want %q", err, len(r.Jobs), c.want)
			}
		})
	}
}

// Nothing that somebody writes makes the import fail otherwise than with an error, and its jobs are YAML that the jobs' own reader takes.
func FuzzImport(f *testing.F) {
	site, err := os.ReadFile("testdata/site.py")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(site))
	for _, src := range []string{`{"rdm_record": {"https://a/": {"publish": {"http_method": "POST"}}}}`, `{f"{x["a"]:{w}}": {'': {'\N{DASH}': 1j}}}`,
		"{'a': {lambda x, y=1: {x: y}: {'b': {'payload': {'<<': '\\x85', '': -0x1, None: 1_0.}}}}}", `{'a': {'u': {'m': {'payload': [*x], 'headers': {**y}}}}}`,
		"REMOTE_API_PROVISIONER_EVENTS: dict = {'a': {'b' 'c': {'d': rb'x'}}} | X"} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		r, err := Import([]byte(src), Options{Owner: "o", Topic: "t"})
		if err != nil {
			return
		}
		ids := map[string]bool{}
		for _, j := range r.Jobs {
			text, err := j.YAML()
			if err != nil {
				t.Fatal(err)
			}
			jobs, broken := job.ParseFile("a.yaml", text)
			if len(jobs) != 1 || len(broken) > 0 || jobs[0].ID != j.ID || ids[j.ID] {
				t.Fatalf("%d jobs, %v of\n%s", len(jobs), broken, text)
			}
			ids[j.ID] = true
			_, faults := jobs[0].Compile(job.Process{Namespace: "streamer"})
			marks := 0
			for _, f := range faults {
				if strings.HasPrefix(f.Problem, "is a place to fill in") {
					marks++
				}
			}
			if marks > j.Places || marks == 0 && j.Places > 0 {
				t.Fatalf("%d places, %d of them refused:\n%s\n%v", j.Places, marks, text, faults)
			}
		}
	})
}
