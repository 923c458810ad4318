package mapping

import "streamer/schemas"

// emitRule is Aether's: a row leaves if the first value that field finds in it is one of values.
type emitRule struct {
	field  *Path
	values []schemas.Value
}

func (k *compiler) emit(v schemas.Value) {
	if !given(v) {
		return
	}
	if v.Kind() != schemas.Object {
		k.faults.Add("emit", "found "+kindOf(v)+", not an object", `write {"field": "$.approved", "values": [true]}`)
		return
	}
	unknownKeys(&k.faults, "emit", v, "field", "values", "required")
	rule := &emitRule{}
	text := "$.approved"
	if f := v.Field("field"); given(f) {
		var ok bool
		if text, ok = f.Str(); !ok {
			k.faults.Add("emit.field", "found "+kindOf(f)+", not a JSONPath", "write a path over the row, such as $.approved")
			return
		}
	}
	p, err := CompilePath(text)
	if err != nil {
		k.pathFault("emit.field", err)
		return
	}
	rule.field = p
	switch values := v.Field("values"); values.Kind() {
	case schemas.Absent:
		b := schemas.NewBuilder()
		b.Bool(true)
		rule.values = []schemas.Value{b.Value()}
	case schemas.Array:
		for e := range values.Elements() {
			rule.values = append(rule.values, e.Clone())
		}
		if len(rule.values) == 0 {
			k.faults.Warn("emit.values", "an empty list: no row is ever emitted", "write [true]")
		}
	default:
		rule.values = []schemas.Value{values.Clone()}
	}
	switch r := v.Field("required"); r.Kind() {
	case schemas.Absent, schemas.Null:
	case schemas.Bool:
		if required, _ := r.Bool(); !required {
			return
		}
	default:
		k.faults.Add("emit.required", "found "+kindOf(r)+", not true or false", "")
		return
	}
	k.prog.emit = rule
}

// passes decides on a row. Only the first value found counts.
func (r *emitRule) passes(s *search, row *message) (bool, error) {
	f, err := s.find(r.field, row)
	if err != nil {
		return false, &Error{"emit.field", r.field.text, err.Error()}
	}
	first := f.one
	if f.many != nil {
		first = f.many[0]
	}
	for _, v := range r.values {
		if first.Kind() != schemas.Absent && first.Equal(v) {
			return true, nil
		}
	}
	return false, nil
}
