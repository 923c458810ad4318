package job

import (
	"maps"
	"slices"
	"strings"

	"streamer/control/secret"
	"streamer/schemas"
	"streamer/sink/wire"
)

// bounds are the places that requests of a job, or connection, may go to: what its secrets are bound to.
type bounds struct {
	def *Definition
	// targets are all of them, as scheme://host:port, sorted: in every branch, route and health URL.
	targets []string
	aims    []aim
	known   map[string][]string // what of gave, by scope: a job may have as many secrets as targets
}

// aim is one mention of a place, by the field it stands in, as leaf.field has it.
type aim struct {
	field, origin string
	itself        bool // the route, or the method of an event, that it stands in does not log in as the job does
}

func (d *Definition) bounds() bounds {
	b := bounds{def: d, known: map[string][]string{}}
	found := map[string]bool{}
	add := func(field, origin string, itself bool) {
		found[origin] = true
		b.aims = append(b.aims, aim{field, origin, itself})
	}
	var walk func(v schemas.Value, field string, r role, depth int, itself bool)
	note := func(field, text string, itself bool) {
		if !strings.Contains(text, "://") {
			return
		}
		// The parser is the one that the requests are made with.
		if origin, _, err := wire.ParseOrigin(text); err == nil {
			add(field, origin.String(), itself)
		} else {
			add(field, "?"+text, itself)
		}
	}
	walk = func(v schemas.Value, field string, r role, depth int, itself bool) {
		if depth > maxNesting || r == data || r == headerList {
			return
		}
		if text, ok := v.Str(); ok && !r.hidden() {
			note(field, text, itself)
		}
		itself = itself || logsInItself(v, field, depth)
		for name, m := range v.Members() {
			of := field + "/" + name
			if !r.hidden() {
				note(of, name, itself || depth == ofService && within(of, ofEvents) && anyOwnToken(m))
			}
			if connection, ok := m.Str(); ok && name == "connection" {
				add(of, toConnection+connection, itself)
			}
			walk(m, of, r.within(name), depth+1, itself)
		}
		i := 0
		for e := range v.Elements() {
			walk(e, field+"/"+element("", i), r, depth+1, itself)
			i++
		}
	}
	walk(d.value, "", plain, 0, false)
	b.targets = slices.Sorted(maps.Keys(found))
	return b
}

// How deep in a job a route stands, a service that has events, and a method of it.
const (
	ofRoute   = 2
	ofService = 2
	ofMethod  = 4
)

// logsInItself says that v, at a field, is a route, or a method of an event, that does not log in as the job does.
func logsInItself(v schemas.Value, field string, depth int) bool {
	has := func(name string) bool { return v.Field(name).Kind() != schemas.Absent }
	return depth == ofRoute && within(field, ofRoutes) && (has("auth") || has("connection")) || depth == ofMethod && within(field, ofEvents) && has("auth_token")
}

// anyOwnToken says that one of the methods of an endpoint does not log in as the job does.
func anyOwnToken(methods schemas.Value) bool {
	for _, m := range methods.Members() {
		if m.Field("auth_token").Kind() != schemas.Absent {
			return true
		}
	}
	return false
}

// of is what a secret of a field is bound to: all targets, since who may change one of them could be up to something; and those that it goes
// to, by what they are to it. Without these, two targets that change places would send the secret of one to the other.
func (b bounds) of(field string) []string {
	where := scope(field)
	if known, ok := b.known[where]; ok {
		return known
	}
	var all []string
	for _, a := range b.aims {
		if reaches(where, a) {
			all = append(all, label(where, a)+a.origin)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	isURL := func(origin string) bool {
		_, is := slices.BinarySearch(all, "url "+origin)
		return is
	}
	var reach []string
	for _, entry := range all {
		if origin, health := strings.CutPrefix(entry, "health "); health && isURL(origin) {
			continue // a probe of where requests go is no other place
		}
		reach = append(reach, entry)
	}
	bound := b.targets // they are all, and all alike
	if len(reach) != len(b.targets) || slices.ContainsFunc(b.targets, func(t string) bool { return !isURL(t) }) {
		bound = slices.Concat(b.targets, []string{""}, reach)
	}
	b.known[where] = bound
	return bound
}

// place is what a sealed value of a field is bound to.
func (b bounds) place(field string) secret.Place {
	return append(secret.Place{b.def.kind, b.def.ID, field}, b.of(field)...)
}

// parts are the objects within a job that are requests of their own.
const (
	ofRoutes   = "/routes/"
	ofSteps    = "/steps/"
	ofEvents   = "/events/"
	ofRegister = "/register/"
)

// scope is the object whose secret a field is: a route, a step, a method of an event, a registration, or (empty) the document.
func scope(field string) string {
	for _, list := range []string{ofRoutes, ofSteps} {
		if rest, ok := strings.CutPrefix(field, list); ok {
			number, _, _ := strings.Cut(rest, "/")
			return list + number
		}
	}
	switch {
	case strings.HasPrefix(field, ofRegister):
		return strings.TrimSuffix(ofRegister, "/")
	case strings.HasPrefix(field, ofEvents):
		if i := strings.LastIndex(field, "/headers/"); i >= 0 {
			return field[:i]
		}
		return field[:strings.LastIndex(field, "/")]
	}
	return ""
}

// within says that a field is part of an object that has its own requests.
func within(field string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.HasPrefix(field, part) })
}

// reaches says that a secret in a scope may go to what is aimed at.
func reaches(where string, a aim) bool {
	switch {
	case where == "":
		return !within(a.field, ofSteps, ofRegister)
	case strings.HasPrefix(a.field, where+"/"), strings.HasPrefix(where+"/", a.field+"/"):
		return true
	}
	return within(where, ofRoutes) && !within(a.field, ofRoutes, ofSteps, ofEvents, ofRegister)
}

// label says what an aim is to a secret in a scope.
func label(where string, a aim) string {
	rest := strings.TrimPrefix(a.field, where)
	switch {
	case strings.HasPrefix(rest, "/auth/"):
		return "login " // what gives the credential that goes along
	case strings.HasSuffix(rest, "/health"):
		return "health "
	case where == "" && a.itself, where == strings.TrimSuffix(ofRegister, "/") && rest != "/url":
		return "other "
	}
	return "url "
}
