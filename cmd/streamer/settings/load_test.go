package settings

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"streamer/consumer"
	"streamer/consumer/registry"
	"streamer/control/job"
	"streamer/control/people"
	"streamer/control/secret"
	"streamer/control/service"
)

// loadFrom loads settings from a command line, an environment and the text of a file ("" for none).
func loadFrom(t *testing.T, args, environ []string, file string) (Settings, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	// A file of its own each time: /etc/streamer may hold one.
	path := filepath.Join(t.TempDir(), "streamer.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(flags, append([]string{ConfigEnv + "=" + path}, environ...))
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := loadFrom(t, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		Kafka: consumer.Client{Brokers: []string{"localhost:9092"}, GroupProtocol: consumer.GroupClassic}, Namespace: "streamer", Listen: "127.0.0.1:9013", URL: "http://127.0.0.1:9013", Jobs: "/etc/streamer/jobs",
		MemoryBytes: 256 << 20, LogFormat: "json", LogLevel: slog.LevelInfo, People: people.Options{Require: true, OIDC: people.OIDC{GroupsClaim: "groups", Scopes: []string{"openid"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEverySettingFromTheFile(t *testing.T) {
	t.Parallel()
	got, err := loadFrom(t, nil, nil, `
kafka:
  brokers: [k1:9092, k2:9092]
  group_protocol: consumer
  sasl: {mechanism: SCRAM-SHA-512, user: u, password: p}
  tls: {enable: true, ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, server_name: kafka}
schema_registry: {url: "https://registry.test", user: r, password: rp, ca_file: rca.pem}
namespace: ns
instance_id: i-0
listen: 0.0.0.0:80
url: http://localhost:80
context: prod
insecure: true
jobs_dir: jobs
secrets_dir: secrets
allow_hosts: [API.internal, localhost]
allow_cidrs: 10.1.2.3/8
memory: 1GiB
log: {format: text, level: debug}
require_auth: false
admin: {user: root, password: twelve letters}
oidc: {issuer: https://login.example.org, audience: streamer, groups_claim: realm_access.roles, client_id: streamer-cli, scopes: "openid, offline_access"}
people:
  grants:
    - {group: streamer-admins, permission: admin, owner: "*"}
    - {group: "health, ops", permission: operate, owner: health-demo}
user: me
password: mine
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		Kafka: consumer.Client{Brokers: []string{"k1:9092", "k2:9092"}, SASL: consumer.SASL{Mechanism: "SCRAM-SHA-512", User: "u", Password: "p"},
			TLS: consumer.TLS{Enable: true, CAFile: "ca.pem", CertFile: "c.pem", KeyFile: "k.pem", ServerName: "kafka"}, GroupProtocol: consumer.GroupConsumer},
		Registry:  registry.Options{URL: "https://registry.test", User: "r", Password: "rp", CAFile: "rca.pem"},
		Namespace: "ns", Instance: "i-0", Listen: "0.0.0.0:80", URL: "http://localhost:80", Context: "prod", Insecure: true, Jobs: "jobs", SecretsDir: "secrets", AllowHosts: []string{"api.internal", "localhost"},
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, MemoryBytes: 1 << 30, LogFormat: "text", LogLevel: slog.LevelDebug,
		User: "me", Password: "mine", People: people.Options{Admin: people.Admin{User: "root", Password: "twelve letters"},
			OIDC: people.OIDC{Issuer: "https://login.example.org", Audience: "streamer", GroupsClaim: "realm_access.roles", ClientID: "streamer-cli",
				Scopes: []string{"openid", "offline_access"}},
			Grants: []people.GroupGrant{{Group: "streamer-admins", Grant: service.Grant{Permission: service.Admin, Owner: service.Everyone}},
				{Group: "health, ops", Grant: service.Grant{Permission: service.Operate, Owner: "health-demo"}}}},
	}
	for _, from := range []*string{&got.URLFrom, &got.ContextFrom} {
		if !strings.Contains(*from, "/streamer.yaml:") {
			t.Errorf("given in %q", *from)
		}
		*from = ""
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name          string
		args, environ []string
		file, want    string
	}{
		{"default", nil, nil, "", "streamer"},
		{"file over default", nil, nil, "namespace: file", "file"},
		{"environment over file", nil, []string{"STREAMER_NAMESPACE=env"}, "namespace: file", "env"},
		{"flag over environment", []string{"--namespace=flag"}, []string{"STREAMER_NAMESPACE=env"}, "namespace: file", "flag"},
		{"an empty variable is not given", nil, []string{"STREAMER_NAMESPACE="}, "namespace: file", "file"},
		{"an empty value in the file is not given", nil, nil, "namespace:", "streamer"},
		{"what Kubernetes sets for a service named streamer", nil, []string{"STREAMER_SERVICE_HOST=10.0.0.1", "STREAMER_SERVICE_PORT=9013",
			"STREAMER_SERVICE_PORT_HTTP=9013", "STREAMER_PORT=tcp://10.0.0.1:9013", "STREAMER_PORT_9013_TCP=tcp://10.0.0.1:9013",
			"STREAMER_PORT_9013_TCP_PROTO=tcp", "STREAMER_PORT_9013_TCP_PORT=9013", "STREAMER_PORT_9013_TCP_ADDR=10.0.0.1",
			"STREAMER_DEMO_PORT=tcp://10.0.0.2:80"}, "", "streamer"},
		{"values for jobs are no settings", nil, []string{"STREAMER_VALUE_NAMESPACE=x"}, "", "streamer"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := loadFrom(t, c.args, c.environ, c.file)
			if err != nil || got.Namespace != c.want {
				t.Errorf("got %q, %v, want %q", got.Namespace, err, c.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name          string
		args, environ []string
		file          string
		want          []string
	}{
		{"unknown variable", nil, []string{"STREAMER_LISTN=x"}, "", []string{"environment variable STREAMER_LISTN: unknown setting; did you mean STREAMER_LISTEN?"}},
		{"unknown variable like nothing", nil, []string{"STREAMER_FROBNICATE=x"}, "", []string{"STREAMER_FROBNICATE: unknown setting; values for jobs are named STREAMER_VALUE_"}},
		{"a port that Kubernetes did not set", nil, []string{"STREAMER_LISTEN_PORT=9013"}, "", []string{"STREAMER_LISTEN_PORT: unknown setting"}},
		{"unknown key in the file", nil, nil, "\nlisen: x", []string{"streamer.yaml:2: lisen: unknown setting; did you mean listen?"}},
		{"unknown key below another", nil, nil, "kafka: {broker: x}", []string{"kafka.broker: unknown setting; did you mean kafka.brokers?"}},
		{"a key twice", nil, nil, "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2", []string{"streamer.yaml:2: listen: stands twice"}},
		{"a level in place of a value", nil, nil, "listen: {host: x}", []string{"listen: expected one value or a list"}},
		{"a value in place of a level", nil, nil, "kafka: localhost:9092", []string{"expected settings by their names"}},
		{"the file is a list", nil, nil, "- a", []string{"expected settings by their names"}},
		{"the file is no YAML", nil, nil, "a: [", []string{"no YAML"}},
		{"the file is not there", []string{"--config=/none/streamer.yaml"}, nil, "", []string{"flag --config: open /none/streamer.yaml: no such file"}},
		{"neither with nor without login", []string{"--require-auth=maybe"}, nil, "", []string{`flag --require-auth: "maybe" is neither true nor false`}},
		{"a user without a password", []string{"--admin-user=root"}, nil, "", []string{"flag --admin-user: there is no password for this user; set STREAMER_ADMIN_PASSWORD or"}},
		{"a password without a user", nil, []string{"STREAMER_ADMIN_PASSWORD=twelve s3cret"}, "", []string{"STREAMER_ADMIN_PASSWORD: there is no user for this password"}},
		{"a password file without a user", nil, nil, "admin: {password_file: p}", []string{"admin.password_file: there is no user"}},
		{"two passwords", nil, nil, "admin: {user: root, password: twelve s3crets, password_file: p}", []string{"admin.password_file: stands beside admin.password"}},
		{"a short password", nil, nil, "admin: {user: root, password: s3cret}", []string{"admin.password: is shorter than 12 characters; make one by"}},
		{"a user with a colon", nil, nil, "admin: {user: 'a:b', password: twelve s3crets}", []string{`admin.user: "a:b" has a colon`}},
		{"an issuer in clear", nil, nil, "oidc: {issuer: http://login.example.org, audience: a}", []string{`oidc.issuer: "http://login.example.org" is not https`}},
		{"an issuer without an audience", nil, nil, "oidc: {issuer: https://login.example.org}", []string{"oidc.issuer: its tokens would be taken whomever they are for; set STREAMER_OIDC_AUDIENCE"}},
		{"a client without an issuer", nil, nil, "oidc: {client_id: a}", []string{"oidc.client_id: there is no provider that could know it; set STREAMER_OIDC_ISSUER"}},
		{"an audience without an issuer", nil, nil, "oidc: {audience: a}", []string{"oidc.audience: there is no provider"}},
		{"grants without an issuer", nil, nil, "people: {grants: [{group: a, permission: view, owner: b}]}", []string{"people.grants: there is no provider"}},
		{"grants that are none", nil, nil, "oidc: {issuer: https://l.test, audience: a}\npeople:\n  grants:\n    - {group: a, permission: operat, owner: b}\n    - {grup: a, permission: view, owner: ''}\n    - x\n    - {group: a, group: b, permission: [a], owner: c, also: d}", []string{
			`streamer.yaml:3: people.grants: [0]: permission: "operat" is none; did you mean operate?`, "[1]: grup is unknown; did you mean group?", "[1]: group is missing", "[1]: owner is missing",
			"[2]: is no grant; write it as {group: health-ops", "[3]: group stands twice", "[3]: permission is no plain text", "[3]: also is unknown; write one of group, permission, owner", "[3]: permission is missing"}},
		{"grants that are no list", nil, []string{"STREAMER_PEOPLE_GRANTS={group: a}", "STREAMER_OIDC_ISSUER=https://l.test", "STREAMER_OIDC_AUDIENCE=a"}, "", []string{"STREAMER_PEOPLE_GRANTS: expected a list; write it as"}},
		{"two ways to log in", nil, []string{"STREAMER_TOKEN=s3cret"}, "user: a", []string{"STREAMER_TOKEN: stands beside user"}},
		{"a password for nobody", nil, []string{"STREAMER_PASSWORD=s3cret"}, "", []string{"STREAMER_PASSWORD: there is no user"}},
		{"a namespace with a dot", []string{"--namespace=a.b"}, nil, "", []string{`flag --namespace: "a.b" cannot be a prefix of topics`}},
		{"no host:port", nil, []string{"STREAMER_LISTEN=9013"}, "", []string{`STREAMER_LISTEN: "9013" is no host:port`}},
		{"a port that is none", nil, []string{"STREAMER_LISTEN=localhost:http"}, "", []string{"is no host:port"}},
		{"no URL", nil, []string{"STREAMER_URL=127.0.0.1:9013"}, "", []string{"STREAMER_URL: \"127.0.0.1:9013\" is no address of an instance"}},
		{"no size", nil, nil, "memory: lots", []string{`memory: "lots" is no size; write it as 256MiB`}},
		{"too little memory", nil, nil, "memory: 1MiB", []string{"1MiB is too little"}},
		{"no range", nil, nil, "allow_cidrs: [10.0.0.1]", []string{`"10.0.0.1" is no range of addresses`}},
		{"a host with its port", nil, nil, "allow_hosts: ['api:80']", []string{`"api:80" is no host name`}},
		{"a key that is a password", nil, []string{"STREAMER_SECRET_KEY=s3cret"}, "", []string{"environment variable STREAMER_SECRET_KEY: key 1 is no base64; make one by: openssl rand -base64 32"}},
		{"a key that is no longer random", nil, nil, "secret_key: " + key(1) + "," + strings.Repeat("A", 43) + "=", []string{"secret_key: key 2 is not random; make one by"}},
		{"keys in two places", nil, []string{"STREAMER_SECRET_KEY=" + key(1)}, "secret_key_file: k", []string{"secret_key_file: stands beside secret_key"}},
		{"owners without their names", nil, nil, "owners: [a]", []string{"owners: expected owners by their names"}},
		{"what cannot be granted", nil, nil, "owners: {health: {topic: [a]}}", []string{"streamer.yaml:1: owners: health.topic: cannot be granted; did you mean topics?"}},
		{"no list", nil, nil, "owners: {health: {topics: a}, other: x}", []string{"health.topics: expected a list", "other: expected lists by their names: topics, groups, produce, hosts, cidrs"}},
		{"a pattern that is granted", nil, nil, "owners: {health: {topics: ['^a$', '*a', a b, '']}}", []string{`"^a$" is no name; a * may stand at its end`, `"*a" is no name`, `"a b" is no name`, `"" is no name`}},
		{"no hosts and ranges", nil, []string{"STREAMER_OWNERS={health: {hosts: ['*', 'a:80'], cidrs: [10.0.0.1]}}"}, "", []string{`"*" is no host name`, `"a:80" is no host name`, `"10.0.0.1" is no range`}},
		{"an owner twice", nil, nil, "owners: {health: {}, health: {}}", []string{`"health" stands twice`}},
		{"an alias among what is granted", nil, nil, "owners: {a: &x {topics: [a]}, b: *x}", []string{"b: expected lists by their names"}},
		{"owners that are no YAML", nil, []string{"STREAMER_OWNERS={a"}, "", []string{"STREAMER_OWNERS: no YAML"}},
		{"no log level", nil, nil, "log: {level: loud}", []string{`log.level: "loud" is none of`}},
		{"no log format", nil, nil, "log: {format: xml}", []string{`"xml" is neither json nor text`}},
		{"no instance id", nil, nil, "instance_id: a b", []string{`"a b" is no instance id`}},
		{"TLS neither on nor off", nil, []string{"STREAMER_KAFKA_TLS=maybe"}, "", []string{`STREAMER_KAFKA_TLS: "maybe" is neither true nor false`}},
		{"a mechanism that is unknown", nil, []string{"STREAMER_KAFKA_SASL_MECHANISM=GSSAPI"}, "", []string{`environment variable STREAMER_KAFKA_SASL_MECHANISM: unknown mechanism "GSSAPI"`}},
		{"a broker without its port", []string{"--kafka-brokers=k1"}, nil, "", []string{`flag --kafka-brokers: "k1" is no host:port`}},
		{"three at once", []string{"--namespace=a.b"}, []string{"STREAMER_X=1"}, "memory: lots", []string{"--namespace", "STREAMER_X", "memory"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := loadFrom(t, c.args, c.environ, c.file)
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) {
				t.Errorf("%d faults, want %d:\n%v", len(lines), len(c.want), err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %v\nhas no %s", err, w)
				}
			}
		})
	}
}

// A password is in no error, even where it stands beside what is wrong.
func TestPasswordIsNotPrinted(t *testing.T) {
	t.Parallel()
	_, err := loadFrom(t, nil, []string{"STREAMER_KAFKA_SASL_PASSWORD=s3cret", "STREAMER_NAMESPACE=a.b"}, "")
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error %v", err)
	}
	_, err = loadFrom(t, nil, []string{"STREAMER_KAFKA_SASL_PASSWORD=s3cret"}, "")
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error %v", err)
	}
}

// key is a key that counts up from n.
func key(n byte) string {
	raw := make([]byte, secret.KeyBytes)
	for i := range raw {
		raw[i] = n + byte(i)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func TestOwners(t *testing.T) {
	t.Parallel()
	want := job.Grants{
		"health": {Topics: []string{"Person", "health.*"}, Groups: []string{}, Produce: []string{"health.out.*"}, Hosts: []string{"api.internal"},
			CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		"*": {Topics: []string{}},
		"b": {},
	}
	const text = "{health: {topics: [Person, 'health.*'], groups: [], produce: [health.out.*], hosts: [API.internal], cidrs: [10.1.2.3/8]}, '*': {topics: []}, b: {}}"
	for name, from := range map[string][2]string{"the file": {"owners: " + text, ""}, "the environment": {"", "STREAMER_OWNERS=" + text}} {
		got, err := loadFrom(t, nil, []string{from[1]}, from[0])
		if err != nil || !reflect.DeepEqual(got.Owners, want) {
			t.Errorf("from %s: %+v, %v", name, got.Owners, err)
		}
	}
}

func TestSecretKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	ids := map[string]bool{}
	for _, c := range []struct{ name, settings, file string }{
		{"the setting", "secret_key: [" + key(1) + ", " + key(101) + "]", ""},
		{"its file", "secret_key_file: " + file, key(1) + "\n" + key(101) + "\n"},
	} {
		if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := loadFrom(t, nil, nil, c.settings)
		if err != nil {
			t.Fatal(err)
		}
		k, err := s.Keyring()
		if err != nil || len(k.IDs()) != 2 {
			t.Errorf("%s: %v, %v", c.name, k, err)
		}
		ids[k.String()] = true
		if text := fmt.Sprintf("%+v %#v", s, s); strings.Contains(text, key(1)) {
			t.Errorf("%s: the key is shown", c.name)
		}
	}
	if len(ids) != 1 {
		t.Errorf("the same keys are %v", ids)
	}
	if k, err := (Settings{}).Keyring(); k != nil || err != nil {
		t.Errorf("without keys: %v, %v", k, err)
	}
	s := Settings{SecretKeyFile: file}
	for text, want := range map[string]string{"": "is empty; make one by", "s3cret": "key 1 is no base64; make one by", strings.Repeat("s3cret\n", 1000): "is larger than 4096 bytes"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Keyring(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%.10q: %v", text, err)
		}
	}
	s.SecretKeyFile += "-none"
	if _, err := s.Keyring(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
}

// The password of the admin may stand in a file; it is not shown.
func TestThePasswordOfTheAdmin(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	s := Settings{AdminPasswordFile: file, People: people.Options{Admin: people.Admin{User: "root"}}}
	for text, want := range map[string]string{"twelve s3crets\n": "", "twelve s3crets": "", "": "is shorter than 12", "s3cret": "is shorter than 12", strings.Repeat("s3cret", 1000): "is larger than 1024 bytes"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := s.Logins()
		switch {
		case want == "" && (err != nil || o.Admin.Password.Reveal() != "twelve s3crets"):
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "s3cret")):
			t.Errorf("%.10q: %v", text, err)
		}
		if shown := fmt.Sprintf("%+v %#v %v", o, o, o.Admin); strings.Contains(shown, "s3cret") {
			t.Errorf("shows the password: %s", shown)
		}
	}
	s.AdminPasswordFile += "-none"
	if _, err := s.Logins(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
}

// Names in the table follow one rule, so that who knows one knows the others.
func TestTableNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range Table {
		plain := strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
		if s.Env != "STREAMER_"+plain && s.Key != "kafka.tls.enable" {
			t.Errorf("%s has the variable %s", s.Key, s.Env)
		}
		if flag := strings.NewReplacer(".", "-", "_", "-").Replace(s.Key); s.Flag != "" && s.Flag != flag && s.Key != "kafka.tls.enable" && s.Key != "jobs_dir" {
			t.Errorf("%s has the flag --%s", s.Key, s.Flag)
		}
		if seen[s.Key] || seen[s.Env] {
			t.Errorf("%s stands twice", s.Key)
		}
		seen[s.Key], seen[s.Env] = true, true
		if s.Doc == "" || !strings.Contains(Help(), s.Env) {
			t.Errorf("%s is not described", s.Key)
		}
	}
}
