package schemas

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestLogicalTypes(t *testing.T) {
	for name, c := range map[string]struct {
		schema string
		datum  []byte
		raw    string
		text   string
	}{
		"date":                         {`{"type":"int","logicalType":"date"}`, long(-1), `-1`, `"1969-12-31"`},
		"date past the year 9999":      {`{"type":"int","logicalType":"date"}`, long(math.MaxInt32), `2147483647`, `2147483647`},
		"date on a long":               {`{"type":"long","logicalType":"date"}`, long(1), `1`, `1`},
		"time in ms":                   {`{"type":"int","logicalType":"time-millis"}`, long(3_600_001), `3600001`, `"01:00:00.001"`},
		"time of 24 hours":             {`{"type":"int","logicalType":"time-millis"}`, long(86_400_000), `86400000`, `86400000`},
		"time before midnight":         {`{"type":"long","logicalType":"time-micros"}`, long(-1), `-1`, `-1`},
		"timestamp in ms":              {`{"type":"long","logicalType":"timestamp-millis"}`, long(1_709_209_800_120), `1709209800120`, `"2024-02-29T12:30:00.12Z"`},
		"timestamp in ns":              {`{"type":"long","logicalType":"timestamp-nanos"}`, long(-1), `-1`, `"1969-12-31T23:59:59.999999999Z"`},
		"local timestamp in ns":        {`{"type":"long","logicalType":"local-timestamp-nanos"}`, long(1), `1`, `"1970-01-01T00:00:00.000000001"`},
		"the largest timestamp":        {`{"type":"long","logicalType":"timestamp-millis"}`, long(math.MaxInt64), `9223372036854775807`, `9223372036854775807`},
		"the smallest timestamp":       {`{"type":"long","logicalType":"timestamp-micros"}`, long(math.MinInt64), `-9223372036854775808`, `-9223372036854775808`},
		"unknown logical type":         {`{"type":"long","logicalType":"fortnight"}`, long(5), `5`, `5`},
		"logical type that is no text": {`{"type":"long","logicalType":7}`, long(5), `5`, `5`},
		"decimal":                      {`{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, data("\x30\x39"), `"123.45"`, `"123.45"`},
		"decimal, zeros in front":      {`{"type":"bytes","logicalType":"decimal","precision":9,"scale":4}`, data("\xff"), `"-0.0001"`, `"-0.0001"`},
		"decimal, sign extension":      {`{"type":"bytes","logicalType":"decimal","precision":9,"scale":1}`, data("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf6"), `"-1.0"`, `"-1.0"`},
		"decimal of no bytes":          {`{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, data(""), `"0.00"`, `"0.00"`},
		"decimal of 9 bytes":           {`{"type":"bytes","logicalType":"decimal","precision":30}`, data("\x01\x00\x00\x00\x00\x00\x00\x00\x00"), `"18446744073709551616"`, `"18446744073709551616"`},
		"smallest of 9 bytes":          {`{"type":"bytes","logicalType":"decimal","precision":30,"scale":1}`, data("\x80\x00\x00\x00\x00\x00\x00\x00\x00"), `"-236118324143482260684.8"`, `"-236118324143482260684.8"`},
		"decimal without precision":    {`{"type":"bytes","logicalType":"decimal"}`, data("\x01"), `"AQ=="`, `"AQ=="`},
		"scale above precision":        {`{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}`, data("\x01"), `"AQ=="`, `"AQ=="`},
		"negative scale":               {`{"type":"bytes","logicalType":"decimal","precision":2,"scale":-1}`, data("\x01"), `"AQ=="`, `"AQ=="`},
		"fixed decimal":                {`{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":4,"scale":2}`, []byte{0x04, 0xd2}, `"12.34"`, `"12.34"`},
		"fixed too small for it":       {`{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":5}`, []byte{0, 1}, `"AAE="`, `"AAE="`},
		"decimal on a string":          {`{"type":"string","logicalType":"decimal","precision":5}`, data("5"), `"5"`, `"5"`},
		"timestamp in a union":         {`["null",{"type":"long","logicalType":"timestamp-millis"}]`, join(long(1), long(0)), `0`, `"1970-01-01T00:00:00Z"`},
		"duration stays bytes":         {`{"type":"fixed","name":"D","size":12,"logicalType":"duration"}`, make([]byte, 12), `"AAAAAAAAAAAAAAAA"`, `"AAAAAAAAAAAAAAAA"`},
	} {
		for text, want := range map[bool]string{false: c.raw, true: c.text} {
			b, err := NewDecoder(Config{LogicalText: text}, nil).Decode(container(c.schema, 1, c.datum), nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := jsonOf(t, b.Row(0)); got != want {
				t.Errorf("%s, text %v: %s, want %s", name, text, got, want)
			}
		}
	}
}

func TestDecimalsAgainstBig(t *testing.T) {
	for size := range 20 {
		for _, fill := range []byte{0x00, 0x01, 0x7f, 0x80, 0xff, 0xa5} {
			for _, scale := range []int{0, 1, 5, 70} {
				b := []byte(strings.Repeat(string([]byte{fill}), size))
				x := new(big.Int).SetBytes(b)
				if size > 0 && b[0] >= 0x80 {
					x.Sub(x, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
				}
				want := new(big.Rat).SetFrac(x, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(scale)
				r := datumReader{doc: &Doc{}, limits: Limits{}.withDefaults()}
				if got, err := r.decimal(b, scale); err != nil || got != want {
					t.Errorf("%x with scale %d: %s, %v; want %s", b, scale, got, err, want)
				}
			}
		}
	}
	schema := fmt.Sprintf(`{"type":"bytes","logicalType":"decimal","precision":%d}`, math.MaxInt32)
	de := decodeError(t, Config{}, container(schema, 1, data("\x01"+strings.Repeat("x", 1<<20))))
	if !strings.Contains(de.Error(), "a decimal has 1048577 bytes, at most 1024") {
		t.Errorf("a decimal of 1 MiB: %v", de)
	}
}
