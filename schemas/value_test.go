package schemas

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) Value {
	t.Helper()
	v, err := ParseJSON([]byte(text), Limits{})
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return v
}

func jsonOf(t *testing.T, v Value) string {
	t.Helper()
	b, err := v.AppendJSON(nil)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return string(b)
}

func TestValueAnswersWhatItHolds(t *testing.T) {
	v := parse(t, ` {"z":1,"a":[true,null,"x",[],{}],"n":-0.50,"z":{"deep":[1,[2,3]]}} `)
	if got, want := v.Len(), 3; got != want {
		t.Errorf("Len = %d, want %d", got, want)
	}
	var keys []string
	for k := range v.Members() {
		keys = append(keys, k)
	}
	if want := []string{"a", "n", "z"}; !reflect.DeepEqual(keys, want) {
		t.Errorf("keys = %q, want %q", keys, want)
	}
	for _, c := range []struct {
		name string
		got  Value
		kind Kind
		json string
	}{
		{"last of duplicate keys", v.Field("z"), Object, `{"deep":[1,[2,3]]}`},
		{"deep element", v.Field("z").Field("deep").Index(1).Index(-1), Number, `3`},
		{"first element", v.Field("a").Index(0), Bool, `true`},
		{"last element", v.Field("a").Index(-1), Object, `{}`},
		{"second from the end", v.Field("a").Index(-2), Array, `[]`},
		{"number text kept", v.Field("n"), Number, `-0.50`},
		{"null", v.Field("a").Index(1), Null, `null`},
		{"whole", v, Object, `{"a":[true,null,"x",[],{}],"n":-0.50,"z":{"deep":[1,[2,3]]}}`},
	} {
		if c.got.Kind() != c.kind {
			t.Errorf("%s: kind %v, want %v", c.name, c.got.Kind(), c.kind)
		}
		if got := jsonOf(t, c.got); got != c.json {
			t.Errorf("%s: %s, want %s", c.name, got, c.json)
		}
	}
	for name, absent := range map[string]Value{
		"no such field":        v.Field("none"),
		"index past the end":   v.Field("a").Index(5),
		"index before start":   v.Field("a").Index(-6),
		"field of a list":      v.Field("a").Field("z"),
		"index of an object":   v.Index(0),
		"field of nothing":     Value{}.Field("a"),
		"index of nothing":     Value{}.Index(0),
		"clone of nothing":     Value{}.Clone(),
		"builder without data": NewBuilder().Value(),
	} {
		if absent.Kind() != Absent || absent.Len() != 0 {
			t.Errorf("%s: %v, want Absent", name, absent.Kind())
		}
		if _, err := absent.AppendJSON(nil); err == nil {
			t.Errorf("%s: has JSON", name)
		}
	}
}

func TestHiddenValuesVanish(t *testing.T) {
	v := parse(t, `{"a":1,"b":[1,2,3],"c":{"d":4}}`)
	b := v.Field("b")
	b.Index(1).Hide()
	v.Field("c").Hide()
	Value{}.Hide()
	if got, want := jsonOf(t, v), `{"a":1,"b":[1,3]}`; got != want {
		t.Errorf("JSON = %s, want %s", got, want)
	}
	if v.Len() != 2 || b.Len() != 2 {
		t.Errorf("lengths %d and %d, want 2 and 2", v.Len(), b.Len())
	}
	if got := jsonOf(t, b.Index(-1)); got != "3" {
		t.Errorf("last element %s, want 3", got)
	}
	if v.Field("c").Kind() != Absent {
		t.Error("hidden field is found")
	}
	if got, want := jsonOf(t, v.Clone()), `{"a":1,"b":[1,3]}`; got != want {
		t.Errorf("clone = %s, want %s", got, want)
	}
	if !v.Equal(parse(t, `{"b":[1,3],"a":1}`)) {
		t.Error("not equal to what is left")
	}
	n := 0
	for range v.Members() {
		n++
	}
	for range b.Elements() {
		n++
	}
	if n != 4 {
		t.Errorf("walked over %d, want 4", n)
	}
}

func TestCloneOutlivesItsSource(t *testing.T) {
	src := []byte(`{"key":["text","esc\u0061ped"]}`)
	v, err := ParseJSON(src, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c := v.Field("key").Clone()
	for i := range src {
		src[i] = 'X'
	}
	if got, want := jsonOf(t, c), `["text","escaped"]`; got != want {
		t.Errorf("clone = %s, want %s", got, want)
	}
}

func TestEqualIsByJSONValue(t *testing.T) {
	many := func(from, to, step int) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := from; i != to; i += step {
			if i != from {
				b.WriteByte(',')
			}
			k, _ := json.Marshal(strings.Repeat("k", i+1))
			b.Write(k)
			b.WriteString(":1")
		}
		b.WriteByte('}')
		return b.String()
	}
	for _, c := range []struct {
		name, a, b string
		want       bool
	}{
		{"integer and fraction of zero", `1`, `1.0`, true},
		{"exponent", `100`, `1e2`, true},
		{"exponent the other way", `0.01`, `1E-2`, true},
		{"zeros", `0`, `-0.0e7`, true},
		{"past float64", `9007199254740993`, `9007199254740992`, false},
		{"past int64", `18446744073709551616`, `18446744073709551616.0`, true},
		{"huge exponents", `1e99999999999999999999`, `10e99999999999999999998`, true},
		{"huge exponents, not the same", `1e99999999999999999999`, `1e99999999999999999998`, false},
		{"sign", `1`, `-1`, false},
		{"string and number", `"1"`, `1`, false},
		{"null and false", `null`, `false`, false},
		{"key order", `{"a":1,"b":2}`, `{"b":2,"a":1}`, true},
		{"other key", `{"a":1,"b":2}`, `{"a":1,"c":2}`, false},
		{"one key more", `{"a":1,"b":2}`, `{"a":1}`, false},
		{"list order", `[1,2]`, `[2,1]`, false},
		{"list length", `[1,2]`, `[1,2,3]`, false},
		{"many keys the other way round", many(0, 50, 1), many(49, -1, -1), true},
		{"many keys, not the same", many(0, 50, 1), many(50, 0, -1), false},
		{"nested", `[{"a":[1,{"b":null}]}]`, `[{"a":[1.0,{"b":null}]}]`, true},
	} {
		a, b := parse(t, c.a), parse(t, c.b)
		if got := a.Equal(b); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := b.Equal(a); got != c.want {
			t.Errorf("%s, turned round: %v, want %v", c.name, got, c.want)
		}
	}
	b := NewBuilder()
	b.Float(0.1)
	if !b.Value().Equal(parse(t, "0.1")) || b.Value().Equal(parse(t, "0.10000000000000000555")) {
		t.Error("a double is not the number it prints as")
	}
	b.Reset()
	b.Float(math.NaN())
	if b.Value().Equal(b.Value()) {
		t.Error("NaN equals itself")
	}
	if !(Value{}).Equal(Value{}) || (Value{}).Equal(parse(t, "null")) {
		t.Error("Absent equals Absent and nothing else")
	}
}

func TestNumbersAsGoNumbers(t *testing.T) {
	for _, c := range []struct {
		text  string
		i     int64
		isInt bool
		f     float64
		isF   bool
	}{
		{"9223372036854775807", math.MaxInt64, true, math.MaxInt64, true},
		{"-9223372036854775808", math.MinInt64, true, math.MinInt64, true},
		{"9223372036854775808", 0, false, 9223372036854775808, true},
		{"9.223372036854775807e18", math.MaxInt64, true, math.MaxInt64, true},
		{"1.0", 1, true, 1, true},
		{"1e3", 1000, true, 1000, true},
		{"-0.0", 0, true, math.Copysign(0, -1), true},
		{"1.5", 0, false, 1.5, true},
		{"1e400", 0, false, math.Inf(1), false},
		{"1e-99999999999999999999", 0, false, 0, true},
	} {
		v := parse(t, c.text)
		if i, ok := v.Int(); ok != c.isInt || i != c.i {
			t.Errorf("%s: Int %d %v, want %d %v", c.text, i, ok, c.i, c.isInt)
		}
		if f, ok := v.Float(); ok != c.isF || f != c.f {
			t.Errorf("%s: Float %v %v, want %v %v", c.text, f, ok, c.f, c.isF)
		}
	}
	d := &Doc{}
	d.leaf("", Float32).num = uint64(math.Float32bits(0.1))
	if f, ok := (Value{d, 0}).Float(); !ok || f != 0.1 {
		t.Errorf("float32 0.1 gives %v, want 0.1", f)
	}
	if s := jsonOf(t, Value{d, 0}); s != "0.1" {
		t.Errorf("float32 0.1 prints %s", s)
	}
}

func TestNotFiniteHasNoJSON(t *testing.T) {
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		b := NewBuilder()
		b.BeginArray()
		b.Int(1)
		b.Float(f)
		b.End()
		out, err := b.Value().AppendJSON([]byte("before"))
		if err == nil || string(out) != "before" {
			t.Errorf("%v: %q, %v; want an error and nothing appended", f, out, err)
		}
		if got, ok := b.Value().Index(1).Float(); !ok || got != f && f == f {
			t.Errorf("%v: Float gives %v %v", f, got, ok)
		}
	}
}

func TestStringsAreEscapedOnlyWhereJSONDemandsIt(t *testing.T) {
	for in, want := range map[string]string{
		"plain":            `"plain"`,
		"<&>'":             `"<&>'"`,
		"\"\\/":            `"\"\\/"`,
		"\b\f\n\r\t\x00":   `"\b\f\n\r\t\u0000"`,
		"\x1f\x7f":         "\"\\u001f\x7f\"",
		"é👩\u2028":         "\"é👩\u2028\"",
		"a\xffb\xc3":       "\"a\uFFFDb\uFFFD\"",
		"\xed\xa0\xbd end": "\"\uFFFD\uFFFD\uFFFD end\"",
		"":                 `""`,
	} {
		b := NewBuilder()
		b.String(in)
		got := jsonOf(t, b.Value())
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%q: %s is no JSON", in, got)
		}
	}
}

func TestAppendText(t *testing.T) {
	for json, want := range map[string]string{
		`"a\"b"`:      `a"b`,
		`1.50`:        `1.50`,
		`true`:        `true`,
		`null`:        `null`,
		`["a",1]`:     `["a",1]`,
		`{"a": "é" }`: `{"a":"é"}`,
	} {
		got, err := parse(t, json).AppendText(nil)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q %v, want %q", json, got, err, want)
		}
	}
	d := &Doc{}
	d.leaf("", Bytes).str = "\x00\xff"
	if got, _ := (Value{d, 0}).AppendText(nil); string(got) != "AP8=" {
		t.Errorf("bytes as text: %q", got)
	}
	if got := jsonOf(t, Value{d, 0}); got != `"AP8="` {
		t.Errorf("bytes as JSON: %s", got)
	}
	if !(Value{d, 0}).Equal(parse(t, `"AP8="`)) || !parse(t, `"AP8="`).Equal(Value{d, 0}) {
		t.Error("bytes do not equal their base64 text")
	}
}

func TestBuilder(t *testing.T) {
	b := NewBuilder()
	b.BeginObject()
	b.Key("s")
	b.String("x")
	b.Key("list")
	b.BeginArray()
	b.Null()
	b.Bool(true)
	b.Number("1.0")
	b.Copy(parse(t, `{"in":[1]}`))
	b.Copy(Value{})
	b.End()
	b.Key("s")
	b.Int(-7)
	b.End()
	if got, want := jsonOf(t, b.Value()), `{"list":[null,true,1.0,{"in":[1]},null],"s":-7}`; got != want {
		t.Errorf("built %s, want %s", got, want)
	}
	b.Reset()
	b.Bool(false)
	if got := jsonOf(t, b.Value()); got != "false" {
		t.Errorf("after Reset: %s", got)
	}
	for name, wrong := range map[string]func(b *Builder){
		"value without key":     func(b *Builder) { b.BeginObject(); b.Null(); b.End() },
		"key in a list":         func(b *Builder) { b.BeginArray(); b.Key("k"); b.Null(); b.End() },
		"key without value":     func(b *Builder) { b.BeginObject(); b.Key("k"); b.End() },
		"two keys":              func(b *Builder) { b.BeginObject(); b.Key("k"); b.Key("l"); b.Null(); b.End() },
		"two roots":             func(b *Builder) { b.Null(); b.Null() },
		"end too many":          func(b *Builder) { b.BeginArray(); b.End(); b.End() },
		"not ended":             func(b *Builder) { b.BeginArray() },
		"number that is none":   func(b *Builder) { b.Number("01") },
		"number that is empty":  func(b *Builder) { b.Number("") },
		"key outside an object": func(b *Builder) { b.Key("k"); b.Null() },
	} {
		b.Reset()
		wrong(b)
		if b.Value().Kind() != Absent {
			t.Errorf("%s: gives a value", name)
		}
	}
}
