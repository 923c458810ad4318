package schemas

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"

	"streamer/schemas/schemastest"
)

func deflate(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// decodeError decodes what must not decode.
func decodeError(t *testing.T, c Config, value []byte) *DecodeError {
	t.Helper()
	b, err := NewDecoder(c, nil).Decode(value, nil)
	var de *DecodeError
	if !errors.As(err, &de) || b != nil {
		t.Fatalf("batch %v, error %v; want a DecodeError alone", b != nil, err)
	}
	return de
}

func TestDamagedContainersGiveNoRows(t *testing.T) {
	row := data("x")
	good := container(`"string"`, 1, row)
	packed := snappy.Encode(nil, row)
	for name, c := range map[string]struct {
		value []byte
		says  string
		block int
	}{
		"no schema":                  {join([]byte(magic), long(1), data("avro.codec"), data("null"), long(0), testSync), "no avro.schema", -1},
		"schema that is no JSON":     {header(`{"type":`, ""), "schema is unusable", -1},
		"schema of no known type":    {header(`"strin"`, ""), "no valid Avro schema", -1},
		"schema that is a number":    {header(`5`, ""), "no valid Avro schema", -1},
		"unknown codec":              {header(`"string"`, "zstandard"), `codec is "zstandard"; write it with null, deflate or snappy`, -1},
		"empty codec":                {join([]byte(magic), long(1), data("avro.codec"), data(""), long(0), testSync), "avro.codec is empty", -1},
		"header count out of range":  {join([]byte(magic), long(math.MinInt64)), "out of range", -1},
		"header entry too long":      {join([]byte(magic), long(1), long(math.MaxInt64)), "bytes are left", -1},
		"header entry negative":      {join([]byte(magic), long(1), long(-5)), "length -5", -1},
		"integer of 80 bits":         {join([]byte(magic), bytes.Repeat([]byte{0xff}, 11), []byte{1}), "more than 64 bits", -1},
		"negative rows":              {container(`"string"`, -1, row), "announces -1 rows", 0},
		"negative block size":        {join(header(`"string"`, ""), long(1), long(-1)), "length -1", 0},
		"block past the end":         {join(header(`"string"`, ""), long(1), long(99), row), "bytes are left", 0},
		"other sync marker":          {join(good[:len(good)-1], []byte("X")), "sync marker after the block", 0},
		"bad later block":            {join(good, block(1, long(77))), "bytes are left", 1},
		"good, then rubbish":         {join(good, []byte("rubbish that is no block")), "", 1},
		"fewer rows than bytes":      {container(`"string"`, 1, row, row), "2 bytes are left over after the block's 1 rows", 0},
		"rows missing":               {container(`"string"`, 2, row), "ends within an integer", 0},
		"more rows than bytes":       {container(`"string"`, 5, row), "5 rows in 2 bytes", 0},
		"no rows but bytes":          {container(`"string"`, 0, row), "2 bytes are left over", 0},
		"string past the block":      {container(`"string"`, 1, long(5), []byte("abc")), "string of 5 bytes begins where 3", 0},
		"string of negative length":  {container(`"string"`, 1, long(-1)), "length -1", 0},
		"bytes of 8 EiB":             {container(`"bytes"`, 1, long(math.MaxInt64)), "bytes are left", 0},
		"fixed larger than all":      {container(`{"type":"fixed","name":"F","size":2147483647}`, 1, row), "1 rows in 2 bytes", 0},
		"int of 33 bits":             {container(`"int"`, 1, long(1<<32)), "more than 32 bits", 0},
		"boolean of 2":               {container(`"boolean"`, 1, []byte{2}), "neither 0 nor 1", 0},
		"union branch 2 of 2":        {container(`["null","int"]`, 1, long(2)), "branch is 2", 0},
		"union branch -1":            {container(`["null","int"]`, 1, long(-1)), "branch is -1", 0},
		"enum symbol 1 of 1":         {container(`{"type":"enum","name":"E","symbols":["A"]}`, 1, long(1)), "index is 1", 0},
		"array of 8 EiB":             {container(`{"type":"array","items":"int"}`, 1, long(math.MaxInt64)), "items are announced", 0},
		"array count out of range":   {container(`{"type":"array","items":"int"}`, 1, long(math.MinInt64), long(1)), "out of range", 0},
		"map of 8 EiB":               {container(`{"type":"map","values":"null"}`, 1, long(math.MinInt64+1), long(0)), "items are announced", 0},
		"float cut":                  {container(`{"type":"record","name":"R","fields":[{"name":"a","type":["null","double"]}]}`, 1, long(1), []byte{1, 2, 3}), "double of 8 bytes", 0},
		"deflate damaged":            {join(header(`"string"`, "deflate"), block(1, []byte{0xff, 0xff, 0xff})), "deflate data", 0},
		"deflate cut":                {join(header(`"string"`, "deflate"), block(1, deflate(t, row)[:2])), "deflate data", 0},
		"deflate empty":              {join(header(`"string"`, "deflate"), block(1, nil)), "deflate data ends early", 0},
		"snappy too short":           {join(header(`"string"`, "snappy"), block(1, []byte{1, 2})), "too short", 0},
		"snappy damaged":             {join(header(`"string"`, "snappy"), block(1, []byte{2, 0xff, 0xff, 0, 0, 0, 0})), "snappy data is damaged", 0},
		"snappy that claims 1 GiB":   {join(header(`"string"`, "snappy"), block(1, []byte{0x80, 0x80, 0x80, 0x80, 4, 0, 0, 0, 0})), "snappy data is damaged", 0},
		"snappy with a wrong CRC-32": {join(header(`"string"`, "snappy"), block(1, join(packed, []byte{1, 2, 3, 4}))), "CRC-32", 0},
	} {
		t.Run(name, func(t *testing.T) {
			de := decodeError(t, Config{}, c.value)
			if !strings.Contains(de.Error(), c.says) || de.Block != c.block || de.Format != FormatAether {
				t.Errorf("%v (block %d), want %q in block %d", de, de.Block, c.says, c.block)
			}
		})
	}
}

// A value cut anywhere is an error, but where a block ends: the format cannot tell that from a file with fewer blocks.
func TestEveryPrefixOfAContainer(t *testing.T) {
	files, _ := filepath.Glob("testdata/python/*.avro")
	if len(files) < 15 {
		t.Fatalf("%d files", len(files))
	}
	d := NewDecoder(Config{Format: FormatAether}, nil)
	for _, file := range files {
		value := readFile(t, file)
		whole, err := d.Decode(value, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		rows, good := whole.Len(), 0
		for n := range value {
			if len(value) > 2000 && n%16 != 0 && !bytes.HasSuffix(value[:n], value[len(value)-syncBytes:]) {
				continue // a large one: where blocks end, and here and there
			}
			b, err := d.Decode(value[:n:n], nil)
			if err != nil {
				continue
			}
			good++
			if sync := value[n-syncBytes : n]; b.Len() > rows || bytes.Count(value[:n], sync) < 1 {
				t.Errorf("%s cut at %d gives %d rows", file, n, b.Len())
			}
		}
		if blocks := bytes.Count(value, value[len(value)-syncBytes:]); good != blocks-1 {
			t.Errorf("%s: %d prefixes are good, %d blocks", file, good, blocks-1)
		}
	}
}

func TestLimitsHoldBeforeMemoryIsTaken(t *testing.T) {
	zeros := deflate(t, make([]byte, 8<<20))
	four := block(1, deflate(t, join(long(4<<20), make([]byte, 4<<20))))
	nulls := `{"type":"array","items":"null"}`
	self := `{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}`
	tree := `{"type":"record","name":"T","fields":[{"name":"t","type":["null","T"]}]}`
	double := func(levels int) string { // 2^levels values from nothing
		s := `"null"`
		for i := range levels {
			s = fmt.Sprintf(`{"type":"record","name":"D%d","fields":[{"name":"a","type":%s},{"name":"b","type":"%s"}]}`, i, s, lastName(i))
		}
		return s
	}
	wide := strings.Repeat("w", 10_000)
	for name, c := range map[string]struct {
		value   []byte
		l       Limits
		setting string
		limit   int64
	}{
		"record bytes":           {make([]byte, 100<<20), Limits{}, "limits.record_bytes", 16 << 20},
		"deflate bomb":           {join(header(`"bytes"`, "deflate"), block(1, zeros)), Limits{InflatedBytes: 1 << 20}, "limits.inflated_bytes", 1 << 20},
		"deflate bomb in blocks": {join(header(`"bytes"`, "deflate"), four, four), Limits{InflatedBytes: 5 << 20}, "limits.inflated_bytes", 5 << 20},
		"snappy bomb":            {join(header(`"bytes"`, "snappy"), block(1, join(snappy.Encode(nil, make([]byte, 8<<20)), make([]byte, 4)))), Limits{InflatedBytes: 1 << 20}, "limits.inflated_bytes", 1 << 20},
		"rows of no bytes":       {container(`"null"`, 1<<31), Limits{}, "limits.rows", 100_000},
		"rows over blocks":       {join(container(`"null"`, 60_000), block(60_000, nil)), Limits{}, "limits.rows", 100_000},
		"rows past int64":        {join(container(`"null"`, 60_000), block(math.MaxInt64, nil)), Limits{}, "limits.rows", 100_000},
		"elements of no bytes":   {container(nulls, 1, long(1<<31)), Limits{}, "limits.values", 1_000_000},
		"elements over blocks":   {container(nulls, 1, long(600), long(600), long(0)), Limits{Values: 1000}, "limits.values", 1000},
		"a record in itself":     {container(self, 1), Limits{}, "limits.nesting", 128},
		"a deep list":            {container(tree, 1, bytes.Repeat([]byte{2}, 1000), []byte{0}), Limits{}, "limits.nesting", 128},
		"doubling records":       {container(double(40), 1), Limits{Values: 100_000}, "limits.values", 100_000},
		"long symbols":           {container(fmt.Sprintf(`{"type":"array","items":{"type":"enum","name":"E","symbols":["%s"]}}`, wide), 1, long(1000), make([]byte, 1000), long(0)), Limits{InflatedBytes: 1 << 20}, "limits.inflated_bytes", 1 << 20},
		"long field names":       {container(fmt.Sprintf(`{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"%s","type":"null"}]}}`, wide), 1, long(1000), long(0)), Limits{InflatedBytes: 1 << 20}, "limits.inflated_bytes", 1 << 20},
		"a decimal's scale":      {container(`{"type":"bytes","logicalType":"decimal","precision":2000000000,"scale":2000000000}`, 1, data("\x01")), Limits{}, "limits.inflated_bytes", 64 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			de := decodeError(t, Config{Limits: c.l}, c.value)
			if de.Setting != c.setting || de.Limit != c.limit || de.Found <= de.Limit {
				t.Errorf("%s: %d over %d; want %s of %d: %v", de.Setting, de.Found, de.Limit, c.setting, c.limit, de)
			}
		})
	}
}

func lastName(i int) string {
	if i == 0 {
		return "null"
	}
	return fmt.Sprintf("D%d", i-1)
}

// At a limit is still fine.
func TestWhatIsAtALimitIsRead(t *testing.T) {
	block := join(data("abc"), data("abcd"))
	value := join(header(`"string"`, "deflate"), blockOf(t, 2, block))
	for name, l := range map[string]Limits{
		"record bytes":   {RecordBytes: int64(len(value))},
		"inflated bytes": {InflatedBytes: int64(len(block))},
		"rows":           {Rows: 2},
		"values":         {Values: 2},
	} {
		b, err := NewDecoder(Config{Limits: l}, nil).Decode(value, nil)
		if err != nil || b.Len() != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func blockOf(t *testing.T, count int64, content []byte) []byte {
	t.Helper()
	return block(count, deflate(t, content))
}

func TestTextThatIsNotUTF8(t *testing.T) {
	b, err := NewDecoder(Config{}, nil).Decode(container(`{"type":"map","values":"string"}`, 1, long(1), data("k\xff"), data("a\xc3(\xff"), long(0)), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := jsonOf(t, b.Row(0))
	if want := "{\"k\uFFFD\":\"a\uFFFD(\uFFFD\"}"; got != want || !json.Valid([]byte(got)) {
		t.Errorf("%s, want %s", got, want)
	}
	if s, _ := b.Row(0).Field("k\uFFFD").Str(); s != "a\uFFFD(\uFFFD" {
		t.Errorf("Str gives %q: not what is sent", s)
	}
}

func TestDuplicateKeysOfAMap(t *testing.T) {
	b, err := NewDecoder(Config{}, nil).Decode(container(`{"type":"map","values":"int"}`, 1, long(2), data("a"), long(1), data("b"), long(2), long(1), data("a"), long(3), long(0)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := jsonOf(t, b.Row(0)), `{"b":2,"a":3}`; got != want || b.Row(0).Len() != 2 {
		t.Errorf("%s, want %s", got, want)
	}
}

// Errors may reach logs and dead letters that people see who must not see rows.
func TestDecodeErrorsDoNotPrintRows(t *testing.T) {
	schema := `{"type":"record","name":"R","fields":[{"name":"a","type":"string"},{"name":"b","type":"boolean"},{"name":"c","type":"bytes"}]}`
	row := join(data("secret"), []byte{1}, data("secret"))
	for n := range row {
		for _, bad := range [][]byte{row[:n], join(row[:n], []byte{0xff, 0xff, 0x03}, row[n:])} {
			_, err := NewDecoder(Config{}, nil).Decode(container(schema, 1, bad), nil)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		}
	}
}

func TestDecoderIsGoodAfterAnError(t *testing.T) {
	d := NewDecoder(Config{}, nil)
	good := schemastest.Container(schemastest.Survey, "deflate", schemastest.SurveyRow(1), schemastest.SurveyRow(2))
	first, err := d.Decode(good, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := jsonOf(t, first.Row(1))
	for n := 0; n < len(good); n += 7 {
		if _, err := d.Decode(good[:n], nil); err == nil {
			continue
		}
		b, err := d.Decode(good, nil)
		if err != nil || b.Len() != 2 || jsonOf(t, b.Row(1)) != want || b.Row(1).RecordType() == nil {
			t.Fatalf("after a value cut at %d: %v", n, err)
		}
	}
	d.Release()
	if b, err := d.Decode(good, nil); err != nil || jsonOf(t, b.Row(1)) != want {
		t.Fatalf("after Release: %v", err)
	}
}

// A large value must not leave its memory with a Decoder that reads small ones from then on.
func TestMemoryOfALargeValueIsGivenBack(t *testing.T) {
	d := NewDecoder(Config{}, nil)
	large := join(header(`"bytes"`, "deflate"), blockOf(t, 1, join(long(8<<20), make([]byte, 8<<20))))
	small := join(header(`"bytes"`, "deflate"), blockOf(t, 1, data("x")))
	if _, err := d.Decode(large, nil); err != nil {
		t.Fatal(err)
	}
	held := cap(d.inflated)
	for range 40 {
		if _, err := d.Decode(small, nil); err != nil {
			t.Fatal(err)
		}
	}
	if now := cap(d.inflated); held < 8<<20 || now > 1<<20 {
		t.Errorf("held %d bytes after the large value and %d after 40 small ones", held, now)
	}
}

// FuzzDecode: any bytes give rows with JSON (or numbers without), or a DecodeError; never a panic, never past the limits.
func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.avro")
	for _, file := range files {
		value, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Add([]byte(`{"a":1}`))
	f.Add([]byte("\x00\x00\x00\x00\x01abc"))
	f.Add([]byte("text"))
	limits := Limits{RecordBytes: 1 << 20, InflatedBytes: 1 << 20, Rows: 1000, Values: 20_000}
	f.Fuzz(func(t *testing.T, value []byte) {
		// New Decoders for every value: what one remembers would make coverage a matter of chance, and the fuzzer get stuck on it.
		for _, logicalText := range []bool{false, true} {
			d := NewDecoder(Config{Limits: limits, LogicalText: logicalText}, nil)
			b, err := d.Decode(value, nil)
			if err != nil {
				var de *DecodeError
				if !errors.As(err, &de) || de.Problem == "" {
					t.Fatalf("error %v", err)
				}
				continue
			}
			if b.Len() > limits.Rows || len(d.doc.nodes) > limits.Values || int64(len(d.inflated)) > limits.InflatedBytes {
				t.Fatalf("%d rows, %d values, %d bytes", b.Len(), len(d.doc.nodes), len(d.inflated))
			}
			for i := range b.Len() {
				out, err := b.Row(i).AppendJSON(nil)
				if err != nil && !errors.Is(err, ErrNoJSON) || err == nil && !json.Valid(out) {
					t.Fatalf("row %d: %s, %v", i, out, err)
				}
			}
		}
	})
}
