package schemas

import (
	"fmt"
	"math"
	"strings"
)

// entropy draws choices out of bytes, so that a fuzzer's bytes and a seeded generator's make schemas and data alike. Past its end all
// choices are 0, the simplest.
type entropy struct{ src []byte }

func (e *entropy) byte() byte {
	if len(e.src) == 0 {
		return 0
	}
	b := e.src[0]
	e.src = e.src[1:]
	return b
}

func (e *entropy) below(n int) int { return int(e.byte()) % n }

func (e *entropy) number() int64 {
	var n uint64
	for range 1 + e.below(8) {
		n = n<<8 | uint64(e.byte())
	}
	return int64(n) >> e.below(64)
}

// typeMaker makes schemas out of maps, lists and strings, as encoding/json has them.
type typeMaker struct {
	*entropy
	named []string // complete, so that a reference to one makes no endless record
	open  []string // records being defined: referred to behind a union or a list only
	count int
}

func (m *typeMaker) name(prefix string) string {
	m.count++
	return fmt.Sprintf("%s%d", prefix, m.count)
}

func (m *typeMaker) make(depth int, behind bool) any {
	simple := []any{"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
	choice := m.below(16)
	if choice < len(simple) || depth <= 0 {
		return simple[choice%len(simple)]
	}
	switch choice {
	case 8, 9:
		return map[string]any{"type": "array", "items": m.make(depth-1, true)}
	case 10:
		return map[string]any{"type": "map", "values": m.make(depth-1, true)}
	case 11:
		name := m.name("F")
		m.named = append(m.named, name)
		return map[string]any{"type": "fixed", "name": name, "size": 1 + m.below(20)}
	case 12:
		name := m.name("E")
		m.named = append(m.named, name)
		return map[string]any{"type": "enum", "name": name, "symbols": []any{"A", "B", "string"}[:1+m.below(3)]}
	case 13:
		return m.union(depth)
	case 14:
		if len(m.open) > 0 && behind {
			return m.open[m.below(len(m.open))]
		}
		if len(m.named) > 0 {
			return m.named[m.below(len(m.named))]
		}
		return "string"
	default:
		name := m.name("R")
		m.open = append(m.open, name)
		fields := []any{}
		for range m.below(5) {
			fields = append(fields, map[string]any{"name": m.name("f"), "type": m.make(depth-1, false)})
		}
		m.open = m.open[:len(m.open)-1]
		m.named = append(m.named, name)
		return map[string]any{"type": "record", "name": name, "fields": fields}
	}
}

func (m *typeMaker) union(depth int) any {
	branches, taken := []any{"null"}, map[string]bool{"null": true}
	for range 1 + m.below(4) {
		before := len(m.named)
		b := m.make(depth-1, true)
		if _, union := b.([]any); union || taken[branchName(b)] {
			m.named = m.named[:before]
			continue
		}
		taken[branchName(b)] = true
		branches = append(branches, b)
	}
	return branches
}

// branchName is the name by which goavro wraps a union's value.
func branchName(schema any) string {
	switch s := schema.(type) {
	case string:
		return s
	case map[string]any:
		if name, ok := s["name"].(string); ok {
			return name
		}
		return s["type"].(string)
	}
	return "union"
}

// typesByName finds the definitions in a schema.
func typesByName(schema any, found map[string]any) map[string]any {
	switch s := schema.(type) {
	case []any:
		for _, b := range s {
			typesByName(b, found)
		}
	case map[string]any:
		if name, ok := s["name"].(string); ok && s["type"] != nil {
			if kind, ok := s["type"].(string); ok && (kind == "record" || kind == "enum" || kind == "fixed") {
				found[name] = s
			}
		}
		for _, key := range []string{"type", "items", "values", "fields"} {
			typesByName(s[key], found)
		}
	}
	return found
}

// dataMaker writes random data of a schema, correctly.
type dataMaker struct {
	*entropy
	types map[string]any
}

func (m *dataMaker) make(schema any, depth int) []byte {
	switch s := schema.(type) {
	case []any:
		i := m.below(len(s))
		if depth <= 0 {
			i = 0
		}
		return join(long(int64(i)), m.make(s[i], depth-1))
	case string:
		if t, ok := m.types[s]; ok {
			return m.make(t, depth)
		}
		return m.primitive(s)
	}
	s := schema.(map[string]any)
	switch s["type"] {
	case "array":
		return m.blocks(depth, func() []byte { return m.make(s["items"], depth-1) })
	case "map":
		i := 0
		return m.blocks(depth, func() []byte {
			i++ // keys are not repeated: goavro refuses that
			return join(data(fmt.Sprint(i, m.text())), m.make(s["values"], depth-1))
		})
	case "fixed":
		b := make([]byte, s["size"].(int))
		for i := range b {
			b[i] = m.byte()
		}
		return b
	case "enum":
		return long(int64(m.below(len(s["symbols"].([]any)))))
	}
	var out []byte
	for _, f := range s["fields"].([]any) {
		out = append(out, m.make(f.(map[string]any)["type"], depth-1)...)
	}
	return out
}

func (m *dataMaker) blocks(depth int, item func() []byte) []byte {
	var out []byte
	for range m.below(3) {
		count := 1 + m.below(3)
		if depth <= 0 {
			break
		}
		var items []byte
		for range count {
			items = append(items, item()...)
		}
		if m.below(2) == 0 {
			out = join(out, long(int64(count)), items)
		} else {
			out = join(out, long(int64(-count)), long(int64(len(items))), items)
		}
	}
	return append(out, 0)
}

func (m *dataMaker) text() string {
	return []string{"", "a", "é", "👩", "\"\\\n", "\xff", "string", strings.Repeat("long ", 50)}[m.below(8)]
}

func (m *dataMaker) primitive(name string) []byte {
	switch name {
	case "null":
		return nil
	case "boolean":
		return []byte{byte(m.below(2))}
	case "int":
		return long(int64(int32(m.number())))
	case "long":
		return long(m.number())
	case "float":
		return []byte{m.byte(), m.byte(), m.byte(), m.byte()}
	case "double":
		return double(math.Float64frombits(uint64(m.number())))
	default:
		return data(m.text())
	}
}
