package job

import (
	"strings"

	"streamer/control/secret"
	"streamer/schemas"
	"streamer/sink"
)

// auth reads basic_auth and token, which are Aether's, and auth, which is ours.
func (c *compilation) auth() sink.Auth {
	var auth sink.Auth
	if s, ok := c.sub("basic_auth", c.lenient); ok {
		// An empty object means no login, as it did to the Aether consumer.
		if s.object.Len() > 0 {
			auth.Basic = c.basic(s)
		}
	}
	auth.Token = c.secret(c.reader, "token")
	if auth.Basic != nil && auth.Token != "" {
		c.faults.Warn("token", "is not sent, as basic_auth goes before it", "")
	}
	if _, _, given := c.field("auth"); given && (auth.Basic != nil || auth.Token != "") {
		c.faults.Add("auth", "stands beside basic_auth or token", "keep one of them")
		return auth
	}
	if own, ok := c.login(); ok {
		return own
	}
	return auth
}

// login reads auth.
func (c *compilation) login() (auth sink.Auth, ok bool) {
	s, ok := c.sub("auth", false)
	if !ok {
		return auth, false
	}
	given := 0
	for name := range s.object.Members() {
		if name == "basic" || name == "bearer" || name == "token" || name == "api_key" {
			given++
		}
	}
	if given > 1 {
		c.faults.Add("auth", "says more than one way to log in", "keep one of basic, bearer, token and api_key")
	}
	if b, ok := s.sub("basic", false); ok {
		auth.Basic = c.basic(b)
	}
	auth.Bearer = c.secret(s, "bearer")
	auth.Token = c.secret(s, "token")
	if k, ok := s.sub("api_key", false); ok {
		auth.APIKey = c.apiKey(k)
	}
	return auth, true
}

func (c *compilation) apiKey(s reader) *sink.APIKey {
	for _, name := range []string{"header", "value"} {
		if _, path, given := s.field(name); !given {
			c.faults.Add(path, "is missing", "write it as in {header: X-Api-Key, value: …}")
		}
	}
	name, ok := s.text("header")
	if ok {
		if problem := headerProblem(name); problem != "" {
			c.faults.Add(member(s.path, "header"), problem, "write a header's name")
		}
	}
	return &sink.APIKey{Header: name, Value: c.secret(s, "value")}
}

func (c *compilation) basic(s reader) *sink.Basic {
	for _, name := range []string{"user", "password"} {
		if _, path, given := s.field(name); !given {
			c.faults.Add(path, "is missing", "")
		}
	}
	return &sink.Basic{User: string(c.secret(s, "user")), Password: c.secret(s, "password")}
}

// secret reads a text that is opened if it is sealed, and in which references are replaced.
func (c *compilation) secret(r reader, name string) sink.Secret {
	text, ok := r.text(name)
	if !ok {
		return ""
	}
	path := member(r.path, name)
	if secret.Sealed(text) {
		if text, ok = c.open(path, "/"+strings.ReplaceAll(path, ".", "/")); !ok || c.process.Secrets.Masked {
			return sink.Secret(text)
		}
	}
	value := c.process.Secrets.expand(&c.faults, c.def.Owner, path, text)
	return sink.Secret(value)
}

// open gives what is sealed at a path, or ******** if the process masks secrets. ok is false where that cannot be: there is a fault.
func (c *compilation) open(path, field string) (text string, ok bool) {
	if c.opened == nil {
		c.opened = c.def.open(c.process.Secrets)
	}
	o := c.opened[field]
	if o.err != nil {
		c.faults.Add(path, o.err.Error(), "")
	}
	return o.text, o.err == nil
}

// opened is what a sealed text comes to.
type opened struct {
	text string
	err  error
}

// open gives what the sealed texts of the job come to, by field, as leaf.field has it.
func (d *Definition) open(s Secrets) map[string]opened {
	all, targets := map[string]opened{}, d.targets()
	for _, l := range d.leaves() {
		switch {
		case !secret.Sealed(l.text):
		case s.Masked:
			all[l.field] = opened{text: masked}
		default:
			value, err := s.Keyring.Open(l.text, d.place(l.field, targets))
			all[l.field] = opened{value.Reveal(), err}
		}
	}
	return all
}

// headers gives the job's headers with what is sealed opened, and looks at the references in them. Everything else about headers is the
// mapping's to check.
func (c *compilation) headers() schemas.Value {
	given, path, ok := c.field("headers")
	if !ok || given.Kind() != schemas.Object {
		return given
	}
	out := schemas.NewBuilder()
	out.BeginObject()
	for name, v := range given.Members() {
		out.Key(name)
		text, ok := v.Str()
		if !ok {
			out.Copy(v)
			continue
		}
		at, look := member(path, name), true
		if secret.Sealed(text) {
			text, look = c.open(at, headerField(name))
			look = look && !c.process.Secrets.Masked
		}
		if look {
			c.process.Secrets.expand(&c.faults, c.def.Owner, at, text)
		}
		out.String(text)
	}
	out.End()
	return out.Value()
}

// misplaced warns of references where none are replaced: what was meant as a secret would be sent as it stands.
func (c *compilation) misplaced(path string, v schemas.Value, depth int) {
	if depth > maxNesting {
		return
	}
	if text, ok := v.Str(); ok && reference.MatchString(text) {
		c.faults.Warn(path, "references are replaced in auth and in headers only; this one is sent as it stands", "put the secret into a header or auth")
	}
	for name, m := range v.Members() {
		c.misplaced(member(path, name), m, depth+1)
	}
	i := 0
	for e := range v.Elements() {
		c.misplaced(element(path, i), e, depth+1)
		i++
	}
}

// reference gives mapping the text of a reference in a header's value. What is wrong with one has its fault from headers, which
// knows where it stands.
func (c *compilation) reference(kind, name string) (string, error) {
	value, wrong := c.process.Secrets.resolve(c.def.Owner, kind, name)
	if wrong.Problem != "" && (!wrong.Warning || !c.process.Secrets.Masked) {
		return "", wrong
	}
	if c.process.Secrets.Masked {
		return masked, nil
	}
	return value, nil
}
