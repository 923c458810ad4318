package mapping

import (
	"strconv"
	"strings"

	"streamer/internal/fault"
	"streamer/schemas"
)

// kindOf names a kind with its article, for texts such as "found a list".
func kindOf(v schemas.Value) string {
	switch k := v.Kind(); k {
	case schemas.Absent:
		return "nothing"
	case schemas.Null:
		return "null"
	case schemas.Int, schemas.Object:
		return "an " + k.String()
	case schemas.Bytes:
		return "bytes"
	case schemas.Float32, schemas.Float64, schemas.Number:
		return "a number"
	default:
		return "a " + k.String()
	}
}

// kind names what was found.
func (f *found) kind() string {
	if f.many != nil {
		return "several values"
	}
	return kindOf(f.one)
}

// under gives the path of a member as a person would write it.
func under(parent, key string) string {
	plain := key != ""
	for _, r := range key {
		plain = plain && (r == '_' || r == '-' || r > 0x7f || '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z')
	}
	if plain {
		return parent + "." + key
	}
	return parent + "[" + strconv.Quote(key) + "]"
}

func element(parent string, i int) string { return parent + "[" + strconv.Itoa(i) + "]" }

// listed gives names for a mend: all of a few, the first of many.
func listed(names []string) string {
	const most = 20
	if len(names) == 0 {
		return "datamap maps no keys"
	}
	more := ""
	if len(names) > most {
		names, more = names[:most], ", …"
	}
	return "mapped keys are " + strings.Join(names, ", ") + more
}

// unknownKeys adds a fault for every member of v that is not in known.
func unknownKeys(l *fault.List, at string, v schemas.Value, known ...string) {
next:
	for key := range v.Members() {
		for _, k := range known {
			if k == key {
				continue next
			}
		}
		l.Add(under(at, key), "unknown key", "known keys are "+strings.Join(known, ", "))
	}
}
