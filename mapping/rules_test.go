package mapping

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"streamer/schemas"
	"streamer/schemas/schemastest"
)

// configOf takes a job's fields from its document.
func configOf(job schemas.Value) Config {
	return Config{
		Type: job.Field("type"), URL: job.Field("url"), DataMap: job.Field("datamap"), Constant: job.Field("constant"),
		QueryParams: job.Field("query_params"), JSONBody: job.Field("json_body"), FormBody: job.Field("form_body"),
		Headers: job.Field("headers"), Payload: job.Field("payload"), Filter: job.Field("filter"), Emit: job.Field("emit"),
		Mask: job.Field("mask"), Steps: job.Field("steps"), Routes: job.Field("routes"), Events: job.Field("events"),
	}
}

func compileJob(t testing.TB, job string) *Program {
	t.Helper()
	p, faults := Compile(configOf(parseJSON(t, job)))
	if p == nil {
		t.Fatal(faults)
	}
	return p
}

// show writes what became of a row as the golden files have it.
func show(v Verdict, r Request, err error) string {
	switch {
	case err != nil:
		return "error: " + err.Error() + "\n"
	case v != Send:
		return v.String() + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", r.Method, r.URL)
	for _, h := range r.Header {
		fmt.Fprintf(&b, "  %s: %s\n", h.Name, h.Value)
	}
	if r.Body != nil {
		fmt.Fprintf(&b, "  %s\n", r.Body)
	}
	return b.String()
}

// runRule runs one golden file: job.json over rows, a message a line, or with schema.avsc a row of that schema a line.
func runRule(t *testing.T, a *txtar.Archive) string {
	files := map[string]string{}
	for _, f := range a.Files {
		files[f.Name] = strings.TrimSpace(string(f.Data))
	}
	var out strings.Builder
	program, faults := Compile(configOf(parseJSON(t, files["job.json"])))
	for _, f := range faults {
		if f.Warning {
			out.WriteString("warning: ")
		}
		out.WriteString(f.Error() + "\n")
	}
	if program == nil {
		return out.String()
	}
	m := program.NewMapper()
	for line := range strings.Lines(files["rows"]) {
		line = strings.TrimSpace(line)
		msg := messageOf(t, files["schema.avsc"], line)
		parts, v, err := m.Map(msg, nil)
		became := show(v, Request{}, err)
		if len(parts) > 0 {
			became = ""
		}
		for _, part := range parts {
			if name := program.Routes()[part.Route]; name != "" {
				became += name + ": "
			}
			became += showPart(t, part, line)
		}
		out.WriteString(line + "\n  " + strings.ReplaceAll(strings.TrimSpace(became), "\n", "\n  ") + "\n")
	}
	for _, w := range m.Warnings() {
		out.WriteString("warning: " + w + "\n")
	}
	return out.String()
}

// showPart writes a part's requests, each after the answer to the one before, which is the row's next of "answers": {status, headers,
// body}; a body that is a text is sent as it is, with "cut" only its beginning.
func showPart(t *testing.T, part Part, line string) string {
	out := showCall(&part.Call, part.Err)
	if part.Flow == nil || part.Err != nil {
		return out
	}
	for a := range parseJSON(t, line).Field("answers").Elements() {
		r := &Response{}
		status, _ := a.Field("status").Int()
		r.Status = int(status)
		for name, v := range a.Field("headers").Members() {
			text, _ := v.Str()
			r.Header = append(r.Header, Header{name, text})
		}
		r.Truncated, _ = a.Field("cut").Bool()
		if text, ok := a.Field("body").Str(); ok {
			r.Body = []byte(text)
		} else if a.Field("body").Kind() != schemas.Absent {
			r.Body, _ = a.Field("body").AppendJSON(nil)
		}
		c, done, err := part.Flow.Next(r)
		if done {
			return out + "done\n"
		}
		out += showCall(&c, err)
		if err != nil {
			return out
		}
	}
	return out
}

func showCall(c *Call, err error) string {
	out := show(Send, c.Request, err)
	if err != nil || c.Step == "" {
		return out
	}
	out = c.Step + ": " + out
	if len(c.Accept) > 0 {
		out += fmt.Sprintf("  accepts %v\n", c.Accept)
	}
	if c.CacheKey != "" {
		out += fmt.Sprintf("  kept under %q for %v\n", c.CacheKey, c.TTL)
	}
	if c.Forget != "" {
		out += fmt.Sprintf("  forgets %q\n", c.Forget)
	}
	return out
}

func messageOf(t testing.TB, schema, line string) *Message {
	t.Helper()
	if schema == "" {
		v := parseJSON(t, line)
		tombstone, _ := v.Field("tombstone").Bool()
		return &Message{Msg: v.Field("msg"), Kafka: v.Field("kafka"), Event: v.Field("event"), Tombstone: tombstone}
	}
	if datum, ok := strings.CutPrefix(line, "datum "); ok {
		b, err := hex.DecodeString(datum)
		if err != nil {
			t.Fatal(err)
		}
		return decoded(t, container(schema, b))
	}
	var row map[string]any
	if err := json.Unmarshal([]byte(line), &row); err != nil {
		t.Fatal(err)
	}
	return decoded(t, schemastest.Container(schema, "null", row))
}

// container writes one datum, for what JSON has no form.
func container(schema string, datum []byte) []byte {
	text := func(b []byte, s string) []byte { return append(binary.AppendVarint(b, int64(len(s))), s...) }
	sync := strings.Repeat("s", 16)
	b := append([]byte("Obj\x01"), 2)
	b = append(text(text(b, "avro.schema"), schema), 0)
	b = append(b, sync...)
	b = text(append(b, 2), string(datum))
	return append(b, sync...)
}

// decoded gives the row of a container file.
func decoded(t testing.TB, value []byte) *Message {
	t.Helper()
	d := schemas.NewDecoder(schemas.Config{}, schemas.NewCache(1<<20))
	b, err := d.Decode(value, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Message{Msg: b.Row(0), Avro: b.Schema()}
}

// rules reads the table of the package comment: name → rule.
func rules(t *testing.T) map[string]string {
	src, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z-]+) {2,}(.+)$`).FindAllStringSubmatch(string(src), -1) {
		table[m[1]] = m[2]
	}
	return table
}

// TestRules runs testdata/rules, one file for each line of the package comment's table, which it repeats. -update writes what happens
// into them: read the diff.
func TestRules(t *testing.T) {
	table := rules(t)
	files, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		seen = append(seen, name)
		t.Run(name, func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if rule := table[name]; rule == "" || !strings.HasPrefix(string(a.Comment), rule+"\n") {
				t.Errorf("begins with %q; the package comment says %q", a.Comment, rule)
			}
			got := runRule(t, a)
			i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
			if i < 0 {
				a.Files = append(a.Files, txtar.File{Name: "want"})
				i = len(a.Files) - 1
			}
			if *update {
				a.Files[i].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(a.Files[i].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	for name := range table {
		if !slices.Contains(seen, name) {
			t.Errorf("rule %s has no golden file", name)
		}
	}
}
