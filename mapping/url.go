package mapping

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"streamer/schemas"
)

// urlTemplate is a URL whose scheme, host and port are literal. Its texts are percent-encoded.
type urlTemplate struct {
	origin   string
	path     []part
	query    []queryParam
	fragment []part
	// fixed is the whole URL, without query_params, if no part of it depends on the row; fixedQuery says that it has a query.
	fixed                        string
	isFixed, fixedQuery, hasFrag bool
}

// queryParam is one name=value of a template. It is dropped if a placeholder in it finds nothing or null, and repeated for each element
// if its only placeholder finds a list.
type queryParam struct {
	parts []part
	// slots are the placeholders.
	slots []int
}

// queryKey is one of query_params: the encoded name and =, and what it sends.
type queryKey struct {
	name string
	slot int
}

func (k *compiler) url(f field) *choice[*urlTemplate] {
	if f.v.Kind() == schemas.Absent {
		k.faults.Add(f.at, "missing", "write a URL such as https://example.org/api/{id}")
		return nil
	}
	return compileChoice(k, f.at, f.v, 0, func(at string, v schemas.Value) (*urlTemplate, bool) {
		text, ok := v.Str()
		if !ok {
			k.faults.Add(at, "found "+kindOf(v)+", not a URL", "write a URL such as https://example.org/api/{id}")
			return nil, false
		}
		return k.urlTemplate(at, text)
	})
}

func (k *compiler) urlTemplate(at, text string) (*urlTemplate, bool) {
	const form = "write a URL such as https://example.org/api/{id}"
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }); i >= 0 {
		k.faults.Add(at, fmt.Sprintf("a control character or backslash at character %d", i+1), "percent-encode it")
		return nil, false
	}
	scheme, rest, found := strings.Cut(text, "://")
	if scheme = strings.ToLower(scheme); !found || scheme != "http" && scheme != "https" {
		k.faults.Add(at, "does not begin with http:// or https://, literally", form)
		return nil, false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host := rest[:end]
	parts, ok := k.lexTemplate(at, rest[end:])
	if strings.ContainsAny(host, "{}") {
		k.faults.Add(at, "a placeholder in the host or port", "scheme, host and port are literal; placeholders stand in path, query and fragment")
		return nil, false
	}
	u, err := url.Parse(scheme + "://" + host)
	if err == nil && u.User != nil {
		k.faults.Add(at, "a user or password in the URL", "write basic_auth: {user, password}")
		return nil, false
	}
	if err != nil || !isHost(u) {
		k.faults.Add(at, "the host "+shown(host)+" is not valid", form+"; a name with other letters is written in its xn-- form")
		return nil, false
	}
	t := &urlTemplate{origin: scheme + "://" + strings.ToLower(strings.TrimSuffix(u.Host, ":"))}
	if !ok {
		return nil, false
	}
	k.cut(t, parts)
	if t.climbs() {
		k.faults.Add(at, "the path has a segment . or ..", "write the path it leads to")
		return nil, false
	}
	k.fix(t)
	return t, true
}

// isHost says whether u's host and port are such as can be dialled.
func isHost(u *url.URL) bool {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if u.Port() != "" && (err != nil || port == 0) {
		return false
	}
	for _, r := range u.Hostname() {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune("<>\"'`^|%{}", r) {
			return false
		}
	}
	return u.Hostname() != ""
}

// cut sorts the parts of a template into path, query and fragment, and the query into parameters. Only the template's own ? # & count.
func (k *compiler) cut(t *urlTemplate, parts []part) {
	where := inPath
	add := func(p part) {
		switch where {
		case inPath:
			t.path = append(t.path, p)
		case inQuery:
			last := &t.query[len(t.query)-1]
			last.parts = append(last.parts, p)
			if p.slot >= 0 {
				last.slots = append(last.slots, p.slot)
			}
		default:
			t.fragment = append(t.fragment, p)
		}
	}
	text := func(s string) {
		if s != "" {
			add(part{text: escapeLiteral(s, where), slot: -1})
		}
	}
	for _, p := range parts {
		if p.slot >= 0 {
			add(p)
			continue
		}
		s := p.text
		for s != "" {
			stops := [...]string{inPath: "?#", inQuery: "&#", inFragment: ""}[where]
			i := strings.IndexAny(s, stops)
			if i < 0 {
				text(s)
				break
			}
			text(s[:i])
			if s[i] == '#' {
				where, t.hasFrag = inFragment, true
			} else {
				where = inQuery
				t.query = append(t.query, queryParam{})
			}
			s = s[i+1:]
		}
	}
	if len(t.path) == 0 || t.path[0].slot >= 0 || !strings.HasPrefix(t.path[0].text, "/") {
		t.path = append([]part{{text: "/", slot: -1}}, t.path...)
	}
	whole := t.query[:0]
	for _, q := range t.query {
		if len(q.parts) > 0 {
			whole = append(whole, q)
		}
	}
	t.query = whole
}

// climbs looks for . and .. in what the template itself says.
func (t *urlTemplate) climbs() bool {
	var path []byte
	for _, p := range t.path {
		if p.slot >= 0 {
			path = append(path, 'x')
		}
		path = append(path, p.text...)
	}
	up, _ := climbs(path, nil)
	return up
}

// fix renders a template without placeholders once and for all.
func (k *compiler) fix(t *urlTemplate) {
	var b strings.Builder
	b.WriteString(t.origin)
	for _, p := range t.path {
		if p.slot >= 0 {
			return
		}
		b.WriteString(p.text)
	}
	for i, q := range t.query {
		if len(q.slots) > 0 {
			return
		}
		b.WriteByte("?&"[min(i, 1)])
		for _, p := range q.parts {
			b.WriteString(p.text)
		}
	}
	if t.hasFrag {
		return // query_params go before it
	}
	t.fixed, t.isFixed, t.fixedQuery = b.String(), true, len(t.query) > 0
}

func (k *compiler) queryParams(f field) []queryKey {
	var out []queryKey
	for _, key := range k.keys(f, true) {
		name := string(appendEscaped(nil, []byte(key))) + "="
		out = append(out, queryKey{name, k.mapped[key]})
	}
	return out
}

// keys reads a list of mapped keys, each once. A key that is not mapped never has a value: with lenient, as in Aether's own fields, that
// is a warning, and the key is left out.
func (k *compiler) keys(f field, lenient bool) []string {
	at, v := f.at, f.v
	if !given(v) {
		return nil
	}
	if v.Kind() != schemas.Array {
		k.faults.Add(at, "found "+kindOf(v)+", not a list of mapped keys", `write ["id", "name"]`)
		return nil
	}
	var out []string
	seen := map[string]bool{}
	i := -1
	for e := range v.Elements() {
		i++
		key, ok := e.Str()
		switch _, mapped := k.mapped[key]; {
		case !ok:
			k.faults.Add(element(at, i), "found "+kindOf(e)+", not a mapped key", listed(k.names))
		case !mapped && lenient:
			k.faults.Warn(element(at, i), "unknown key "+shown(key)+" is never sent", listed(k.names))
		case !mapped:
			k.faults.Add(element(at, i), "unknown key "+shown(key), listed(k.names))
		case seen[key]:
			k.faults.Warn(element(at, i), shown(key)+" stands twice; it is sent once", "")
		default:
			seen[key] = true
			out = append(out, key)
		}
	}
	return out
}
