package schemas

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"

	"streamer/schemas/schemastest"
)

// The fingerprints are those that Avro's own tests have (share/test/data/schema-tests.txt).
func TestFingerprints(t *testing.T) {
	for text, want := range map[string]int64{
		`"null"`:              7195948357588979594,
		`{"type":"null"}`:     7195948357588979594,
		`"boolean"`:           -6970731678124411036,
		`"int"`:               8247732601305521295,
		`"long"`:              -3434872931120570953,
		`"float"`:             5583340709985441680,
		`"double"`:            -8181574048448539266,
		`"bytes"`:             5746618253357095269,
		`"string"`:            -8142146995180207161,
		`[]`:                  -1241056759729112623,
		`["int"]`:             -5232228896498058493,
		`["int" , "boolean"]`: 5392556393470105090,
	} {
		v, err := parseSchema(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := int64(Fingerprint(&Schema{json: v})); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// The canonical form has full names, and nothing that does not decide how data is read (specification 1.12).
func TestCanonicalForm(t *testing.T) {
	text := `{"doc":"x","namespace":"a.b","type":"record","name":"R","aliases":["S"],"fields":[
		{"default":null,"name":"self","type":["null","R"],"order":"ignore"},
		{"name":"e","type":{"type":"enum","symbols":["A","B"],"name":"E","namespace":"c"},"aetherMaskingLevel":"high"},
		{"name":"again","type":{"type":"array","items":"c.E"}},
		{"name":"f","type":{"type":"fixed","size":4,"name":"d.F","namespace":"ignored"}},
		{"name":"m","type":{"values":{"type":"long","logicalType":"timestamp-millis"},"type":"map"}},
		{"name":"inner","type":{"type":"record","name":"I","namespace":"","fields":[]}}]}`
	want := `{"name":"a.b.R","type":"record","fields":[{"name":"self","type":["null","a.b.R"]},` +
		`{"name":"e","type":{"name":"c.E","type":"enum","symbols":["A","B"]}},{"name":"again","type":{"type":"array","items":"c.E"}},` +
		`{"name":"f","type":{"name":"d.F","type":"fixed","size":4}},{"name":"m","type":{"type":"map","values":"long"}},` +
		`{"name":"inner","type":{"name":"I","type":"record","fields":[]}}]}`
	v, err := parseSchema(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(appendCanonical(nil, v, "")); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for _, text := range []string{RecordEvent, schemastest.Survey} { // goavro keeps {"type":"long"}, where a logical type was left out of it
		c, err := goavro.NewCodec(text)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := parseSchema(text)
		if got := Fingerprint(&Schema{json: v}); got != c.Rabin {
			t.Errorf("%x, goavro says %x: %s\n%s", got, c.Rabin, appendCanonical(nil, v, ""), c.CanonicalSchema())
		}
	}
}

// single is a datum in single-object encoding.
func single(schema string, datum ...[]byte) []byte {
	v, _ := parseSchema(schema)
	return join(append([][]byte{binary.LittleEndian.AppendUint64([]byte(singleMagic), Fingerprint(&Schema{json: v}))}, datum...)...)
}

func TestSingleObjects(t *testing.T) {
	c := Config{Schemas: []string{refName}}
	b, err := NewDecoder(c, nil).Decode(single(refName, data("Ann")), nil)
	if err != nil || b.Found() != FoundSingleObject || b.Format() != FormatAvro || jsonOf(t, b.Row(0)) != `{"given":"Ann"}` || b.Schema().Source() != refName {
		t.Fatal(b, err)
	}
	if de := decodeError(t, c, single(`"string"`, data("Ann"))); !strings.Contains(de.Error(), "no schema with the fingerprint 8f014872634503c7 is known; put the schema") {
		t.Error(de)
	}
	if de := decodeError(t, c, single(refName, data("Ann"), []byte{0})); !strings.Contains(de.Error(), "left over") || de.Byte != 14 {
		t.Error(de, de.Byte)
	}
}

// The schema of record events is known without being named, and what it holds as JSON text is part of the row.
func TestRecordEventsInAvro(t *testing.T) {
	event := `{"service_type":"records","service_method":"publish","record":{"id":"r1","n":12345678901234567890.10,"files":["a"]},"draft":null,"data":null,` +
		`"identity":{"id":7},"owner":null,"errors":[],"params":null,"old_slug":null,"slug":null,"id":"r1","time":"2026-11-29T06:00:00Z"}`
	text := func(v string) map[string]any { return map[string]any{"string": v} }
	native := map[string]any{"service_type": "records", "service_method": "publish", "record": text(`{"id":"r1","n":12345678901234567890.10,"files":["a"]}`),
		"identity": text(` {"id":7} `), "errors": text("[]"), "id": text("r1"), "time": text("2026-11-29T06:00:00Z")}
	codec, err := goavro.NewCodec(RecordEvent)
	if err != nil {
		t.Fatal(err)
	}
	written, err := codec.SingleFromNative(nil, native)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewDecoder(Config{}, nil).Decode(written, nil)
	if err != nil || b.Found() != FoundSingleObject || jsonOf(t, b.Row(0)) != event {
		t.Fatalf("%s, %v", jsonOf(t, b.Row(0)), err)
	}
	native["record"] = text(`{"id":`)
	if written, err = codec.SingleFromNative(nil, native); err != nil {
		t.Fatal(err)
	}
	if de := decodeError(t, Config{}, written); !strings.Contains(de.Error(), "a field of JSON text: no JSON") {
		t.Error(de)
	}
}

// Both schemas of a record event have the same fields.
func TestSchemasOfARecordEvent(t *testing.T) {
	var avro struct{ Fields []struct{ Name string } }
	var object struct{ Properties map[string]any }
	if json.Unmarshal([]byte(RecordEvent), &avro) != nil || json.Unmarshal([]byte(RecordEventJSON), &object) != nil {
		t.Fatal("no JSON")
	}
	if len(avro.Fields) != 13 || len(object.Properties) != 13 {
		t.Errorf("%d and %d fields, want 13", len(avro.Fields), len(object.Properties))
	}
	for _, f := range avro.Fields {
		if object.Properties[f.Name] == nil {
			t.Errorf("%s is not in the JSON Schema", f.Name)
		}
	}
}
