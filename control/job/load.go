package job

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"streamer/internal/fault"
	"streamer/schemas"
)

// fileEndings are what a directory's files must end in to be read as job files.
var fileEndings = []string{".yaml", ".yml", ".json"}

// Set is the jobs of some files, and the connections that stand among them.
type Set struct {
	// Jobs and Connections are in the order of the files and within them, broken ones included.
	Jobs        []*Definition
	Connections []*Connection
	// Broken says which files could not be read or parsed, and why. The others are not concerned.
	Broken []Finding
}

// Load reads job files. A path may be a file or a directory, of which the files ending in .yaml, .yml or .json are read, in the
// order of their names, hidden ones and sub-directories left out. The error is about a path that cannot be read at all; what is
// wrong with a file of a directory is in Set.Broken.
func Load(paths ...string) (Set, error) {
	var set Set
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return Set{}, fmt.Errorf("job files: %w", err)
		}
		if !info.IsDir() {
			set.read(path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return Set{}, fmt.Errorf("job files: %w", err)
		}
		for _, e := range entries {
			name := filepath.Join(path, e.Name())
			if strings.HasPrefix(e.Name(), ".") || !slices.Contains(fileEndings, strings.ToLower(filepath.Ext(name))) {
				continue
			}
			// A mounted configuration consists of links, so the file behind the name counts.
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				continue
			} else if err == nil && !info.Mode().IsRegular() {
				set.broken(name, errors.New("is no regular file"))
				continue
			}
			set.read(name)
		}
	}
	return set, nil
}

func (s *Set) broken(file string, err error) {
	s.Broken = append(s.Broken, Finding{File: file, Fault: fault.Fault{Problem: "cannot be read: " + reason(err)}})
}

func (s *Set) read(file string) {
	src, err := readFile(file)
	if err != nil {
		s.broken(file, err)
		return
	}
	s.Parse(file, src)
}

// Parse adds what stands in the text of a file, as ParseFile reads it. A document with a base_url, or with a name and no id, is a connection,
// unless it has a topic or url, as jobs do.
func (s *Set) Parse(name string, src []byte) {
	defs, broken := ParseFile(name, src)
	s.Broken = append(s.Broken, broken...)
	for _, d := range defs {
		if d.isConnection() {
			s.Connections = append(s.Connections, newConnection(d))
		} else {
			s.Jobs = append(s.Jobs, d)
		}
	}
}

func (d *Definition) isConnection() bool {
	has := func(field string) bool { return d.value.Field(field).Kind() != schemas.Absent }
	return (has("base_url") || has("name") && !has("id")) && !has("topic") && !has("url")
}

// readFile reads one byte more than a job file may have, so that ParseFile sees one that is too large.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
}
