package mapping

import (
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"strings"

	"github.com/itchyny/gojq"
)

// problem words an error of gojq's by its kind and by the kinds of the values in it. Its own texts show the values.
func (m *jqMachine) problem(err error) error {
	for _, ours := range []error{errWork, errNesting, errDigits, errPattern, errPatternSize, errPatternKind, errFlags} {
		if errors.Is(err, ours) {
			return ours
		}
	}
	if e, ok := err.(gojq.ValueError); ok { //nolint:errorlint // gojq gives it unwrapped
		return m.own(e.Value())
	}
	e := reflect.ValueOf(err)
	if e.Kind() != reflect.Pointer || e.Elem().Kind() != reflect.Struct {
		return errors.New("fails")
	}
	e = e.Elem()
	kinds := kindsIn(e)
	name := ""
	if f := e.FieldByName("name"); f.IsValid() && f.Kind() == reflect.String {
		name = f.String()
	}
	switch kind := e.Type().Name(); {
	case kind == "iteratorError":
		return errors.New("cannot go over " + kinds + " with []")
	case kind == "expectedObjectError":
		return errors.New("looks for a member in " + kinds)
	case kind == "expectedArrayError":
		return errors.New("looks for an element in " + kinds)
	case kind == "objectKeyNotStringError":
		return errors.New("takes " + kinds + " for the name of a member")
	case kind == "zeroDivisionError", kind == "zeroModuloError":
		return errors.New("divides by zero")
	case name != "":
		return errors.New("cannot " + strings.TrimPrefix(name, "_") + " " + kinds)
	default:
		return errors.New("fails on " + kinds)
	}
}

// own words what a program says with error: its text only if it stands in the program, for it may be the row's.
func (m *jqMachine) own(v any) error {
	if text, ok := v.(string); ok && m.program.constant[text] {
		return errors.New("says error: " + text)
	}
	return errors.New("says error, with " + jqKind(v))
}

// kindsIn lists the kinds of the values that an error holds.
func kindsIn(e reflect.Value) string {
	var kinds []string
	for i := range e.NumField() {
		f := e.Field(i)
		if f.Kind() != reflect.Interface || f.NumMethod() > 0 {
			continue
		}
		kind := "null"
		if !f.IsNil() {
			kind = kindOfType(f.Elem().Type())
		}
		kinds = append(kinds, kind)
	}
	if len(kinds) == 0 {
		return "this row"
	}
	return strings.Join(kinds, " and ")
}

func jqKind(v any) string {
	if v == nil {
		return "null"
	}
	return kindOfType(reflect.TypeOf(v))
}

func kindOfType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[json.Number](), reflect.TypeFor[*big.Int]():
		return "a number"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Slice:
		return "a list"
	case reflect.Map:
		return "an object"
	default:
		return "a number"
	}
}
