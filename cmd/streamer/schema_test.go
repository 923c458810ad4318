package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestSchemaCommand(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"job": `"datamap"`, "record-event": `"service_method"`, "record-event.avsc": `"RecordEvent"`} {
		var out, errs bytes.Buffer
		if code := execute([]string{"schema", name}, nil, nil, &out, &errs); code != 0 || !json.Valid(out.Bytes()) || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %d, %s", name, code, errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := execute([]string{"schema", "record-evnt"}, nil, nil, &out, &errs); code != exitMisuse || !strings.Contains(errs.String(), "did you mean record-event?") {
		t.Errorf("%d, %s", code, errs.String())
	}
}
