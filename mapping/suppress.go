package mapping

import (
	"time"

	"streamer/schemas"
)

// suppression keeps an event in that is the echo of an own write: field has the time of that write, and the event came within that time of
// it. Whoever answers an event by a write to the same record would else be told of it, and write again.
type suppression struct {
	slot   int
	within time.Duration
}

func (k *compiler) suppress(at string, v schemas.Value) *suppression {
	const form = "write {field: $.record.custom_fields.indexed, within: 30s}"
	if !given(v) {
		return nil
	}
	if v.Kind() != schemas.Object {
		k.faults.Add(at, "found "+kindOf(v)+", not an object", form)
		return nil
	}
	unknownKeys(&k.faults, at, v, "field", "within")
	s := &suppression{}
	text, ok := v.Field("field").Str()
	if !ok {
		k.faults.Add(placed(at, "field"), "found "+kindOf(v.Field("field"))+", not a JSONPath", form)
		return nil
	}
	if s.slot, ok = k.inlinePath(placed(at, "field"), text); !ok {
		return nil
	}
	within, _ := v.Field("within").Str()
	d, err := time.ParseDuration(within)
	if err != nil || d <= 0 || d > 24*time.Hour {
		k.faults.Add(placed(at, "within"), "found "+kindOf(v.Field("within"))+", not a duration up to 24h", form)
		return nil
	}
	s.within = d
	k.prog.reads |= areaKafka | areaEvent // for the record's time, where the event has none
	return s
}

// echoes says that the event m is at is suppressed. A field that finds nothing suppresses nothing.
func (m *Mapper) echoes(s *suppression) (bool, error) {
	if s == nil {
		return false, nil
	}
	f, err := m.value(s.slot)
	if err != nil || f.many == nil && !given(f.one) {
		return false, err
	}
	written, ok := timeOf(f.one)
	if !ok {
		return false, m.prog.slots[s.slot].error("found " + f.kind() + " that is no time; write RFC 3339, or a number of seconds or milliseconds")
	}
	for _, v := range []schemas.Value{m.msg.parts[0].Field("time"), m.msg.parts[4].Field("time"), m.msg.parts[3].Field("timestamp")} {
		if at, ok := timeOf(v); ok {
			return at.Sub(written).Abs() < s.within, nil
		}
	}
	return false, nil
}

// timeOf reads a time: RFC 3339, without a zone UTC, or a number of seconds or milliseconds since 1970.
func timeOf(v schemas.Value) (time.Time, bool) {
	if text, ok := v.Str(); ok {
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05"} {
			if t, err := time.Parse(layout, text); err == nil {
				return t, true
			}
		}
		return time.Time{}, false
	}
	const milliseconds = 100_000_000_000 // as seconds it is the year 5138
	n, ok := v.Float()
	switch {
	case !ok || !(n > -milliseconds*1000 && n < milliseconds*1000):
		return time.Time{}, false
	case n >= milliseconds || n <= -milliseconds:
		return time.UnixMilli(int64(n)), true
	}
	return time.UnixMilli(int64(n * 1000)), true
}
