package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamer/consumer"
	"streamer/internal/fault"
	"streamer/sink"
)

func parseConnection(t *testing.T, text string) *Connection {
	t.Helper()
	conn, broken := ParseConnection("connection.yaml", []byte(text))
	if len(broken) > 0 {
		t.Fatal(broken)
	}
	return conn
}

func TestConnectionFaults(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Keyring = keyring(t, 1)
	const head = "name: a\nowner: demo\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"whole": {head + `
base_url: https://api.example.org:8443/v1/
auth: {api_key: {header: X-Api-Key, value: hunter2}}
tls: {server_name: api.internal}
limits: {concurrency: 8, rate_limit: {rate: 5, per: 1m, burst: 2}}`, nil},
		"for everybody":       {"name: a\nowner: '*'\nbase_url: http://api.example.org", nil},
		"nothing":             {"{}", []string{"name: is missing", "owner: is missing", "base_url: is missing"}},
		"an unknown key":      {head + "base_url: http://a.example.org\nlimit: {}", []string{"limit: unknown key; did you mean limits?"}},
		"nothing of success":  {head + "base_url: http://a.example.org\nsuccess: {}", []string{"success.when: is missing"}},
		"success, wrong":      {head + "base_url: http://a.example.org\nsuccess: {when: '$.bdy.ok', else: lost}", []string{`success.when: an answer has no "bdy"; did you mean body?`, `success.else: unknown value "lost"`}},
		"no path":             {head + "base_url: http://a.example.org\nsuccess: {when: '$.body['}", []string{"success.when: "}},
		"nothing to register": {head + "base_url: http://a.example.org\nregister: {}", []string{"register.url: is missing", "register.servicename: is missing", "register.authorize_url: is missing", "register.refresh_url: is missing", "register.client_id: is missing", "register.client_secret: is missing", "register.implements: is missing"}},
		"registered, wrong": {head + "base_url: http://a.example.org\nregister: {url: 'http://a.example.org', servicename: a, authorize_url: b, refresh_url: c, client_id: d, client_secret: e, implements: [files], known: yes}",
			[]string{"register.url: is without TLS", "register.implements[0]: is no interface", `register.known: unknown value "yes"`}},
		"a certificate twice":   {head + "base_url: https://a.example.org\ntls: {cert: a, key: b}\nauth: {mtls: {cert: c, key: d}}", []string{"auth.mtls: stands beside tls.cert", "tls.cert: is with tls.key no certificate"}},
		"a name with a slash":   {"name: a/b\nowner: demo\nbase_url: http://a.example.org", []string{"name: "}},
		"two logins":            {head + "base_url: http://a.example.org\nauth: {bearer: a, token: b}", []string{"auth: says more than one way"}},
		"a header that is none": {head + "base_url: http://a.example.org\nauth: {api_key: {header: Host, value: b}}", []string{"auth.api_key.header: header Host is set by"}},
		"a certificate alone":   {head + "base_url: https://a.example.org\ntls: {cert: x}", []string{"tls.cert: stands without tls.key"}},
		"no certificate":        {head + "base_url: https://a.example.org\ntls: {ca: x, cert: x, key: y}", []string{"tls.ca: has no certificate", "tls.cert: is with tls.key no certificate"}},
		"a limit":               {head + "base_url: https://a.example.org\nlimits: {concurrency: -1, rate_limit: {per: 1s}}", []string{"limits.concurrency: -1", "limits.rate_limit.rate: is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, faults := parseConnection(t, c.text).Admit(p, nil)
			checkFaults(t, faults, c.want)
		})
	}
	for _, bad := range []string{"api.example.org", "//api.example.org", "ftp://a.example.org", "https://u:p@a.example.org", "https://a.example.org/?q=1", "https://a.example.org/#f",
		"https://a.example.org/a/../b", "https://a.example.org/a/%2e%2e/b", "https://a.example.org/{id}", "https://{host}/", "https://a.example.org\\@evil.example.org/", "https://", "https://a b/", "https://a.example.org:0/"} {
		_, _, faults := parseConnection(t, head+fmt.Sprintf("base_url: '%s'", bad)).Admit(p, nil)
		if faults.Err() == nil || !strings.Contains(faults.Error(), "base_url") {
			t.Errorf("%s: %v", bad, faults)
		}
	}
}

// What is secret of a connection is sealed and masked; the rest is not.
func TestConnectionSecrets(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Keyring = keyring(t, 1)
	conn := parseConnection(t, "name: a\nowner: demo\nbase_url: https://a.example.org\nauth: {api_key: {header: X-Api-Key, value: hunter2}}\ntls: {server_name: b, key: hunter2}")
	sealed, _ := conn.Seal(p.Secrets.Keyring, nil)
	for text, masks := range map[string]bool{string(sealed): false, string(conn.Masked()): true} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, `"header":"X-Api-Key"`) || !strings.Contains(text, `"server_name":"b"`) || strings.Count(text, masked) != map[bool]int{true: 2}[masks] {
			t.Errorf("%s", text)
		}
	}
	stored, broken := ParseConnection("a.json", sealed)
	if len(broken) > 0 {
		t.Fatal(broken)
	}
	for text, want := range map[string]string{
		"base_url: https://a.example.org/v2":   "",
		"base_url: https://evil.example.org":   "auth.bearer: is only kept while every target of the job is the same",
		"base_url: http://a.example.org":       "auth.bearer: is only kept",
		"base_url: https://a.example.org:8443": "auth.bearer: is only kept",
	} {
		before := parseConnection(t, "name: a\nowner: demo\nbase_url: https://a.example.org\nauth: {bearer: hunter2}")
		sealed, _ := before.Seal(p.Secrets.Keyring, nil)
		before, _ = ParseConnection("a.json", sealed)
		_, target, faults := parseConnection(t, "name: a\nowner: demo\n"+text+"\nauth: {bearer: '********'}").Admit(p, before)
		if want == "" && (faults.Err() != nil || target.Auth.Bearer.Reveal() != "hunter2") || !strings.Contains(faults.Error(), want) {
			t.Errorf("%s: %v", text, faults)
		}
		// Nor is the sealed text of use in another connection, or in a job.
		bearer, _ := before.value.Field("auth").Field("bearer").Str()
		if _, faults := parseConnection(t, "name: b\nowner: demo\nbase_url: https://a.example.org\nauth: {bearer: '"+bearer+"'}").Compile(p); faults.Err() == nil {
			t.Error("it opens for another connection")
		}
		if _, faults := parseOne(t, "job.yaml", jobText("id: a", "url: https://a.example.org/{id}", "auth: {bearer: '"+bearer+"'}")).Compile(p); faults.Err() == nil {
			t.Error("it opens for a job")
		}
	}
	if len(stored.Name) == 0 {
		t.Error("no name")
	}
}

// A certificate in a secret file may have lines; a token in one may not.
func TestConnectionFiles(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	home := filepath.Join(p.Secrets.Dir, "demo")
	for name, text := range map[string]string{"ca.pem": "-----BEGIN\nx\n", "lines": "a\nb"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conn := parseConnection(t, "name: a\nowner: demo\nbase_url: https://a.example.org\ntls: {ca: '${file:ca.pem}'}\nauth: {bearer: '${file:lines}'}")
	_, faults := conn.Compile(p)
	checkFaults(t, faults, []string{"tls.ca: has no certificate in PEM form", "auth.bearer: secret file demo/lines holds characters"})
	if conn.Watch(p.Secrets) == nil {
		t.Error("its files are not watched")
	}
}

// connected is a process with a connection for demo, and one for everybody.
func connected(t *testing.T) Process {
	t.Helper()
	p := secretProcess(t)
	p.Namespace = "streamer"
	p.Secrets.Keyring = keyring(t, 1)
	shared := sink.NewShared()
	p.Connection = func(owner, name string) (Target, error) {
		if owner != "demo" || name != "crm" {
			return Target{}, fault.Fault{Problem: "there is no connection " + name, Mend: "did you mean crm?"}
		}
		return Target{Name: "crm", Owner: "demo", Base: "https://crm.example.org/api", Origin: "https://crm.example.org:443", Auth: sink.Auth{Bearer: "hunter2"}, Shared: shared}, nil
	}
	return p
}

func TestJobWithConnection(t *testing.T) {
	t.Parallel()
	p := connected(t)
	record := consumer.Record{Topic: "village", Value: []byte(`{"id": "a/b", "up": "..", "evil": "//evil.example.org/"}`)}
	for url, want := range map[string]string{
		"/villages/{id}": "https://crm.example.org/api/villages/a%2Fb",
		"/":              "https://crm.example.org/api/",
		"/?id={id}":      "https://crm.example.org/api/?id=a%2Fb",
		"https://crm.example.org/api/villages/{id}":        "https://crm.example.org/api/villages/a%2Fb",
		"https://CRM.example.org:443/api":                  "https://crm.example.org/api",
		"{when: $.msg.id, then: '/a/{id}', else: '/b'}":    "https://crm.example.org/api/a/a%2Fb",
		"/@evil.example.org/{id}":                          "https://crm.example.org/api/@evil.example.org/a%2Fb",
		"/{+$.msg.evil}":                                   "https://crm.example.org/api/", // its beginning
		"/:80@evil.example.org":                            "https://crm.example.org/api/",
		"{when: $.msg.nothing, then: '/a', else: '/{id}'}": "https://crm.example.org/api/a%2Fb",
	} {
		cfg, faults := compileText(t, p, jobText("connection: crm", "url: "+quoted(url)))
		if faults.Err() != nil {
			t.Errorf("%s: %v", url, faults)
			continue
		}
		row := consumer.Render(cfg, record)[0]
		if row.Request.URL != want && (len(want) > 30 || !strings.HasPrefix(row.Request.URL, want)) {
			t.Errorf("%s: %s, want %s", url, row.Request.URL, want)
		}
		if cfg.Sink.Target != "crm" || cfg.Sink.Origin != "https://crm.example.org:443" || cfg.Sink.Auth.Bearer.Reveal() != "hunter2" || cfg.Sink.Shared == nil {
			t.Errorf("%s: %+v", url, cfg.Sink)
		}
	}
	cfg, faults := compileText(t, p, jobText("connection: crm", "url: '/'", "delivery: {breaker: {health: /health}}"))
	if faults.Err() != nil || cfg.Sink.Breaker.Health != "https://crm.example.org/api/health" {
		t.Errorf("health %s, %v", cfg.Sink.Breaker.Health, faults)
	}
	// Where connections are not known a job can be looked at all the same.
	p.Connection = nil
	for _, url := range []string{"/a/{id}", "https://crm.example.org/a/{id}"} {
		cfg, faults := compileText(t, p, jobText("connection: crm", "url: '"+url+"'", "headers: {X-A: '{id}'}"))
		checkFaults(t, faults, []string{`warning: connection: "crm" is not looked up here`})
		if row := consumer.Render(cfg, record)[0]; !strings.HasSuffix(row.Request.URL, "/a/a%2Fb") {
			t.Errorf("%s", row.Request.URL)
		}
	}
}

func quoted(url string) string {
	if strings.HasPrefix(url, "{when") {
		return url
	}
	return "'" + url + "'"
}

// He uses the connection of another owner, leaves the base of his own, or brings a secret along that goes where the connection goes.
func TestAttackConnection(t *testing.T) {
	t.Parallel()
	p := connected(t)
	for _, url := range []string{"//evil.example.org/", "https://evil.example.org/", "http://crm.example.org/api/", "https://crm.example.org:8443/api/", "https://crm.example.org/", "https://crm.example.org/apiary/",
		"https://crm.example.org/api{id}", "https://crm.example.org@evil.example.org/api/", "https://u:p@crm.example.org/api/", "https://crm.example.org.evil.example.org/api/", "@evil.example.org/", ".evil.example.org/", ":80@evil.example.org/",
		"/../secret", "/a/../../secret", "/%2e%2e/secret", "https://crm.example.org/api/../secret", "\\\\evil.example.org/", "/\\evil.example.org/", "evil.example.org/api", "", "{id}", "https://crm.example.org/api/..%2f", "https:/crm.example.org/api/", "https:evil.example.org"} {
		cfg, faults := compileText(t, p, jobText("connection: crm", "url: '"+url+"'"))
		if faults.Err() != nil {
			continue
		}
		row := consumer.Render(cfg, consumer.Record{Topic: "village", Value: []byte(`{"id": "../.."}`)})[0]
		t.Errorf("%s is taken: %s", url, row.Request.URL)
	}
	for _, choice := range []string{"{when: $.msg.id, then: 'https://evil.example.org/', else: '/a'}", "{when: $.msg.id, then: '/a', else: {when: $.msg.id, then: '/a', else: '//evil.example.org'}}"} {
		if _, faults := compileText(t, p, jobText("connection: crm", "url: "+choice)); faults.Err() == nil {
			t.Errorf("%s is taken", choice)
		}
	}
	for _, row := range []string{`{"id": ".."}`, `{"id": "../../secret"}`, `{"id": "a/../../.."}`} {
		cfg, faults := compileText(t, p, jobText("connection: crm", "url: '/{+id}/x'"))
		if faults.Err() != nil {
			t.Fatal(faults)
		}
		if r := consumer.Render(cfg, consumer.Record{Topic: "village", Value: []byte(row)})[0]; strings.Contains(r.Request.URL, "..") {
			t.Errorf("%s leads to %s", row, r.Request.URL)
		}
	}
	for _, lines := range [][]string{
		{"owner: other"}, {"connection: cmr"}, {"connection: 'crm/'"}, {"connection: [crm]"},
		{"token: abc"}, {"basic_auth: {user: a, password: b}"}, {"auth: {bearer: '${env:STREAMER_VALUE_TOKEN}'}"}, {"headers: {Authorization: 'Bearer hunter3'}"}, {"headers: {X-Api-Key: hunter3}"},
		{"delivery: {breaker: {health: 'https://evil.example.org/'}}"}, {"delivery: {breaker: {health: '//evil.example.org/'}}"},
	} {
		_, _, faults := parseOne(t, "job.yaml", jobText(append([]string{"connection: crm", "url: '/{id}'"}, lines...)...)).Admit(p, nil)
		if faults.Err() == nil {
			t.Errorf("%v is taken", lines)
		}
	}
	// A secret that he cannot read does not go along to a connection either.
	before := sealText(t, p.Secrets.Keyring, jobText("headers: {X-Api-Key: hunter3}"))
	_, _, faults := parseOne(t, "job.yaml", jobText("connection: crm", "url: '/{id}'", "headers: {X-Api-Key: '********'}")).Admit(p, before)
	var f fault.Fault
	if err := faults.Err(); err == nil || errors.As(err, &f) {
		t.Errorf("taken along: %v", faults)
	}
}
