package mapping

import (
	"errors"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"streamer/schemas"
)

// headers are a request's: those that every row has, and those made of it.
type headers struct {
	fixed []Header
	made  []headerTemplate
}

type headerTemplate struct {
	name  string
	at    string
	parts []part
}

// ownHeaders are set from the request itself; a job that set them could only contradict it.
var ownHeaders = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Te", "Trailer",
	"Proxy-Connection", "Expect"}

func (k *compiler) header(fields []field) (h headers) {
	for i, f := range fields {
		if !given(f.v) {
			continue
		}
		if f.v.Kind() != schemas.Object {
			k.faults.Add(f.at, "found "+kindOf(f.v)+", not an object", `write {"X-Source": "survey {id}"}`)
			continue
		}
		seen := map[string]bool{}
		for name, value := range f.v.Members() {
			at := under(f.at, name)
			canonical := textproto.CanonicalMIMEHeaderKey(name)
			if !isToken(name) {
				k.faults.Add(at, "not a header name", "use letters, digits and -")
				continue
			}
			if seen[canonical] {
				k.faults.Add(at, "stands twice", "names are the same whatever their case")
				continue
			}
			seen[canonical] = true
			if containsText(ownHeaders, canonical) {
				k.faults.Add(at, "is set from the request itself", "leave it out")
				continue
			}
			if !slices.ContainsFunc(fields[i+1:], func(later field) bool { return hasHeader(later.v, canonical) }) {
				k.headerLine(&h, at, name, value)
			}
		}
	}
	return h
}

// hasHeader says whether an object of headers has that name, also as null.
func hasHeader(v schemas.Value, canonical string) bool {
	for name := range v.Members() {
		if textproto.CanonicalMIMEHeaderKey(name) == canonical {
			return true
		}
	}
	return false
}

func containsText(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// headerLine adds one header to h; null is a header that the request does not have.
func (k *compiler) headerLine(h *headers, at, name string, v schemas.Value) {
	switch v.Kind() {
	case schemas.Null:
		return
	case schemas.Array, schemas.Object:
		k.faults.Add(at, "found "+kindOf(v)+", not a text", "write a text, with {key} or {$.path} in it")
		return
	}
	b, err := v.AppendText(nil)
	if err != nil {
		k.faults.Add(at, err.Error(), "")
		return
	}
	parts, ok := k.headerParts(at, string(b))
	if !ok {
		return
	}
	var fixed strings.Builder
	for _, p := range parts {
		text, ok := k.fixedText(p)
		if !ok {
			h.made = append(h.made, headerTemplate{name, at, parts})
			return
		}
		fixed.WriteString(text)
	}
	if !isHeaderText(fixed.String()) {
		k.faults.Add(at, "a header cannot hold line ends or control characters", "")
		return
	}
	h.fixed = append(h.fixed, Header{name, fixed.String()})
}

// headerParts cuts a header template. References are filled in here, so that what a row holds is never taken for one.
func (k *compiler) headerParts(at, s string) ([]part, bool) {
	var parts []part
	ok := true
	for s != "" {
		i := nextReference(s)
		if i > 0 {
			p, good := k.lexTemplate(at, s[:i])
			parts, ok = append(parts, p...), ok && good
		}
		if i == len(s) {
			break
		}
		inside, rest, closed := strings.Cut(s[i+2:], "}")
		kind, name, _ := strings.Cut(inside, ":")
		text, err := "", errors.New("references are not in this version")
		if !closed {
			err = errors.New("the reference is not closed with }")
		} else if k.config.Reference != nil {
			text, err = k.config.Reference(kind, name)
			k.prog.source = append(strconv.AppendQuote(k.prog.source, text), '\n')
		}
		if err != nil {
			k.faults.Add(at, "${"+kind+":"+name+"}: "+err.Error(), "")
			return nil, false
		}
		parts = append(parts, part{text: text, slot: -1})
		s = rest
	}
	for _, p := range parts {
		if p.slot < 0 && !isHeaderText(p.text) {
			k.faults.Add(at, "a header cannot hold line ends or control characters", "")
			return nil, false
		}
	}
	return parts, ok
}

func nextReference(s string) int {
	for i := range len(s) {
		if strings.HasPrefix(s[i:], "${env:") || strings.HasPrefix(s[i:], "${file:") {
			return i
		}
	}
	return len(s)
}

// isHeaderText says whether s may be a header's value (RFC 9110, section 5.5): no control characters but tab.
func isHeaderText[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isToken says whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && !('a' <= c|0x20 && c|0x20 <= 'z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// has says whether there is a header of that name, whatever its case.
func (h *headers) has(name string) bool {
	return slices.ContainsFunc(h.fixed, func(f Header) bool { return strings.EqualFold(f.Name, name) }) ||
		slices.ContainsFunc(h.made, func(t headerTemplate) bool { return strings.EqualFold(t.name, name) })
}

const contentType = "Content-Type"
