package job

import (
	"slices"
	"strings"

	"streamer/internal/fault"
	"streamer/schemas"
)

// FillIn begins a text that stands for something somebody has to write, as an import leaves it. No job with such a place can be used.
const FillIn = "TODO_FILL_IN"

// refusePlaces adds a fault for each marked place of the job. What else was found there is said by the mark already.
func (c *compilation) refusePlaces() {
	var marks fault.List
	placesToFillIn(&marks, c.def.value, "")
	if len(marks) == 0 {
		return
	}
	marked := map[string]bool{}
	for _, f := range marks {
		marked[f.Path] = true
	}
	c.faults = append(slices.DeleteFunc(c.faults, func(f fault.Fault) bool { return marked[f.Path] }), marks...)
}

// placesToFillIn finds the marked places, in keys and in values.
func placesToFillIn(marks *fault.List, v schemas.Value, path string) {
	refuse := func(path, text string) {
		if what, marked := strings.CutPrefix(text, FillIn); marked {
			marks.Add(path, "is a place to fill in"+clip(what), "write what belongs there, instead of "+FillIn)
		}
	}
	switch v.Kind() {
	case schemas.String:
		text, _ := v.Str()
		refuse(path, text)
	case schemas.Array:
		i := 0
		for e := range v.Elements() {
			placesToFillIn(marks, e, element(path, i))
			i++
		}
	case schemas.Object:
		for key, m := range v.Members() {
			refuse(member(path, key), key)
			placesToFillIn(marks, m, member(path, key))
		}
	}
}
