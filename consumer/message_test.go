package consumer

import (
	"regexp"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTraceparent(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	valid := regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
	for name, c := range map[string]struct {
		header string
		goesOn bool
	}{
		"the record's trace goes on": {"00-" + trace + "-00f067aa0ba902b7-01", true},
		"none":                       {"", false},
		"another version":            {"01-" + trace + "-00f067aa0ba902b7-01", false},
		"a trace of zeros":           {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
		"a parent of zeros":          {"00-" + trace + "-0000000000000000-01", false},
		"digits that are none":       {"00-" + trace + "-00f067aa0ba902bX-01", false},
		"a line break":               {"00-" + trace + "-00f067aa0ba902b7-0\n", false},
		"cut off":                    {"00-" + trace, false},
	} {
		t.Run(name, func(t *testing.T) {
			rec := &kgo.Record{Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte(c.header)}}}
			got := traceparent(rec)
			if !valid.MatchString(got) || got == c.header {
				t.Fatalf("got %q", got)
			}
			if goesOn := got[3:35] == trace && got[52:] == "-01"; goesOn != c.goesOn {
				t.Fatalf("got %q of %q", got, c.header)
			}
		})
	}
}
