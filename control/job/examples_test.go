package job

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"streamer/consumer"
	"streamer/mapping"
	"streamer/schemas"
	"streamer/sink"
)

const docsDir = "../../docs"

// inExamples is a process that has the secrets which the examples refer to.
func inExamples(t *testing.T) Process {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "health-demo"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"visits-key", "forms-password"} {
		if err := os.WriteFile(filepath.Join(dir, "health-demo", name), []byte("secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Process{Namespace: "streamer", Secrets: Secrets{Dir: dir, Env: func(string) (string, bool) { return "secret", true }}}
}

func readDocs(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docsDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// examplePages are those that show examples.
func examplePages(t *testing.T) string {
	t.Helper()
	return readDocs(t, "jobs.md") + readDocs(t, "record-events.md")
}

// Every example is a job without a fault, and a page shows it as it is.
func TestExamples(t *testing.T) {
	t.Parallel()
	set, err := Load(filepath.Join(docsDir, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Jobs) < 5 || len(set.Broken) > 0 {
		t.Errorf("%d jobs, broken: %v", len(set.Jobs), set.Broken)
	}
	for _, c := range set.Compile(inExamples(t)) {
		for _, f := range c.Findings(c.Faults) {
			t.Error(f)
		}
		src, err := os.ReadFile(c.File)
		if err != nil {
			t.Fatal(err)
		}
		shown := strings.TrimPrefix(filepath.Ext(c.File), ".") + "\n" + string(src) + "```"
		if !strings.Contains(examplePages(t), shown) {
			t.Errorf("neither docs/jobs.md nor docs/record-events.md shows %s as it is", c.File)
		}
		if c.ID == "people" && !strings.Contains(readDocs(t, "../README.md"), shown) {
			t.Errorf("README.md does not show %s as it is", c.File)
		}
	}
}

// README shows the request that its job makes of a record of the test data.
func TestReadmeRequest(t *testing.T) {
	t.Parallel()
	set, err := Load(filepath.Join(docsDir, "examples", "people.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := set.Compile(inExamples(t))[0].Config
	value, err := os.ReadFile("../../schemas/testdata/aether/person-1-row-deflate.avro")
	if err != nil {
		t.Fatal(err)
	}
	rows := consumer.Render(cfg, consumer.Record{Topic: "Person", Value: value})
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	r, readme := rows[0].Request, readDocs(t, "../README.md")
	lines := []string{r.Method + " " + r.URL, string(r.Body)}
	for _, h := range r.Header {
		if h.Name != "traceparent" { // another one each time
			lines = append(lines, h.Name+": "+h.Value)
		}
	}
	for _, line := range lines {
		if !strings.Contains(readme, "\n"+line+"\n") {
			t.Errorf("README.md has no line %s", line)
		}
	}
}

var update = flag.Bool("update", false, "write what examples make of their records beside them")

var (
	exampleKey  = []byte("key-1")
	exampleTime = time.Date(2026, 1, 31, 3, 0, 0, 0, time.UTC)
)

// exampleRecords are the records beside an example: values as JSON lines (.jsonl), null for a record without one, with the answers to the
// steps of each line beside those (.answers.jsonl); or the bytes of one (.avro). shown is how a page shows them.
func exampleRecords(t *testing.T, base string) (records []consumer.Record, shown string) {
	t.Helper()
	if value, err := os.ReadFile(base + ".avro"); err == nil {
		return []consumer.Record{{Value: value, Key: exampleKey, Timestamp: exampleTime}}, "Of the record in [`examples/" + filepath.Base(base) + ".avro`](examples/" + filepath.Base(base) + ".avro)\n"
	}
	lines, err := os.ReadFile(base + ".jsonl")
	if err != nil {
		return nil, ""
	}
	for line := range strings.Lines(string(lines)) {
		rec := consumer.Record{Key: exampleKey, Timestamp: exampleTime}
		if line != "null\n" {
			rec.Value = []byte(strings.TrimSpace(line))
		}
		records = append(records, rec)
	}
	shown = "```json\n" + string(lines) + "```\n"
	answers, err := os.ReadFile(base + ".answers.jsonl")
	if err != nil {
		return records, shown
	}
	for i, line := range strings.Split(strings.TrimSpace(string(answers)), "\n") {
		if err := json.Unmarshal([]byte(line), &records[i].Answers); err != nil {
			t.Fatal(err)
		}
	}
	return records, shown + "\nand the answers to its steps (`streamer test --answers`, a line for each record)\n\n```json\n" + string(answers) + "```\n"
}

// An example that has records beside it makes of them what stands in the text beside it, and a page shows both as they are.
func TestExampleRequests(t *testing.T) {
	t.Parallel()
	set, err := Load(filepath.Join(docsDir, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	process := inExamples(t)
	process.Secrets.Masked = true
	found := 0
	for _, c := range set.Compile(process) {
		base := strings.TrimSuffix(c.File, filepath.Ext(c.File))
		records, shown := exampleRecords(t, base)
		if records == nil {
			continue
		}
		found++
		var got strings.Builder
		for _, rec := range records {
			rec.Topic = c.Config.Topics[0]
			for _, r := range consumer.Render(c.Config, rec) {
				got.WriteString(requestText(r))
			}
		}
		if *update {
			if err := os.WriteFile(base+".txt", []byte(got.String()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(base + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("%s: got\n%s", c.File, got.String())
		}
		if shown += "\nit makes these requests:\n\n```\n" + string(want) + "```\n"; !strings.Contains(examplePages(t), shown) {
			t.Errorf("no page shows the records of %s and their requests as they are:\n%s", c.File, shown)
		}
	}
	if found < 2 {
		t.Errorf("only %d examples have records", found)
	}
}

// requestText shows what a row became: of a request what the job itself says.
func requestText(r consumer.Rendered) string {
	var b strings.Builder
	for _, of := range []string{r.Route, r.Step} {
		if of != "" {
			b.WriteString(of + ": ")
		}
	}
	if r.Verdict != "send" {
		b.WriteString(r.Verdict)
		if r.Problem != "" {
			b.WriteString(": " + r.Problem)
		}
		return b.String() + "\n"
	}
	b.WriteString(r.Request.Method + " " + r.Request.URL + "\n")
	for _, h := range r.Request.Header {
		if h.Name != "Idempotency-Key" && h.Name != "traceparent" && !strings.HasPrefix(h.Name, "Streamer-") {
			b.WriteString("    " + h.Name + ": " + h.Value + "\n")
		}
	}
	if len(r.Request.Body) > 0 {
		b.WriteString("    " + string(r.Request.Body) + "\n")
	}
	if r.Open {
		b.WriteString("    (what follows depends on the answer)\n")
	}
	return b.String()
}

// docs/jobs.md shows the body that the program of its example makes of the record that stands there.
func TestSearchDocument(t *testing.T) {
	t.Parallel()
	set, err := Load(filepath.Join(docsDir, "examples", "search-document.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := set.Compile(inExamples(t))[0].Config
	_, page, found := strings.Cut(readDocs(t, "jobs.md"), "\nFrom the record\n")
	blocks := strings.Split(page, "```")
	if !found || len(blocks) < 4 {
		t.Fatal("docs/jobs.md has lost the record of the example")
	}
	rows := consumer.Render(cfg, consumer.Record{Topic: "records", Value: []byte(strings.TrimPrefix(blocks[1], "json"))})
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	var want bytes.Buffer
	if err := json.Compact(&want, []byte(strings.TrimPrefix(blocks[3], "json"))); err != nil {
		t.Fatal(err)
	}
	if got := string(rows[0].Request.Body); got != want.String() {
		t.Errorf("makes %s (%v); the page says %s", got, rows[0].Problem, want.String())
	}
}

// docs/jobs.md shows the requests that the steps of its example make, with the answers they get.
func TestStepsOnThePage(t *testing.T) {
	t.Parallel()
	set, err := Load(filepath.Join(docsDir, "examples", "keycloak-groups.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	program := set.Compile(inExamples(t))[0].Config.Program
	_, page, found := strings.Cut(readDocs(t, "jobs.md"), "\nOf the record `")
	record, page, _ := strings.Cut(page, "`")
	tables := strings.Split(page, "| call | request | body | answered |\n|---|---|---|---|\n")
	if !found || len(tables) != 3 {
		t.Fatal("docs/jobs.md has lost the steps of the example")
	}
	row, err := schemas.ParseJSON([]byte(record), schemas.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables[1:] {
		parts, _, err := program.NewMapper().Map(&mapping.Message{Msg: row}, nil)
		if err != nil || len(parts) != 1 {
			t.Fatal(parts, err)
		}
		call, done, err := parts[0].Call, false, parts[0].Err
		for line := range strings.Lines(table) {
			if !strings.HasPrefix(line, "|") {
				break
			}
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			for i := range cells {
				cells[i] = strings.Trim(cells[i], " `")
			}
			got := fmt.Sprint(cmp.Or(call.Step, "the row's own"), " ", call.Method, " ", strings.TrimPrefix(call.URL, "https://sso.example.org/admin/realms/portal"), " ", string(call.Body))
			if want := cells[0] + " " + cells[1] + " " + cells[2]; err != nil || done || got != want {
				t.Fatalf("makes %s, %v; the page says %s", got, err, want)
			}
			status, body, _ := strings.Cut(cells[3], " ")
			r := mapping.Response{Body: []byte(body)}
			if r.Status, err = strconv.Atoi(status); err != nil {
				t.Fatal(err)
			}
			call, done, err = parts[0].Flow.Next(&r)
		}
		if !done || err != nil {
			t.Errorf("goes on with %s, %v", call.Step, err)
		}
	}
}

// docs/jobs.md names every key of a job, with the default that the schema tells.
func TestDocsHaveEveryKey(t *testing.T) {
	t.Parallel()
	page := readDocs(t, "jobs.md")
	var schema map[string]any
	src, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(src, &schema); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for object, known := range keys {
		for _, k := range known {
			path := strings.TrimPrefix(object+"."+k.name, ".")
			if keys[path] != nil || object == "auth.basic" || object == "basic_auth" || object == "delivery.rate_limit" {
				continue // told by its members, or in the row of its object
			}
			row := fieldRow(page, path)
			if row == nil && !strings.Contains(page, "`"+path+"`") {
				t.Errorf("docs/jobs.md does not name %s", path)
			}
			if what, ok := defaultOf(schema, path); ok && row != nil {
				checked++
				if len(row) < 3 || !strings.Contains(row[2], what) {
					t.Errorf("docs/jobs.md gives %s the default %v; it is %s", path, row, what)
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d defaults were found", checked)
	}
}

// fieldRow finds the row of a table whose first cell is the field, by its whole path or, below the heading of its object, without it.
func fieldRow(page, path string) []string {
	for _, prefix := range []string{"delivery.", "dead_letter."} {
		path = strings.TrimPrefix(path, prefix)
	}
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		names := strings.Split(strings.TrimSpace(cells[0]), ", ")
		if strings.HasPrefix(line, "| ") && slices.Contains(names, "`"+path+"`") {
			return cells
		}
	}
	return nil
}

// defaultOf is the default of a field in the schema, as text.
func defaultOf(schema map[string]any, path string) (string, bool) {
	at := schema
	for _, name := range strings.Split(path, ".") {
		if one, ok := at["oneOf"].([]any); ok { // dead_letter
			at, _ = one[len(one)-1].(map[string]any)
		}
		properties, _ := at["properties"].(map[string]any)
		at, _ = properties[name].(map[string]any)
	}
	switch d := at["default"].(type) {
	case nil, []any:
		return "", false
	case float64:
		return fmt.Sprintf("%.0f", d), true
	default:
		return fmt.Sprint(d), true
	}
}

// inPage is a process that has every secret which a text refers to.
func inPage(t *testing.T, text string) Process {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "demo"), 0o700); err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t)
	for _, ref := range reference.FindAllStringSubmatch(text, -1) {
		secret := "secret"
		switch filepath.Ext(ref[2]) {
		case ".pem":
			secret = cert
		case ".key":
			secret = key
		}
		if err := os.WriteFile(filepath.Join(dir, "demo", ref[2]), []byte(secret), 0o600); ref[1] == "file" && err != nil {
			t.Fatal(err)
		}
	}
	return Process{Namespace: "streamer", Secrets: Secrets{Dir: dir, Env: func(string) (string, bool) { return "secret", true }}}
}

// certificate is one for a client, with its key, as PEM.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// loginExamples are those of auth in docs/jobs.md.
func loginExamples(page string) (examples []string) {
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if field := strings.Trim(strings.TrimSpace(cells[0]), "`"); len(cells) == 3 && strings.HasPrefix(field, "auth.") {
			examples = append(examples, strings.Trim(strings.TrimSpace(cells[2]), "`"))
		}
	}
	return examples
}

// Every way to log in has an example in docs/jobs.md, of which a job can be made.
func TestDocsOfLogins(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, example := range loginExamples(readDocs(t, "jobs.md")) {
		text := jobText("auth: " + example)
		cfg, faults := compileText(t, inPage(t, text), text)
		checkFaults(t, faults, nil)
		for way := range parseOne(t, "job.yaml", text).value.Field("auth").Members() {
			shown[way] = true
			if tls := cfg.Sink.TLS; way == "mtls" && (!strings.HasPrefix(tls.Cert, "-----BEGIN CERTIFICATE") || !strings.HasPrefix(tls.Key.Reveal(), "-----BEGIN PRIVATE KEY")) {
				t.Errorf("%s: the certificate is not used", example)
			}
		}
		s, err := sink.New(cfg.Sink, nil, nil)
		if err != nil {
			t.Errorf("%s: %v", example, err)
			continue
		}
		s.Close()
	}
	for _, k := range keys["auth"] {
		if !shown[k.name] {
			t.Errorf("docs/jobs.md has no example of auth.%s", k.name)
		}
	}
}

// Every connection of docs/jobs.md is one without a fault, of which a target can be made, and together they have every key; those of auth are a job's.
func TestDocsOfConnections(t *testing.T) {
	t.Parallel()
	page := readDocs(t, "jobs.md")
	shown := map[string]bool{}
	var note func(path string, v schemas.Value)
	note = func(path string, v schemas.Value) {
		for name, m := range v.Members() {
			shown[member(path, name)] = true
			note(member(path, name), m)
		}
	}
	for i, block := range strings.Split(page, "```") {
		text, ok := strings.CutPrefix(block, "yaml\nname: ")
		if i%2 == 0 || !ok {
			continue
		}
		conn := parseConnection(t, "name: "+text)
		_, faults := conn.Compile(inPage(t, text))
		checkFaults(t, faults, nil)
		note("", conn.value)
	}
	for path, known := range connectionKeys {
		if strings.HasPrefix(path, "auth") {
			continue
		}
		for _, k := range known {
			at := member(path, k.name)
			if !shown[at] && !slices.Contains(written, at) {
				t.Errorf("docs/jobs.md has no connection with %s", at)
			}
			if !strings.Contains(page, "`"+k.name+"`") && !strings.Contains(page, "`"+at+"`") && path != "register" {
				t.Errorf("docs/jobs.md does not name %s of a connection", at)
			}
		}
	}
}
