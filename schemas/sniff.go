package schemas

import "bytes"

// signatures name what a value may be that is sent to a topic by mistake.
var signatures = []struct{ prefix, kind string }{
	{magic, "an Avro object container file"},
	{"Obj", "an Avro container file of another version"},
	{"\xc3\x01", "an Avro single object"},
	{"\x1f\x8b", "gzip"},
	{"\x28\xb5\x2f\xfd", "zstandard"},
	{"\x04\x22\x4d\x18", "lz4"},
	{"BZh", "bzip2"},
	{"PK\x03\x04", "a zip file"},
	{"PAR1", "a Parquet file"},
	{"\xac\xed", "a serialized Java object"},
	{"\xff\xfe", "UTF-16 text"},
	{"\xfe\xff", "UTF-16 text"},
	{byteOrderMark + "{", "JSON"},
	{"{", "JSON"},
	{"[", "JSON"},
}

// kindOf says in words what the value begins like; never a byte of it.
func kindOf(value []byte) string {
	if framed(value) {
		return "schema-registry framing"
	}
	for _, s := range signatures {
		if bytes.HasPrefix(value, []byte(s.prefix)) {
			return s.kind
		}
	}
	for _, c := range value[:min(len(value), 16)] {
		if c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c >= 0x80 {
			return "unknown binary data"
		}
	}
	return "text"
}

// mendAuto is the advice for a value that another format may take.
const mendAuto = "use format: auto"

// mendFor gives the advice for what was found, or the given one.
func mendFor(value []byte, otherwise string) string {
	switch {
	case framed(value), isSingleObject(value):
		return "use format: auto or avro"
	case isContainer(value):
		return "use format: auto or aether"
	}
	return otherwise
}

// joined puts a second advice behind a first one.
func joined(first, second string) string {
	if first == "" {
		return second
	}
	return first + "; or " + second
}
