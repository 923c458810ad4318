package job

import (
	"slices"

	"streamer/schemas"
)

// written are the fields that streamer writes itself.
var written = []string{"modified", "hash"}

// Bare gives the job without the fields that streamer writes itself: what is left is what somebody wants.
func (d *Definition) Bare() *Definition {
	if d.value.Kind() != schemas.Object {
		return d
	}
	out, b := *d, schemas.NewBuilder()
	b.BeginObject()
	for name, v := range d.value.Members() {
		if !slices.Contains(written, name) {
			b.Key(name)
			b.Copy(v)
		}
	}
	b.End()
	out.value = b.Value()
	return &out
}
