package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"streamer/internal/fault"
	"streamer/schemas"
)

// MaxFileBytes bounds a job file.
const MaxFileBytes = 1 << 20

// document is one job as it stands in a file: its value, where each part of it stands, and what was wrong with the text.
type document struct {
	value  schemas.Value
	places *places
	line   int
	faults fault.List
}

// twice notes that a key stands twice in its object; which of the two is meant nobody can tell.
func (d *document) twice(path string, first, second Place) {
	d.faults.Add(path, fmt.Sprintf("stands twice, in line %d and line %d", first.Line, second.Line), "keep one of them")
}

// Misread gives what is wrong with the text itself, such as keys that stand twice, which a value does not show: Canonical knows nothing of
// it. Compile and Admit have these faults among theirs.
func (d *Definition) Misread() fault.List { return slices.Clone(d.faults) }

// ParseFile reads the jobs of one file. YAML may hold several documents and lists of jobs, JSON one job or a list of jobs; a text
// is read as JSON when the name ends in .json or when it is a JSON object or list, as YAML otherwise. name is only told in
// findings. Key order, numbers and surrogate pairs are kept exactly. A text that cannot be read, is larger than MaxFileBytes or
// grows without bound by its aliases gives findings and no definition; faults within a job wait for Compile.
func ParseFile(name string, src []byte) ([]*Definition, []Finding) {
	refuse := func(f Finding) ([]*Definition, []Finding) {
		f.File = name
		return nil, []Finding{f}
	}
	if len(src) > MaxFileBytes {
		return refuse(Finding{Fault: fault.Fault{
			Problem: fmt.Sprintf("larger than %d bytes, the limit of a job file", MaxFileBytes),
			Mend:    "put jobs into several files"}})
	}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(src) {
		return refuse(Finding{Fault: fault.Fault{Problem: "no UTF-8 text"}})
	}
	parse := parseYAML
	if looksLikeJSON(name, src) {
		parse = parseJSON
	}
	docs, broken, ok := parse(src)
	if !ok {
		return refuse(broken)
	}
	if len(docs) == 0 {
		return refuse(Finding{Fault: fault.Fault{Problem: "holds no job"}})
	}
	defs := make([]*Definition, len(docs))
	for i, d := range docs {
		defs[i] = newDefinition(name, d)
	}
	return defs, nil
}

func looksLikeJSON(name string, src []byte) bool {
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return true
	}
	text := bytes.TrimLeft(src, " \t\r\n")
	return len(text) > 0 && (text[0] == '{' || text[0] == '[') && json.Valid(src)
}
