package job

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"

	"streamer/internal/fault"
	"streamer/schemas"
)

// What a file's aliases may grow to. A file has at most MaxFileBytes, but ten lines of aliases of aliases make billions of values.
const (
	maxNesting   = 64
	maxNodes     = 100_000
	maxTextBytes = 4 << 20
)

var (
	jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	yamlLine   = regexp.MustCompile(`line (\d+): `)
)

// parseYAML reads the documents of a YAML text; a document that is a list holds a job per element. Empty documents are left out.
func parseYAML(src []byte) ([]document, Finding, bool) {
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var docs []document
	left := budget{nodes: maxNodes, text: maxTextBytes}
	for {
		var root yaml.Node
		err := dec.Decode(&root)
		if errors.Is(err, io.EOF) {
			return docs, Finding{}, true
		}
		if err != nil {
			return nil, yamlFinding(err), false
		}
		for _, n := range jobNodes(&root) {
			d := document{places: newPlaces(), line: n.Line}
			d.places.note("", nodePlace(n))
			c := yamlConversion{doc: &d, out: schemas.NewBuilder(), left: &left}
			if err := c.value(n, "", nodePlace(n), 0); err != nil {
				return nil, Finding{Place: c.at, Fault: fault.Fault{Path: c.path, Problem: err.Error()}}, false
			}
			d.value = c.out.Value()
			docs = append(docs, d)
		}
	}
}

// jobNodes gives the nodes of a document that are jobs.
func jobNodes(root *yaml.Node) []*yaml.Node {
	n := root
	for n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	switch {
	case n.Kind == yaml.SequenceNode:
		return n.Content
	case n.Kind == 0, n.Kind == yaml.DocumentNode, n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return nil
	}
	return []*yaml.Node{n}
}

func yamlFinding(err error) Finding {
	line := 0 // not known
	problem := yamlLine.ReplaceAllStringFunc(fault.NoYAML(err), func(at string) string {
		line, _ = strconv.Atoi(yamlLine.FindStringSubmatch(at)[1])
		return ""
	})
	return Finding{Place: Place{Line: line}, Fault: fault.Fault{Problem: problem}}
}

func nodePlace(n *yaml.Node) Place { return Place{Line: n.Line, Column: n.Column} }

// budget is what may still be made of a file.
type budget struct{ nodes, text int }

// yamlConversion makes a JSON value of one node tree, in its order.
type yamlConversion struct {
	doc  *document
	out  *schemas.Builder
	left *budget
	// path and at are where an error happened.
	path string
	at   Place
}

func (c *yamlConversion) value(n *yaml.Node, path string, at Place, depth int) error {
	c.left.nodes--
	c.left.text -= len(n.Value)
	fail := func(format string, args ...any) error {
		c.path, c.at = path, at
		return fmt.Errorf(format, args...)
	}
	switch {
	case c.left.nodes < 0 || c.left.text < 0:
		return fail("with its aliases the file grows past %d values or %d bytes of text", maxNodes, maxTextBytes)
	case depth > maxNesting:
		return fail("nested deeper than %d", maxNesting)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.value(n.Alias, path, at, depth+1)
	case yaml.SequenceNode:
		c.out.BeginArray()
		for i, e := range n.Content {
			child := element(path, i)
			c.doc.places.note(child, nodePlace(e))
			if err := c.value(e, child, nodePlace(e), depth+1); err != nil {
				return err
			}
		}
		c.out.End()
		return nil
	case yaml.MappingNode:
		members, err := c.members(n, path, depth)
		if err != nil {
			if c.at == (Place{}) {
				return fail("%w", err)
			}
			return err
		}
		c.out.BeginObject()
		for _, m := range members {
			child := member(path, m.key)
			c.doc.places.note(child, m.at)
			c.out.Key(m.key)
			if err := c.value(m.value, child, m.at, depth+1); err != nil {
				return err
			}
		}
		c.out.End()
		return nil
	case yaml.ScalarNode:
		if err := c.scalar(n); err != nil {
			return fail("%w", err)
		}
		return nil
	}
	return fail("cannot be read as a value")
}

type yamlMember struct {
	key   string
	value *yaml.Node
	at    Place
}

// members gives an object's members in order. Members of a merge key (<<) come last, and only where no own member has the name.
func (c *yamlConversion) members(n *yaml.Node, path string, depth int) ([]yamlMember, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("nested deeper than %d", maxNesting)
	}
	var own []yamlMember
	var merged []*yaml.Node
	seen := map[string]Place{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			merged = append(merged, v)
			continue
		}
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!null" {
			c.path, c.at = path, nodePlace(n.Content[i])
			return nil, errors.New("a key has to be text")
		}
		at := nodePlace(n.Content[i])
		if first, twice := seen[k.Value]; twice {
			c.doc.twice(member(path, k.Value), first, at)
			continue
		}
		seen[k.Value] = at
		c.left.text -= len(k.Value)
		own = append(own, yamlMember{key: k.Value, value: v, at: at})
	}
	for _, m := range merged {
		more, err := c.merge(m, path, depth+1)
		if err != nil {
			return nil, err
		}
		for _, e := range more {
			if _, known := seen[e.key]; !known {
				seen[e.key] = e.at
				own = append(own, e)
			}
		}
	}
	return own, nil
}

// merge gives the members that a merge key brings: of one object, or of a list of objects, the first of which wins.
func (c *yamlConversion) merge(n *yaml.Node, path string, depth int) ([]yamlMember, error) {
	c.left.nodes--
	if c.left.nodes < 0 || depth > maxNesting {
		return nil, errors.New("merge keys (<<) nested too deep")
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.merge(n.Alias, path, depth+1)
	case yaml.MappingNode:
		c.left.nodes -= len(n.Content) / 2
		return c.members(n, path, depth)
	case yaml.SequenceNode:
		var all []yamlMember
		for _, e := range n.Content {
			more, err := c.merge(e, path, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
		return all, nil
	}
	return nil, errors.New("a merge key (<<) takes an object or a list of objects")
}

// scalar writes one value. Numbers that JSON can write are kept as they stand; dates stay text, as JSON has none.
func (c *yamlConversion) scalar(n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		c.out.String(n.Value)
	case "!!null":
		c.out.Null()
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return errors.New("is no true or false") // what it is may be a password
		}
		c.out.Bool(b)
	case "!!int", "!!float":
		return c.number(n)
	default:
		return errors.New("has a YAML tag that is not known here; a text that begins with ! stands in quotes")
	}
	return nil
}

func (c *yamlConversion) number(n *yaml.Node) error {
	if jsonNumber.MatchString(n.Value) {
		c.out.Number(n.Value)
		return nil
	}
	var whole int64
	if n.ShortTag() == "!!int" && n.Decode(&whole) == nil {
		c.out.Int(whole)
		return nil
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return errors.New("is no number that JSON can write")
	}
	c.out.Float(f)
	return nil
}
