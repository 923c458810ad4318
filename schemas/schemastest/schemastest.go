// Package schemastest writes record values as Aether's producers do, for tests, benchmarks and the demo.
package schemastest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/linkedin/goavro/v2"
)

// marker is the sync marker of every container written here: with it the same rows give the same bytes.
var marker = [16]byte{0: 0x5c, 5: 0x07, 10: 0x3e, 15: 0xa1}

var codecs sync.Map // schema text to *goavro.Codec

// Container writes rows as one Avro object container file, by goavro. codec is "null", "deflate" or "snappy". A row is what
// encoding/json can marshal, as plain JSON: a union's value stands there as it is. It panics when rows do not fit the schema, which is
// the caller's mistake. Safe for concurrent use; the schema is compiled once.
func Container(schema, codec string, rows ...any) []byte {
	var out bytes.Buffer
	c := compiled(schema)
	w, err := goavro.NewOCFWriter(goavro.OCFConfig{W: &out, Codec: c, CompressionName: codec, SyncMarker: marker})
	if err != nil {
		panic(fmt.Sprintf("schemastest: %v", err))
	}
	natives := make([]any, len(rows))
	for i, row := range rows {
		text, err := json.Marshal(row)
		if err == nil {
			natives[i], _, err = c.NativeFromTextual(text)
		}
		if err != nil {
			panic(fmt.Sprintf("schemastest: row %d: %v", i, err))
		}
	}
	if len(rows) > 0 {
		if err := w.Append(natives); err != nil {
			panic(fmt.Sprintf("schemastest: %v", err))
		}
	}
	return out.Bytes()
}

func compiled(schema string) *goavro.Codec {
	if c, ok := codecs.Load(schema); ok {
		return c.(*goavro.Codec)
	}
	c, err := goavro.NewCodecForStandardJSONFull(schema)
	if err != nil {
		panic(fmt.Sprintf("schemastest: %v", err))
	}
	codecs.Store(schema, c)
	return c
}

// Framed writes a row as one datum behind the id of its schema in a registry. It panics when the row does not fit, as Container does.
func Framed(id uint32, schema string, row any) []byte {
	c := compiled(schema)
	text, err := json.Marshal(row)
	if err != nil {
		panic(fmt.Sprintf("schemastest: %v", err))
	}
	native, _, err := c.NativeFromTextual(text)
	if err == nil {
		text, err = c.BinaryFromNative(binary.BigEndian.AppendUint32([]byte{0}, id), native)
	}
	if err != nil {
		panic(fmt.Sprintf("schemastest: %v", err))
	}
	return text
}
