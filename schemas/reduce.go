package schemas

import "strings"

// appendReduced appends the schema v with nothing in it but what decides how data is laid out, for goavro to judge. Left out is what
// goavro judges too but no reader needs: a `default` that does not fit its type, a logical type, a namespace on a field. And names that
// break Avro's rule ([A-Za-z_][A-Za-z0-9_]*) are rewritten to keep it: Aether's own library does not check them, so forms whose questions
// have a dash in their names are out there, and their records are readable.
func appendReduced(dst []byte, v Value) []byte {
	switch v.Kind() {
	case Array:
		dst = append(dst, '[')
		for e := range v.Elements() {
			dst = append(appendReduced(dst, e), ',')
		}
		return closed(dst, ']')
	case Object:
		return appendReducedType(dst, v)
	case String:
		name, _ := v.Str()
		return appendString(dst, dotted(name))
	default:
		dst, _ = v.appendJSON(dst) // parsed JSON always has JSON
		return dst
	}
}

// layoutKeys are the keys that decide the layout, by type.
var layoutKeys = map[string][]string{
	"record": {"name", "namespace", "fields"},
	"enum":   {"name", "namespace", "symbols"},
	"fixed":  {"name", "namespace", "size"},
	"array":  {"items"},
	"map":    {"values"},
}

func appendReducedType(dst []byte, v Value) []byte {
	dst = append(dst, '{')
	t := v.Field("type")
	if t.Kind() != Absent {
		dst = append(appendReduced(appendKey(dst, "type"), t), ',')
	}
	name, _ := t.Str()
	for _, key := range layoutKeys[name] {
		m := v.Field(key)
		s, isText := m.Str()
		switch {
		case m.Kind() == Absent, key == "namespace" && !isText: // Python's writers may leave a null there
			continue
		case key == "items", key == "values":
			dst = appendReduced(appendKey(dst, key), m)
		case isText:
			dst = appendString(appendKey(dst, key), dotted(s))
		case key == "symbols" && m.Kind() == Array:
			dst = appendSymbols(appendKey(dst, key), m)
		case key == "fields" && m.Kind() == Array:
			dst = appendFields(appendKey(dst, key), m)
		default:
			dst, _ = m.appendJSON(appendKey(dst, key))
		}
		dst = append(dst, ',')
	}
	return closed(dst, '}')
}

func appendFields(dst []byte, fields Value) []byte {
	dst = append(dst, '[')
	for f := range fields.Elements() {
		name, isText := f.Field("name").Str()
		if f.Kind() != Object || !isText {
			dst, _ = f.appendJSON(dst)
			dst = append(dst, ',')
			continue
		}
		dst = append(appendString(append(dst, `{"name":`...), safe(name)), ',')
		t := f.Field("type")
		if word, _ := t.Str(); layoutKeys[word] != nil { // a definition put there by mistake, beside the field's own keys
			t = f
		}
		if t.Kind() != Absent {
			dst = append(appendReduced(appendKey(dst, "type"), t), ',')
		}
		dst = closed(dst, '}')
		dst = append(dst, ',')
	}
	return closed(dst, ']')
}

func appendSymbols(dst []byte, symbols Value) []byte {
	dst = append(dst, '[')
	for symbol := range symbols.Elements() {
		if s, ok := symbol.Str(); ok {
			dst = appendString(dst, safe(s))
		} else {
			dst, _ = symbol.appendJSON(dst)
		}
		dst = append(dst, ',')
	}
	return closed(dst, ']')
}

func appendKey(dst []byte, key string) []byte { return append(appendString(dst, key), ':') }

// closed puts stop in place of the comma after the last member, if there is one.
func closed(dst []byte, stop byte) []byte {
	if last := len(dst) - 1; dst[last] == ',' {
		dst[last] = stop
		return dst
	}
	return append(dst, stop)
}

// dotted makes each part of a full name safe.
func dotted(name string) string {
	if !strings.Contains(name, ".") {
		return safe(name)
	}
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = safe(p)
	}
	return strings.Join(parts, ".")
}

// safe gives name if it keeps Avro's rule; else one that does, with each other byte as _xHH. An empty name stays empty.
func safe(name string) string {
	ok := true
	for i := range len(name) {
		ok = ok && nameByte(name[i], i)
	}
	if ok {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; nameByte(c, i) {
			b.WriteByte(c)
		} else {
			b.WriteString("_x")
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

func nameByte(c byte, at int) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '_' || '0' <= c && c <= '9' && at > 0
}
