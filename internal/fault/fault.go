// Package fault names what is wrong with a definition: a job, a connection or a setting.
//
// Every room checks its own fields and reports all faults at once, so that whoever wrote the definition mends it in one round.
package fault

import (
	"fmt"
	"strings"
)

// Fault is one thing wrong with a definition.
type Fault struct {
	// Path is where it stands, from the definition's root, as a person would write it: datamap.name, topic[1]; empty: the whole.
	Path string
	// Problem says what is wrong, with the value found where that is no secret; lower case, no full stop.
	Problem string
	// Mend says what to write instead; empty where Problem makes that plain.
	Mend string
	// Warning marks a fault that does not keep the definition from being used.
	Warning bool
}

// Error gives the fault as one line: path: problem; mend.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Path != "" {
		b.WriteString(f.Path)
		b.WriteString(": ")
	}
	b.WriteString(f.Problem)
	if f.Mend != "" {
		b.WriteString("; ")
		b.WriteString(f.Mend)
	}
	return b.String()
}

// List collects faults in the order found. The zero List is ready to use.
type List []Fault

// Add appends an error. problem and mend are finished texts; use Addf for a formatted problem.
func (l *List) Add(path, problem, mend string) {
	*l = append(*l, Fault{Path: path, Problem: problem, Mend: mend})
}

// Addf appends an error with a formatted problem and no mend.
func (l *List) Addf(path, format string, args ...any) {
	*l = append(*l, Fault{Path: path, Problem: fmt.Sprintf(format, args...)})
}

// Warn appends a warning.
func (l *List) Warn(path, problem, mend string) {
	*l = append(*l, Fault{Path: path, Problem: problem, Mend: mend, Warning: true})
}

// Errors gives the faults that are no warnings.
func (l List) Errors() List {
	var out List
	for _, f := range l {
		if !f.Warning {
			out = append(out, f)
		}
	}
	return out
}

// Err gives the errors of l as one error, nil if there are none. Warnings do not count.
func (l List) Err() error {
	if e := l.Errors(); len(e) > 0 {
		return e
	}
	return nil
}

// Error joins the faults, one a line.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, f := range l {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}
