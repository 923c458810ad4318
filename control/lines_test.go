package control

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// The last lines of each job are kept, whichever way it is named, and all lines are handed on.
func TestLines(t *testing.T) {
	t.Parallel()
	lines := NewLines()
	var out bytes.Buffer
	log := slog.New(lines.Handler(slog.NewTextHandler(&out, nil)))
	log.Info("of nobody", "n", 1)
	log.Debug("not wanted", "job", "a")
	log.Warn("by itself", "job", "a", "cause", "x y")
	of := log.With("job", "b", "session", 3)
	for i := range keptLines + 5 {
		of.Info("line", "n", i, slog.Group("at", "topic", "t"))
	}
	of.WithGroup("g").Info("last", "job", "c")
	var got []string
	for _, l := range lines.Of("b") {
		got = append(got, l.Level+" "+l.Text)
	}
	if len(got) != keptLines || got[0] != "INFO line session=3 n=6 at.topic=t" || got[keptLines-1] != "INFO last session=3 g.job=c" {
		t.Errorf("%d lines: %s … %s", len(got), got[0], got[len(got)-1])
	}
	if a := lines.Of("a"); len(a) != 1 || a[0].Text != "by itself cause=x y" || a[0].Level != "WARN" || a[0].At.IsZero() {
		t.Errorf("of a: %+v", a)
	}
	if n := strings.Count(out.String(), "\n"); n != keptLines+8 {
		t.Errorf("%d lines handed on", n)
	}
	lines.Forget("b")
	if len(lines.Of("b")) != 0 || lines.all.Len() != 1 {
		t.Errorf("%d lines are left", lines.all.Len())
	}
}

// All lines together take a bounded amount of memory, and the oldest go first.
func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	lines := NewLines()
	log := slog.New(lines.Handler(slog.DiscardHandler))
	h := log.Handler()
	long := strings.Repeat("ä", lineBytes)
	const jobs = 200
	for i := range jobs * keptLines {
		r := slog.Record{Message: long}
		r.AddAttrs(slog.String("job", fmt.Sprint("job-", i/keptLines)))
		_ = h.Handle(t.Context(), r)
	}
	if lines.bytes > keptBytes || len(lines.Of("job-0")) != 0 || len(lines.Of(fmt.Sprint("job-", jobs-1))) != keptLines {
		t.Errorf("%d bytes, %d and %d lines", lines.bytes, len(lines.Of("job-0")), len(lines.Of(fmt.Sprint("job-", jobs-1))))
	}
	if l := lines.Of(fmt.Sprint("job-", jobs-1))[0].Text; len(l) > lineBytes+len("…") || !strings.HasSuffix(l, "ä…") {
		t.Errorf("a line of %d bytes", len(l))
	}
}
