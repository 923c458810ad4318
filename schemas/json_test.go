package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseJSONTakesWhatJSONIs(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"surrogate pair":              {`"\ud83d\udc69"`, `"👩"`},
		"lone surrogates":             {`"\ud83d \udc69\ud83dx"`, "\"\uFFFD \uFFFD\uFFFDx\""},
		"pair after lone surrogate":   {`"\ud83d\ud83d\udc69"`, "\"\uFFFD👩\""},
		"number past int64":           {`[123456789012345678901234567890, 1E+2]`, `[123456789012345678901234567890,1E+2]`},
		"key order":                   {`{"b":1,"a":2,"":3}`, `{"b":1,"a":2,"":3}`},
		"escaped key":                 {`{"\u0061":1,"a":2}`, `{"a":2}`},
		"not UTF-8":                   {"\"a\xffz\"", "\"a\uFFFDz\""},
		"not UTF-8 beside an escape":  {"\"\\n\xff\"", "\"\\n\uFFFD\""},
		"escapes":                     {`"\"\\\/\b\f\n\r\t\u00e9"`, `"\"\\/\b\f\n\r\té"`},
		"all white space":             {"\t\r\n [ 1 , { \"a\" : 2 } ] \n", `[1,{"a":2}]`},
		"delete and line separator":   {"\"\x7f\u2028\"", "\"\x7f\u2028\""},
		"escaped zero in long string": {`"` + strings.Repeat("x", 300) + `\u0000"`, `"` + strings.Repeat("x", 300) + `\u0000"`},
	} {
		v, err := ParseJSON([]byte(c.in), Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := jsonOf(t, v); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestParseJSONRefusesWhatJSONIsNot(t *testing.T) {
	for in, at := range map[string]int64{
		``: 0, ` `: 1, `{`: 1, `[1`: 2, `[1,]`: 3, `{"a"}`: 4, `{"a":1,}`: 7, `{a:1}`: 1, `[1 2]`: 3, `01`: 1, `1.`: 0, `-`: 0, `.5`: 0, `1e`: 0,
		`+1`: 0, `nul`: 0, `nulll`: 4, `"a`: 2, `"\x"`: 1, `"\u12"`: 1, "\"\n\"": 1, `{} {}`: 3, `'a'`: 0, "\ufeff1": 0, `[}`: 1, `"\`: 1, "1\x00": 1,
	} {
		_, err := ParseJSON([]byte(in), Limits{})
		var de *DecodeError
		if !errors.As(err, &de) {
			t.Errorf("%q: error %v, want a DecodeError", in, err)
			continue
		}
		if de.Byte != at {
			t.Errorf("%q: names byte %d, want %d: %v", in, de.Byte, at, err)
		}
		if json.Valid([]byte(in)) {
			t.Errorf("%q: encoding/json takes it", in)
		}
	}
}

func TestParseJSONLimits(t *testing.T) {
	deep := strings.Repeat("[", 129) + strings.Repeat("]", 129)
	for name, c := range map[string]struct {
		in      string
		l       Limits
		setting string
		found   int64
	}{
		"default nesting": {deep, Limits{}, "limits.nesting", 129},
		"own nesting":     {`{"a":[1]}`, Limits{Nesting: 1}, "limits.nesting", 2},
		"values":          {`[1,2,3]`, Limits{Values: 3}, "limits.values", 4},
		"size":            {`[1,2,3]`, Limits{RecordBytes: 6}, "limits.record_bytes", 7},
	} {
		_, err := ParseJSON([]byte(c.in), c.l)
		var de *DecodeError
		if !errors.As(err, &de) || de.Setting != c.setting || de.Found != c.found {
			t.Errorf("%s: %v, want %s with %d found", name, err, c.setting, c.found)
			continue
		}
		if !strings.Contains(err.Error(), c.setting) || !strings.Contains(err.Error(), fmt.Sprint(c.found)) {
			t.Errorf("%s: the text %q does not say setting and value", name, err)
		}
	}
	if _, err := ParseJSON([]byte(deep[1:len(deep)-1]), Limits{}); err != nil {
		t.Errorf("128 levels: %v", err)
	}
}

func TestErrorsDoNotPrintContents(t *testing.T) {
	for _, in := range []string{`{"name": secret}`, `"secret`, `["secret" "secret"]`, `{"secret"}`, "{\"secret\": \"secret\x01\"}", `secret`} {
		_, err := ParseJSON([]byte(in), Limits{})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// Many keys must not make duplicates quadratic, nor a large object make the small ones after it slow.
func TestDuplicateKeysOfLargeObjects(t *testing.T) {
	var b strings.Builder
	b.WriteString(`[{`)
	for i := range 5000 {
		fmt.Fprintf(&b, `"k%d":%d,`, i%2500, i)
	}
	b.WriteString(`"last":0}`)
	for range 3 {
		b.WriteString(`,{`)
		for i := range 40 {
			fmt.Fprintf(&b, `"k%d":%d,`, i%39, i)
		}
		b.WriteString(`"last":0}`)
	}
	b.WriteString(`]`)
	v := parse(t, b.String())
	if got := v.Index(0).Len(); got != 2501 {
		t.Errorf("large object has %d members, want 2501", got)
	}
	if i, _ := v.Index(0).Field("k0").Int(); i != 2500 {
		t.Errorf("k0 is %d, want the last one, 2500", i)
	}
	if got := v.Index(3).Len(); got != 40 {
		t.Errorf("object after it has %d members, want 40", got)
	}
}

// FuzzJSON holds ParseJSON to encoding/json: the same documents are valid, with the same value; and what is appended parses to the same.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.50,-3e-7,"é\ud83d\udc69\u0000",null,true],"a":{}}`, `"\ud83d"`, "\"\xff\"", `[[[[]]]]`, ` 1e99999 `, `{"":""}`, `nul`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		v, err := ParseJSON(bytes.Clone(src), Limits{Nesting: 10_000})
		if valid := json.Valid(src); (err == nil) != valid {
			t.Fatalf("we say %v, encoding/json says valid=%v", err, valid)
		}
		if err != nil {
			return
		}
		out, err := v.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := generic(t, out), generic(t, src); !equalGeneric(got, want) {
			t.Fatalf("value changed: %s", out)
		}
		again, err := ParseJSON(out, Limits{Nesting: 10_000})
		if err != nil {
			t.Fatalf("what was appended does not parse: %v", err)
		}
		if !again.Equal(v) || !v.Clone().Equal(v) {
			t.Fatalf("not equal to itself after a round trip: %s", out)
		}
		if out2, _ := again.AppendJSON(nil); !bytes.Equal(out, out2) {
			t.Fatalf("second round trip differs: %s and %s", out, out2)
		}
	})
}

func generic(t *testing.T, src []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		t.Fatal(err)
	}
	return x
}

// equalGeneric compares by marshalling, which sorts keys.
func equalGeneric(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}
