package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

// arguments are those of a call, by name, as JSON, and what is wrong with them as far as that was seen.
type arguments struct {
	values map[string]json.RawMessage
	faults []Fault
	// written are those that came as plain text, as it stood there.
	written map[string]string
	// known are the names that the caller can mean.
	known []string
	// unfit says that a part of the path cannot be what it stands for, so that there is nothing at it.
	unfit bool
}

func (a *arguments) fail(field, detail, mend string) {
	a.faults = append(a.faults, Fault{field, detail, mend})
}

// arguments gathers those of a REST call from path, headers, query or body. The error says that there is no making anything of the
// body; those of the path are given all the same.
func (m *bound) arguments(c echo.Context) (*arguments, error) {
	a := &arguments{values: map[string]json.RawMessage{}, written: map[string]string{}}
	path := m.inPath()
	for _, name := range path {
		text := c.Param(name)
		if plain, err := url.PathUnescape(text); err == nil && c.Request().URL.RawPath != "" {
			text = plain // the router matches the path as it was written
		}
		a.written[name] = text
		m.text(a, name, text)
	}
	a.unfit = len(a.faults) > 0
	for _, name := range m.names {
		if !slices.Contains(path, name) && name != ifMatch {
			a.known = append(a.known, name)
		}
	}
	m.conditions(a, c.Request().Header)
	if m.inQuery() {
		m.query(a, c.QueryParams())
		return a, nil
	}
	for _, name := range sorted(c.QueryParams()) {
		a.fail(name, "stands in the query", "arguments of "+m.Verb+" stand in the body")
	}
	body, err := object(c.Request())
	for _, name := range sorted(body) {
		if slices.Contains(path, name) {
			a.fail(name, "stands in the body", "it is in the path already")
			continue
		}
		if _, given := a.values[name]; given {
			a.fail(name, "stands twice", "give it as a header or in the body")
			continue
		}
		a.values[name] = body[name]
	}
	if m.ifMatch {
		a.known = append(a.known, ifMatch)
	}
	return a, err
}

// ifMatch is the argument that the headers If-Match and If-None-Match give: the revision that a thing has to have, "*" any, "0" that it
// has to be new.
const ifMatch = "if_match"

func (m *bound) conditions(a *arguments, h http.Header) {
	if !m.ifMatch {
		return
	}
	if tag := h.Get("If-Match"); tag != "" {
		m.text(a, ifMatch, strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`))
	}
	switch none := strings.TrimSpace(h.Get("If-None-Match")); {
	case none == "" || m.inQuery() && m.Verb == http.MethodGet:
	case none == "*" && h.Get("If-Match") == "":
		m.text(a, ifMatch, "0")
	default:
		a.fail("If-None-Match", strconv.Quote(none)+" says nothing about a change", `send *, to make what must not be there, or If-Match`)
	}
}

func (m *bound) query(a *arguments, given url.Values) {
	for _, name := range sorted(given) {
		switch values := given[name]; {
		case !slices.Contains(a.known, name):
			a.faults = append(a.faults, unknown(name, a.known))
		case len(values) > 1:
			a.fail(name, "stands twice", "give it once")
		default:
			a.written[name] = values[0]
			m.text(a, name, values[0])
		}
	}
}

// text makes an argument that was written as plain text one of JSON.
func (m *bound) text(a *arguments, name, text string) {
	s := m.property(name)
	if s.Type == huma.TypeArray {
		var parts []json.RawMessage
		for part := range strings.SplitSeq(text, ",") {
			value, fault := plain(m.resolved(s.Items), part)
			if fault != "" {
				a.fail(name, fault, m.mends[name])
				return
			}
			parts = append(parts, value)
		}
		a.values[name] = must(json.Marshal(parts))
		return
	}
	value, fault := plain(s, text)
	if fault != "" {
		a.fail(name, fault, m.mends[name])
		return
	}
	a.values[name] = value
}

// plain is a text as the JSON value that a schema wants.
func plain(s *huma.Schema, text string) (value json.RawMessage, fault string) {
	switch s.Type {
	case huma.TypeInteger:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, noNumber(s, text)
		}
		return json.RawMessage(strconv.FormatInt(n, 10)), ""
	case huma.TypeNumber:
		n, err := strconv.ParseFloat(text, 64)
		value, unfit := json.Marshal(n) // no infinities
		if err != nil || unfit != nil {
			return nil, noNumber(s, text)
		}
		return value, ""
	case huma.TypeBoolean:
		if text != "true" && text != "false" {
			return nil, strconv.Quote(text) + " is neither true nor false"
		}
		return json.RawMessage(text), ""
	}
	return must(json.Marshal(text)), ""
}

// object reads the body, one JSON object. No body is an empty one.
func object(req *http.Request) (map[string]json.RawMessage, error) {
	body, err := io.ReadAll(req.Body) // bounded has read it already
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	if kind := req.Header.Get(echo.HeaderContentType); kind != "" {
		if plain, _, err := mime.ParseMediaType(kind); err != nil || plain != echo.MIMEApplicationJSON {
			return nil, Refuse(http.StatusUnsupportedMediaType, "", "the body is "+kind+", not JSON", "send it as application/json")
		}
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(body, &values); err != nil || values == nil {
		cause := "it is null"
		var other *json.UnmarshalTypeError
		switch {
		case errors.As(err, &other):
			cause = "it is of type " + other.Value
		case err != nil:
			cause = err.Error()
		}
		return nil, Refuse(http.StatusBadRequest, "", "the body is no JSON object: "+cause, "")
	}
	if name := Twice(body); name != "" {
		return values, Refuse(http.StatusBadRequest, name, "stands twice", "give it once")
	}
	return values, nil
}

// Twice gives the path of a key that an object in valid JSON has twice, with dots between: of two readers, each might take another one. It is
// empty if there is none.
func Twice(text []byte) string {
	type level struct {
		keys map[string]bool // nil: a list
		key  string
		next bool // a key is next
	}
	var open []level
	for tokens := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := tokens.Token()
		if err != nil {
			return ""
		}
		top := len(open) - 1
		if top >= 0 && open[top].next {
			if key, ok := token.(string); ok {
				if open[top].keys[key] {
					path := ""
					for _, l := range open[:top] {
						if l.keys != nil {
							path += l.key + "."
						}
					}
					return path + key
				}
				open[top].keys[key], open[top].key, open[top].next = true, key, false
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{keys: map[string]bool{}, next: true})
			continue
		case json.Delim('['):
			open = append(open, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
		}
		if n := len(open); n > 0 && open[n-1].keys != nil {
			open[n-1].next = true
		}
	}
}

func sorted[V any, M ~map[string]V](m M) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// must is for what cannot fail: JSON of plain values.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Errorf("a fault of streamer: %w", err))
	}
	return v
}
