package mapping

import (
	"strings"

	"github.com/ohler55/ojg/jp"

	"streamer/schemas"
)

// script is a filter of ojg's own language: has, exists, empty, arithmetic in a filter, comparisons of functions. ojg sees one candidate
// at a time as plain maps and lists; the walk, its order and $ stay ours, because ojg's Locate goes level by level and gives filters no
// root.
type script struct{ filter *jp.Filter }

// newScript is nil where ojg does not know the filter either, or would read it otherwise than we mean: a $ in it would be the candidate,
// and a back-quote part of a name.
func newScript(text string) condition {
	if strings.ContainsAny(text, "$`") {
		return nil
	}
	f, err := jp.NewFilter("[?" + text + "]")
	if err != nil {
		return nil
	}
	return script{f}
}

func (script) reads() area { return 0 }

func (c script) holds(s *search, v schemas.Value) (ok bool) {
	// The library is not ours: what it makes of a row no test has shown must not stop the others.
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return c.filter.Match(plain(s, v))
}

// plain gives v as encoding/json would, numbers as int64 where they are integers.
func plain(s *search, v schemas.Value) any {
	if !s.visit() {
		return nil
	}
	switch v.Kind() {
	case schemas.Bool:
		b, _ := v.Bool()
		return b
	case schemas.Object:
		m := make(map[string]any, v.Len())
		for key, member := range v.Members() {
			m[key] = plain(s, member)
		}
		return m
	case schemas.Array:
		l := make([]any, 0, v.Len())
		for e := range v.Elements() {
			l = append(l, plain(s, e))
		}
		return l
	}
	if text, ok := textOf(v); ok {
		return text
	}
	if i, ok := v.Int(); ok {
		return i
	}
	if f, ok := v.Float(); ok {
		return f
	}
	return nil
}
