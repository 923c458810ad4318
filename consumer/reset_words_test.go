package consumer

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseSeek(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{ // what it means at now; an error begins with !
		"earliest": "earliest", "latest": "latest", "0": "0", "1500": "1500", "9223372036854775807": "9223372036854775807",
		"+100": "+100", "-100": "-100", "-0": "+0",
		"2026-01-31T12:00:00Z": "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5+02:00": "2026-01-31T12:00:00.5+02:00",
		"-2h": "2026-01-31T10:00:00Z", "-7d": "2026-01-24T12:00:00Z", "-1d12h": "2026-01-30T00:00:00Z", "-1h30m": "2026-01-31T10:30:00Z",
		"-1.5h": "2026-01-31T10:30:00Z", "-0s": "2026-01-31T12:00:00Z",
		"": "!says not where", "now": "!is nothing", "2h": "!is nothing", "+2h": "!lies ahead", "--5": "!is nothing", "+-5": "!is nothing",
		"-": "!is nothing", "+": "!is nothing", "-d": "!is nothing", "- 5": "!is nothing", "1e3": "!is nothing", "2026-01-31": "!is nothing",
		"9223372036854775808": "!is no offset", "-99999999999999999999": "!is no offset", "-36501d": "!is nothing", "Earliest": "!is nothing", "-1d-2h": "!is nothing",
	} {
		seek, err := ParseSeek(text)
		if part, refused := strings.CutPrefix(want, "!"); refused {
			var wrong *ResetError
			if !errors.As(err, &wrong) || wrong.Field != "to" || !strings.Contains(wrong.Cause, part) || !strings.Contains(wrong.Mend, "earliest, latest") {
				t.Errorf("%q: %v, %v; want %s", text, seek, err, part)
			}
			continue
		}
		if got := seek.fixed(now).String(); err != nil || got != want {
			t.Errorf("%q means %q, %v; want %q", text, got, err, want)
		}
	}
}

// What is read can be written and read again, and means the same; nothing panics.
func FuzzParseSeek(f *testing.F) {
	for _, text := range []string{"earliest", "latest", "17", "+5", "-5", "-2h", "-7d", "-1d2h3m4.5s", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456789-07:00", "-0", "+0s"} {
		f.Add(text)
	}
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		seek, err := ParseSeek(text)
		if err != nil {
			if !errors.As(err, new(*ResetError)) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := ParseSeek(seek.String())
		if err != nil || again.String() != seek.String() {
			t.Fatalf("%q is written %q, and read %q, %v", text, seek, again, err)
		}
		if seek.n < 0 && seek.kind != seekShift || seek.ago < 0 || seek.milli() < 0 {
			t.Fatalf("%q: %+v", text, seek)
		}
		fixed, err := ParseSeek(seek.fixed(now).String())
		if err != nil || fixed.kind == seekAgo {
			t.Fatalf("%q at a time: %v, %v", text, fixed, err)
		}
	})
}
