package schemas

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

// Schema is a writer's schema. It is immutable and may be used by many goroutines; its address is its identity while the Cache keeps it.
type Schema struct {
	source  string
	json    Value
	records []*RecordType
}

// JSON is the schema as written: key order and annotations kept. It cannot be changed; Hide has no effect on it.
func (s *Schema) JSON() Value { return s.json }

// Source is the schema's text as it stood in the container.
func (s *Schema) Source() string { return s.source }

// RecordTypes are the schema's records, in the order in which their definitions begin. The slice is shared: do not write to it.
func (s *Schema) RecordTypes() []*RecordType { return s.records }
