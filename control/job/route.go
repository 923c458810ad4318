package job

import (
	"slices"

	"streamer/schemas"
	"streamer/sink"
)

// routes gives the job's routes for the mapping, which checks them: what is sealed in their headers is opened, and their URLs stand below
// those of their connections. It notes how each logs in.
func (c *compilation) routes() schemas.Value {
	v, _, ok := c.given("routes")
	if !ok || v.Kind() != schemas.Array {
		return c.object.Field("routes")
	}
	out := schemas.NewBuilder()
	out.BeginArray()
	i := 0
	for e := range v.Elements() {
		if r, ok := c.element("routes", i, e, "routes"); ok {
			c.route(out, r)
		} else {
			out.Copy(e)
		}
		i++
	}
	out.End()
	return out.Value()
}

func (c *compilation) route(out *schemas.Builder, r reader) {
	url := r.object.Field("url")
	if url.Kind() == schemas.Absent {
		url = c.object.Field("url")
	}
	under, user := c.place(r, url)
	out.BeginObject()
	for name := range r.object.Members() {
		if name != "url" && name != "connection" && name != "auth" {
			c.part(out, r, name)
		}
	}
	if under.Kind() != schemas.Absent {
		out.Key("url")
		out.Copy(under)
		c.address(member(r.path, "url"), under)
	}
	_, _, logsIn := r.given("auth")
	_, _, linked := r.given("connection")
	if logsIn || linked {
		ownUser(out, user)
	}
	out.End()
}

// ownUser writes the auth of a route or step that says how it logs in, as far as the mapping looks at it: whose token goes along is not the
// job's to say then. An empty user is nobody.
func ownUser(out *schemas.Builder, user string) {
	out.Key("auth")
	out.BeginObject()
	if user != "" {
		out.Key("token_storage")
		out.BeginObject()
		out.Key("user")
		out.String(user)
		out.End()
	}
	out.End()
}

// part copies a member of a route or of a record event's method, with what is sealed in headers opened.
func (c *compilation) part(out *schemas.Builder, r reader, name string) {
	v, path := r.object.Field(name), member(r.path, name)
	switch name {
	case "headers":
		v = c.headersAt(v, path, r.field+"/headers")
	case "payload":
		c.misplaced(path, v, 0)
	}
	out.Key(name)
	out.Copy(v)
}

// events gives the job's record events for the mapping, which checks them, as routes does. A token of a method is that of the place it goes to.
func (c *compilation) events() schemas.Value {
	v, _, ok := c.given("events")
	if !ok || v.Kind() != schemas.Object {
		return c.object.Field("events")
	}
	out := schemas.NewBuilder()
	c.nested(out, reader{object: v, path: "events", field: "/events", faults: c.reader.faults, keys: c.keys}, nil)
	return out.Value()
}

// nested copies services, and in them endpoints, and in them methods; above are the names of those that r is in.
func (c *compilation) nested(out *schemas.Builder, r reader, above []string) {
	out.BeginObject()
	for name, v := range r.object.Members() {
		inner := reader{object: v, path: member(r.path, name), field: r.field + "/" + name, faults: r.faults, keys: r.keys}
		out.Key(name)
		switch {
		case v.Kind() != schemas.Object: // the mapping's to refuse
			out.Copy(v)
		case len(above) < 2:
			c.nested(out, inner, append(slices.Clone(above), name))
		default:
			inner, _ = r.member(v, inner.path, inner.field, "events", false)
			c.method(out, inner, above[1])
		}
	}
	out.End()
}

// method copies one method, and notes how its requests log in. They go to the endpoint, unless it says where.
func (c *compilation) method(out *schemas.Builder, r reader, endpoint string) {
	url, at := textValue(endpoint), r.path
	if v, path, given := r.given("url_factory"); given {
		url, at = v, path
	}
	token := c.secret(r, "auth_token")
	connection, connected := c.text("connection")
	switch {
	case connected:
		target, _ := c.target(connection)
		c.belowAll(at, url, target.Base) // for its faults: an absolute URL stays one
		if token != "" {
			c.faults.Add(member(r.path, "auth_token"), "stands beside connection, which says how to log in", "put it into the connection")
		}
	case token == "":
		c.ownOrigins(url)
	default:
		for _, origin := range originsOf(url, 0) {
			c.said = append(c.said, site{path: r.path, Place: sink.Place{Origin: origin, Auth: sink.Auth{Bearer: token}}})
		}
	}
	c.address(at, url)
	out.BeginObject()
	for name := range r.object.Members() {
		if name != "auth_token" {
			c.part(out, r, name)
		}
	}
	if token != "" { // the mapping only needs to know that there is one
		out.Key("auth_token")
		out.String(masked)
	}
	out.End()
}
