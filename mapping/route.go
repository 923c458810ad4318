package mapping

import (
	"slices"
	"strconv"
	"strings"

	"streamer/schemas"
)

// route is one of the requests that a row becomes.
type route struct {
	name string
	// when is the slot that says whether it matches a row; -1: it matches all.
	when int
	// quiet: nobody is called back.
	quiet bool
	template
}

// template is a request as a job words it.
type template struct {
	// at is where in the job it stands: empty for the job itself, routes[2].
	at     string
	method *choice[string]
	url    *choice[*urlTemplate]
	query  []queryKey
	body   body
	header headers
	user   *userTemplate
	// full: a body that comes out empty is an error.
	full bool
}

// place gives the path of one of its fields.
func (t *template) place(name string) string { return placed(t.at, name) }

func placed(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// field is a value of the job with its place in it, for faults.
type field struct {
	at string
	v  schemas.Value
}

// wording is a request as it stands in the job, before it is compiled.
type wording struct {
	at                                                    string
	method, url, query, jsonBody, formBody, payload, user field
	// headers stand beside each other; of one name that of the last one counts, and null there leaves it out.
	headers []field
}

// wording is that of the job itself.
func (c *Config) wording() wording {
	return wording{
		method: field{"type", c.Type}, url: field{"url", c.URL}, query: field{"query_params", c.QueryParams},
		jsonBody: field{"json_body", c.JSONBody}, formBody: field{"form_body", c.FormBody}, payload: field{"payload", c.Payload},
		headers: []field{{"headers", c.Headers}}, user: field{"auth.token_storage.user", c.User},
	}
}

// inherit is the wording of the object v at a place: each field that v has stands in for base's, one kind of body for any other, and its
// headers beside them.
func (base wording) inherit(at string, v schemas.Value) wording {
	w := base
	w.at = at
	take := func(f *field, name string) {
		if own := v.Field(name); own.Kind() != schemas.Absent {
			*f = field{placed(at, name), own}
		}
	}
	if v.Field("json_body").Kind() != schemas.Absent || v.Field("form_body").Kind() != schemas.Absent || v.Field("payload").Kind() != schemas.Absent {
		w.jsonBody, w.formBody, w.payload = field{}, field{}, field{}
	}
	take(&w.method, "type")
	take(&w.url, "url")
	take(&w.query, "query_params")
	take(&w.jsonBody, "json_body")
	take(&w.formBody, "form_body")
	take(&w.payload, "payload")
	if own := v.Field("headers"); own.Kind() != schemas.Absent {
		w.headers = append(slices.Clone(base.headers), field{placed(at, "headers"), own})
	}
	if auth := v.Field("auth"); auth.Kind() != schemas.Absent {
		w.user = field{placed(at, "auth.token_storage.user"), auth.Field("token_storage").Field("user")}
	}
	if w.method.v.Kind() == schemas.Absent {
		w.method.at = placed(at, "type")
	}
	if w.url.v.Kind() == schemas.Absent {
		w.url.at = placed(at, "url")
	}
	return w
}

// own is the template of a row's own request. A job of steps alone has none, and is told once how to give it one.
func (k *compiler) own(w wording) template {
	if w.method.v.Kind() == schemas.Absent && w.url.v.Kind() == schemas.Absent && len(k.prog.steps) > 0 {
		k.faults.Add(w.method.at, "missing, and url too: steps are made before a row's own request, and there is none",
			"write the last step as type and url; where that is an entity, ask for it once more: type: GET and url: https://example.org/users/{$.steps.user.id}")
		w.method.v, w.url.v = textValue("GET"), textValue("https://example.org")
	}
	return k.template(w)
}

func (k *compiler) template(w wording) template {
	t := template{
		at: w.at, method: k.method(w.method), url: k.url(w.url), query: k.queryParams(w.query), header: k.header(w.headers),
		body: k.body(w.jsonBody, w.formBody, w.payload), user: k.user(w.user),
	}
	if kind := t.body.contentType(); kind != "" && !t.header.has(contentType) {
		t.header.fixed = append(t.header.fixed, Header{contentType, kind})
	}
	return t
}

// routeKeys are those of a route. Of auth only the user of a token storage is looked at here.
var routeKeys = []string{"name", "when", "type", "url", "headers", "query_params", "json_body", "form_body", "payload", "callback", "auth"}

const maxRoutes = 256

// routes compiles the routes of a job, or the job itself as the only one.
func (k *compiler) routes(c Config) {
	base := c.wording()
	v := c.Routes
	switch {
	case v.Kind() == schemas.Absent:
		k.prog.routes = []route{{when: -1, template: k.own(base)}}
		return
	case v.Kind() != schemas.Array || v.Len() == 0 || v.Len() > maxRoutes:
		found := kindOf(v)
		if v.Kind() == schemas.Array {
			found = "a list of " + strconv.Itoa(v.Len())
		}
		k.faults.Add("routes", "found "+found+", not a list of 1 to "+strconv.Itoa(maxRoutes)+" routes",
			"write [{name: search, when: $.msg.public, url: https://example.org/search/{id}}]")
		return
	}
	i := 0
	for e := range v.Elements() {
		k.route(element("routes", i), base, e)
		i++
	}
	k.once()
}

func (k *compiler) route(at string, base wording, v schemas.Value) {
	if v.Kind() != schemas.Object {
		k.faults.Add(at, "found "+kindOf(v)+", not an object", "write {name: search, url: https://example.org/search/{id}}")
		return
	}
	unknownKeys(&k.faults, at, v, routeKeys...)
	clear(k.inline) // so that errors name the route
	r := route{name: k.routeName(placed(at, "name"), v.Field("name")), when: k.when(placed(at, "when"), v.Field("when"))}
	r.quiet = k.quiet(placed(at, "callback"), v.Field("callback"))
	r.template = k.own(base.inherit(at, v))
	k.prog.routes = append(k.prog.routes, r)
}

// routeName checks a route's name: what idempotency keys, dead letters and the status call it.
func (k *compiler) routeName(at string, v schemas.Value) string {
	const form = "write 1 to 64 letters, digits, ., _ and -"
	name, ok := v.Str()
	allowed := func(r rune) bool {
		return '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z' || strings.ContainsRune("._-", r)
	}
	switch {
	case v.Kind() == schemas.Absent:
		k.faults.Add(at, "missing", form)
	case !ok:
		k.faults.Add(at, "found "+kindOf(v)+", not a name", form)
	case name == "" || len(name) > 64 || strings.IndexFunc(name, func(r rune) bool { return !allowed(r) }) >= 0 || strings.Trim(name, ".") == "":
		k.faults.Add(at, shown(name)+" is no name of a route", form)
	case slices.ContainsFunc(k.prog.routes, func(r route) bool { return r.name == name }):
		k.faults.Add(at, shown(name)+" is the name of an earlier route", "give each route a name of its own")
	}
	return name
}

// quiet reads whether somebody is called back.
func (k *compiler) quiet(at string, v schemas.Value) bool {
	if !given(v) {
		return k.config.Quiet
	}
	return !k.flag(at, v)
}

// when compiles a condition; -1 for none.
func (k *compiler) when(at string, v schemas.Value) int {
	if v.Kind() == schemas.Absent {
		return -1
	}
	slot, ok := k.condition(at, v)
	if !ok {
		return -1
	}
	return slot
}

// condition gives the slot of a JSONPath, which holds if it finds anything but null and false, or of {field, values}: if it finds one of
// those. false after a fault.
func (k *compiler) condition(at string, v schemas.Value) (int, bool) {
	const form = "write a text such as $.msg.draft, or {field: $.msg.state, values: [open]}"
	if text, ok := v.Str(); ok {
		return k.inlinePath(at, text)
	}
	if v.Kind() != schemas.Object {
		k.faults.Add(at, "found "+kindOf(v)+", not a JSONPath", form)
		return 0, false
	}
	unknownKeys(&k.faults, at, v, "field", "values")
	text, isText := v.Field("field").Str()
	values := v.Field("values")
	switch {
	case !isText:
		k.faults.Add(placed(at, "field"), "found "+kindOf(v.Field("field"))+", not a JSONPath", form)
		return 0, false
	case values.Kind() != schemas.Array || values.Len() == 0:
		k.faults.Add(placed(at, "values"), "found "+filled(values)+", not a list of values", form)
		return 0, false
	}
	plain, ok := k.inlinePath(placed(at, "field"), text)
	if !ok {
		return 0, false
	}
	s := k.prog.slots[plain]
	s.key = at
	for e := range values.Elements() {
		s.values = append(s.values, e.Clone())
	}
	k.prog.slots = append(k.prog.slots, s)
	return len(k.prog.slots) - 1, true
}

// once leaves out faults that inherited fields made for each route that has them.
func (k *compiler) once() {
	kept := k.faults[:0]
	for _, f := range k.faults {
		if !slices.Contains(kept, f) {
			kept = append(kept, f)
		}
	}
	k.faults = kept
}

// matches says whether r is for the row m is at: its condition finds anything but null and false.
func (m *Mapper) matches(r *route) (bool, error) {
	if r.when < 0 {
		return true, nil
	}
	f, err := m.value(r.when)
	if err != nil {
		return false, err
	}
	return f.true(), nil
}

// Routes gives the names of the routes, in their order. A job without routes has one, without a name.
func (p *Program) Routes() []string {
	names := make([]string, len(p.routes))
	for i := range p.routes {
		names[i] = p.routes[i].name
	}
	return names
}
