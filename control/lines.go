package control

import (
	"container/list"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// keptLines is how many lines are kept of a job, keptBytes what the lines of all jobs may take, lineBytes the longest line.
	keptLines = 100
	keptBytes = 16 << 20
	lineBytes = 2 << 10
	// lineOverhead is about what a line takes beside its text.
	lineOverhead = 200
)

// LogLine is a line of the log that is about a job.
type LogLine struct {
	At    time.Time `json:"at"`
	Level string    `json:"level"`
	// Text is the message and what belongs to it, as name=value.
	Text string `json:"text"`
}

// Lines keeps the last lines of the log of each job, at most 100, and fewer when those of all jobs take too much memory: then the oldest
// go first. A nil Lines keeps none.
type Lines struct {
	mu    sync.Mutex
	bytes int
	all   list.List // of *keptLine, the oldest first
	jobs  map[string][]*list.Element
}

type keptLine struct {
	LogLine
	job string
}

func (k *keptLine) bytes() int { return len(k.Text) + lineOverhead }

// NewLines keeps nothing yet.
func NewLines() *Lines { return &Lines{jobs: map[string][]*list.Element{}} }

// Of gives the lines of a job, the oldest first.
func (l *Lines) Of(job string) []LogLine {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]LogLine, 0, len(l.jobs[job]))
	for _, e := range l.jobs[job] {
		out = append(out, e.Value.(*keptLine).LogLine)
	}
	return out
}

// Forget drops the lines of a job.
func (l *Lines) Forget(job string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.jobs[job]) > 0 {
		l.drop(l.jobs[job][0])
	}
}

func (l *Lines) keep(k *keptLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes += k.bytes()
	l.jobs[k.job] = append(l.jobs[k.job], l.all.PushBack(k))
	if of := l.jobs[k.job]; len(of) > keptLines {
		l.drop(of[0])
	}
	for l.bytes > keptBytes {
		l.drop(l.all.Front())
	}
}

// drop takes out a line that is the oldest of its job. The caller holds mu.
func (l *Lines) drop(e *list.Element) {
	k := l.all.Remove(e).(*keptLine)
	l.bytes -= k.bytes()
	if of := l.jobs[k.job]; len(of) > 1 {
		l.jobs[k.job] = of[1:]
	} else {
		delete(l.jobs, k.job)
	}
}

// Handler gives a handler that keeps the lines with an attribute job, and hands on all of them to next.
func (l *Lines) Handler(next slog.Handler) slog.Handler { return lineKeeper{Handler: next, lines: l} }

// lineKeeper is a slog.Handler. What is added by With is rendered when it is, so that a line costs little.
type lineKeeper struct {
	slog.Handler
	lines *Lines
	job   string
	with  string // rendered attributes
	group string // prefix of names
}

// Handle implements slog.Handler.
func (h lineKeeper) Handle(ctx context.Context, r slog.Record) error {
	job := h.job
	var text strings.Builder
	text.WriteString(r.Message)
	text.WriteString(h.with)
	r.Attrs(func(a slog.Attr) bool {
		if h.group == "" && a.Key == "job" {
			job = a.Value.String()
		} else {
			render(&text, h.group, a)
		}
		return true
	})
	if job != "" {
		h.lines.keep(&keptLine{LogLine{r.Time.UTC(), r.Level.String(), cut(text.String())}, job})
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h lineKeeper) WithAttrs(attrs []slog.Attr) slog.Handler {
	var text strings.Builder
	text.WriteString(h.with)
	for _, a := range attrs {
		if h.group == "" && a.Key == "job" {
			h.job = a.Value.String()
		} else {
			render(&text, h.group, a)
		}
	}
	h.with = text.String()
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup implements slog.Handler.
func (h lineKeeper) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	if name != "" {
		h.group += name + "."
	}
	return h
}

func render(text *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, one := range v.Group() {
			render(text, group, one)
		}
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	text.WriteString(" " + group + a.Key + "=" + v.String())
}

// cut shortens a text to lineBytes.
func cut(text string) string {
	if len(text) <= lineBytes {
		return strings.Clone(text) // without the builder's spare room
	}
	at := lineBytes
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	return text[:at] + "…"
}
