package mapping

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"streamer/schemas"
)

// choice is a value, or {when, then, else}: then if when finds anything but null and false, else otherwise. Either may be a choice again.
type choice[T any] struct {
	value     T
	when      int // slot, if then is set
	then, els *choice[T]
}

// compileChoice reads v at the path at; leaf reads what is no choice.
func compileChoice[T any](k *compiler, at string, v schemas.Value, depth int, leaf func(at string, v schemas.Value) (T, bool)) *choice[T] {
	if v.Kind() != schemas.Object {
		value, ok := leaf(at, v)
		if !ok {
			return nil
		}
		return &choice[T]{value: value}
	}
	if depth >= maxNesting {
		k.faults.Add(at, fmt.Sprintf("choices nested more than %d deep", maxNesting), "")
		return nil
	}
	unknownKeys(&k.faults, at, v, "when", "then", "else")
	c := &choice[T]{}
	var ok bool
	c.when, ok = k.condition(at+".when", v.Field("when"))
	branch := func(name string) *choice[T] {
		b := v.Field(name)
		if b.Kind() == schemas.Absent {
			k.faults.Add(at+"."+name, "missing", "every row needs one: write both then and else")
			return nil
		}
		return compileChoice(k, at+"."+name, b, depth+1, leaf)
	}
	c.then, c.els = branch("then"), branch("else")
	if !ok || c.then == nil || c.els == nil {
		return nil
	}
	return c
}

// choose gives the value for the row m is at.
func choose[T any](m *Mapper, c *choice[T]) (T, error) {
	for c.then != nil {
		f, err := m.value(c.when)
		if err != nil {
			var none T
			return none, err
		}
		if f.true() {
			c = c.then
		} else {
			c = c.els
		}
	}
	return c.value, nil
}

// true says whether anything but null and false was found.
func (f *found) true() bool {
	if f.many != nil {
		return slices.ContainsFunc(f.many, isTrue)
	}
	return isTrue(f.one)
}

func isTrue(v schemas.Value) bool {
	b, isBool := v.Bool()
	return given(v) && (b || !isBool)
}

var methods = []string{http.MethodHead, http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

func (k *compiler) method(f field) *choice[string] {
	if f.v.Kind() == schemas.Absent {
		k.faults.Add(f.at, "missing", "write an HTTP method: "+strings.Join(methods, ", "))
		return nil
	}
	return compileChoice(k, f.at, f.v, 0, func(at string, v schemas.Value) (string, bool) {
		name, ok := v.Str()
		if !ok {
			k.faults.Add(at, "found "+kindOf(v)+", not an HTTP method", "write one of "+strings.Join(methods, ", "))
			return "", false
		}
		i := slices.Index(methods, name)
		if i < 0 {
			mend := "write one of " + strings.Join(methods, ", ")
			if upper := strings.ToUpper(name); slices.Contains(methods, upper) {
				mend = "write " + upper
			}
			k.faults.Add(at, "unknown HTTP method "+shown(name), mend)
			return "", false
		}
		return methods[i], true
	})
}
