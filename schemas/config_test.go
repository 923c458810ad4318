package schemas

import (
	"strings"
	"testing"
)

func TestConfigNamesAllFaults(t *testing.T) {
	for _, f := range []Format{"", FormatAuto, FormatAether, FormatAvro, FormatJSON, FormatCloudEvent, FormatBytes} {
		if l := (Config{Format: f}).Validate(); len(l) > 0 {
			t.Errorf("%q: %v", f, l)
		}
	}
	l := Config{Format: "avroo", Schemas: []string{`"int"`, `{"type":"record"}`}, Limits: Limits{Rows: -1, Nesting: 1 << 20}}.Validate()
	if len(l) != 4 || l[0].Path != "format" || l[1].Path != "schemas[1]" || l[2].Path != "limits.rows" || l[3].Path != "limits.nesting" {
		t.Errorf("faults: %v", l)
	}
	if !strings.Contains(l[0].Problem, "avroo") {
		t.Errorf("format: %v", l[0])
	}
	if l := (Config{Format: "xml"}).Validate(); len(l) != 1 || !strings.Contains(l[0].Problem, `"xml"`) {
		t.Errorf("unknown format: %v", l)
	}
}
