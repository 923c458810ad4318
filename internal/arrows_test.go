package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arrows say which rooms a room may import. cmd, bench and chaos wire everything and may import all; internal is everybody's.
var arrows = map[string][]string{
	"control":  {"consumer", "mapping", "sink", "schemas"},
	"consumer": {"mapping", "schemas", "sink"},
	"mapping":  {"schemas"},
	"sink":     {},
	"schemas":  {},
	"internal": {},
}

// The data path can be read from top to bottom only while the rooms import each other along these arrows.
func TestArrowsBetweenRooms(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		room := strings.Split(filepath.ToSlash(path), "/")[1]
		allowed, ruled := arrows[room]
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil || !ruled {
			return err
		}
		files++
		for _, imp := range f.Imports {
			to, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), "streamer/")
			to, _, _ = strings.Cut(to, "/")
			if ours && to != room && to != "internal" && !slices.Contains(allowed, to) {
				t.Errorf("%s: %s may not import %s (allowed: %v)", path, room, to, allowed)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("read %d files: %v", files, err)
	}
}
