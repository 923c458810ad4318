package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// format is the value of -o.
type format string

const (
	asText format = "text"
	asJSON format = "json"
	asYAML format = "yaml"
)

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "text|json|yaml" }

// Set implements pflag.Value.
func (f *format) Set(v string) error {
	switch format(v) {
	case asText, asJSON, asYAML:
		*f = format(v)
		return nil
	}
	return fmt.Errorf("write text, json or yaml")
}

// outputFlag adds -o to a command.
func outputFlag(c *cobra.Command) *format {
	f := asText
	c.Flags().VarP(&f, "output", "o", "output format")
	words := cobra.FixedCompletions([]cobra.Completion{string(asText), string(asJSON), string(asYAML)}, cobra.ShellCompDirectiveNoFileComp)
	if err := c.RegisterFlagCompletionFunc("output", words); err != nil {
		panic(err) // the flag was just added
	}
	return &f
}

// write prints v as JSON or YAML. Both have the same fields in the same order, since YAML is made of the JSON.
func (f format) write(w io.Writer, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	if f == asYAML {
		var root yaml.Node
		if err := yaml.Unmarshal(buf.Bytes(), &root); err != nil {
			return err
		}
		plain(&root)
		buf.Reset()
		enc := yaml.NewEncoder(&buf)
		enc.SetIndent(2)
		if err := enc.Encode(&root); err != nil {
			return err
		}
	}
	_, err := w.Write(buf.Bytes())
	return err
}

// plain takes JSON's brackets and quotes away; the encoder puts quotes back where a text needs them.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}
