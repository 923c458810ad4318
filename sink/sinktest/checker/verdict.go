package checker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// kinds are the ways in which the promise can be broken, in the order of a report; the package comment has the rules.
var kinds = []string{"empty", "lost", "order", "early", "back", "duplicate", "wrong", "unknown"}

// shown is how many findings of a kind a report spells out.
const shown = 8

// Finding is one way in which the promise was broken.
type Finding struct {
	// Kind is one of lost, order, duplicate, early, back, wrong, unknown, empty: the rules' words.
	Kind string
	Position
	Text string
}

// Verdict is what a history comes to.
type Verdict struct {
	// Rows were produced; Delivered and GivenUp of them ended so, Committed lie below a committed offset that was seen.
	Rows, Delivered, GivenUp, Committed int
	// Attempts reached the API.
	Attempts int
	// Stragglers are attempts that reached the API when the client had given them up and tried again.
	Stragglers int
	// Duplicates counts attempts and dead letters that repeat a row, explained or not; Explained those that are, by cause.
	Duplicates int
	Explained  map[string]int
	// Oldest says how long the rows that were sent again after a crash had been final before it, at most.
	Oldest map[string]time.Duration
	// Findings break the promise; none: it was kept.
	Findings []Finding
}

func (v *Verdict) add(kind string, p Position, format string, args ...any) {
	v.Findings = append(v.Findings, Finding{kind, p, fmt.Sprintf(format, args...)})
}

// Count gives the number of findings of a kind.
func (v *Verdict) Count(kind string) int {
	n := 0
	for _, f := range v.Findings {
		if f.Kind == kind {
			n++
		}
	}
	return n
}

// OK says that the promise was kept.
func (v *Verdict) OK() bool { return len(v.Findings) == 0 }

// String is the report: one line of counts, then at most a few lines for each kind of finding.
func (v *Verdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows: %d delivered, %d given up, %d lost, %d out of order; %d committed, %d too early; %d attempts, %d duplicates",
		v.Rows, v.Delivered, v.GivenUp, v.Count("lost"), v.Count("order"), v.Committed, v.Count("early"), v.Attempts, v.Duplicates)
	for i, cause := range slices.Sorted(maps.Keys(v.Explained)) {
		b.WriteString(map[bool]string{true: " (", false: ", "}[i == 0])
		fmt.Fprintf(&b, "%s: %d", cause, v.Explained[cause])
		if age := v.Oldest[cause]; age > 0 {
			fmt.Fprintf(&b, " final at most %v before", age.Round(time.Millisecond))
		}
	}
	if len(v.Explained) > 0 {
		b.WriteString(")")
	}
	fmt.Fprintf(&b, ", %d unexplained", v.Count("duplicate"))
	for _, kind := range kinds {
		n := 0
		for _, f := range v.Findings {
			if f.Kind != kind {
				continue
			}
			if n++; n <= shown {
				fmt.Fprintf(&b, "\n  %-9s %v: %s", f.Kind, f.Position, f.Text)
			}
		}
		if n > shown {
			fmt.Fprintf(&b, "\n  %-9s and %d more", kind, n-shown)
		}
	}
	return b.String()
}

// Test is the part of testing.TB that Check needs: programs that are no tests import this package too.
type Test interface {
	Helper()
	Log(args ...any)
	Errorf(format string, args ...any)
}

// Check logs the report and fails t if the promise was broken.
func (v *Verdict) Check(t Test) {
	t.Helper()
	if v.OK() {
		t.Log("promise kept: ", v)
		return
	}
	t.Errorf("promise broken: %v", v)
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }
