package job

import (
	"slices"

	"streamer/schemas"
)

// requestsOf are the members of a step, and of its read_or_create, that have requests in them.
var requestsOf = []string{"read_or_create", "read", "create", "update"}

// steps gives the job's steps for the mapping, which checks them: what is sealed in their headers is opened, their URLs are those below the
// connection. It notes where they go, and how they log in there.
func (c *compilation) steps() schemas.Value {
	v, _, ok := c.given("steps")
	if !ok || v.Kind() != schemas.Array {
		return v
	}
	logins := make([]siteLogin, v.Len())
	copies := make([]schemas.Value, v.Len())
	// Those that say how they log in go first: whose token goes along with the others depends on them.
	for _, said := range []bool{true, false} {
		i := 0
		for e := range v.Elements() {
			s := reader{object: e, path: "steps" + element("", i), faults: &c.faults, keys: c.keys, shape: "steps", field: "/steps/" + element("", i)}
			if said && e.Kind() == schemas.Object {
				logins[i] = c.siteLogin(s)
			}
			if logins[i].said == said {
				out := schemas.NewBuilder()
				c.step(out, s, logins[i], e, s.path, s.field, 0)
				copies[i] = out.Value()
			}
			i++
		}
	}
	out := schemas.NewBuilder()
	out.BeginArray()
	for _, one := range copies {
		out.Copy(one)
	}
	out.End()
	return out.Value()
}

// step copies a step, s, or what is within it at a path.
func (c *compilation) step(out *schemas.Builder, s reader, how siteLogin, v schemas.Value, path, field string, depth int) {
	if v.Kind() != schemas.Object || depth > len(requestsOf) {
		out.Copy(v)
		return
	}
	out.BeginObject()
	for name, m := range v.Members() {
		at := member(path, name)
		switch {
		case depth == 0 && (name == "connection" || name == "auth"):
			continue
		case name == "headers":
			m = c.headersAt(m, at, field+"/headers")
		case name == "payload":
			c.misplaced(at, m, 0)
		case name == "url":
			m = c.stepPlace(s, how, at, m)
			c.address(at, m)
		case slices.Contains(requestsOf, name):
			out.Key(name)
			c.step(out, s, how, m, at, field+"/"+name, depth+1)
			continue
		}
		out.Key(name)
		out.Copy(m)
	}
	switch {
	case depth > 0:
	case how.said:
		ownUser(out, how.user)
	default:
		ownUser(out, c.userAt(s.path))
	}
	out.End()
}
