package schemas

import (
	"errors"
	"strings"
	"testing"

	"streamer/schemas/schemastest"
)

func TestAutoTellsFormatsApart(t *testing.T) {
	for name, c := range map[string]struct {
		value  string
		format Format
		json   string
	}{
		"container":               {string(container(`"int"`, 1, long(7))), FormatAether, `7`},
		"object":                  {` {"a": [1.0]}`, FormatJSON, `{"a":[1.0]}`},
		"list is one row":         {"\n[1,2]\n", FormatJSON, `[1,2]`},
		"object after a BOM":      {"\ufeff{}", FormatJSON, `{}`},
		"number":                  {"-1.5e3", FormatJSON, `-1.5e3`},
		"string":                  {`"a"`, FormatJSON, `"a"`},
		"true":                    {"true", FormatJSON, `true`},
		"null":                    {"null", FormatJSON, `null`},
		"text":                    {"hello, 👩", FormatBytes, `"hello, 👩"`},
		"text that begins like t": {"the end", FormatBytes, `"the end"`},
		"text like a number":      {"2024-02-29", FormatBytes, `"2024-02-29"`},
		"text like a string":      {`"open`, FormatBytes, `"\"open"`},
		"two numbers":             {"1 2", FormatBytes, `"1 2"`},
		"white space":             {" \n", FormatBytes, `" \n"`},
		"text with a BOM":         {"\ufeffa", FormatBytes, "\"\ufeffa\""},
		"one zero byte":           {"\x00", FormatBytes, `"\u0000"`},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := NewDecoder(Config{}, nil).Decode([]byte(c.value), nil)
			if err != nil {
				t.Fatal(err)
			}
			if b.Format() != c.format || b.Len() != 1 || jsonOf(t, b.Row(0)) != c.json || (b.Schema() != nil) != (c.format == FormatAether) {
				t.Errorf("%s, %d rows, %s; want %s, %s", b.Format(), b.Len(), jsonOf(t, b.Row(0)), c.format, c.json)
			}
			if b.Row(-1).Kind() != Absent || b.Row(1).Kind() != Absent {
				t.Error("there is a row that is not there")
			}
		})
	}
}

func TestValuesThatAFormatRefuses(t *testing.T) {
	framed := "\x00\x00\x00\x00\x2aplain text after the id"
	for name, c := range map[string]struct {
		format Format
		value  string
		says   string
		at     int64
	}{
		"framing under auto":            {FormatAuto, framed, "schema-registry framing (a zero byte and a schema id), and there is no schema registry; set STREAMER_SCHEMA_REGISTRY_URL", 0},
		"framing under aether":          {FormatAether, framed, "begins like schema-registry framing", 0},
		"framing under json":            {FormatJSON, framed, "use format: auto or avro", 0},
		"cut object under auto":         {FormatAuto, ` {"a":1`, "found the end; use format: bytes", 7},
		"two objects under auto":        {FormatAuto, `{}{}`, "expected the end", 2},
		"cut list after a BOM":          {FormatAuto, "\ufeff[", "expected a value, found the end", 4},
		"gzip under auto":               {FormatAuto, "\x1f\x8b\x08\x00", "begins like gzip; use format: bytes", 0},
		"UTF-16 under auto":             {FormatAuto, "\xff\xfe{\x00", "begins like UTF-16 text", 0},
		"single object under auto":      {FormatAuto, "\xc3\x01abcdefgh", "no schema with the fingerprint 6867666564636261 is known; put the schema that the value was written by into the job's schemas", -1},
		"other bytes under auto":        {FormatAuto, "\x01\xff", "unknown binary data", 0},
		"text with one wrong byte":      {FormatAuto, "some text that is long enough\xff", "begins like text", 0},
		"text under aether":             {FormatAether, "secret", "begins like text; use format: auto", 0},
		"JSON under aether":             {FormatAether, `{"secret":1}`, "begins like JSON; use format: auto", 0},
		"text under json":               {FormatJSON, "secret", "no JSON", 0},
		"container under json":          {FormatJSON, "Obj\x01", "use format: auto or aether", 0},
		"empty under auto":              {FormatAuto, "", "the value is empty", -1},
		"empty under aether":            {FormatAether, "", "the value is empty", -1},
		"empty under json":              {FormatJSON, "", "the value is empty", -1},
		"text under avro":               {FormatAvro, "secret", "no Avro with the id or the fingerprint of its schema: the value begins like text; use format: auto", 0},
		"container under avro":          {FormatAvro, "Obj\x01", "use format: auto or aether", 0},
		"half a frame under avro":       {FormatAvro, "\x00\x00\x00\x01", "no Avro with the id", 0},
		"text under cloudevent":         {FormatCloudEvent, "secret", "no JSON", 0},
		"JSON under cloudevent":         {FormatCloudEvent, `{"id":"secret","type":7}`, "no CloudEvent: it has no specversion, source, type", -1},
		"list under cloudevent":         {FormatCloudEvent, `[1]`, "no CloudEvent: a JSON list, and no object", -1},
		"magic without more under auto": {FormatAuto, "Obj\x01", "ends within an integer", 4},
	} {
		t.Run(name, func(t *testing.T) {
			de := decodeError(t, Config{Format: c.format}, []byte(c.value))
			if !strings.Contains(de.Error(), c.says) || de.Byte != c.at || strings.Contains(de.Error(), "secret") {
				t.Errorf("%v (byte %d), want %q at byte %d", de, de.Byte, c.says, c.at)
			}
		})
	}
	if _, err := NewDecoder(Config{Format: FormatBytes}, nil).Decode(nil, nil); err == nil {
		t.Error("nil is a value under bytes")
	}
}

func TestBytesTakesAnything(t *testing.T) {
	for value, want := range map[string]string{
		"":                 `""`,
		"text":             `"text"`,
		`{"a":1}`:          `"{\"a\":1}"`,
		"\xff\x00":         `"/wA="`,
		"\x00\x00\x00\x00": `"\u0000\u0000\u0000\u0000"`,
		"Obj\x01":          `"Obj\u0001"`,
	} {
		b, err := NewDecoder(Config{Format: FormatBytes}, nil).Decode([]byte(value), nil)
		if err != nil {
			t.Errorf("%q: %v", value, err)
			continue
		}
		if got := jsonOf(t, b.Row(0)); got != want || b.Len() != 1 || b.Format() != FormatBytes {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestOneDecoderReadsOneFormatAfterAnother(t *testing.T) {
	d := NewDecoder(Config{}, NewCache(0))
	for range 3 {
		for _, c := range []struct {
			value []byte
			rows  int
		}{
			{schemastest.Container(schemastest.Person, "deflate", schemastest.PersonRow(0), schemastest.PersonRow(1)), 2},
			{[]byte(`{"id":"a"}`), 1},
			{schemastest.Container(schemastest.Survey, "snappy", schemastest.SurveyRow(0)), 1},
			{[]byte("text"), 1},
			{schemastest.Container(schemastest.Survey, "null"), 0},
		} {
			b, err := d.Decode(c.value, nil)
			if err != nil || b.Len() != c.rows {
				t.Fatalf("%d rows, %v; want %d", b.Len(), err, c.rows)
			}
			for i := range b.Len() {
				isRecord := b.Row(i).RecordType() != nil
				if isRecord != (b.Format() == FormatAether) {
					t.Errorf("a row of %s has record type %v", b.Format(), b.Row(i).RecordType())
				}
			}
		}
	}
}

// A cached schema is what makes containers cheap: reading one more of them must take no memory beyond what is held.
func TestARepeatedContainerAllocatesNothing(t *testing.T) {
	d := NewDecoder(Config{}, nil)
	for _, codec := range []string{"null", "deflate", "snappy"} {
		value := schemastest.Container(schemastest.Household, codec, schemastest.HouseholdRow(1))
		decode := func() {
			if _, err := d.Decode(value, nil); err != nil {
				t.Fatal(err)
			}
		}
		decode()
		if n := testing.AllocsPerRun(100, decode); n > 0 {
			t.Errorf("%s: %v allocations for each value", codec, n)
		}
	}
}

func TestErrorTextHasPlaceLimitAndMend(t *testing.T) {
	err := error(&DecodeError{Format: FormatAether, Problem: "rows", Byte: 12, Block: 3, Row: 4, Limit: 5, Found: 6, Setting: "limits.rows", Mend: "split it"})
	want := "aether: block 3, row 4, byte 12: rows: 6 found, at most 5 allowed; raise limits.rows if that is meant; split it"
	if err.Error() != want {
		t.Errorf("%s\nwant %s", err, want)
	}
	var de *DecodeError
	if !errors.As(err, &de) {
		t.Error("no DecodeError")
	}
}
