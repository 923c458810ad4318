package job

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"streamer/consumer"
	"streamer/internal/fault"
	"streamer/schemas"
	"streamer/sink"
	"streamer/sink/wire"
)

// placeKeys are the keys by which a route or a step says how it logs in: of a connection, or by itself. Their own keys are those of the job.
var placeKeys = []key{{"connection", ours}, {"auth", ours}}

// sites are the origins that a job's requests go to, and how they log in there. An origin is logged in at in one way: requests of one row
// would else meet each other's limits and holds.
type sites struct {
	// own are the origins that the job's own login is for: of its URL, and of routes that say nothing of a login.
	own []string
	// quiet are the paths of routes that say nothing of a login, by the origins they go to; the first one that goes there.
	quiet map[string]string
	// user is the template of whose token goes along there.
	user string
	// said are those that a route or step says how to log in at, silent those of steps that do not.
	said, silent []site
}

// site is one place of a part of the job that stands at path; user is the template of whose token goes along there.
type site struct {
	path, user string
	sink.Place
}

// ownOrigins notes where the job's own login goes to.
func (c *compilation) ownOrigins(url schemas.Value) {
	c.own = append(c.own, originsOf(url, 0)...)
}

// place reads connection and auth of a route, s, and notes how its requests, which go to url, log in. It gives the URL below that of the
// connection, and the template of whose token goes along. A route that says nothing logs in as the job does.
func (c *compilation) place(s reader, url schemas.Value) (under schemas.Value, user string) {
	how := c.siteLogin(s)
	if under = c.loggedIn(s, how, member(s.path, "url"), url); !how.said {
		c.ownOrigins(under)
		for _, origin := range originsOf(under, 0) {
			if c.quiet == nil {
				c.quiet = map[string]string{}
			}
			if _, known := c.quiet[origin]; !known {
				c.quiet[origin] = s.path
			}
		}
	}
	return under, how.user
}

// stepPlace is place for one request of a step, whose URL stands at a path: one that says nothing logs in as the job does only where the
// job itself goes, and nowhere else.
func (c *compilation) stepPlace(s reader, how siteLogin, path string, url schemas.Value) (under schemas.Value) {
	under = c.loggedIn(s, how, path, url)
	if !how.said {
		for _, origin := range originsOf(under, 0) {
			c.silent = append(c.silent, site{path: s.path, Place: sink.Place{Origin: origin}})
		}
	}
	return under
}

// userAt gives whose token goes along with a step at path that says nothing of a login: at each origin it goes to, that of whoever logs in
// there, and nobody's where nobody does. It is one for the whole step. Everything that says how it logs in has been noted.
func (c *compilation) userAt(path string) (user string) {
	var users []string
	note := func(user string) {
		if !slices.Contains(users, user) {
			users = append(users, user)
		}
	}
	for _, s := range c.silent {
		if s.path != path {
			continue
		}
		noted := false
		for _, said := range c.said {
			if said.Origin == s.Origin && !slices.Contains(c.own, s.Origin) {
				note(said.user)
				noted = true
			}
		}
		switch {
		case slices.Contains(c.own, s.Origin):
			note(c.user)
		case !noted:
			note("")
		}
	}
	if len(users) > 1 {
		c.faults.Add(path, "goes where tokens of different users go along, or none", "say whose by auth or connection, or make several steps of it")
	}
	if len(users) > 0 {
		user = users[0]
	}
	return user
}

// siteLogin is what a route or step says of how it logs in: by a connection, by itself, or nothing.
type siteLogin struct {
	said, connected, known bool
	target                 Target
	login                  login
	user                   string
}

// siteLogin reads connection and auth of s. What says nothing of a connection is below the job's.
func (c *compilation) siteLogin(s reader) (how siteLogin) {
	if name, ok := s.text("connection"); ok {
		if _, path, given := s.given("auth"); given {
			c.faults.Add(path, "stands beside connection, which says how to log in", "put it into the connection")
		}
		inherited := s.field
		if strings.HasPrefix(s.field, "/routes/") {
			inherited = "" // a route sends the job's headers too
		}
		c.noOwnSecrets(inherited+"/headers/", s.field+"/")
		how.said, how.connected = true, true
		how.target, how.known = c.targetAt(member(s.path, "connection"), name)
		how.user = how.target.User
		return how
	}
	if l, ok := c.login(s); ok {
		c.loginFaults(s, l)
		return siteLogin{said: true, login: l, user: l.user}
	}
	if name, ok := c.text("connection"); ok {
		// The job's own: where else it goes needs a login of its own, or a connection.
		how.target, _ = c.target(name)
		how.connected, how.user = true, how.target.User
	}
	return how
}

// loggedIn notes that requests of s, to the URL at a path, log in so, and gives the URL below that of the connection.
func (c *compilation) loggedIn(s reader, how siteLogin, path string, url schemas.Value) (under schemas.Value) {
	switch {
	case how.connected && how.said && how.known:
		t := how.target
		c.said = append(c.said, site{s.path, how.user, sink.Place{Origin: t.Origin, Target: t.Name, Auth: t.Auth, TLS: t.TLS, Success: t.Success, Shared: t.Shared}})
	case how.said && !how.connected:
		for _, origin := range originsOf(url, 0) {
			c.said = append(c.said, site{s.path, how.user, sink.Place{Origin: origin, Auth: how.login.auth, TLS: sink.TLS{Cert: how.login.cert, Key: how.login.key}}})
		}
	}
	if how.connected {
		return c.belowAll(path, url, how.target.Base)
	}
	return url
}

// loginFaults adds what the sink says of a login that stands in s, by its paths.
func (c *compilation) loginFaults(s reader, l login) {
	faults := sink.Config{Auth: l.auth, TLS: sink.TLS{Cert: l.cert, Key: l.key}, Guard: c.process.Guard}.Validate()
	for i, f := range faults {
		if path, ok := strings.CutPrefix(f.Path, "auth."); ok {
			faults[i].Path = member(s.path, "auth") + "." + path
		} else if f.Path == "token" || f.Path == "basic_auth.user" {
			faults[i].Path = member(s.path, "auth")
		}
	}
	c.add(certificateFaults(member(s.path, "auth"), faults))
}

// certificateFaults are those of a client's certificate by the paths of an auth, which a job has in place of tls.
func certificateFaults(auth string, faults fault.List) fault.List {
	for i := range faults {
		if strings.HasPrefix(faults[i].Path, "tls.") {
			f := &faults[i]
			f.Path, f.Problem = auth+".mtls."+strings.TrimPrefix(f.Path, "tls."), strings.ReplaceAll(f.Problem, "tls.", auth+".mtls.")
		}
	}
	return faults
}

// settle makes places of what was noted, for the sink.
func (c *compilation) settle(cfg *consumer.Config) {
	mine := sink.Place{Target: cfg.Sink.Target, Auth: cfg.Sink.Auth, TLS: cfg.Sink.TLS, Success: cfg.Sink.Success, Shared: cfg.Sink.Shared}
	paths := map[string]string{} // of the part that the place of an origin was made of
	told := map[string]bool{}    // parts with a fault: both branches of a choice may go to one origin
	otherwise := func(s site, than string) {
		if said := s.path + " " + s.Origin; !told[said] {
			told[said] = true
			c.faults.Add(s.path, fmt.Sprintf("logs in at %s otherwise than %s", s.Origin, than),
				"log in there in one way everywhere in the job (auth of the job is for all that have none), or make it a job of its own")
		}
	}
	for _, s := range c.said {
		mine.Origin = s.Origin
		i := slices.IndexFunc(cfg.Sink.Places, func(p sink.Place) bool { return p.Origin == s.Origin })
		switch {
		case slices.Contains(c.own, s.Origin):
			if !reflect.DeepEqual(mine, s.Place) {
				than := "the job, which goes there too"
				if quiet, ok := c.quiet[s.Origin]; ok {
					than = quiet + ", which goes there too and logs in as the job does"
				}
				otherwise(s, than)
			}
		case i < 0:
			cfg.Sink.Places = append(cfg.Sink.Places, s.Place)
			paths[s.Origin] = s.path
		case !reflect.DeepEqual(cfg.Sink.Places[i], s.Place):
			otherwise(s, paths[s.Origin]+", which goes there too")
		}
	}
	for _, s := range c.silent {
		placed := slices.ContainsFunc(cfg.Sink.Places, func(p sink.Place) bool { return p.Origin == s.Origin })
		if !placed && !slices.Contains(c.own, s.Origin) {
			cfg.Sink.Places = append(cfg.Sink.Places, s.Place)
		}
	}
}

// originsOf are those of an URL template, or of a choice of them. What is no URL has its fault from the mapping.
func originsOf(url schemas.Value, depth int) (all []string) {
	if text, ok := url.Str(); ok {
		if o, _, err := wire.ParseOrigin(text); err == nil {
			all = append(all, o.String())
		}
	}
	if url.Kind() == schemas.Object && depth <= maxNesting {
		for _, branch := range []string{"then", "else"} {
			all = append(all, originsOf(url.Field(branch), depth+1)...)
		}
	}
	return all
}

// textValue is a text as a value; Absent if it is empty.
func textValue(text string) schemas.Value {
	if text == "" {
		return schemas.Value{}
	}
	b := schemas.NewBuilder()
	b.String(text)
	return b.Value()
}
