package job

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"streamer/internal/fault"
)

// maxPlaceBytes bounds the memory that the paths of one file's places may take. Past it a fault is shown at the nearest known
// place above it.
const maxPlaceBytes = 8 << 20

// Place is where something stands in a file; both count from 1, zero means unknown.
type Place struct{ Line, Column int }

// places knows where each path of a document stands. Written once while a file is read.
type places struct {
	at    map[string]Place
	bytes int
}

func newPlaces() *places { return &places{at: map[string]Place{}} }

// note keeps the first place of path.
func (p *places) note(path string, at Place) {
	if _, known := p.at[path]; known || p.bytes > maxPlaceBytes {
		return
	}
	p.at[path] = at
	p.bytes += len(path) + 64
}

// find gives the place of path, or of the closest known path above it: a fault may name what is missing.
func (p *places) find(path string) Place {
	for {
		if at, ok := p.at[path]; ok {
			return at
		}
		if path == "" {
			return Place{}
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

// maxKeyBytes is what a path shows of a key, so that a long key above many values costs no memory for each of them.
const maxKeyBytes = 256

// plainKey is a key that stands in a path as it is; others stand in brackets and quotes.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_\x{80}-\x{10FFFF}-]+$`)

// member is the path of an object's member, element that of a list's element.
func member(path, key string) string {
	if len(key) > maxKeyBytes {
		key = key[:maxKeyBytes]
	}
	switch {
	case path == "":
		return key
	case plainKey.MatchString(key):
		return path + "." + key
	}
	return path + "[" + strconv.Quote(key) + "]"
}

func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// Finding is a fault with the file it stands in.
type Finding struct {
	File string
	Place
	// Job is the id of the job it belongs to; empty when the file could not be read so far.
	Job string
	// Connection is the name of the connection it belongs to, if it is none of a job.
	Connection string
	fault.Fault
}

// Error gives one line: file:line: path: problem; mend.
func (f Finding) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(f.Line))
	}
	b.WriteString(": ")
	if f.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(f.Fault.Error())
	return b.String()
}

// sortFindings orders by file and line; what stands on one line keeps its order.
func sortFindings(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}
