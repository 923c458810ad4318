package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/linkedin/goavro/v2"

	"streamer/schemas"
	"streamer/schemas/schemastest"
)

func rows(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = schemastest.HouseholdRow(i)
	}
	return out
}

func decode(b *testing.B, d *schemas.Decoder, value []byte, rows int) {
	b.Helper()
	batch, err := d.Decode(value, nil)
	if err != nil || batch.Len() != rows {
		b.Fatal(err)
	}
}

// BenchmarkContainer reads a record value of 12 fields: with its schema in the cache, and with the schema compiled for every record,
// which is what the cache saves. goavro's own reader is beside them for the ratio.
func BenchmarkContainer(b *testing.B) {
	for _, codec := range []string{"null", "deflate", "snappy"} {
		for _, n := range []int{1, 250} {
			value := schemastest.Container(schemastest.Household, codec, rows(n)...)
			b.Run(fmt.Sprintf("cached/%s/rows=%d", codec, n), func(b *testing.B) {
				d := schemas.NewDecoder(schemas.Config{}, nil)
				decode(b, d, value, n)
				b.ReportAllocs()
				b.SetBytes(int64(len(value)))
				for b.Loop() {
					decode(b, d, value, n)
				}
			})
		}
	}
	value := schemastest.Container(schemastest.Household, "deflate", rows(1)...)
	b.Run("compiled for every record/deflate/rows=1", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(value)))
		for b.Loop() {
			decode(b, schemas.NewDecoder(schemas.Config{}, schemas.NewCache(0)), value, 1)
		}
	})
	b.Run("goavro/deflate/rows=1", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(value)))
		for b.Loop() {
			r, err := goavro.NewOCFReader(bytes.NewReader(value))
			if err != nil {
				b.Fatal(err)
			}
			for r.Scan() {
				if _, err := r.Read(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// BenchmarkSchemas takes turns between eight schemas, so that the Decoder's memory of the last one does not help, only the cache.
func BenchmarkSchemas(b *testing.B) {
	var values [8][]byte
	for i := range values {
		schema := bytes.Replace([]byte(schemastest.Household), []byte("What the surveyor"), fmt.Appendf(nil, "What %d", i), 1)
		values[i] = schemastest.Container(string(schema), "deflate", rows(1)...)
	}
	d := schemas.NewDecoder(schemas.Config{}, nil)
	for _, v := range values {
		decode(b, d, v, 1)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		decode(b, d, values[i%len(values)], 1)
	}
}

func BenchmarkJSON(b *testing.B) {
	text, err := json.Marshal(schemastest.HouseholdRow(1))
	if err != nil {
		b.Fatal(err)
	}
	d := schemas.NewDecoder(schemas.Config{}, nil)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			decode(b, d, text, 1)
		}
	})
	batch, err := d.Decode(text, nil)
	if err != nil {
		b.Fatal(err)
	}
	row := batch.Row(0)
	b.Run("append", func(b *testing.B) {
		var out []byte
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if out, err = row.AppendJSON(out[:0]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("four fields", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, name := range [...]string{"id", "villageID", "members", "remarks"} {
				if row.Field(name).Kind() == schemas.Absent {
					b.Fatal(name)
				}
			}
		}
	})
}

// BenchmarkFormats reads the same row of 12 fields in every format.
func BenchmarkFormats(b *testing.B) {
	row := schemastest.HouseholdRow(1)
	text, err := json.Marshal(row)
	if err != nil {
		b.Fatal(err)
	}
	config := schemas.Config{Registry: func(int) (schemas.Registered, error) { return schemas.Registered{Text: schemastest.Household}, nil }}
	header := func(name, value string) kafkaHeader { return kafkaHeader{name, []byte(value)} }
	binaryMode := &kafkaHeaders{header("ce_specversion", "1.0"), header("ce_id", "e-1"), header("ce_source", "/households"), header("ce_type", "org.eha.household.changed"),
		header("ce_subject", "1"), header("ce_time", "2026-11-29T06:00:00Z"), header("content-type", "application/json")}
	structured := fmt.Appendf(nil, `{"specversion":"1.0","id":"e-1","source":"/households","type":"org.eha.household.changed","subject":"1","time":"2026-11-29T06:00:00Z",`+
		`"datacontenttype":"application/json","data":%s}`, text)
	for _, c := range []struct {
		name    string
		value   []byte
		headers schemas.Headers
	}{
		{"json", text, nil},
		{"cloudevent binary", text, binaryMode},
		{"cloudevent structured", structured, &kafkaHeaders{header("content-type", "application/cloudevents+json")}},
		{"container null", schemastest.Container(schemastest.Household, "null", row), nil},
		{"container deflate", schemastest.Container(schemastest.Household, "deflate", row), nil},
		{"avro registry", schemastest.Framed(7, schemastest.Household, row), nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := schemas.NewDecoder(config, nil)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(c.value, c.headers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type kafkaHeader struct {
	name  string
	value []byte
}

type kafkaHeaders []kafkaHeader

func (h *kafkaHeaders) Len() int                                 { return len(*h) }
func (h *kafkaHeaders) Header(i int) (name string, value []byte) { return (*h)[i].name, (*h)[i].value }
