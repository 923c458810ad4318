package mapping

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"streamer/schemas"
)

var update = flag.Bool("update", false, "write what is found into the golden files")

func parseJSON(t testing.TB, text string) schemas.Value {
	t.Helper()
	v, err := schemas.ParseJSON([]byte(text), schemas.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func jsonOf(t testing.TB, v schemas.Value) string {
	t.Helper()
	b, err := v.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// foundIn evaluates an expression over a document and gives what it finds as a JSON list.
func foundIn(t testing.TB, expr string, doc schemas.Value) string {
	t.Helper()
	p, err := CompilePath(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	var s search
	f, err := s.find(p, &message{row: doc, isRow: true})
	switch {
	case err != nil:
		t.Fatalf("%s: %v", expr, err)
	case f.nothing():
		return "[]"
	case f.many == nil:
		return "[" + jsonOf(t, f.one) + "]"
	}
	b, err := appendFound(nil, &f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDialect holds every construct of the dialect to testdata/dialect.jsonl. There "found" is what we find, "aether" what
// jsonpath_ng 1.4.3 found (null: it raised an exception); where the two differ, "differs" says why.
func TestDialect(t *testing.T) {
	const file = "testdata/dialect.jsonl"
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(golden)) {
		c := parseJSON(t, strings.TrimSpace(line))
		construct, _ := c.Field("construct").Str()
		expr, _ := c.Field("expr").Str()
		t.Run(construct+"/"+expr, func(t *testing.T) {
			got := parseJSON(t, foundIn(t, expr, c.Field("data")))
			b := schemas.NewBuilder()
			b.BeginObject()
			for key, v := range c.Members() {
				if key == "found" {
					continue
				}
				b.Key(key)
				b.Copy(v)
				if key == "data" {
					b.Key("found")
					b.Copy(got)
				}
			}
			b.End()
			out.WriteString(jsonOf(t, b.Value()) + "\n")
			if want := c.Field("found"); !*update && !got.Equal(want) {
				t.Errorf("over %s\nfound %s\nwant  %s", jsonOf(t, c.Field("data")), jsonOf(t, got), jsonOf(t, want))
			}
			same := c.Field("aether").Equal(got)
			if _, differs := c.Field("differs").Str(); same == differs {
				t.Errorf("found %s, the original %s: same %v, but said to differ: %v", jsonOf(t, got), jsonOf(t, c.Field("aether")), same, differs)
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
