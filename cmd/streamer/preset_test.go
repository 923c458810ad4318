package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamer/consumer"
	"streamer/control/job"
)

// The presets are jobs without a fault, docs/jobs.md shows them as they are, and they make the requests that connectors of RDS take.
func TestPresets(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	p := job.Process{Namespace: "streamer", Connection: func(_, name string) (job.Target, error) {
		return job.Target{Name: name, Base: "https://port.test", Origin: "https://port.test:443", User: "{$.msg.user}"}, nil
	}}
	for name, want := range map[string]map[string]string{
		"metadata": {
			`{"action": "create", "user": "ann", "metadata": {"title": "a"}}`:                     `POST https://port.test/metadata/project {"userId":"ann","metadata":{"title":"a"}} as ann`,
			`{"action": "describe", "user": "ann", "project": "4/2", "metadata": {"title": "b"}}`: `PATCH https://port.test/metadata/project/4%2F2 {"userId":"ann","metadata":{"title":"b"}} as ann`,
			`{"action": "publish", "user": "ann", "project": 42}`:                                 `PUT https://port.test/metadata/project/42 {"userId":"ann"} as ann`,
			`{"action": "publish", "user": "ann"}`:                                                "payload error",
			`{"action": "publish", "project": 42}`:                                                "payload error",
			`{"action": "Publish", "user": "ann", "project": 42}`:                                 "filtered",
			`{"user": "ann", "project": 42}`:                                                      "filtered",
		},
		"fileStorage": {
			`{"action": "change", "user": "ann", "filepath": "/a/b"}`: `PATCH https://port.test/storage/file {"userId":"ann","filepath":"/a/b"} as ann`,
			`{"action": "delete", "user": "ann", "filepath": "/a/b"}`: `DELETE https://port.test/storage/file {"userId":"ann","filepath":"/a/b"} as ann`,
			`{"action": "create", "user": "ann", "filepath": "/a/b"}`: "filtered",
		},
	} {
		var out, errs bytes.Buffer
		if code := execute([]string{"preset", name}, nil, nil, &out, &errs); code != 0 {
			t.Fatalf("%s: exit %d, %s", name, code, errs.String())
		}
		if !bytes.Contains(page, append([]byte("```yaml\n"), append(out.Bytes(), "```"...)...)) {
			t.Errorf("docs/jobs.md does not show %s as it is", name)
		}
		defs, broken := job.ParseFile(name+".yaml", out.Bytes())
		if len(broken) > 0 || len(defs) != 1 {
			t.Fatalf("%s: %v", name, broken)
		}
		cfg, faults := defs[0].Compile(p)
		if len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
		}
		if cfg.Order.By != consumer.OrderPath {
			t.Errorf("%s is not in order", name)
		}
		for record, request := range want {
			row := consumer.Render(cfg, consumer.Record{Topic: "rds", Value: []byte(record)})[0]
			got := row.Verdict
			if got == "send" {
				got = row.Request.Method + " " + row.Request.URL + " " + string(row.Request.Body) + " as " + row.Request.User
			}
			if got != request {
				t.Errorf("%s of %s\ngives %s (%v)\nwant  %s", name, record, got, row.Problem, request)
			}
		}
	}
	var out, errs bytes.Buffer
	if code := execute([]string{"preset", "metadat"}, nil, nil, &out, &errs); code != exitMisuse || !strings.Contains(errs.String(), "did you mean metadata?") {
		t.Errorf("exit %d, %s", code, errs.String())
	}
}

// What a job becomes whose connection stands elsewhere is shown, and nobody has to guess where its URL comes from.
func TestTestWithoutTheConnection(t *testing.T) {
	t.Parallel()
	var preset, out, errs bytes.Buffer
	execute([]string{"preset", "metadata"}, nil, nil, &preset, &errs)
	file := filepath.Join(t.TempDir(), "job.yaml")
	if err := os.WriteFile(file, preset.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	record := strings.NewReader(`{"action": "publish", "user": "ann", "project": "42"}`)
	if code := execute([]string{"test", file, "--record", "-"}, nil, record, &out, &errs); code != exitFine {
		t.Fatalf("exit %d, %s", code, errs.String())
	}
	if !strings.Contains(out.String(), "PUT https://connection.invalid/metadata/project/42\n") || !strings.Contains(errs.String(), `connection: "port-crm" is not looked up here: its URL reads as https://connection.invalid`) {
		t.Errorf("it shows\n%s\nand says\n%s", out.String(), errs.String())
	}
	out.Reset()
	if code := execute([]string{"test", file, "--record", "-"}, nil, strings.NewReader("{"), &out, &errs); code != exitFailed || !strings.HasPrefix(out.String(), "# job rds-metadata, the record: payload error") {
		t.Errorf("exit %d, it shows\n%s", code, out.String())
	}
}
