package main

import (
	"bytes"
	"fmt"
	"os"
)

// Between these lines a document has the figures of a run.
const (
	figuresBegin = "<!-- figures: written by go run ./bench -into -->\n"
	figuresEnd   = "<!-- end of the figures -->\n"
)

// document puts the report's text into a document, in the place of what stands between its marks. The file is written only if it has
// them.
func (r *report) document(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(text, []byte(figuresBegin))
	_, tail, ended := bytes.Cut(rest, []byte(figuresEnd))
	if !ok || !ended {
		return fmt.Errorf("%s has no place for figures: it lies between the lines %q and %q", path, figuresBegin, figuresEnd)
	}
	var out bytes.Buffer
	out.Write(head)
	out.WriteString(figuresBegin + "\n```text\n")
	if err := r.write(&out, "text"); err != nil {
		return err
	}
	out.WriteString("```\n\n" + figuresEnd)
	out.Write(tail)
	return os.WriteFile(path, out.Bytes(), 0o644)
}
