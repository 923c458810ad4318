package job

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"streamer/consumer"
	"streamer/internal/fault"
)

// fileEndings are what a directory's files must end in to be read as job files.
var fileEndings = []string{".yaml", ".yml", ".json"}

// Set is the jobs of some files.
type Set struct {
	// Jobs are in the order of the files and within them, broken ones included.
	Jobs []*Definition
	// Broken says which files could not be read or parsed, and why. The jobs of the others are not concerned.
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
	defs, broken := ParseFile(file, src)
	s.Jobs = append(s.Jobs, defs...)
	s.Broken = append(s.Broken, broken...)
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

// Compiled is a job with what became of it.
type Compiled struct {
	*Definition
	// Config is only to be used when Faults has no error.
	Config consumer.Config
	Faults fault.List
}

// PlainID is what the ids of two jobs must not have in common: Kafka takes . and _ in the names of topics for the same in its metrics, and so
// do we.
func PlainID(id string) string { return strings.ReplaceAll(id, ".", "_") }

// Compile compiles every job, and refuses an id or a group that two of them share.
func (s Set) Compile(p Process) []Compiled {
	all := make([]Compiled, len(s.Jobs))
	for i, d := range s.Jobs {
		cfg, faults := d.Compile(p)
		all[i] = Compiled{Definition: d, Config: cfg, Faults: faults}
	}
	plain := func(c Compiled) string { return PlainID(c.ID) }
	shared(all, plain, func(c *Compiled, other *Compiled) {
		c.Faults.Add("id", fmt.Sprintf("job %q stands in %s:%d too, as %q", c.ID, other.File, other.places.find("id").Line, other.ID),
			"ids must differ by more than . and _")
	})
	group := func(c Compiled) string {
		if c.Faults.Err() != nil {
			return ""
		}
		return c.Config.Group
	}
	shared(all, group, func(c *Compiled, other *Compiled) {
		c.Faults.Add("group", fmt.Sprintf("group %q is that of job %q in %s too", c.Config.Group, other.ID, other.File),
			"a group belongs to one job")
	})
	return all
}

// shared calls tell for every job whose name by of is also another's, with the first such other; an empty name is nobody's.
func shared(all []Compiled, of func(Compiled) string, tell func(c, other *Compiled)) {
	byName := map[string][]*Compiled{}
	for i := range all {
		if name := of(all[i]); name != "" {
			byName[name] = append(byName[name], &all[i])
		}
	}
	for _, same := range byName {
		for i, c := range same {
			if i > 0 {
				tell(c, same[0])
			} else if len(same) > 1 {
				tell(c, same[1])
			}
		}
	}
}
