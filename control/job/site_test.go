package job

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"streamer/consumer"
	"streamer/internal/fault"
	"streamer/schemas"
	"streamer/sink"
)

// placed compiles the job of lines, and in it parts (routes, or with steps steps) as a list of {url, auth, connection}. It gives what the
// sink is told, the URLs and the users of the parts.
func placed(t *testing.T, p Process, own string, routes, steps string) (cfg consumer.Config, urls, users []string, faults fault.List) {
	t.Helper()
	text := jobText(strings.Split(own, "\n")...) + "routes: " + routes + "\nsteps: " + steps + "\n"
	d := parseOne(t, "job.yaml", text)
	c := compilation{def: d, process: p}
	known := map[string][]key{"part": append([]key{{"url", ours}, {"headers", ours}}, placeKeys...)}
	for path, list := range keys {
		known[path] = list
	}
	c.reader = reader{object: d.value, faults: &c.faults, keys: known}
	mine := c.auth()
	c.connect(&cfg, &mine)
	cfg.Sink.Auth = mine.auth
	for _, list := range []string{"routes", "steps"} {
		i := 0
		for e := range d.value.Field(list).Elements() {
			s, ok := c.element(list, i, e, "part")
			if !ok {
				t.Fatal(c.faults)
			}
			place := c.place
			if list == "steps" {
				place = func(s reader, url schemas.Value) (schemas.Value, string) {
					how := c.siteLogin(s)
					return c.stepPlace(s, how, member(s.path, "url"), url), how.user
				}
			}
			under, user := place(s, e.Field("url"))
			urls, users = append(urls, textOf(under)), append(users, user)
			i++
		}
	}
	c.settle(&cfg)
	return cfg, urls, users, c.faults
}

func textOf(v schemas.Value) string {
	if text, ok := v.Str(); ok {
		return text
	}
	text, _ := v.AppendJSON(nil)
	return string(text)
}

// places in words: origin, and what goes there.
func says(c sink.Config) string {
	one := func(origin, target string, a sink.Auth, tls sink.TLS) string {
		login := "nothing"
		switch {
		case a.Bearer != "":
			login = "bearer " + a.Bearer.Reveal()
		case a.Basic != nil:
			login = "basic " + a.Basic.User
		case a.TokenStorage != nil:
			login = "token storage"
		}
		if tls.ServerName != "" {
			login += ", " + tls.ServerName
		}
		return strings.TrimSpace(target+" "+origin) + ": " + login
	}
	all := []string{one("own", c.Target, c.Auth, c.TLS)}
	for _, p := range c.Places {
		all = append(all, one(p.Origin, p.Target, p.Auth, p.TLS))
	}
	return strings.Join(all, "; ")
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	shared := sink.NewShared()
	p.Connection = func(owner, name string) (Target, error) {
		if name != "crm" {
			return Target{}, fault.Fault{Problem: fmt.Sprintf("there is no connection %q for jobs of %s", name, owner)}
		}
		return Target{Name: "crm", Base: "https://crm.example.org/v1", Origin: "https://crm.example.org:443", Auth: sink.Auth{TokenStorage: &sink.TokenStorage{URL: "https://storage.example.org", Service: "a"}}, User: "{id}", TLS: sink.TLS{ServerName: "its name"}, Shared: shared}, nil
	}
	for name, test := range map[string]struct {
		own, routes, steps string
		want, urls, users  string
		faults             []string
	}{
		"routes without a login are the job's own": {own: "auth: {bearer: a}", routes: "[{url: 'https://a.example.org/{id}'}, {url: {when: $.msg.id, then: 'https://b.example.org/', else: 'https://c.example.org/'}}]",
			want: "own: bearer a", urls: `https://a.example.org/{id} {"when":"$.msg.id","then":"https://b.example.org/","else":"https://c.example.org/"}`},
		"a route with its own": {own: "auth: {bearer: a}", routes: "[{url: 'https://b.example.org/', auth: {bearer: b}}, {url: {when: $.msg.id, then: 'https://c.example.org/', else: 'https://d.example.org/'}, auth: {basic: {user: u, password: p}}}]",
			want: "own: bearer a; https://b.example.org:443: bearer b; https://c.example.org:443: basic u; https://d.example.org:443: basic u"},
		"a route with a connection": {own: "auth: {bearer: a}", routes: "[{url: '/people/{id}', connection: crm}, {url: 'https://a.example.org/', auth: {token_storage: {url: 'https://t.example.org', service: s, user: '{$.msg.x}'}}}]",
			want: "own: bearer a; crm https://crm.example.org:443: token storage, its name; https://a.example.org:443: token storage", urls: "https://crm.example.org/v1/people/{id} https://a.example.org/", users: "{id},{$.msg.x}"},
		"the job's connection, and a route of it": {own: "connection: crm\nurl: /{id}", routes: "[{url: '/people/{id}'}, {url: '/x', connection: crm}]",
			want: "crm own: token storage, its name", urls: "https://crm.example.org/v1/people/{id} https://crm.example.org/v1/x", users: "{id},{id}"},
		"a route that leaves the job's connection": {own: "connection: crm\nurl: /{id}", routes: "[{url: 'https://a.example.org/'}]",
			want: "crm own: token storage, its name", faults: []string{"routes[0].url: is not below https://crm.example.org/v1"}},
		"one that does with a login of its own": {own: "connection: crm\nurl: /{id}", routes: "[{url: 'https://a.example.org/', auth: {bearer: b}}]",
			want: "crm own: token storage, its name; https://a.example.org:443: bearer b", users: ""},
		"a step elsewhere has no login": {own: "auth: {bearer: a}", steps: "[{url: 'https://b.example.org/'}, {url: {when: $.msg.id, then: 'https://c.example.org/', else: 'https://api.example.org/'}}]",
			want: "own: bearer a; https://b.example.org:443: nothing; https://c.example.org:443: nothing"},
		"a step where the job goes has its login":   {own: "auth: {bearer: a}", steps: "[{url: 'HTTPS://API.example.org:443/{id}'}]", want: "own: bearer a"},
		"a step where a route goes has the route's": {own: "auth: {bearer: a}", routes: "[{url: 'https://b.example.org/', auth: {bearer: b}}, {url: 'https://c.example.org/'}]", steps: "[{url: 'https://b.example.org/x'}, {url: 'https://c.example.org/x'}]", want: "own: bearer a; https://b.example.org:443: bearer b"},
		"a step with a connection":                  {own: "auth: {bearer: a}", steps: "[{url: /people, connection: crm}, {url: 'https://crm.example.org/other'}]", want: "own: bearer a; crm https://crm.example.org:443: token storage, its name"},
		"a step with its own":                       {steps: "[{url: 'https://b.example.org/', auth: {bearer: b}}]", want: "own: nothing; https://b.example.org:443: bearer b"},
		"the same login twice":                      {routes: "[{url: 'https://b.example.org/x', auth: {bearer: b}}, {url: 'https://b.example.org:443/y', auth: {bearer: b}}]", want: "own: nothing; https://b.example.org:443: bearer b"},
		"the job's own login, again":                {own: "auth: {bearer: a}", routes: "[{url: 'https://api.example.org/x', auth: {bearer: a}}]", want: "own: bearer a"},

		"two logins at one origin":         {routes: "[{url: 'https://b.example.org/x', auth: {bearer: b}}, {url: 'https://b.example.org:443/y', auth: {bearer: c}}]", want: "own: nothing; https://b.example.org:443: bearer b", faults: []string{"routes[1]: logs in at https://b.example.org:443 otherwise than routes[0], which goes there too"}},
		"a login beside one that has none": {routes: "[{url: {when: $.msg.id, then: 'https://b.example.org/x', else: 'https://b.example.org/y'}, auth: {bearer: b}}, {url: 'https://b.example.org:443/y'}]", want: "own: nothing", faults: []string{"routes[0]: logs in at https://b.example.org:443 otherwise than routes[1], which goes there too and logs in as the job does"}},
		"another login where the job is":   {own: "auth: {bearer: a}", steps: "[{url: 'https://api.example.org/x', auth: {bearer: b}}]", want: "own: bearer a", faults: []string{"steps[0]: logs in at https://api.example.org:443 otherwise than the job, which goes there too"}},
		"a connection where the job is":    {own: "url: 'https://crm.example.org/{id}'", routes: "[{url: /x, connection: crm}]", want: "own: nothing", faults: []string{"routes[0]: logs in at https://crm.example.org:443 otherwise"}},
		"a connection and a login":         {routes: "[{url: /x, connection: crm, auth: {bearer: b}}]", want: "own: nothing; crm https://crm.example.org:443: token storage, its name", faults: []string{"routes[0].auth: stands beside connection"}},
		"no such connection":               {routes: "[{url: /x, connection: cms}]", want: "own: nothing", faults: []string{`routes[0].connection: there is no connection "cms" for jobs of demo`}},
		"out of the connection":            {routes: "[{url: //evil.example.org/, connection: crm}]", want: "own: nothing; crm https://crm.example.org:443: token storage, its name", faults: []string{"routes[0].url: begins with //"}},
		"an unknown login":                 {routes: "[{url: 'https://b.example.org/', auth: {bearr: b}}]", want: "own: nothing; https://b.example.org:443: nothing", faults: []string{"routes[0].auth.bearr: unknown key; did you mean bearer?"}},
		"a wrong one":                      {routes: "[{url: 'https://b.example.org/', auth: {oauth2: {token_url: 'http://b.example.org', client_id: a, client_secret: b}}}, {url: 'https://c.example.org/', auth: {mtls: {cert: a, key: b}}}]", want: "own: nothing; https://b.example.org:443: nothing; https://c.example.org:443: nothing", faults: []string{"routes[0].auth.oauth2.token_url: is without TLS", "routes[1].auth.mtls.cert: is with routes[1].auth.mtls.key no certificate"}},
		"a secret header of a step to a connection": {own: "headers: {X-Api-Key: hunter2}", steps: "[{url: /x, connection: crm, read_or_create: {create: {headers: {Authorization: hunter2}}}}]", want: "own: nothing; crm https://crm.example.org:443: token storage, its name",
			faults: []string{"steps[0].read_or_create.create.headers.Authorization: is a secret of the job's own", "steps[0].read_or_create: unknown key"}},
		"a secret header to a connection": {own: "headers: {X-Api-Key: hunter2}", routes: "[{url: /x, connection: crm, headers: {Authorization: hunter2}}, {url: 'https://b.example.org/', headers: {Authorization: hunter2}}]", want: "own: nothing; crm https://crm.example.org:443: token storage, its name",
			faults: []string{"headers.X-Api-Key: is a secret of the job's own", "routes[0].headers.Authorization: is a secret of the job's own"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.routes == "" {
				test.routes = "[]"
			}
			if test.steps == "" {
				test.steps = "[]"
			}
			cfg, urls, users, faults := placed(t, p, test.own, test.routes, test.steps)
			checkFaults(t, faults, test.faults)
			if got := says(cfg.Sink); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if got := strings.Join(urls, " "); test.urls != "" && got != test.urls {
				t.Errorf("urls %s\nwant %s", got, test.urls)
			}
			if got := strings.Join(users, ","); test.users != "" && got != test.users {
				t.Errorf("users %s, want %s", got, test.users)
			}
			for _, place := range cfg.Sink.Places {
				if (place.Shared == shared) != (place.Target == "crm") {
					t.Errorf("%s shares %v", place.Origin, place.Shared)
				}
			}
			if faults.Err() == nil {
				if more := cfg.Sink.Validate(); more.Err() != nil {
					t.Errorf("the sink says %v", more)
				}
			}
		})
	}
}

// A secret of a route is sealed where it stands, and opens there and nowhere else.
func TestSecretsOfParts(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Keyring = keyring(t, 1)
	text := jobText() + "routes: [{url: 'https://a.example.org/'}, {url: 'https://b.example.org/', auth: {bearer: hunter2}}]\n"
	sealed, _ := parseOne(t, "job.yaml", text).Seal(p.Secrets.Keyring, nil)
	if strings.Contains(string(sealed), "hunter2") {
		t.Fatalf("%s", sealed)
	}
	bearer, _ := parseOne(t, "a.json", string(sealed)).value.Field("routes").Index(1).Field("auth").Field("bearer").Str()
	for _, at := range []int{1, 0} {
		routes := []string{"{url: 'https://a.example.org/'}", "{url: 'https://b.example.org/'}"}
		routes[at] = strings.TrimSuffix(routes[at], "}") + ", auth: {bearer: '" + bearer + "'}}"
		cfg, _, _, faults := placed(t, p, "", "["+strings.Join(routes, ", ")+"]", "[]")
		opened := slices.ContainsFunc(cfg.Sink.Places, func(place sink.Place) bool { return place.Auth.Bearer == "hunter2" })
		if (at == 1) != opened || (at == 1) != (faults.Err() == nil) {
			t.Errorf("at %d: opened %v, %v", at, opened, faults)
		}
	}
}

// Whoever asks which connections a job names hears of those of its routes and steps too.
func TestConnectionsOfAJob(t *testing.T) {
	t.Parallel()
	d := parseOne(t, "job.yaml", jobText("connection: a", "payload: {connection: no}", "headers: {connection: no}", "constant: {connection: no}")+
		"routes: [{connection: b}]\nsteps: [{request: {connection: c}}, {connection: b}]\n")
	if got := fmt.Sprint(d.Connections()); got != "[a b c]" {
		t.Error(got)
	}
}
