// Package secrettest looks for secrets where none may be seen: in logs, metrics, errors, answers of the API, audit lines, dead letters.
//
// A test makes its secrets known, has the program do what it does, and gives Absent everything that came out of it. Values that a test
// makes up should be unlike anything else, and 8 bytes or longer.
package secrettest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// leastBytes is the length from which a value is not found by chance.
const leastBytes = 8

// Secrets are values that must not be seen, in whatever form.
type Secrets []string

// Absent fails the test if text, which came from where, holds one of the secrets: as it is, in quotes, percent-encoded, in hexadecimal, as
// a list of bytes, or in base64, also within a longer text (as a password is in the header of basic authentication). It fails too if there
// is nothing to look at: then the test did not see what it meant to.
func (s Secrets) Absent(t testing.TB, where, text string) {
	t.Helper()
	if text == "" {
		t.Errorf("%s: there is nothing to look for secrets in", where)
	}
	for _, found := range s.find(text) {
		t.Errorf("%s: a secret is shown %s", where, found)
	}
}

// Present fails the test unless text holds every secret: where they are to arrive, they did. Without it, Absent could hold of a program that
// never had them.
func (s Secrets) Present(t testing.TB, where, text string) {
	t.Helper()
	for _, value := range s.Missing(text) {
		t.Errorf("%s: secret %q did not come here", where, value)
	}
}

// Missing are the secrets that text does not hold.
func (s Secrets) Missing(text string) (missing Secrets) {
	for _, value := range s {
		if found := (Secrets{value}).find(text); len(found) == 0 {
			missing = append(missing, value)
		}
	}
	return missing
}

// find names the forms in which text holds a secret, with what stands around it.
func (s Secrets) find(text string) []string {
	var found []string
	lower := strings.ToLower(text)
	for _, value := range s {
		if len(value) < leastBytes {
			found = append(found, fmt.Sprintf("perhaps: %q is too short to look for", value))
			continue
		}
		for _, f := range forms(value) {
			at := strings.Index(text, f.text)
			if at < 0 && f.anyCase {
				at = strings.Index(lower, f.text)
			}
			if at >= 0 {
				from, to := max(0, at-60), min(len(text), at+len(f.text)+60)
				found = append(found, fmt.Sprintf("%s: …%q…", f.name, text[from:to]))
				break
			}
		}
	}
	return found
}

type form struct {
	name, text string
	anyCase    bool
}

func forms(value string) []form {
	quoted := strconv.Quote(value)
	inJSON, _ := json.Marshal(value) // a string can be written
	all := []form{
		{name: "as it is", text: value},
		{name: "in quotes", text: quoted[1 : len(quoted)-1]},
		{name: "in JSON", text: string(inJSON[1 : len(inJSON)-1])},
		{name: "percent-encoded", text: strings.ToLower(url.QueryEscape(value)), anyCase: true},
		{name: "percent-encoded", text: strings.ToLower(url.PathEscape(value)), anyCase: true},
		{name: "in hexadecimal", text: hex.EncodeToString([]byte(value)), anyCase: true},
		{name: "in hexadecimal", text: fmt.Sprintf("% x", value), anyCase: true},
		{name: "as bytes", text: strings.Trim(fmt.Sprint([]byte(value)), "[]")},
		{name: "as bytes", text: strings.ReplaceAll(strings.Trim(fmt.Sprint([]byte(value)), "[]"), " ", ",")},
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			all = append(all, form{name: "in base64", text: within(encoding, value, before)})
		}
	}
	return slices.DeleteFunc(all, func(f form) bool { return len(f.text) < leastBytes })
}

// within is the part of a base64 text that is the same whatever stands around the value in it, with before bytes (modulo 3) in front.
func within(encoding *base64.Encoding, value string, before int) string {
	text := encoding.EncodeToString([]byte(strings.Repeat("\x00", before) + value))
	text = text[[]int{0, 2, 3}[before]:] // letters that have bits of what is in front
	if (before+len(value))%3 != 0 {
		text = text[:len(text)-1] // one that would have bits of what comes behind
	}
	return text
}
