package job

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"streamer/consumer"
	"streamer/control/secret"
	"streamer/internal/fault"
	"streamer/schemas"
	"streamer/sink"
	"streamer/sink/wire"
)

// Connection is a shared target as somebody wrote it: where it is, how to log in, and what its jobs may ask of it together. What holds for
// documents of jobs (Canonical, Masked, Bare, Seal) holds for it too.
type Connection struct {
	// Name and Owner are empty where the document gives none that is text. The jobs of Owner may use it; those of everyone, if it is
	// Everyone.
	Name, Owner string

	*Definition
}

// Target is a connection that was compiled: what a job that names it takes from it.
type Target struct {
	Name, Owner string
	// Base is the URL that every request begins with, without a slash at its end; Origin its scheme://host:port.
	Base, Origin string
	Auth         sink.Auth
	// User is the template of whose token goes along; empty: nobody's.
	User    string
	TLS     sink.TLS
	Success *sink.Success
	// Register is what is said to a Token Storage before the API is ready; nil: nothing.
	Register *sink.Registration
	Limits   sink.SharedLimits
	// Shared is what its jobs have in common on this instance; whoever runs them sets it.
	Shared *sink.Shared
}

// ParseConnection reads a document that is to be one connection.
func ParseConnection(file string, src []byte) (*Connection, []Finding) {
	defs, broken := ParseFile(file, src)
	if len(broken) > 0 {
		return nil, broken
	}
	if len(defs) != 1 {
		return nil, []Finding{{File: file, Fault: fault.Fault{Problem: fmt.Sprintf("these are %d connections, not one", len(defs)), Mend: "send them one by one"}}}
	}
	return newConnection(defs[0]), nil
}

// connectionKind is what its secrets are bound to.
const connectionKind = "connection"

func newConnection(d *Definition) *Connection {
	d = d.Bare()
	d.kind = connectionKind
	name, _ := d.value.Field("name").Str()
	d.ID = strings.Clone(name)
	return &Connection{Name: d.ID, Owner: d.Owner, Definition: d}
}

// Admit is Definition.Admit for a connection.
func (n *Connection) Admit(p Process, before *Connection) (sealed []byte, t Target, faults fault.List) {
	var old *Definition
	if before != nil {
		old = before.Definition
	}
	sealed, faults = n.seal(p.Secrets.Keyring, old)
	stored, broken := ParseConnection("connection.json", sealed)
	for _, f := range broken {
		faults = append(faults, f.Fault)
	}
	if stored == nil {
		return nil, t, faults
	}
	stored.faults = n.faults // of the text, such as keys that stand twice
	t, more := stored.Compile(p)
	known := compilation{faults: faults}
	known.add(more)
	return sealed, t, known.faults
}

// Compile checks the whole connection and gives all its faults at once. The Target is only to be used when the list has no error.
func (n *Connection) Compile(p Process) (Target, fault.List) {
	c := compilation{def: n.Definition, process: p, faults: slices.Clone(n.faults)}
	c.process.Guard = p.Grants.of(n.Owner).guard(p.Guard, n.Owner)
	if n.value.Kind() != schemas.Object {
		c.faults.Add("", "a connection is an object of fields, this is "+kindName(n.value), "")
		return Target{}, c.faults
	}
	c.reader = reader{object: n.value, faults: &c.faults, keys: connectionKeys}
	checkKeys(&c.faults, n.value, "", connectionKeys[""], false)
	t := Target{Name: n.Name, Owner: n.Owner}
	for _, field := range []string{"name", "owner"} {
		text, ok := c.text(field)
		if !ok {
			c.missing(field, map[string]string{"name": "say how jobs name it", "owner": "say whose jobs may use it; \"*\": everybody's"}[field])
		} else if problem, mend := checkName(text); problem != "" && (field != "owner" || text != Everyone) {
			c.faults.Add(field, problem, mend)
		}
	}
	t.Base, t.Origin = c.baseURL()
	own, _ := c.login(c.reader)
	t.Auth, t.User = own.auth, own.user
	if s, ok := c.sub("tls", false); ok {
		t.TLS = c.tls(s)
	}
	if own.cert != "" || own.key != "" {
		if t.TLS.Cert != "" || t.TLS.Key != "" {
			c.faults.Add("auth.mtls", "stands beside tls.cert and tls.key, which are the same", "keep one of them")
		}
		t.TLS.Cert, t.TLS.Key = own.cert, own.key
	}
	t.Success = c.success()
	t.Register = c.register()
	if s, ok := c.sub("limits", false); ok {
		t.Limits = sink.SharedLimits{Concurrency: s.atMost("concurrency", maxConcurrency), Rate: s.rate()}
	}
	c.add(sink.Config{Auth: t.Auth, TLS: t.TLS, Guard: c.process.Guard}.Validate())
	if t.Register != nil {
		c.add(t.Register.Validate())
	}
	return t, c.faults
}

// baseURL gives the URL without a slash at its end, and its origin.
func (c *compilation) baseURL() (base, origin string) {
	const mend = "write it as in https://api.example.org/v1"
	text, ok := c.text("base_url")
	if !ok {
		c.missing("base_url", mend)
		return "", ""
	}
	refuse := func(problem, mend string) (string, string) {
		c.faults.Add("base_url", problem, mend)
		return "", ""
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\\{}\"<>^`|", r) }); i >= 0 {
		return refuse(fmt.Sprintf("a character that cannot stand in a URL, at %d", i+1), "percent-encode it; a base URL has no placeholders, and other letters of a host are written in their xn-- form")
	}
	o, _, err := wire.ParseOrigin(text)
	if err != nil {
		return refuse(strings.TrimPrefix(err.Error(), "url: "), mend)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return refuse("is no URL", mend)
	case u.User != nil || o.User != "":
		return refuse("a user or password in the URL", "write auth: {basic: {user, password}}")
	case strings.ContainsAny(text, "?#"):
		return refuse("has a query or a fragment", "a base URL ends with its path; queries stand in the jobs")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return refuse("the path has a segment . or ..", "write the path it leads to")
		}
	}
	return strings.ToLower(u.Scheme) + "://" + strings.ToLower(strings.TrimSuffix(u.Host, ":")) + strings.TrimRight(u.EscapedPath(), "/"), o.String()
}

func (c *compilation) tls(s reader) sink.TLS {
	var t sink.TLS
	t.ServerName, _ = s.text("server_name")
	t.CA, t.Cert = c.pem(s, "ca").Reveal(), c.pem(s, "cert").Reveal()
	t.Key = c.pem(s, "key")
	if c.process.Secrets.Masked {
		return sink.TLS{ServerName: t.ServerName}
	}
	return t
}

// pem is secret for a text that has lines.
func (c *compilation) pem(r reader, name string) sink.Secret {
	c.process.Secrets.lines = true
	defer func() { c.process.Secrets.lines = false }()
	return c.secret(r, name)
}

// connect gives a job what its connection has, and the URL with it. A job without one keeps its own.
func (c *compilation) connect(cfg *consumer.Config, own *login) schemas.Value {
	given := c.object.Field("url")
	name, ok := c.text("connection")
	if !ok {
		c.ownOrigins(given)
		return given
	}
	c.unaccompanied()
	target, known := c.target(name)
	if health := cfg.Sink.Breaker.Health; strings.HasPrefix(health, "/") && !strings.HasPrefix(health, "//") {
		cfg.Sink.Breaker.Health = cmp.Or(target.Base, nowhere) + health
	}
	if known {
		cfg.Sink.Target, cfg.Sink.Origin, cfg.Sink.Shared = target.Name, target.Origin, target.Shared
		cfg.Sink.TLS, cfg.Sink.Success = target.TLS, target.Success
		*own = login{auth: target.Auth, user: target.User}
		c.own = append(c.own, target.Origin)
	}
	return c.belowAll("url", given, target.Base)
}

// unaccompanied refuses secrets of the job's own beside a connection: who may change the connection would send them where he likes.
// References are no such secrets: whoever may edit the job can send them anywhere.
func (c *compilation) unaccompanied() {
	const mend = "put it into the connection"
	for _, field := range []string{"basic_auth", "token", "auth"} {
		if _, _, given := c.given(field); given {
			c.faults.Add(field, "stands beside connection, which says how to log in", mend)
		}
	}
	c.noOwnSecrets("")
}

// noOwnSecrets refuses secrets in headers that go to a connection: those whose field begins with one of prefixes.
func (c *compilation) noOwnSecrets(prefixes ...string) {
	for _, l := range c.def.leaves() {
		if l.role != secretHeader || !l.written() && !secret.Sealed(l.text) {
			continue
		}
		for _, prefix := range prefixes {
			if strings.HasPrefix(l.field, prefix) {
				c.add(fault.List{{Path: l.path, Problem: "is a secret of the job's own, and would go wherever its connection is moved", Mend: "put it into the connection, or write a reference: ${env:STREAMER_VALUE_…} or ${file:name}"}})
			}
		}
	}
}

// target finds the job's connection, targetAt the one that is named at a path.
func (c *compilation) target(name string) (Target, bool) { return c.targetAt("connection", name) }

func (c *compilation) targetAt(path, name string) (Target, bool) {
	if c.process.Connection == nil {
		c.add(fault.List{{Path: path, Problem: fmt.Sprintf("%q is not looked up here: its URL reads as %s", name, nowhere),
			Mend: "look at the connection's file along with the job's; it has to be there when the job is stored", Warning: true}})
		return Target{}, false
	}
	t, err := c.process.Connection(c.def.Owner, name)
	switch {
	case err == nil:
		return t, true
	case errors.Is(err, ErrLater):
		return Target{}, false
	}
	var f fault.Fault
	if !errors.As(err, &f) {
		f = fault.Fault{Problem: err.Error()}
	}
	c.add(fault.List{{Path: path, Problem: f.Problem, Mend: f.Mend, Warning: f.Warning}})
	return Target{}, false
}

// belowAll writes an URL template, or a choice of them, that stands at path as one below base; Absent stays so.
func (c *compilation) belowAll(path string, v schemas.Value, base string) schemas.Value {
	if v.Kind() == schemas.Absent {
		return v
	}
	out := schemas.NewBuilder()
	c.below(out, path, v, base, 0)
	return out.Value()
}

// below writes an URL template, or a choice of them, as one below base. What is neither is left to the mapping to refuse.
func (c *compilation) below(out *schemas.Builder, path string, v schemas.Value, base string, depth int) {
	text, isText := v.Str()
	switch {
	case isText:
		out.String(c.belowBase(path, text, base))
	case v.Kind() == schemas.Object && depth <= maxNesting:
		out.BeginObject()
		for name, m := range v.Members() {
			out.Key(name)
			if name == "then" || name == "else" {
				c.below(out, member(path, name), m, base, depth+1)
			} else {
				out.Copy(m)
			}
		}
		out.End()
	default:
		out.Copy(v)
	}
}

// nowhere stands for the base of a connection that is not known: enough to find what else is wrong.
const nowhere = "https://connection.invalid"

// belowBase gives a template as an absolute one. It may be a path, which begins with one slash, or be absolute already. An empty base is
// not known.
func (c *compilation) belowBase(path, text, base string) string {
	const mend = "write a path, as in /villages/{id}"
	switch {
	case strings.HasPrefix(text, "//"):
		c.faults.Add(path, "begins with //, which names a host; the connection says where it goes", mend)
		return cmp.Or(base, nowhere) + "/"
	case strings.HasPrefix(text, "/"):
		return cmp.Or(base, nowhere) + text
	case !strings.Contains(text, "://"):
		c.faults.Add(path, "is neither a path that begins with / nor an URL", mend)
		return cmp.Or(base, nowhere) + "/"
	case base == "":
		return text
	}
	rest, ok := under(text, base)
	if !ok {
		c.faults.Add(path, "is not below "+base+", the base_url of the connection", mend)
		return base + "/"
	}
	return base + rest
}

// under gives what stands behind base in an absolute URL that begins with it, whatever way its origin is written.
func under(text, base string) (rest string, ok bool) {
	mine, path, err := wire.ParseOrigin(text)
	yours, prefix, baseErr := wire.ParseOrigin(base)
	if err != nil || baseErr != nil || mine != yours {
		return "", false
	}
	rest, ok = strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || strings.IndexByte("/?#", rest[0]) >= 0)
}
