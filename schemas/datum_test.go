package schemas

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"
)

// The reader of data is ours and goavro is the reference (docs/decisions/0001-avro-rows.md): on any schema and any bytes both give the
// same values and take the same bytes, but for the differences that differs names.

func init() {
	goavro.MaxBlockCount = 10_000 // else a fuzzed count has goavro take all memory
}

// differs compares what we read with goavro's native form, unwrapping its unions by the schema; "" if they agree.
func differs(v Value, native, schema any, types map[string]any) string {
	if union, ok := schema.([]any); ok {
		if native == nil {
			return isKind(v, Null)
		}
		for name, inner := range native.(map[string]any) {
			for _, branch := range union {
				if branchName(branch) == name {
					return differs(v, inner, branch, types)
				}
			}
			return "no branch " + name
		}
	}
	name, _ := schema.(string)
	if t, ok := types[name]; ok {
		return differs(v, native, t, types)
	}
	switch n := native.(type) {
	case nil:
		return isKind(v, Null)
	case bool:
		b, ok := v.Bool()
		return unless(ok && b == n, v, n)
	case int32:
		i, ok := v.Int()
		return unless(ok && i == int64(n), v, n)
	case int64:
		i, ok := v.Int()
		return unless(ok && i == n, v, n)
	case float32:
		return unless(v.Kind() == Float32 && uint32(v.node().num) == math.Float32bits(n), v, n)
	case float64:
		return unless(v.Kind() == Float64 && v.node().num == math.Float64bits(n), v, n)
	case []byte:
		return unless(v.Kind() == Bytes && v.node().str == string(n), v, n)
	case string:
		s, ok := v.Str()
		return unless(ok && s == string([]rune(n)), v, n)
	case []any:
		if v.Kind() != Array || v.Len() != len(n) {
			return unless(false, v, n)
		}
		items := schema.(map[string]any)["items"]
		i := 0
		for e := range v.Elements() {
			if d := differs(e, n[i], items, types); d != "" {
				return d
			}
			i++
		}
		return ""
	case map[string]any:
		return differsInMembers(v, n, schema.(map[string]any), types)
	}
	return fmt.Sprintf("goavro gives a %T", native)
}

func differsInMembers(v Value, native, schema, types map[string]any) string {
	isRecord := schema["type"] == "record"
	if v.Kind() != Object || (v.RecordType() != nil) != isRecord {
		return unless(false, v, native)
	}
	if isRecord {
		fields := schema["fields"].([]any)
		keys := keysAt(v)
		if len(fields) != len(keys) || len(fields) != len(native) {
			return unless(false, v, native)
		}
		for i, f := range fields {
			name := f.(map[string]any)["name"].(string)
			if keys[i] != name {
				return "order of fields"
			}
			if d := differs(v.Field(name), native[name], f.(map[string]any)["type"], types); d != "" {
				return name + ": " + d
			}
		}
		return ""
	}
	mended := map[string]any{}
	for k, m := range native {
		mended[string([]rune(k))] = m
	}
	if len(mended) != len(native) {
		return "" // keys that differ in wrong bytes only: which one stays is goavro's map's to say
	}
	if v.Len() != len(native) {
		return unless(false, v, native)
	}
	for k, m := range v.Members() {
		if d := differs(m, mended[k], schema["values"], types); d != "" {
			return k + ": " + d
		}
	}
	return ""
}

func isKind(v Value, k Kind) string { return unless(v.Kind() == k, v, nil) }

func unless(same bool, v Value, native any) string {
	if same {
		return ""
	}
	out, err := v.AppendJSON(nil)
	return fmt.Sprintf("we give %s %s (%v), goavro %T %v", v.Kind(), out, err, native, native)
}

// compareWithGoavro reads datum with both. valid says that it was written correctly, so that both must read it.
func compareWithGoavro(t *testing.T, schema any, datum []byte, valid bool) {
	t.Helper()
	text, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	codec, err := goavro.NewCodec(string(text))
	if err != nil {
		t.Fatalf("the test made a wrong schema: %v: %s", err, text)
	}
	s, derr := compileSchema([]string{string(text)})
	if derr != nil {
		t.Fatalf("%v: %s", derr, text)
	}
	var d Doc
	d.types = s.records
	r := datumReader{doc: &d, buf: datum, limits: Limits{Values: 100_000}.withDefaults()}
	ours := r.read(s.program, "")
	native, rest, theirs := codec.NativeFromBinary(datum)
	switch {
	case ours == nil && theirs == nil:
		if diff := differs(Value{&d, 0}, native, schema, typesByName(schema, map[string]any{})); diff != "" {
			t.Fatalf("%s\nschema %s\ndatum %x", diff, text, datum)
		}
		if r.at != len(datum)-len(rest) {
			t.Fatalf("we take %d bytes, goavro %d\nschema %s\ndatum %x", r.at, len(datum)-len(rest), text, datum)
		}
	case valid:
		t.Fatalf("we say %v, goavro %v\nschema %s\ndatum %x", ours, theirs, text, datum)
	case ours == nil:
		// of members of the same key we keep the last one, as JSON's readers and Python's do; and we bound values, not counts
		if !strings.Contains(theirs.Error(), "duplicate key") && !strings.Contains(theirs.Error(), "MaxBlockCount") {
			t.Fatalf("goavro refuses: %v\nschema %s\ndatum %x", theirs, text, datum)
		}
	case theirs == nil:
		// goavro cuts an int to 32 bits and a long to 64; we have limits
		if ours.Setting == "" && !strings.Contains(ours.Problem, "more than 32 bits") && !strings.Contains(ours.Problem, "more than 64 bits") {
			t.Fatalf("we refuse: %v\nschema %s\ndatum %x", ours, text, datum)
		}
	}
}

func TestDataAgainstGoavro(t *testing.T) {
	src := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		raw := make([]byte, 40+src.IntN(400))
		for i := range raw {
			raw[i] = byte(src.Uint32())
		}
		e := &entropy{raw}
		schema := (&typeMaker{entropy: e}).make(5, false)
		datum := (&dataMaker{e, typesByName(schema, map[string]any{})}).make(schema, 8)
		compareWithGoavro(t, schema, datum, true)
		for range 5 { // damage it
			bad := append([]byte{}, datum...)
			if len(bad) > 0 {
				bad[src.IntN(len(bad))] ^= byte(1 << src.IntN(8))
				compareWithGoavro(t, schema, bad, false)
				compareWithGoavro(t, schema, bad[:src.IntN(len(bad))], false)
			}
		}
	}
}

// FuzzDatum makes a schema out of the first bytes and reads the others by it, as they are or as choices for data of that schema.
func FuzzDatum(f *testing.F) {
	f.Add([]byte{15, 4, 2, 7, 13, 3, 7, 2}, []byte{2, 6, 'a', 'b', 'c', 0}, false)
	f.Add([]byte{8, 9, 10, 13, 2, 15, 3, 14, 0, 12}, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, true)
	f.Fuzz(func(t *testing.T, choices, raw []byte, valid bool) {
		if len(choices) > 200 || len(raw) > 2000 {
			return
		}
		schema := (&typeMaker{entropy: &entropy{choices}}).make(5, false)
		if valid {
			raw = (&dataMaker{&entropy{raw}, typesByName(schema, map[string]any{})}).make(schema, 8)
		}
		compareWithGoavro(t, schema, raw, valid)
	})
}
