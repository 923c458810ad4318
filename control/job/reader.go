package job

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"streamer/internal/fault"
	"streamer/internal/nearest"
	"streamer/schemas"
)

// reader takes typed values out of one object of a job and collects what is wrong with them. What is absent or null reads as not
// given. What is wrong reads as not given too, with a fault.
type reader struct {
	object schemas.Value
	path   string
	faults *fault.List
	keys   map[string][]key // of the document
	// shape is where its keys stand in keys: the path, for whatever does not stand in a list. field is leaf.field of the object.
	shape, field string
}

// given gives a member that is there and not null.
func (r reader) given(name string) (v schemas.Value, path string, ok bool) {
	v = r.object.Field(name)
	return v, member(r.path, name), v.Kind() != schemas.Absent && v.Kind() != schemas.Null
}

// sub gives a reader of a member that is an object, and checks its keys.
func (r reader) sub(name string, lenient bool) (reader, bool) {
	shape := name
	if r.shape != "" {
		shape = r.shape + "." + name
	}
	return r.subOf(name, shape, lenient)
}

// subOf is sub for an object whose keys stand elsewhere.
func (r reader) subOf(name, shape string, lenient bool) (reader, bool) {
	v, path, ok := r.given(name)
	if !ok {
		return reader{}, false
	}
	return r.member(v, path, r.field+"/"+name, shape, lenient)
}

// element gives a reader of an element, which is v, of a list called name.
func (r reader) element(name string, i int, v schemas.Value, shape string) (reader, bool) {
	at := element("", i)
	return r.member(v, member(r.path, name)+at, r.field+"/"+name+"/"+at, shape, false)
}

// member gives a reader of any object below.
func (r reader) member(v schemas.Value, path, field, shape string, lenient bool) (reader, bool) {
	if v.Kind() != schemas.Object {
		r.faults.Add(path, "is "+kindName(v)+", not an object of fields", "")
		return reader{}, false
	}
	checkKeys(r.faults, v, path, r.keys[shape], lenient)
	return reader{object: v, path: path, faults: r.faults, keys: r.keys, shape: shape, field: field}, true
}

func (r reader) text(name string) (string, bool) {
	v, path, ok := r.given(name)
	if !ok {
		return "", false
	}
	s, ok := v.Str()
	if !ok {
		r.faults.Add(path, "is "+kindName(v)+", not text", "put it in quotes")
		return "", false
	}
	return strings.Clone(s), true
}

// word is a text out of a closed set.
func (r reader) word(name string, words ...string) (string, bool) {
	s, ok := r.text(name)
	if !ok {
		return "", false
	}
	for _, w := range words {
		if s == w {
			return s, true
		}
	}
	mend := "write one of " + strings.Join(words, ", ")
	if n := nearest.Name(s, words); n != "" {
		mend = "did you mean " + n + "? It is one of " + strings.Join(words, ", ")
	}
	r.faults.Add(member(r.path, name), fmt.Sprintf("unknown value %q", clip(s)), mend)
	return "", false
}

func (r reader) flag(name string) (value, ok bool) {
	v, path, ok := r.given(name)
	if !ok {
		return false, false
	}
	b, ok := v.Bool()
	if !ok {
		r.faults.Add(path, "is "+kindName(v)+", not true or false", "")
	}
	return b, ok
}

// whole is a whole number of at least low and at most high.
func (r reader) whole(name string, low, high int64) (int, bool) {
	v, path, ok := r.given(name)
	if !ok {
		return 0, false
	}
	n, ok := v.Int()
	if !ok {
		r.faults.Add(path, "is "+kindName(v)+", not a whole number", "")
		return 0, false
	}
	if n < low || n > high {
		r.faults.Add(path, fmt.Sprintf("%d is out of range", n), fmt.Sprintf("write a number from %d to %d", low, high))
		return 0, false
	}
	return int(n), true
}

// positive is a whole number from 1, the highest being another room's to check.
func (r reader) positive(name string) int {
	n, _ := r.whole(name, 1, 1<<40)
	return n
}

// number is any number of at least low and at most high.
func (r reader) number(name string, low, high float64) (float64, bool) {
	v, path, ok := r.given(name)
	if !ok {
		return 0, false
	}
	f, ok := v.Float()
	if !ok {
		r.faults.Add(path, "is "+kindName(v)+", not a number", "")
		return 0, false
	}
	if !(f >= low && f <= high) {
		r.faults.Add(path, strconv.FormatFloat(f, 'g', -1, 64)+" is out of range",
			fmt.Sprintf("write a number from %v to %v", low, high))
		return 0, false
	}
	return f, true
}

// duration is a text like 500ms, 30s, 5m, 1h30m or 14d, of at least low and at most high.
func (r reader) duration(name string, low, high time.Duration) (time.Duration, bool) {
	v, path, ok := r.given(name)
	if !ok {
		return 0, false
	}
	s, ok := v.Str()
	if !ok {
		mend := "write it with its unit, as in \"30s\""
		if text, err := v.AppendText(nil); err == nil && v.Kind() != schemas.Object && v.Kind() != schemas.Array {
			mend = fmt.Sprintf("write it with its unit, as in %q", clip(string(text))+"s")
		}
		r.faults.Add(path, "is "+kindName(v)+", not a duration", mend)
		return 0, false
	}
	d, err := parseDuration(s)
	if err != nil {
		r.faults.Add(path, fmt.Sprintf("%q is no duration", clip(s)), "write it as in 500ms, 30s, 5m, 1h30m or 14d")
		return 0, false
	}
	if d < low || d > high {
		r.faults.Add(path, fmt.Sprintf("%s is out of range", s), fmt.Sprintf("write a duration from %s to %s", short(low), short(high)))
		return 0, false
	}
	return d, true
}

var durationText = regexp.MustCompile(`^(?:(\d{1,6})d)?(.*)$`)

// parseDuration is time.ParseDuration with days (24h) in front.
func parseDuration(s string) (time.Duration, error) {
	parts := durationText.FindStringSubmatch(s)
	if parts == nil || parts[1] == "" {
		return time.ParseDuration(s)
	}
	days, err := strconv.Atoi(parts[1])
	if err != nil || days > 100*365 {
		return 0, errors.New("too many days")
	}
	d := time.Duration(days) * 24 * time.Hour
	if parts[2] == "" {
		return d, nil
	}
	rest, err := time.ParseDuration(parts[2])
	return d + rest, err
}

// short writes a duration without the zero parts: 5m, not 5m0s.
func short(d time.Duration) string {
	switch {
	case d >= 24*time.Hour && d%(24*time.Hour) == 0:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	case d >= time.Hour && d%time.Hour == 0:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	case d >= time.Minute && d%time.Minute == 0:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	}
	return d.String()
}

// texts is a list of texts.
func (r reader) texts(name string) ([]string, bool) {
	v, path, ok := r.given(name)
	if !ok {
		return nil, false
	}
	if v.Kind() != schemas.Array {
		r.faults.Add(path, "is "+kindName(v)+", not a list", "write a list, as in [a, b]")
		return nil, false
	}
	var all []string
	good, i := true, 0
	for e := range v.Elements() {
		s, ok := e.Str()
		if ok {
			all = append(all, strings.Clone(s))
		} else {
			r.faults.Add(element(path, i), "is "+kindName(e)+", not text", "put it in quotes")
			good = false
		}
		i++
	}
	return all, good
}

// kindName says what a value is in an operator's words.
func kindName(v schemas.Value) string {
	switch v.Kind() {
	case schemas.Absent:
		return "missing"
	case schemas.Null:
		return "null"
	case schemas.Bool:
		return "true or false"
	case schemas.String:
		return "text"
	case schemas.Bytes:
		return "bytes"
	case schemas.Array:
		return "a list"
	case schemas.Object:
		return "an object"
	}
	return "a number"
}

// clip bounds what a fault repeats of a value.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
