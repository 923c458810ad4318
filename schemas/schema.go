package schemas

import (
	"fmt"
	"unsafe"

	"github.com/linkedin/goavro/v2"
)

// Schema is a writer's schema. It is immutable and may be used by many goroutines; its address is its identity while the Cache keeps it.
type Schema struct {
	source  string
	json    Value
	records []*RecordType
	program *op
	// bytes is about what the Schema holds in memory.
	bytes int64
}

// JSON is the schema as written: key order and annotations kept. It cannot be changed; Hide has no effect on it.
func (s *Schema) JSON() Value { return s.json }

// Source is the schema's text as it stood in the container.
func (s *Schema) Source() string { return s.source }

// RecordTypes are the schema's records, in the order in which their definitions begin. The slice is shared: do not write to it.
func (s *Schema) RecordTypes() []*RecordType { return s.records }

// RecordType is a record of a writer's schema. Within one Schema each record is one RecordType, however often it is referred to, so
// its address is its identity.
type RecordType struct {
	// Name is the full name, namespace included.
	Name string
	// Fields stand in the order of the schema, which is the order of an Object's members.
	Fields []Field
}

// Field is a field of a RecordType.
type Field struct {
	Name string
	// Attributes is the field's JSON object as the schema has it: Attributes.Field("aetherMaskingLevel") reads an annotation.
	Attributes Value
}

const (
	// schemaBytes bounds a schema's text: compiling takes many times its size in memory, and a second of time at the bounds.
	schemaBytes = 2 * mebibyte
	// schemaNesting bounds its JSON; a record inside a record takes four levels. goavro takes time by size times nesting.
	schemaNesting = 512
	// schemaValues bounds what is in it.
	schemaValues = 500_000
)

// compileSchema reads the text of a schema, the last of sources, into a program; those before it are what it refers to, each after those
// that it refers to itself. The texts must not change afterwards.
//
// Whether they are schemas at all is goavro's to say, on a reduced copy (see appendReduced).
func compileSchema(sources []string) (*Schema, *DecodeError) {
	s := &Schema{source: sources[len(sources)-1]}
	texts := make([]Value, len(sources))
	for i, source := range sources {
		v, err := parseSchema(source)
		if err != nil {
			return nil, err
		}
		texts[i], s.json = v, v
		s.bytes += int64(len(source)) + int64(cap(v.doc.nodes))*nodeBytes + int64(cap(v.doc.text))
	}
	if err := checkSchema(reducedTogether(texts)); err != nil {
		return nil, problem("the schema is no valid Avro schema: %s", cut(err.Error()))
	}
	c := compiler{named: map[string]*op{}}
	for _, v := range texts {
		program, err := c.compile(v, "")
		if err != nil {
			return nil, problem("the schema is no valid Avro schema: %s", cut(err.Error()))
		}
		s.program = program
	}
	s.records = c.records
	s.bytes += c.bytes + int64(unsafe.Sizeof(*s))
	return s, nil
}

// parseSchema reads a schema's JSON into a Doc that is never written again.
func parseSchema(source string) (Value, *DecodeError) {
	d := &Doc{}
	limits := Limits{RecordBytes: schemaBytes, Nesting: schemaNesting, Values: schemaValues}
	if err := parseJSON(d, source, limits.withDefaults()); err != nil {
		e := problem("the schema is unusable: %s", err.Problem)
		if err.Setting != "" {
			e.Problem = fmt.Sprintf("the schema has too many %s: %d, at most %d", err.Problem, err.Found, err.Limit)
		}
		return Value{}, e
	}
	d.frozen = true
	return Value{d, 0}, nil
}

// reducedTogether gives the reduced copy of one schema; several become the fields of a record, in which later ones may name earlier ones.
func reducedTogether(texts []Value) []byte {
	if len(texts) == 1 {
		return appendReduced(nil, texts[0])
	}
	out := []byte(`{"type":"record","name":"together","fields":[`)
	for i, v := range texts {
		out = append(appendReduced(fmt.Appendf(out, `{"name":"f%d","type":`, i), v), "},"...)
	}
	return append(closed(out, ']'), '}')
}

// checkSchema asks goavro. A panic in it, on a schema that a stranger wrote, is an answer too.
func checkSchema(reduced []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it cannot be compiled: %v", r)
		}
	}()
	_, err = goavro.NewCodec(view(reduced))
	return err
}

// cut shortens a text that quotes a schema.
func cut(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
