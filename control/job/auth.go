package job

import (
	"slices"
	"strings"

	"streamer/control/secret"
	"streamer/schemas"
	"streamer/sink"
)

// login is how requests to one place log in.
type login struct {
	auth sink.Auth
	// cert and key are a client's certificate, as PEM.
	cert string
	key  sink.Secret
	// user is the template of whose token goes along; empty: nobody's.
	user string
}

// auth reads basic_auth and token, which are Aether's, and auth, which is ours.
func (c *compilation) auth() login {
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
	if _, _, given := c.given("auth"); given && (auth.Basic != nil || auth.Token != "") {
		c.faults.Add("auth", "stands beside basic_auth or token", "keep one of them")
		return login{auth: auth}
	}
	if own, ok := c.login(c.reader); ok {
		return own
	}
	return login{auth: auth}
}

// ways are those to log in. A certificate may stand beside one of the others.
var ways = []string{"basic", "bearer", "token", "api_key", "oauth2", "token_storage"}

// login reads auth of any object of the document.
func (c *compilation) login(r reader) (l login, ok bool) {
	s, ok := r.subOf("auth", "auth", false)
	if !ok {
		return l, false
	}
	given := 0
	for name := range s.object.Members() {
		if slices.Contains(ways, name) {
			given++
		}
	}
	if given > 1 {
		c.faults.Add(s.path, "says more than one way to log in", "keep one of basic, bearer, token, api_key, oauth2 and token_storage")
	}
	if b, ok := s.sub("basic", false); ok {
		l.auth.Basic = c.basic(b)
	}
	l.auth.Bearer = c.secret(s, "bearer")
	l.auth.Token = c.secret(s, "token")
	if k, ok := s.sub("api_key", false); ok {
		l.auth.APIKey = c.apiKey(k)
	}
	if o, ok := s.sub("oauth2", false); ok {
		l.auth.OAuth2 = c.oauth2(o)
	}
	if t, ok := s.sub("token_storage", false); ok {
		l.auth.TokenStorage, l.user = c.tokenStorage(t)
	}
	if m, ok := s.sub("mtls", false); ok {
		for _, name := range []string{"cert", "key"} {
			c.needs(m, name, "write both, as text in PEM form or as a reference to a file")
		}
		if l.cert, l.key = c.pem(m, "cert").Reveal(), c.pem(m, "key"); l.cert == "" || l.key == "" || c.process.Secrets.Masked {
			l.cert, l.key = "", ""
		}
	}
	return l, true
}

// needs adds a fault for a member of s that is not given.
func (c *compilation) needs(s reader, name, mend string) {
	if _, path, given := s.given(name); !given {
		c.faults.Add(path, "is missing", mend)
	}
}

// oauth2 reads how access tokens are got. What is missing of it is the sink's to say, by the same paths.
func (c *compilation) oauth2(s reader) *sink.OAuth2 {
	var o sink.OAuth2
	o.TokenURL, _ = s.text("token_url")
	o.ClientID, _ = s.text("client_id")
	o.Audience, _ = s.text("audience")
	o.Scopes, _ = s.texts("scopes")
	o.ClientSecret, o.RefreshToken = c.secret(s, "client_secret"), c.secret(s, "refresh_token")
	_, at, refresh := s.given("refresh_token")
	switch grant, _ := s.word("grant", "client_credentials", "refresh_token"); {
	case grant == "client_credentials" && refresh:
		c.faults.Add(at, "stands beside grant: client_credentials, which needs none", "leave one of them out")
	case grant == "refresh_token" && !refresh:
		c.faults.Add(at, "is missing", "grant: refresh_token needs one")
	}
	return &o
}

func (c *compilation) tokenStorage(s reader) (*sink.TokenStorage, string) {
	var t sink.TokenStorage
	t.URL, _ = s.text("url")
	t.Service, _ = s.text("service")
	const mend = "write whose token goes along, as in \"{$.msg.user}\""
	c.needs(s, "user", mend)
	user, ok := s.text("user")
	if ok && user == "" {
		c.faults.Add(member(s.path, "user"), "is empty", mend)
	}
	return &t, user
}

func (c *compilation) apiKey(s reader) *sink.APIKey {
	for _, name := range []string{"header", "value"} {
		if _, path, given := s.given(name); !given {
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
		if _, path, given := s.given(name); !given {
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
		if text, ok = c.open(path, r.field+"/"+name); !ok || c.process.Secrets.Masked {
			return sink.Secret(text)
		}
	}
	value := c.process.Secrets.expand(&c.faults, c.def.Owner, path, text)
	return sink.Secret(value)
}

// hide notes a secret of a header, or a template with one. Those of logins are the sink's to know.
func (c *compilation) hide(text string) {
	for _, part := range placeholder.Split(text, -1) {
		if part = strings.TrimSpace(part); part != "" && part != masked {
			c.hidden = append(c.hidden, sink.Secret(part))
		}
	}
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
	all, bounds := map[string]opened{}, d.bounds()
	for _, l := range d.leaves() {
		switch {
		case !secret.Sealed(l.text):
		case s.Masked:
			all[l.field] = opened{text: masked}
		default:
			value, err := s.Keyring.Open(l.text, bounds.place(l.field))
			all[l.field] = opened{value.Reveal(), err}
		}
	}
	return all
}

// headers gives the job's headers with what is sealed opened, and looks at the references in them. Everything else about headers is the
// mapping's to check.
func (c *compilation) headers() schemas.Value {
	given, path, _ := c.given("headers")
	return c.headersAt(given, path, "/headers")
}

// headersAt is headers for those that stand at any path; field is leaf.field of them.
func (c *compilation) headersAt(given schemas.Value, path, field string) schemas.Value {
	if given.Kind() != schemas.Object {
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
			text, look = c.open(at, field+"/"+strings.ToLower(name))
			look = look && !c.process.Secrets.Masked
			c.hide(text)
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
	c.hide(value)
	return value, nil
}
