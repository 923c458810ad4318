package schemas

import (
	"encoding/binary"
	"strings"
)

// singleMagic begins data in Avro's single-object encoding (specification 1.12): the fingerprint of the writer's schema follows, least
// significant byte first, and then the datum.
const (
	singleMagic = "\xc3\x01"
	singleBytes = len(singleMagic) + 8
)

func isSingleObject(value []byte) bool {
	return len(value) >= singleBytes && string(value[:len(singleMagic)]) == singleMagic
}

// singleObject reads a datum whose schema is that of record events, or one that the job brings along.
func (d *Decoder) singleObject(value []byte) (Found, *DecodeError) {
	print := binary.LittleEndian.Uint64(value[len(singleMagic):])
	if d.known == nil {
		d.known = fingerprinted(d.config.Schemas, d.cache)
	}
	schema := d.known[print]
	if schema == nil {
		e := problem("no schema with the fingerprint %016x is known", print)
		e.Mend = "put the schema that the value was written by into the job's schemas"
		return FoundSingleObject, e
	}
	return FoundSingleObject, d.datum(value, singleBytes, schema)
}

// fingerprinted gives the schemas of texts, and that of record events, by their fingerprints. What is no schema is left out: Validate
// has said so.
func fingerprinted(texts []string, cache *Cache) map[uint64]*Schema {
	all := make(map[uint64]*Schema, len(texts)+1)
	for _, text := range append([]string{RecordEvent}, texts...) {
		if s, err := cache.schema([]byte(text)); err == nil {
			all[Fingerprint(s)] = s
		}
	}
	return all
}

// Fingerprint gives CRC-64-AVRO of a schema's Parsing Canonical Form (specification 1.12, "Schema Fingerprints").
func Fingerprint(s *Schema) uint64 {
	print := uint64(emptyPrint)
	for _, b := range appendCanonical(nil, s.json, "") {
		print = print>>8 ^ printTable[byte(print)^b]
	}
	return print
}

const emptyPrint = 0xc15d213aa4d7a795

var printTable = func() (t [256]uint64) {
	for i := range t {
		p := uint64(i)
		for range 8 {
			p = p>>1 ^ emptyPrint&-(p&1)
		}
		t[i] = p
	}
	return t
}()

// appendCanonical appends the Parsing Canonical Form of v, a type within namespace: full names, only what decides how data is read, in a
// fixed order, no space.
func appendCanonical(dst []byte, v Value, namespace string) []byte {
	switch v.Kind() {
	case String:
		name, _ := v.Str()
		return appendString(dst, fullName(name, namespace))
	case Array:
		dst = append(dst, '[')
		for branch := range v.Elements() {
			dst = append(appendCanonical(dst, branch, namespace), ',')
		}
		return closed(dst, ']')
	case Object:
		return appendCanonicalType(dst, v, namespace)
	}
	return dst
}

func appendCanonicalType(dst []byte, v Value, namespace string) []byte {
	word, isWord := v.Field("type").Str()
	if layoutKeys[word] == nil || !isWord {
		return appendCanonical(dst, v.Field("type"), namespace) // a primitive, or a name, in its longer form
	}
	dst = append(dst, '{')
	if name, ok := v.Field("name").Str(); ok && word != "array" && word != "map" {
		if own, ok := v.Field("namespace").Str(); ok {
			namespace = own
		}
		full := fullName(name, namespace)
		namespace = full[:max(strings.LastIndexByte(full, '.'), 0)]
		dst = append(appendString(appendKey(dst, "name"), full), ',')
	}
	dst = append(appendString(appendKey(dst, "type"), word), ',')
	switch word {
	case "record":
		dst = append(appendKey(dst, "fields"), '[')
		for f := range v.Field("fields").Elements() {
			name, _ := f.Field("name").Str()
			dst = append(appendString(appendKey(append(dst, '{'), "name"), name), ',')
			t := f.Field("type")
			if inner, _ := t.Str(); layoutKeys[inner] != nil { // a definition put there by mistake
				t = f
			}
			dst = append(appendCanonical(appendKey(dst, "type"), t, namespace), "},"...)
		}
		dst = append(closed(dst, ']'), ',')
	case "enum":
		dst, _ = v.Field("symbols").AppendJSON(appendKey(dst, "symbols"))
		dst = append(dst, ',')
	case "array":
		dst = append(appendCanonical(appendKey(dst, "items"), v.Field("items"), namespace), ',')
	case "map":
		dst = append(appendCanonical(appendKey(dst, "values"), v.Field("values"), namespace), ',')
	case "fixed":
		dst, _ = v.Field("size").AppendJSON(appendKey(dst, "size"))
		dst = append(dst, ',')
	}
	return closed(dst, '}')
}

// fullName puts the namespace before a name that has none of its own; the names of primitive types have none.
func fullName(name, namespace string) string {
	if _, primitive := primitives[name]; primitive || namespace == "" || strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}
