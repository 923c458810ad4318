package schemas

import (
	"errors"
	"strings"
	"testing"

	"streamer/schemas/schemastest"
)

const (
	refName  = `{"type":"record","name":"Name","namespace":"org.people","fields":[{"name":"given","type":"string"}]}`
	refPlace = `{"type":"record","name":"Place","namespace":"org.places","fields":[{"name":"owner","type":["null","org.people.Name"]}]}`
	refRoot  = `{"type":"record","name":"Trip","fields":[{"name":"to","type":"org.places.Place"},{"name":"who","type":{"type":"array","items":"org.people.Name"}}]}`
)

var again = make(chan struct{})

// testRegistry has what the tests ask for.
func testRegistry(id int) (Registered, error) {
	switch id {
	case 7:
		return Registered{Text: `"string"`}, nil
	case 8:
		return Registered{Type: "AVRO", Text: `"bytes"`}, nil
	case 9:
		return Registered{Type: "JSON", Text: `{"type":"object"}`}, nil
	case 10:
		return Registered{Type: "PROTOBUF", Text: `syntax = "proto3";`}, nil
	case 11:
		return Registered{Text: refRoot, References: []string{refName, refPlace}}, nil
	case 12:
		return Registered{Text: `["org.people.Name","org.places.Place"]`, References: []string{refName, refPlace}}, nil
	case 13:
		return Registered{Text: refRoot, References: []string{refPlace}}, nil
	case 14:
		return Registered{Text: schemastest.Household}, nil
	case 15:
		return Registered{Text: `{"type":"recor`}, nil
	case 99:
		return Registered{}, &UnavailableError{Cause: "the registry is away", Again: again}
	}
	return Registered{}, errors.New("the registry knows none")
}

// framedBy is datum behind the id of a schema.
func framedBy(id byte, datum ...[]byte) []byte {
	return join(append([][]byte{{0, 0, 0, 0, id}}, datum...)...)
}

func TestRegistryFraming(t *testing.T) {
	for name, c := range map[string]struct {
		value  []byte
		found  Found
		row    string
		schema string
	}{
		"text":              {framedBy(7, data("a")), FoundAvro, `"a"`, `"string"`},
		"JSON":              {framedBy(9, []byte(`{"a":1}`)), FoundRegistryJSON, `{"a":1}`, ``},
		"references":        {framedBy(11, long(1), data("Ann"), long(1), data("Bob"), long(0)), FoundAvro, `{"to":{"owner":{"given":"Ann"}},"who":[{"given":"Bob"}]}`, refRoot},
		"a union of others": {framedBy(12, long(1), long(0)), FoundAvro, `{"owner":null}`, `["org.people.Name","org.places.Place"]`},
	} {
		t.Run(name, func(t *testing.T) {
			d := NewDecoder(Config{Registry: testRegistry}, nil)
			for range 2 {
				b, err := d.Decode(c.value, nil)
				if err != nil {
					t.Fatal(err)
				}
				if b.Found() != c.found || b.Len() != 1 || jsonOf(t, b.Row(0)) != c.row || (b.Schema() == nil) != (c.schema == "") || c.schema != "" && b.Schema().Source() != c.schema {
					t.Errorf("%s %s, want %s %s", b.Found(), jsonOf(t, b.Row(0)), c.found, c.row)
				}
			}
		})
	}
}

func TestRegistryFramingThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		format Format
		value  []byte
		says   string
		at     int64
	}{
		"unknown id":             {FormatAuto, framedBy(200, data("a")), "the schema with id 200: the registry knows none", -1},
		"Protobuf":               {FormatAvro, framedBy(10, data("a")), `the schema with id 10 is of the type "PROTOBUF"; have the producer write Avro or JSON`, -1},
		"JSON, asked for Avro":   {FormatAvro, framedBy(9, []byte(`{}`)), "the registry has a JSON Schema under the value's id, and no Avro; use format: auto", -1},
		"no JSON":                {FormatAuto, framedBy(9, []byte(`{"a`)), "no JSON", 8},
		"cut":                    {FormatAuto, framedBy(7, []byte{8, 'a'}), "a string of 4 bytes begins where 1 bytes are left", 6},
		"more than a datum":      {FormatAuto, framedBy(7, data("a"), []byte{0}), "1 bytes are left over after the datum, by the registry's schema with id 7; look whether it is the schema that the producer wrote by", 7},
		"a reference is missing": {FormatAuto, framedBy(13, long(0), long(0)), "the schema with id 13: the schema is no valid Avro schema", -1},
		"no schema":              {FormatAuto, framedBy(15), "the schema with id 15: the schema is unusable", -1},
	} {
		t.Run(name, func(t *testing.T) {
			de := decodeError(t, Config{Format: c.format, Registry: testRegistry}, c.value)
			if !strings.Contains(de.Error(), c.says) || de.Byte != c.at || de.Format != FormatAvro && de.Format != FormatJSON {
				t.Errorf("%v (byte %d), want %q (%d)", de, de.Byte, c.says, c.at)
			}
		})
	}
}

// While a registry is away nothing is wrong with a value: it is to be tried again, and other values go on.
func TestASchemaThatIsNotHereYet(t *testing.T) {
	d := NewDecoder(Config{Registry: testRegistry}, nil)
	b, err := d.Decode(framedBy(99, data("a")), nil)
	var wait *UnavailableError
	if !errors.As(err, &wait) || b != nil || wait.Cause != "the registry is away" || wait.Again != again {
		t.Fatalf("%v, %v", b, err)
	}
	if b, err := d.Decode(framedBy(7, data("a")), nil); err != nil || jsonOf(t, b.Row(0)) != `"a"` {
		t.Errorf("%v, %v", b, err)
	}
	_, err = d.Decode(framedBy(200), nil)
	var de *DecodeError
	if !errors.As(err, &de) {
		t.Errorf("%v", err)
	}
}

// Rows of framed data and of a container are the same, value by value.
func TestFramedRowsAreAContainersRows(t *testing.T) {
	d := NewDecoder(Config{Registry: testRegistry}, nil)
	for i := range 20 {
		row := schemastest.HouseholdRow(i)
		b, err := d.Decode(schemastest.Framed(14, schemastest.Household, row), nil)
		if err != nil {
			t.Fatal(err)
		}
		framed := b.Row(0).Clone()
		if b, err = d.Decode(schemastest.Container(schemastest.Household, "deflate", row), nil); err != nil || !b.Row(0).Equal(framed) || jsonOf(t, b.Row(0)) != jsonOf(t, framed) {
			t.Errorf("row %d: %s, %s", i, jsonOf(t, framed), jsonOf(t, b.Row(0)))
		}
	}
	value := schemastest.Framed(14, schemastest.Household, schemastest.HouseholdRow(1))
	if n := testing.AllocsPerRun(100, func() { _, _ = d.Decode(value, nil) }); n > 0 {
		t.Errorf("%v allocations for each value", n)
	}
}

// A Decoder meets more ids than it keeps at hand.
func TestManyIDs(t *testing.T) {
	asked := 0
	d := NewDecoder(Config{Registry: func(int) (Registered, error) {
		asked++
		return Registered{Text: `"string"`}, nil
	}}, nil)
	for id := range byte(2*keptMost + 1) {
		for range 2 {
			if b, err := d.Decode(framedBy(id, data("a")), nil); err != nil || jsonOf(t, b.Row(0)) != `"a"` {
				t.Fatal(err)
			}
		}
	}
	if asked != 2*keptMost+1 || len(d.registered) > keptMost {
		t.Errorf("asked %d times, %d at hand", asked, len(d.registered))
	}
}

// FuzzFramed: any bytes behind an id give a row, or an error.
func FuzzFramed(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x0b\x02\x06Ann\x02\x06Bob\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x09{}"))
	f.Add([]byte("\xc3\x01\x00\x00\x00\x00\x00\x00\x00\x00abc"))
	f.Fuzz(func(t *testing.T, value []byte) {
		b, err := NewDecoder(Config{Format: FormatAvro, Registry: testRegistry, Schemas: []string{refName}, Limits: Limits{Values: 5000}}, nil).Decode(value, nil)
		var de *DecodeError
		var wait *UnavailableError
		switch {
		case err != nil && !errors.As(err, &de) && !errors.As(err, &wait):
			t.Fatalf("error %v", err)
		case err == nil && b.Len() != 1:
			t.Fatalf("%d rows", b.Len())
		}
	})
}

// A value whose schema is named by a header is a bare datum: nothing of it is guessed. JSON is read without its schema.
func TestASchemaThatAHeaderNames(t *testing.T) {
	h := &fixedHeaders{{headerSchemaID, []byte("\x01" + strings.Repeat("g", 16))}}
	for name, value := range map[string][]byte{"text by its bytes": data("abc"), "framing by its bytes": framedBy(7, data("a"))} {
		for _, format := range []Format{FormatAuto, FormatAvro} {
			_, err := NewDecoder(Config{Format: format, Registry: testRegistry}, nil).Decode(value, h)
			if err == nil || !strings.Contains(err.Error(), headerSchemaID) || !strings.Contains(err.Error(), "PrefixSchemaIdSerializer") {
				t.Errorf("%s, %s: %v", name, format, err)
			}
		}
	}
	b, err := NewDecoder(Config{}, nil).Decode([]byte(`{"a": 1}`), h)
	if err != nil || b.Len() != 1 || b.Found() != FoundJSON {
		t.Errorf("JSON: %v", err)
	}
	if b, err := NewDecoder(Config{Format: FormatBytes}, nil).Decode(data("abc"), h); err != nil || b.Len() != 1 {
		t.Errorf("bytes: %v", err)
	}
}
