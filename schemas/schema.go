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

// compileSchema reads a schema's text into a program. The text must not change afterwards.
//
// Whether it is a schema at all is goavro's to say, on a reduced copy (see appendReduced).
func compileSchema(source string) (*Schema, *DecodeError) {
	d := &Doc{}
	limits := Limits{RecordBytes: schemaBytes, Nesting: schemaNesting, Values: schemaValues}
	if err := parseJSON(d, source, limits.withDefaults()); err != nil {
		e := problem("the embedded schema is unusable: %s", err.Problem)
		if err.Setting != "" {
			e.Problem = fmt.Sprintf("the embedded schema has too many %s: %d, at most %d", err.Problem, err.Found, err.Limit)
		}
		return nil, e
	}
	d.frozen = true
	root := Value{d, 0}
	reduced := appendReduced(nil, root)
	if err := checkSchema(reduced); err != nil {
		return nil, problem("the embedded schema is no valid Avro schema: %s", cut(err.Error()))
	}
	c := compiler{named: map[string]*op{}}
	program, err := c.compile(root, "")
	if err != nil {
		return nil, problem("the embedded schema is no valid Avro schema: %s", cut(err.Error()))
	}
	s := &Schema{source: source, json: root, records: c.records, program: program}
	s.bytes = int64(len(source)) + int64(cap(d.nodes))*nodeBytes + int64(cap(d.text)) + c.bytes + int64(unsafe.Sizeof(*s))
	return s, nil
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
