package job

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What a file's text comes to, as JSON, so that order and exactness show.
func TestParseFileValues(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, file, text string
		want             []string
	}{
		{"JSON object", "a.json", `{"b": 12345678901234567890, "a": 0.10}`, []string{`{"b":12345678901234567890,"a":0.10}`}},
		{"JSON list", "a.json", `[{"id": "x"}, {"id": "y"}]`, []string{`{"id":"x"}`, `{"id":"y"}`}},
		{"JSON surrogate pairs", "a.json", `{"a": "\ud83d\udc69"}`, []string{`{"a":"👩"}`}},
		{"JSON in a file named yaml", "a.yaml", `{"a": "\ud83d\udc69"}`, []string{`{"a":"👩"}`}},
		{"byte order mark", "a.json", "\ufeff{}", []string{`{}`}},
		{"YAML documents", "a.yaml", "a: 1\n---\nb: 2\n---\n", []string{`{"a":1}`, `{"b":2}`}},
		{"YAML list", "a.yml", "- a: 1\n- b: 2\n", []string{`{"a":1}`, `{"b":2}`}},
		{"YAML scalars", "a.yaml", "i: 12345678901234567890\nf: 0.10\nh: 0x1F\nb: true\nn: ~\nt: 2026-01-31\ns: '1'\noff: off\ne: 1e3\n",
			[]string{`{"i":12345678901234567890,"f":0.10,"h":31,"b":true,"n":null,"t":"2026-01-31","s":"1","off":"off","e":1e3}`}},
		{"YAML key order", "a.yaml", "z: 1\na: {y: 1, b: 2}\n", []string{`{"z":1,"a":{"y":1,"b":2}}`}},
		{"YAML anchor", "a.yaml", "a: &x {k: 1}\nb: *x\n", []string{`{"a":{"k":1},"b":{"k":1}}`}},
		{"YAML merge, own members win", "a.yaml", "a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n", []string{`{"a":{"k":1,"l":2},"b":{"k":3,"l":2}}`}},
		{"YAML merge of a list, the first wins", "a.yaml", "a: &x {k: 1}\nb: &y {k: 2, l: 3}\nc: {<<: [*x, *y]}\n",
			[]string{`{"a":{"k":1},"b":{"k":2,"l":3},"c":{"k":1,"l":3}}`}},
		{"YAML key that is a number", "a.yaml", "1: a\n", []string{`{"1":"a"}`}},
		{"no ending", "jobs", "a: 1\n", []string{`{"a":1}`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			defs, broken := ParseFile(c.file, []byte(c.text))
			if len(broken) > 0 {
				t.Fatalf("findings %v", broken)
			}
			var got []string
			for _, d := range defs {
				text, err := d.value.AppendJSON(nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(d.faults) > 0 {
					t.Errorf("faults %v", d.faults)
				}
				got = append(got, string(text))
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestParseFileRefusals(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+", ", 10) + "]\n"
	}
	mergeBomb := "a: &a {k: 1}\n"
	for c := 'b'; c <= 'z'; c++ {
		mergeBomb += string(c) + ": &" + string(c) + " {<<: [" + strings.Repeat("*"+string(c-1)+", ", 20) + "]}\n"
	}
	cases := []struct{ name, file, text, want string }{
		{"empty", "a.yaml", "", "a.yaml: holds no job"},
		{"only comments", "a.yaml", "# nothing\n---\n", "a.yaml: holds no job"},
		{"empty JSON", "a.json", "", "a.json:1: no JSON: the text ends too early"},
		{"empty JSON list", "a.json", "[]", "a.json: holds no job"},
		{"too large", "a.yaml", strings.Repeat("#", MaxFileBytes+1), "larger than 1048576 bytes"},
		{"no UTF-8", "a.yaml", "a: \xff", "no UTF-8 text"},
		{"broken YAML", "a.yaml", "id: a\n  b: c: d\n", "a.yaml:2: no YAML: "},
		{"broken JSON", "a.json", "{\n  \"id\": \"a\"\n  \"b\": 1\n}", "a.json:3: no JSON: "},
		{"JSON with a comma too many", "a.json", "{\"id\": 1,}", "a.json:1: no JSON: "},
		{"JSON cut short", "a.json", "{\"id\": ", "a.json:1: no JSON: the text ends too early"},
		{"JSON and more", "a.json", "{}\n{}", "more text after the JSON value"},
		{"JSON nested too deep", "a.json", strings.Repeat("[", 500) + strings.Repeat("]", 500), "nested deeper than"},
		{"YAML nested too deep", "a.yaml", strings.Repeat("[", 500) + strings.Repeat("]", 500), "nested deeper than"},
		{"aliases of aliases", "a.yaml", bomb, "with its aliases the file grows past"},
		{"merges of merges", "a.yaml", mergeBomb, "a.yaml:"},
		{"alias of itself", "a.yaml", "a: &a [*a]\n", "a.yaml:1: a"},
		{"merge of itself", "a.yaml", "a: &a {<<: *a}\n", "a.yaml:1: a: merge keys"},
		{"merge of text", "a.yaml", "<<: x\n", "a merge key (<<) takes an object"},
		{"a key that is a list", "a.yaml", "a:\n  [b]: c\n", "a.yaml:2: a: a key has to be text"},
		{"unknown tag", "a.yaml", "a: !secret b\n", "a.yaml:1: a: has a YAML tag that is not known here"},
		{"no number of JSON", "a.yaml", "a: .inf\n", "a.yaml:1: a: is no number"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			defs, broken := ParseFile(c.file, []byte(c.text))
			if len(defs) > 0 || len(broken) != 1 {
				t.Fatalf("%d jobs, findings %v", len(defs), broken)
			}
			if got := broken[0].Error(); !strings.Contains(got, c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A fault stands in the line of what it is about.
func TestFindingPlaces(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, file, text, path, want string }{
		{"YAML member", "a.yaml", "id: a\ndelivery:\n  timeout: 3\n", "delivery.timeout", "a.yaml:3:3"},
		{"YAML element", "a.yaml", "topic:\n  - a\n  - b\n", "topic[1]", "a.yaml:3:5"},
		{"YAML second document", "a.yaml", "id: a\n---\nid: b\n", "id", "a.yaml:3:1"},
		{"what is missing stands where its object does", "a.yaml", "\n\nid: a\n", "url", "a.yaml:3:1"},
		{"what is missing within", "a.yaml", "id: a\nbasic_auth: {user: b}\n", "basic_auth.password", "a.yaml:2:1"},
		{"JSON member", "a.json", "{\n \"id\": \"a\",\n \"delivery\": {\n  \"timeout\": 3}}", "delivery.timeout", "a.json:4:3"},
		{"JSON element", "a.json", "{\"topic\": [\n \"a\",\n   \"b\"]}", "topic[1]", "a.json:3:4"},
		{"JSON second of a list", "a.json", "[{\"id\": \"a\"},\n {\"id\": \"b\"}]", "id", "a.json:2:3"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			defs, broken := ParseFile(c.file, []byte(c.text))
			if len(broken) > 0 {
				t.Fatal(broken)
			}
			d := defs[len(defs)-1]
			at := d.places.find(c.path)
			if got := strings.Join([]string{d.File, strconv.Itoa(at.Line), strconv.Itoa(at.Column)}, ":"); got != c.want {
				t.Errorf("%s stands at %s, want %s", c.path, got, c.want)
			}
		})
	}
}

func TestKeyTwice(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a.yaml": "delivery:\n  drain: 1s\n  drain: 2s\n",
		"a.json": "{\"delivery\":\n {\"drain\": \"1s\",\n  \"drain\": \"2s\"}}",
	} {
		_, faults := parseOne(t, name, text).Compile(Process{Namespace: "streamer"})
		found := false
		for _, f := range faults.Errors() {
			found = found || f.Path == "delivery.drain" && strings.HasPrefix(f.Problem, "stands twice, in line 2 and line 3")
		}
		if !found {
			t.Errorf("%s: %v", name, faults)
		}
	}
}

func TestLoadDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("b.yaml", jobText("id: b"))
	write("a.json", `{"id": "a"}`)
	write("c.yml", "a: [")
	write("notes.txt", "nothing")
	write(".hidden.yaml", jobText("id: hidden"))
	if err := os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "gone"), filepath.Join(dir, "d.yaml")); err != nil {
		t.Fatal(err)
	}
	set, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ids, files []string
	for _, d := range set.Jobs {
		ids = append(ids, d.ID)
	}
	for _, f := range set.Broken {
		files = append(files, filepath.Base(f.File))
	}
	if strings.Join(ids, " ") != "a b" || strings.Join(files, " ") != "c.yml d.yaml" {
		t.Errorf("jobs %v, broken files %v", ids, files)
	}
	if _, err := Load(filepath.Join(dir, "none")); err == nil {
		t.Error("a path that is not there was no error")
	}
}

// Jobs of one name or one group are both refused, and each names the other.
func TestSharedNames(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		a, b    string
		inA, bB string
	}{
		{"one id", jobText("id: v"), jobText("id: v"), `id: job "v" stands in b.yaml:6 too`, `id: job "v" stands in a.yaml:6 too`},
		{"ids that differ by . and _", jobText("id: v.1"), jobText("id: v_1"), `stands in b.yaml:6 too, as "v_1"`, `as "v.1"`},
		{"one group", jobText("id: v"), jobText("id: w", "group: streamer.v"), `group: group "streamer.v" is that of job "w"`, `is that of job "v"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			set := Set{Jobs: []*Definition{parseOne(t, "a.yaml", c.a), parseOne(t, "b.yaml", c.b)}}
			compiled := set.Compile(Process{Namespace: "streamer"})
			checkFaults(t, compiled[0].Faults, []string{c.inA})
			checkFaults(t, compiled[1].Faults, []string{c.bB})
		})
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add("a.yaml", []byte(jobText()))
	f.Add("a.yaml", []byte("a: &x {k: [1]}\nb: {<<: *x}\nc: *x\n"))
	f.Add("a.json", []byte(`[{"id":"a","topic":["b"],"delivery":{"timeout":"3s"}}]`))
	f.Add("a.yaml", []byte("name: a\nowner: o\nbase_url: https://x.test\ntls: {ca: x}\n---\nname: a\nowner: '*'\n---\n"+jobText("connection: a")))
	f.Fuzz(func(t *testing.T, name string, src []byte) {
		defs, broken := ParseFile(name, src)
		if len(defs) == 0 && len(broken) == 0 {
			t.Error("neither a job nor a finding")
		}
		var set Set
		set.Parse(name, src)
		if len(set.Jobs)+len(set.Connections) != len(defs) {
			t.Errorf("%d jobs and %d connections of %d documents", len(set.Jobs), len(set.Connections), len(defs))
		}
		var all []Finding
		for _, c := range set.Compile(Process{Namespace: "streamer"}) {
			all = append(all, c.Findings(c.Faults)...)
		}
		for _, c := range set.CompileConnections(Process{Namespace: "streamer"}) {
			all = append(all, c.Findings(c.Faults)...)
		}
		for _, found := range all {
			if found.Problem == "" || found.Line == 0 {
				t.Errorf("a finding without problem or line: %+v", found)
			}
		}
	})
}
