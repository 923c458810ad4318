package schemas

import (
	"encoding/binary"
	"math"
	"slices"
)

// Avro's binary encoding by hand, to write what a proper writer would not.

func long(n int64) []byte { return binary.AppendVarint(nil, n) }

func data(s string) []byte { return append(long(int64(len(s))), s...) }

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func double(f float64) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)) }

var testSync = []byte("0123456789abcdef")

// header is a container's header; codec "" leaves the entry out.
func header(schema, codec string) []byte {
	entries := join(long(1), data("avro.schema"), data(schema))
	if codec != "" {
		entries = join(long(2), data("avro.codec"), data(codec), data("avro.schema"), data(schema))
	}
	return join([]byte(magic), entries, long(0), testSync)
}

func block(count int64, content []byte) []byte {
	return join(long(count), long(int64(len(content))), content, testSync)
}

// container is a container with one block of the null codec.
func container(schema string, count int64, content ...[]byte) []byte {
	return join(header(schema, ""), block(count, join(content...)))
}
