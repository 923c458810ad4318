package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Registered is a schema as a registry has it.
type Registered struct {
	// Type is "AVRO", also when it is empty, "JSON", "PROTOBUF", or what else a registry knows.
	Type string
	// Text is the schema. References are the texts of what it refers to, each after those that it refers to itself.
	Text       string
	References []string
}

// Registry gives the schema of an id, which is the same for ever. It does not wait: an *UnavailableError says that the schema is not here
// yet; any other error that there is none, and a value with that id cannot be read.
type Registry func(id int) (Registered, error)

// UnavailableError says that a value cannot be read yet, since its schema is not here: no payload error, and no attempt.
type UnavailableError struct {
	// Cause says what is waited for.
	Cause string
	// Again is closed when it is worth trying again.
	Again <-chan struct{}
}

func (e *UnavailableError) Error() string { return e.Cause }

// kept is a schema that a Decoder has met under an id; schema is nil where it says how JSON looks.
type kept struct{ schema *Schema }

// keptMost is how many a Decoder keeps at hand. The Registry and the Cache have the others.
const keptMost = 32

const (
	// frameBytes is the length of the schema registry's framing: a zero byte, and the id as a 32-bit number, most significant byte first.
	frameBytes = 5
)

// framed says whether value begins as schema-registry framing does. Ids are small, so what follows is often valid UTF-8; but no text
// begins with a zero byte.
func framed(value []byte) bool { return len(value) >= frameBytes && value[0] == 0 }

// headerSchemaID is where newer serializers can write which schema a value is by: a one and the 16 bytes of its GUID, or a zero and its id. The
// value is the bare datum then, of which nothing could be told.
const headerSchemaID = "__value_schema_id"

// headed says whether a value's schema is named by a header, and needed: JSON is read without.
func headed(value []byte, h Headers) bool {
	for i := range headerCount(h) {
		if name, _ := h.Header(i); name == headerSchemaID {
			return len(value) == 0 || value[0] != '{' && value[0] != '['
		}
	}
	return false
}

// avro reads what has the id or the fingerprint of its Avro schema.
func (d *Decoder) avro(value []byte) (Found, *DecodeError) {
	switch {
	case isSingleObject(value):
		return d.singleObject(value)
	case !framed(value):
		e := problem("no Avro with the id or the fingerprint of its schema: the value begins like %s", kindOf(value)).atByte(0)
		e.Mend = mendFor(value, mendAuto)
		return FoundAvro, e
	}
	found, err := d.framed(value)
	if err == nil && found == FoundRegistryJSON {
		e := problem("the registry has a JSON Schema under the value's id, and no Avro")
		e.Mend = mendAuto
		return FoundAvro, e
	}
	return found, err
}

// framed reads a value with the id of its schema.
func (d *Decoder) framed(value []byte) (Found, *DecodeError) {
	id := int(binary.BigEndian.Uint32(value[1:frameBytes]))
	k, known := d.registered[id]
	if !known {
		var err *DecodeError
		if k, err = d.ask(id); err != nil {
			return FoundAvro, err
		}
	}
	if k.schema == nil {
		_, err := d.json(value[frameBytes:])
		if err != nil && err.Byte >= 0 {
			err.Byte += frameBytes
		}
		return FoundRegistryJSON, err
	}
	err := d.datum(value, frameBytes, k.schema)
	if err != nil && err.Setting == "" {
		err.Problem += fmt.Sprintf(", by the registry's schema with id %d", id)
		err.Mend = joined(err.Mend, "look whether it is the schema that the producer wrote by")
	}
	return FoundAvro, err
}

// ask gives the schema of an id that was not met lately.
func (d *Decoder) ask(id int) (kept, *DecodeError) {
	if d.config.Registry == nil {
		e := problem("the value has schema-registry framing (a zero byte and a schema id), and there is no schema registry").atByte(0)
		e.Mend = "set STREAMER_SCHEMA_REGISTRY_URL, or use format: bytes to take the value as it is"
		return kept{}, e
	}
	r, err := d.config.Registry(id)
	switch {
	case errors.As(err, &d.waits):
		return kept{}, problem("it is to be tried again")
	case err != nil:
		return kept{}, problem("the schema with id %d: %s", id, cut(err.Error()))
	}
	var k kept
	switch r.Type {
	case "", "AVRO":
		var wrong *DecodeError
		if k.schema, wrong = d.cache.together(append(r.References[:len(r.References):len(r.References)], r.Text)); wrong != nil {
			wrong.Problem = fmt.Sprintf("the schema with id %d: %s", id, wrong.Problem)
			return kept{}, wrong
		}
	case "JSON":
	default:
		e := problem("the schema with id %d is of the type %s", id, quote(r.Type))
		e.Mend = "have the producer write Avro or JSON, or use format: bytes to take the value as it is"
		return kept{}, e
	}
	if d.registered == nil || len(d.registered) >= keptMost {
		d.registered = map[int]kept{}
	}
	d.registered[id] = k
	return k, nil
}

// datum reads the one datum that follows the first skip bytes of value.
func (d *Decoder) datum(value []byte, skip int, schema *Schema) *DecodeError {
	if err := d.written(schema); err != nil {
		return err
	}
	r := datumReader{doc: &d.doc, limits: d.limits, logicalText: d.config.LogicalText, buf: value, at: skip}
	row := int32(len(d.doc.nodes))
	if err := r.read(schema.program, ""); err != nil {
		return err.atByte(r.at)
	}
	if left := len(value) - r.at; left > 0 {
		return problem("%d bytes are left over after the datum", left).atByte(r.at)
	}
	d.rows = append(d.rows, row)
	return nil
}

// written notes by which schema the value is written; all its data is by one.
func (d *Decoder) written(s *Schema) *DecodeError {
	if d.batch.schema != nil && d.batch.schema != s {
		return problem("a batch of events with data of several Avro schemas")
	}
	d.batch.schema, d.doc.types = s, s.records
	return nil
}
