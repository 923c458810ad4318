package schemas

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Rows of files that Python wrote, against what Python's reader finds in them; testdata/README.md says how they were made.
func TestRowsOfPythonsFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.rows.json")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files of rows, %v", len(files), err)
	}
	cache := NewCache(0)
	raw := NewDecoder(Config{Format: FormatAether}, cache)
	text := NewDecoder(Config{Format: FormatAuto, LogicalText: true}, cache)
	for _, file := range files {
		name, isText := strings.CutSuffix(file, ".text.rows.json")
		d := raw
		if isText {
			d = text
		} else {
			name = strings.TrimSuffix(file, ".rows.json")
		}
		expected, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".rows.json"), func(t *testing.T) {
			checkRows(t, d, name+".avro", strings.Split(strings.TrimSuffix(string(expected), "\n"), "\n"))
		})
	}
	checkRows(t, raw, "testdata/python/deflate-with-bytes-after-it.avro", readLines(t, "testdata/python/no-codec.rows.json"))
}

func readLines(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func checkRows(t *testing.T, d *Decoder, file string, expected []string) {
	t.Helper()
	if expected[0] == "" {
		expected = nil
	}
	value := readFile(t, file)
	b, err := d.Decode(value, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b.Len() != len(expected) || b.Format() != FormatAether || b.Schema() == nil {
		t.Fatalf("%d rows of %s, want %d of aether", b.Len(), b.Format(), len(expected))
	}
	for i, line := range expected {
		got, want := b.Row(i), parse(t, line)
		if !got.Equal(want) || !slices.Equal(keysOf(nil, got), keysOf(nil, want)) {
			t.Errorf("row %d: %s\nwant %s", i, jsonOf(t, got), line)
		}
		if again := parse(t, jsonOf(t, got)); !again.Equal(want) {
			t.Errorf("row %d appended and parsed again: %s", i, jsonOf(t, again))
		}
	}
}

// keysOf lists all keys in document order: Equal does not look at that.
func keysOf(keys []string, v Value) []string {
	for k, m := range v.Members() {
		keys = keysOf(append(keys, k), m)
	}
	for e := range v.Elements() {
		keys = keysOf(keys, e)
	}
	return keys
}

func readFile(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNotANumberIsAValueWithoutJSON(t *testing.T) {
	b, err := NewDecoder(Config{}, nil).Decode(readFile(t, "testdata/python/not-a-number.avro"), nil)
	if err != nil {
		t.Fatal(err)
	}
	row := b.Row(0)
	if row.Field("f").Kind() != Float32 || row.Field("d").Kind() != Float64 {
		t.Errorf("kinds %v, %v", row.Field("f").Kind(), row.Field("d").Kind())
	}
	if out, err := row.AppendJSON(nil); err == nil {
		t.Errorf("has JSON: %s", out)
	}
}

func TestSchemaIsKeptAsWritten(t *testing.T) {
	value := readFile(t, "testdata/aether/survey-form.avro")
	b, err := NewDecoder(Config{}, nil).Decode(value, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := b.Schema()
	if !strings.Contains(string(value), s.Source()) || !strings.HasPrefix(s.Source(), "{") {
		t.Errorf("Source is not the header's text: %s", s.Source())
	}
	if got, want := jsonOf(t, s.JSON()), jsonOf(t, parse(t, s.Source())); got != want {
		t.Errorf("JSON is not the text: %s", got)
	}
	masked := 0
	for _, r := range s.RecordTypes() {
		for _, f := range r.Fields {
			if _, ok := f.Attributes.Field("@aether_masking").Str(); ok {
				masked++
			}
		}
	}
	if masked == 0 {
		t.Error("no masking level found")
	}
	first := s.RecordTypes()[0]
	if b.Row(0).RecordType() != first {
		t.Error("the rows are not of the first record type")
	}
	for i, f := range first.Fields {
		if f.Name != keysAt(b.Row(0))[i] {
			t.Errorf("field %d is %s, the row's member %s", i, f.Name, keysAt(b.Row(0))[i])
		}
	}
	location := b.Row(0).Field("location")
	if rt := location.RecordType(); rt == nil || location.Clone().RecordType() != rt {
		t.Errorf("nested record has type %v", rt)
	}
	first.Fields[0].Attributes.Hide()
	if s.JSON().Field("fields").Index(0).Kind() == Absent {
		t.Error("a value of a shared schema was hidden")
	}
}

func keysAt(v Value) []string {
	var keys []string
	for k := range v.Members() {
		keys = append(keys, k)
	}
	return keys
}

// Masking keeps its plans by record type, so one record must be one type wherever it stands.
func TestARecordIsOneTypeWhereverItStands(t *testing.T) {
	b, err := NewDecoder(Config{}, nil).Decode(readFile(t, "testdata/python/names.avro"), nil)
	if err != nil {
		t.Fatal(err)
	}
	other, again := b.Row(0).Field("other").RecordType(), b.Row(0).Field("again").RecordType()
	if other == nil || other != again || other.Name != "c.Other" || other == b.Row(0).RecordType() {
		t.Errorf("types %v and %v", other, again)
	}
	var names []string
	for _, r := range b.Schema().RecordTypes() {
		names = append(names, r.Name)
	}
	if want := []string{"a.b.Root", "c.Other"}; !slices.Equal(names, want) {
		t.Errorf("records %q, want %q", names, want)
	}
}
