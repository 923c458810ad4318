package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"streamer/sink"
)

// keyText is a key that counts up from n.
func keyText(n byte) string {
	raw := make([]byte, KeyBytes)
	for i := range raw {
		raw[i] = n + byte(i)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func ring(t *testing.T, text string) *Keyring {
	t.Helper()
	k, err := NewKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var here = Place{"job", "villages", "/token", "https://api.example.org:443"}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	k := ring(t, keyText(1))
	for _, value := range []string{"", "x", "ünïcode ${env:A}", strings.Repeat("long", 16<<10)} {
		sealed, err := k.Seal(sink.Secret(value), here)
		if err != nil {
			t.Fatal(err)
		}
		if !Sealed(sealed) || KeyID(sealed) != k.ID() || !strings.HasPrefix(sealed, "sealed:v1:"+k.ID()+":") {
			t.Errorf("sealed as %.60s", sealed)
		}
		if len(value) > 1 && strings.Contains(sealed, value) {
			t.Error("the value is in its sealed text")
		}
		got, err := k.Open(sealed, here)
		if err != nil || got.Reveal() != value {
			t.Errorf("opened %q, %v", got.Reveal(), err)
		}
		again, _ := k.Seal(sink.Secret(value), here)
		if again == sealed {
			t.Error("the same value was sealed to the same text, so that equal secrets can be told")
		}
	}
}

// A sealed text opens in the place it was sealed for, and nowhere else.
func TestSealedTextsAreBoundToTheirPlace(t *testing.T) {
	t.Parallel()
	k := ring(t, keyText(1))
	sealed, err := k.Seal("hunter2", here)
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]Place{
		"another job":           {"job", "towns", here[2], here[3]},
		"another field":         {"job", here[1], "/basic_auth/password", here[3]},
		"another target":        {"job", here[1], here[2], "https://evil.example.org:443"},
		"one target more":       append(append(Place{}, here...), "https://evil.example.org:443"),
		"one target less":       here[:3],
		"parts cut elsewhere":   {"job", "villages/", "token", here[3]},
		"parts joined":          {"job" + here[1], here[2], here[3]},
		"no place":              nil,
		"another kind of thing": {"connection", here[1], here[2], here[3]},
	} {
		_, err := k.Open(sealed, at)
		var open *OpenError
		if !errors.As(err, &open) || open.NoKey || open.KeyID != k.ID() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No change of a sealed text goes unnoticed, and none makes it panic.
func TestDamagedTexts(t *testing.T) {
	t.Parallel()
	k := ring(t, keyText(1))
	sealed, err := k.Seal("hunter2", here)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for _, c := range []byte("A0:=,\n\xff") {
			if sealed[i] == c {
				continue
			}
			other := sealed[:i] + string(c) + sealed[i+1:]
			if got, err := k.Open(other, here); err == nil {
				t.Fatalf("byte %d changed to %q still opens as %q", i, c, got.Reveal())
			}
		}
		if _, err := k.Open(sealed[:i], here); err == nil {
			t.Fatalf("cut after %d bytes it still opens", i)
		}
	}
	if _, err := k.Open(sealed+"AAAA", here); err == nil {
		t.Error("with more behind it still opens")
	}
}

func TestKeyrings(t *testing.T) {
	t.Parallel()
	one, two := keyText(1), keyText(101)
	k1, k2 := ring(t, one), ring(t, two)
	if k1.ID() == k2.ID() || len(k1.ID()) != 12 || k1.ID() != ring(t, one).ID() {
		t.Errorf("ids %s and %s", k1.ID(), k2.ID())
	}
	sealed, _ := k1.Seal("hunter2", here)
	both := ring(t, "\n"+two+" ,\r\n "+one+"\n")
	if got, err := both.Open(sealed, here); err != nil || got != "hunter2" {
		t.Errorf("the older key does not open: %v", err)
	}
	if again, _ := both.Seal("hunter2", here); KeyID(again) != k2.ID() {
		t.Errorf("sealed with %s, not with the first key", KeyID(again))
	}
	_, err := k2.Open(sealed, here)
	var open *OpenError
	if !errors.As(err, &open) || !open.NoKey || !strings.Contains(err.Error(), k1.ID()) || !strings.Contains(err.Error(), "STREAMER_SECRET_KEY") {
		t.Errorf("without the key: %v", err)
	}

	var none *Keyring
	if empty := ring(t, " ,\n"); empty != nil {
		t.Error("nothing gives a keyring")
	}
	for _, k := range []*Keyring{none, {}} {
		if _, err := k.Seal("x", here); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), "openssl rand -base64 32") {
			t.Errorf("sealed without a key: %v", err)
		}
		if _, err := k.Open(sealed, here); !errors.As(err, &open) || !open.NoKey {
			t.Errorf("opened without a key: %v", err)
		}
		if k.ID() != "" || k.String() != "no keys" {
			t.Errorf("%s, %s", k.ID(), k)
		}
	}
}

// A key that is short, no base64 or no random bytes is refused with the way to make one, and is not repeated.
func TestWeakKeys(t *testing.T) {
	t.Parallel()
	in := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, text := range map[string]string{
		"a password":       "correct horse battery staple",
		"short":            in("0123456789abcdef"),
		"long":             in(strings.Repeat("0123456789abcdef", 3)),
		"zeros":            in(strings.Repeat("\x00", 32)),
		"a pattern":        in(strings.Repeat("hunter2!", 4)),
		"hexadecimal":      strings.Repeat("0123456789abcdef", 4),
		"half of a pair":   keyText(1) + ",hunter2",
		"the same twice":   keyText(1) + "," + keyText(1),
		"too many":         keyText(1) + "," + keyText(2) + "," + keyText(3) + "," + keyText(4) + "," + keyText(5),
		"another alphabet": strings.NewReplacer("+", "-", "/", "_").Replace(keyText(0xf0)),
	} {
		k, err := NewKeyring(text)
		if err == nil {
			t.Errorf("%s is taken: %v", name, k)
			continue
		}
		for _, part := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,", r) }) {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error shows the key: %v", name, err)
			}
		}
		if name != "the same twice" && name != "too many" && !strings.Contains(err.Error(), Mend) {
			t.Errorf("%s: no mend: %v", name, err)
		}
	}
}

// A keyring shows nothing but the ids of its keys, however it is printed and whatever holds it.
func TestKeyringIsNotPrinted(t *testing.T) {
	t.Parallel()
	text := keyText(33) // printable bytes
	raw, _ := base64.StdEncoding.DecodeString(text)
	k := ring(t, text)
	type holder struct {
		Ring  *Keyring
		Value Keyring
		inner *Keyring
		flat  Keyring
	}
	h := holder{k, *k, k, *k}
	var all bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		for _, v := range []any{k, *k, h, &h, []*Keyring{k}, map[string]Keyring{"a": *k}} {
			fmt.Fprintf(&all, verb+"\n", v)
		}
	}
	for _, v := range []any{k, h, []*Keyring{k}} {
		out, err := json.Marshal(v)
		all.Write(out)
		if err != nil {
			t.Error(err)
		}
		out, err = yaml.Marshal(v)
		all.Write(out)
		if err != nil {
			t.Error(err)
		}
	}
	if err := gob.NewEncoder(&all).Encode(k); err != nil {
		t.Error(err)
	}
	slog.New(slog.NewTextHandler(&all, nil)).Info("a", "k", k, "h", h)
	slog.New(slog.NewJSONHandler(&all, nil)).Info("a", "k", k, "h", h)
	shown := all.String()
	for _, bad := range []string{text, string(raw), string(raw[:8]), fmt.Sprintf("%x", raw[:8]), fmt.Sprintf("%X", raw[:8]), "33 34 35", "0x21, 0x22"} {
		if strings.Contains(shown, bad) {
			t.Errorf("%q is shown", bad)
		}
	}
	if !strings.Contains(shown, "keys "+k.ID()) {
		t.Error("its id is not shown")
	}
}

func FuzzOpen(f *testing.F) {
	k, err := NewKeyring(keyText(1))
	if err != nil {
		f.Fatal(err)
	}
	sealed, _ := k.Seal("hunter2", here)
	f.Add(sealed)
	f.Add("sealed:v1:" + k.ID() + ":")
	f.Add("sealed:v2:x")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := k.Open(text, here); err == nil && text != sealed && got != "hunter2" {
			t.Errorf("%q opens as %q", text, got.Reveal())
		}
	})
}
