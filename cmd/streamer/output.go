package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

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
	if f != asYAML {
		return indented(w, v)
	}
	var buf bytes.Buffer
	if err := indented(&buf, v); err != nil {
		return err
	}
	root, err := yamlOf(&buf)
	if err != nil {
		return err
	}
	buf.Reset()
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return err
	}
	_, err = w.Write(buf.Bytes())
	return err
}

// indented writes v in one piece, or nothing of it.
func indented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// yamlOf makes the node of a JSON text, keys in their order and numbers as they are written.
func yamlOf(r io.Reader) (*yaml.Node, error) {
	dec := json.NewDecoder(r)
	dec.UseNumber()
	return yamlValue(dec)
}

func yamlValue(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if v == '[' {
			n.Kind = yaml.SequenceNode
		}
		for dec.More() { // of an object keys and values follow each other, as in the node
			child, err := yamlValue(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := dec.Token()
		return n, err
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}, nil
	case string:
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v}
		if awkward(v) {
			n.Style = yaml.DoubleQuotedStyle
		}
		return n, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// awkward tells whether the encoder would write a text so that it reads as another one: as the merge of another object, or with its ends of
// lines changed.
func awkward(text string) bool {
	return text == "<<" || text == "=" || strings.ContainsAny(text, "\u0085\u2028\u2029\r")
}
