package mapping

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"streamer/internal/nearest"
	"streamer/schemas"
)

// eventRule says which record events a route is for.
type eventRule struct {
	service, method string
	// owner: the route may look at the record's owner.
	owner    bool
	suppress *suppression
}

const (
	formEvents   = `write {rdm_record: {"https://example.org/records": {publish: {http_method: POST}}}}`
	formEndpoint = `write {publish: {http_method: POST, payload: {id: $.record.id}}}`
)

// eventKeys are those of a method. How auth_token is sent is not said here.
var eventKeys = []string{"http_method", "payload", "with_record_owner", "url_factory", "when", "headers", "auth_token", "suppress", "callback", "name"}

// endpoint is where the events of a service go.
type endpoint struct {
	at      string
	service *service
	name    string // of the service, as its events are told by
	url     field
	// tag tells it from the other endpoints of the service; empty for the only one.
	tag string
}

// events compiles the nesting service type → endpoint → method: a route for each method.
func (k *compiler) events(c Config) {
	for _, f := range []field{{"routes", c.Routes}, {"type", c.Type}, {"url", c.URL}, {"query_params", c.QueryParams},
		{"json_body", c.JSONBody}, {"form_body", c.FormBody}, {"payload", c.Payload}} {
		if given(f.v) {
			k.faults.Add(f.at, "stands beside events, which says what is sent where", "leave it out")
		}
	}
	if c.Events.Kind() != schemas.Object || c.Events.Len() == 0 {
		k.faults.Add("events", "found "+filled(c.Events)+", not an object of services", formEvents)
		return
	}
	for name, endpoints := range c.Events.Members() {
		at := under("events", name)
		if endpoints.Kind() != schemas.Object || endpoints.Len() == 0 {
			k.faults.Add(at, "found "+filled(endpoints)+", not an object of endpoints", formEvents)
			continue
		}
		k.known(at, name)
		for url, methods := range endpoints.Members() {
			e := endpoint{at: under(at, url), service: serviceOf(name), url: field{under(at, url), textValue(url)}}
			if e.name = e.service.nameOf(name); endpoints.Len() > 1 {
				// Not its number: what is finished is remembered by the route's name, whichever endpoints come and go.
				h := fnv.New32a()
				_, _ = h.Write([]byte(url))
				e.tag = fmt.Sprintf(".%08x", h.Sum32())
			}
			k.endpoint(c, e, methods)
		}
	}
	if len(k.prog.routes) > maxRoutes {
		k.faults.Add("events", fmt.Sprintf("has %d methods; at most %d are allowed", len(k.prog.routes), maxRoutes), "make a job of each endpoint")
	}
	k.once()
}

func (k *compiler) endpoint(c Config, e endpoint, methods schemas.Value) {
	if methods.Kind() != schemas.Object || methods.Len() == 0 {
		k.faults.Add(e.at, "found "+filled(methods)+", not an object of methods", formEndpoint)
		return
	}
	seen := map[string]string{}
	for name, v := range methods.Members() {
		at, method := under(e.at, name), e.service.method(name)
		if !e.service.has(method) {
			k.faults.Add(at, shown(name)+" is no method of "+e.name, e.service.meant(name))
			continue
		}
		if first, twice := seen[method]; twice {
			k.faults.Add(at, "is another name of "+first+", which stands here too", "keep one of them")
			continue
		}
		seen[method] = name
		if v.Kind() != schemas.Object {
			k.faults.Add(at, "found "+kindOf(v)+", not an object", formEndpoint)
			continue
		}
		k.eventRoute(c, e, at, method, v)
	}
}

func (k *compiler) eventRoute(c Config, e endpoint, at, method string, v schemas.Value) {
	clear(k.inline) // so that errors name the route
	unknownKeys(&k.faults, at, v, eventKeys...)
	rule := eventRule{service: e.name, method: method}
	rule.owner = k.flag(placed(at, "with_record_owner"), v.Field("with_record_owner"))
	k.ownerless = !rule.owner
	defer func() { k.ownerless = false }()

	name := v.Field("name")
	if name.Kind() == schemas.Absent {
		name = textValue(e.name + "." + method + e.tag)
	}
	r := route{name: k.routeName(placed(at, "name"), name), when: k.when(placed(at, "when"), v.Field("when"))}
	w := wording{
		at: at, method: field{placed(at, "http_method"), v.Field("http_method")}, url: e.url,
		payload: field{placed(at, "payload"), v.Field("payload")},
		headers: []field{{"headers", c.Headers}, {placed(at, "headers"), v.Field("headers")}},
	}
	if !given(v.Field("auth_token")) {
		w.user = c.wording().user
	}
	if factory := v.Field("url_factory"); given(factory) {
		w.url = field{placed(at, "url_factory"), factory}
	}
	if w.payload.v.Kind() == schemas.Absent {
		w.payload.v = textValue("$.record")
	}
	r.quiet = k.quiet(placed(at, "callback"), v.Field("callback"))
	r.template = k.template(w)
	r.full = true
	rule.suppress = k.suppress(placed(at, "suppress"), v.Field("suppress"))
	k.prog.routes, k.prog.events = append(k.prog.routes, r), append(k.prog.events, rule)
}

// known warns of a service that nobody knows by a name like one that is known: its events would never come.
func (k *compiler) known(at, name string) {
	if serviceOf(name) != &anyService {
		return
	}
	var names []string
	for _, s := range services {
		names = append(append(names, s.name), s.also...)
	}
	if n := nearest.Name(name, names); n != "" {
		k.faults.Warn(at, shown(name)+" is no service that is known, and only events of that very name are taken", "did you mean "+n+"?")
	}
}

// filled is kindOf that tells empty objects and lists from others.
func filled(v schemas.Value) string {
	if k := v.Kind(); (k == schemas.Object || k == schemas.Array) && v.Len() == 0 {
		return "an empty " + k.String()
	}
	return kindOf(v)
}

func (k *compiler) flag(at string, v schemas.Value) bool {
	b, ok := v.Bool()
	if given(v) && !ok {
		k.faults.Add(at, "found "+kindOf(v)+", not true or false", "")
	}
	return b
}

// eventParts is what Map does of a record event: the routes of its service and method.
func (m *Mapper) eventParts(msg *Message, out []Part) ([]Part, Verdict, error) {
	service, method, err := m.eventNames()
	if err != nil {
		return out, Unmatched, err
	}
	before, suppressed, known := len(out), false, false
	// Routes that may look at the owner come first: what is hidden stays so.
	for _, owner := range []bool{true, false} {
		if !owner {
			msg.Msg.Field("owner").Hide()
			m.forget()
		}
		for i := range m.prog.events {
			e := &m.prog.events[i]
			if e.owner != owner || e.method != method || e.service != service {
				continue
			}
			known = true
			echo, err := m.echoes(e.suppress)
			switch {
			case err != nil:
				out = append(out, Part{Route: i, Err: err})
			case echo:
				suppressed = true
				m.miss(i, "is suppressed: the event comes within "+e.suppress.within.String()+" of the time at "+m.prog.slots[e.suppress.slot].path.text)
			default:
				out = m.part(i, out)
			}
		}
	}
	if !known {
		m.miss(-1, "no route is for "+service+"."+method)
	}
	slices.SortStableFunc(m.misses, func(a, b Miss) int { return cmp.Compare(a.Route, b.Route) })
	slices.SortFunc(out[before:], func(a, b Part) int { return cmp.Compare(a.Route, b.Route) })
	switch {
	case len(out) > before:
		return out, Send, nil
	case suppressed:
		return out, Suppressed, nil
	}
	return out, Unmatched, nil
}

// eventNames gives service and method of the event m is at, by the names that rules have: of the envelope, else of the CloudEvent's
// attributes.
func (m *Mapper) eventNames() (service, method string, err error) {
	envelope, attributes := m.msg.parts[0], m.msg.parts[4]
	ofType := func(i int) string {
		kind, _ := attributes.Field("type").Str()
		rest, ours := strings.CutPrefix(kind, "org.inveniordm.")
		if parts := strings.Split(rest, "."); ours && len(parts) == 2 {
			return parts[i]
		}
		return ""
	}
	find := func(name, attribute string, i int) string {
		text, _ := envelope.Field(name).Str()
		other, _ := attributes.Field(attribute).Str()
		return cmp.Or(text, other, ofType(i))
	}
	service, method = find("service_type", "servicetype", 0), find("service_method", "servicemethod", 1)
	for _, f := range []struct{ name, found string }{{"service_type", service}, {"service_method", method}} {
		if f.found == "" {
			return "", "", &Error{"events", "$." + f.name, "found no text; a record event names the service and its method"}
		}
	}
	s := serviceOf(service)
	return s.nameOf(service), s.method(method), nil
}
