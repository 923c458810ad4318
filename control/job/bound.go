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
}

// aim is one mention of a place, by the field it stands in, as leaf.field has it.
type aim struct{ field, origin string }

func (d *Definition) bounds() bounds {
	b := bounds{def: d}
	found := map[string]bool{}
	add := func(field, origin string) {
		found[origin] = true
		b.aims = append(b.aims, aim{field, origin})
	}
	var walk func(v schemas.Value, field string, r role, depth int)
	note := func(field, text string) {
		if !strings.Contains(text, "://") {
			return
		}
		// The parser is the one that the requests are made with.
		if origin, _, err := wire.ParseOrigin(text); err == nil {
			add(field, origin.String())
		} else {
			add(field, "?"+text)
		}
	}
	walk = func(v schemas.Value, field string, r role, depth int) {
		if depth > maxNesting || r == data || r == headerList {
			return
		}
		if text, ok := v.Str(); ok && !r.hidden() {
			note(field, text)
		}
		for name, m := range v.Members() {
			of := field + "/" + name
			if !r.hidden() {
				note(of, name)
			}
			if connection, ok := m.Str(); ok && name == "connection" {
				add(of, toConnection+connection)
			}
			walk(m, of, r.within(name), depth+1)
		}
		i := 0
		for e := range v.Elements() {
			walk(e, field+"/"+element("", i), r, depth+1)
			i++
		}
	}
	walk(d.value, "", plain, 0)
	b.targets = slices.Sorted(maps.Keys(found))
	return b
}

// of is what a secret of a field is bound to: all targets, since who may change one of them could be up to something; and those that it goes
// to, by what they are to it. Without these, two targets that change places would send the secret of one to the other.
func (b bounds) of(field string) []string {
	var reach []string
	where := scope(field)
	plainly := true // they are all, and all alike
	for _, a := range b.aims {
		if b.reaches(where, field, a) {
			reach = append(reach, b.label(where, a)+a.origin)
		}
	}
	reach = slices.DeleteFunc(reach, func(entry string) bool { // a probe of where requests go is no other place
		origin, health := strings.CutPrefix(entry, "health ")
		return health && slices.Contains(reach, "url "+origin)
	})
	slices.Sort(reach)
	reach = slices.Compact(reach)
	for _, t := range b.targets {
		plainly = plainly && slices.Contains(reach, "url "+t)
	}
	if plainly && len(reach) == len(b.targets) {
		return b.targets
	}
	return slices.Concat(b.targets, []string{""}, reach)
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

// reaches says that a secret of a field in a scope may go to what is aimed at.
func (b bounds) reaches(where, field string, a aim) bool {
	switch {
	case where == "":
		return !within(a.field, ofSteps, ofRegister)
	case strings.HasPrefix(a.field, where+"/"), strings.HasPrefix(field, a.field+"/"):
		return true
	}
	return within(where, ofRoutes) && !within(a.field, ofRoutes, ofSteps, ofEvents, ofRegister)
}

// label says what an aim is to a secret in a scope.
func (b bounds) label(where string, a aim) string {
	rest := strings.TrimPrefix(a.field, where)
	switch {
	case strings.HasPrefix(rest, "/auth/"):
		return "login " // what gives the credential that goes along
	case strings.HasSuffix(rest, "/health"):
		return "health "
	case where == "" && b.logsInItself(a.field), where == strings.TrimSuffix(ofRegister, "/") && rest != "/url":
		return "other "
	}
	return "url "
}

// logsInItself says that a route, or a method of an event, that aims with a field does not log in as the job does.
func (b bounds) logsInItself(field string) bool {
	switch {
	case within(field, ofRoutes):
		route := b.def.value.Field("routes")
		for i := range route.Len() {
			if strings.HasPrefix(field, ofRoutes+element("", i)+"/") {
				e := route.Index(i)
				return e.Field("auth").Kind() != schemas.Absent || e.Field("connection").Kind() != schemas.Absent
			}
		}
	case within(field, ofEvents):
		for service, endpoints := range b.def.value.Field("events").Members() {
			for endpoint, methods := range endpoints.Members() {
				at := ofEvents + service + "/" + endpoint
				for name, m := range methods.Members() {
					if (field == at || strings.HasPrefix(field, at+"/"+name+"/")) && m.Field("auth_token").Kind() != schemas.Absent {
						return true
					}
				}
			}
		}
	}
	return false
}
