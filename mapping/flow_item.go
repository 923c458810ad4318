package mapping

import (
	"fmt"
	"strings"

	"streamer/schemas"
)

// items are what a step is made for: once, or for each of a list.
type items struct {
	single bool
	list   []item
	// at is the one in hand, value what $.item is then.
	at    int
	value schemas.Value
	// place is where in the step's results a path's is.
	place map[string]int
	// bytes is about how much memory the list takes.
	bytes int
}

// item is an element of a list, or with isPath a path: its own text, and the names in it.
type item struct {
	value  schemas.Value
	isPath bool
	text   string
	names  []string
	// parent is the text of the path above it; listed says that the row has it, and not only a path below it.
	parent string
	listed bool
}

// items are those that for_each finds: the elements of a list, several values, or one. Nothing and null are none.
func (e *eachRule) items(v *found) (items, error) {
	var values []schemas.Value
	switch {
	case v.many != nil:
		values = v.many
	case v.one.Kind() == schemas.Array:
		for element := range v.one.Elements() {
			values = append(values, element)
		}
	case given(v.one):
		values = []schemas.Value{v.one}
	}
	out := items{place: map[string]int{}}
	known := map[string]int{}
	for _, value := range values {
		if len(out.list) > maxItems {
			break
		}
		if e.separator == "" {
			out.list = append(out.list, item{value: value.Clone()})
			out.bytes += sizeOf(value)
			continue
		}
		text, ok := textOf(value)
		if !ok {
			return out, &Error{e.at, "", "found " + kindOf(value) + ", not a path"}
		}
		if err := e.path(&out, known, strings.Clone(text)); err != nil {
			return out, err
		}
	}
	if len(out.list) > maxItems {
		return out, &Error{e.at, "", fmt.Sprintf("finds more than %d", maxItems)}
	}
	return out, nil
}

// path adds a path, after those above it that are not there yet.
func (e *eachRule) path(out *items, known map[string]int, text string) error {
	names := strings.Split(text, e.separator)
	const deepest = 100
	if len(names) > deepest {
		return &Error{e.at, "", fmt.Sprintf("found a path of more than %d names", deepest)}
	}
	end, parent := 0, ""
	for i, name := range names {
		if name == "" {
			return &Error{e.at, "", "found a path with an empty name in it"}
		}
		if i > 0 {
			end += len(e.separator)
		}
		end += len(name)
		last := i == len(names)-1
		if last || e.ancestors {
			at, ok := known[text[:end]]
			if !ok {
				at = len(out.list)
				known[text[:end]] = at
				out.list = append(out.list, item{isPath: true, text: text[:end], names: names[:i+1], parent: parent})
				out.bytes += end + 64
			}
			out.list[at].listed = out.list[at].listed || last
		}
		parent = text[:end]
	}
	return nil
}

// begin makes $.item for the one in hand; false if none is left. results are the step's so far.
func (t *items) begin(results []schemas.Value) bool {
	if t.single || t.at >= len(t.list) {
		return t.single && t.at == 0
	}
	i := &t.list[t.at]
	b := schemas.NewBuilder()
	b.BeginObject()
	b.Key("index")
	b.Int(int64(t.at))
	b.Key("value")
	if !i.isPath {
		b.Copy(i.value)
	} else {
		b.String(i.text)
		b.Key("name")
		b.String(i.names[len(i.names)-1])
		b.Key("path")
		b.String(strings.Join(i.names, "/"))
		b.Key("listed")
		b.Bool(i.listed)
		if at, ok := t.place[i.parent]; ok && i.parent != "" {
			b.Key("parent")
			b.Copy(results[at])
		}
	}
	b.End()
	t.value = b.Value()
	return true
}

// remember notes where the result of the one in hand is, for those below it.
func (t *items) remember(at int) {
	if i := &t.list[t.at]; i.isPath {
		t.place[i.text] = at
	}
}
