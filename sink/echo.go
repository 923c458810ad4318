package sink

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// leastEcho is from how many bytes on a credential is looked for in an answer: a shorter one is found by chance.
const leastEcho = 8

// hideEcho takes out of an answer what it repeats of the credentials that went along with d's request, and of hidden: an API that shows its
// callers what it got would else have them kept, and told of, with the answer. It is for what is shown and passed on, not for what judges
// the answer.
func (r *Response) hideEcho(d *Delivery, authorization string, hidden []string) {
	forms := append(echoes(d, authorization), hidden...)
	// The longest first, so that none is found within another.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, form := range forms {
		for i, h := range r.Header {
			r.Header[i].Value = strings.ReplaceAll(h.Value, form, mask)
		}
		if r.Body = replaced(r.Body, form); r.Truncated {
			r.Body = cutEnd(r.Body, form)
		}
	}
}

func replaced(body []byte, form string) []byte {
	if !bytes.Contains(body, []byte(form)) {
		return body
	}
	return bytes.ReplaceAll(body, []byte(form), []byte(mask))
}

// cutEnd is for a body that may end within form.
func cutEnd(body []byte, form string) []byte {
	for n := min(len(form)-1, len(body)); n >= leastEcho; n-- {
		if rest, ok := bytes.CutSuffix(body, []byte(form[:n])); ok {
			return append(rest, mask...)
		}
	}
	return body
}

// forms are the ways in which texts are repeated: as they are, in JSON, or percent-encoded.
type forms []string

func (f *forms) note(value string) {
	for _, form := range formsOf(value) {
		if len(form) >= leastEcho && !slices.Contains(*f, form) {
			*f = append(*f, form)
		}
	}
}

// echoes are the credentials of a request as an answer may have them.
func echoes(d *Delivery, authorization string) (all forms) {
	noteHeader := func(value string) {
		all.note(value)
		scheme, rest, _ := strings.Cut(value, " ")
		all.note(rest)
		if strings.EqualFold(scheme, "basic") {
			if text, err := base64.StdEncoding.DecodeString(rest); err == nil {
				_, password, _ := strings.Cut(string(text), ":")
				all.note(password)
			}
		}
	}
	if authorization == "" {
		authorization = d.user
	}
	noteHeader(authorization)
	if k := d.target.access.auth.APIKey; k != nil {
		all.note(k.Value.Reveal())
	}
	for _, h := range d.Request.Header {
		if SecretHeader(h.Name) {
			noteHeader(h.Value)
		}
	}
	return all
}

// formsOf are the ways in which a text is repeated.
func formsOf(value string) []string {
	inJSON, _ := json.Marshal(value) // a text can be written
	return []string{value, string(inJSON[1 : len(inJSON)-1]), plainJSON(value), url.QueryEscape(value), url.PathEscape(value)}
}

// plainJSON is a text in JSON as most write it: with < > & as they are.
func plainJSON(value string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(value)
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(b.String()), `"`), `"`)
}
