// Package settings reads what the process is told from outside: flags over environment over one file over defaults.
//
// One table names every setting; its flag, its variable, its key in the file and its line of help come from there, so that none of
// them can be forgotten or misnamed.
package settings

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"

	"streamer/consumer"
	"streamer/consumer/registry"
	"streamer/control/client"
	"streamer/control/job"
	"streamer/control/people"
	"streamer/control/secret"
	"streamer/sink"
)

// Settings is what the process is told. Load fills it in.
type Settings struct {
	Kafka consumer.Client
	// Registry is the schema registry. Its Guard is not a setting.
	Registry  registry.Options
	Namespace string
	// Instance makes memberships of groups static; empty: they are not.
	Instance string
	// Listen is host:port of the HTTP server.
	Listen string
	// Advertise is host:port or the URL at which others reach it; empty: Listen.
	Advertise string
	// Connections bounds what the jobs need together; 0: derived from the limit of open files.
	Connections int
	// URL is the instance that commands call, URLFrom where that was said; empty: nowhere, it is the default.
	URL, URLFrom string
	// Context is what they call and log in with instead, of those that somebody has logged in to; ContextFrom is where that was said.
	Context, ContextFrom string
	// Insecure lets them send a credential over plain HTTP to another machine.
	Insecure bool
	// User with Password, or Token, are what commands call it with.
	User            string
	Password, Token sink.Secret
	// Jobs is a job file or a directory of job files.
	Jobs string
	// SecretsDir holds a directory of secret files per owner; empty: there are none.
	SecretsDir string
	AllowHosts []string
	AllowCIDRs []netip.Prefix
	// Owners say what the jobs of each owner may touch.
	Owners job.Grants
	// SecretKeys seal and open what jobs must not show, as STREAMER_SECRET_KEY has them; SecretKeyFile is where else they are.
	// Keyring gives either.
	SecretKeys    *secret.Keyring
	SecretKeyFile string
	// MemoryBytes bounds what records in flight may take.
	MemoryBytes int64
	LogFormat   string
	LogLevel    slog.Level
	// People says how people log in. Its Tokens and Log are not settings. Logins adds the password of AdminPasswordFile.
	People            people.Options
	AdminPasswordFile string
}

// Setting is one line of the table.
type Setting struct {
	// Key is its name in the file, with dots between levels, and in messages.
	Key string `json:"key"`
	// Env and Flag are its other names. Flag is empty for secrets: other users of a machine see a command line.
	Env     string `json:"env"`
	Flag    string `json:"flag,omitempty"`
	Default string `json:"default,omitempty"`
	// Doc is a sentence for an operator, with its unit.
	Doc string `json:"doc"`
	// Example shows how it is written, where the default does not.
	Example string `json:"example,omitempty"`

	set func(*Settings, string) error
}

// Table lists every setting, in the order of the help.
var Table = []Setting{
	{Key: "kafka.brokers", Env: "STREAMER_KAFKA_BROKERS", Flag: "kafka-brokers", Default: "localhost:9092", Example: "kafka-1:9092,kafka-2:9092",
		Doc: "brokers to start from, host:port with commas between", set: func(s *Settings, v string) error {
			s.Kafka.Brokers = list(v)
			return nil
		}},
	{Key: "kafka.sasl.mechanism", Env: "STREAMER_KAFKA_SASL_MECHANISM", Flag: "kafka-sasl-mechanism", Example: "SCRAM-SHA-512",
		Doc: "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty: no login", set: text(func(s *Settings) *string { return &s.Kafka.SASL.Mechanism })},
	{Key: "kafka.sasl.user", Env: "STREAMER_KAFKA_SASL_USER", Flag: "kafka-sasl-user", Example: "streamer",
		Doc: "user of the login", set: text(func(s *Settings) *string { return &s.Kafka.SASL.User })},
	{Key: "kafka.sasl.password", Env: "STREAMER_KAFKA_SASL_PASSWORD",
		Doc: "its password; no flag, as a command line can be seen by others", set: hidden(func(s *Settings) *sink.Secret { return &s.Kafka.SASL.Password })},
	{Key: "kafka.tls.enable", Env: "STREAMER_KAFKA_TLS", Flag: "kafka-tls", Default: "false",
		Doc: "TLS to the brokers", set: func(s *Settings, v string) (err error) {
			s.Kafka.TLS.Enable, err = yesNo(v)
			return err
		}},
	{Key: "kafka.tls.ca_file", Env: "STREAMER_KAFKA_TLS_CA_FILE", Flag: "kafka-tls-ca-file", Example: "/etc/streamer/ca.pem",
		Doc: "authorities to trust, PEM; empty: the system's", set: text(func(s *Settings) *string { return &s.Kafka.TLS.CAFile })},
	{Key: "kafka.tls.cert_file", Env: "STREAMER_KAFKA_TLS_CERT_FILE", Flag: "kafka-tls-cert-file", Example: "/etc/streamer/client.pem",
		Doc: "client certificate, PEM", set: text(func(s *Settings) *string { return &s.Kafka.TLS.CertFile })},
	{Key: "kafka.tls.key_file", Env: "STREAMER_KAFKA_TLS_KEY_FILE", Flag: "kafka-tls-key-file", Example: "/etc/streamer/client-key.pem",
		Doc: "its key, PEM", set: text(func(s *Settings) *string { return &s.Kafka.TLS.KeyFile })},
	{Key: "kafka.tls.server_name", Env: "STREAMER_KAFKA_TLS_SERVER_NAME", Flag: "kafka-tls-server-name", Example: "kafka.example.org",
		Doc: "name expected in the brokers' certificates; empty: the host dialled", set: text(func(s *Settings) *string { return &s.Kafka.TLS.ServerName })},
	{Key: "kafka.group_protocol", Env: "STREAMER_KAFKA_GROUP_PROTOCOL", Flag: "kafka-group-protocol", Default: "classic",
		Doc: "how groups spread partitions: classic, or consumer (KIP-848, Kafka 4.3 or later on every broker)", set: func(s *Settings, v string) error {
			s.Kafka.GroupProtocol = consumer.GroupProtocol(v)
			return nil
		}},
	{Key: "schema_registry.url", Env: "STREAMER_SCHEMA_REGISTRY_URL", Flag: "schema-registry-url", Example: "https://registry.example.org",
		Doc: "registry that is asked for the schemas of records, by Confluent's API; empty: none", set: text(func(s *Settings) *string { return &s.Registry.URL })},
	{Key: "schema_registry.user", Env: "STREAMER_SCHEMA_REGISTRY_USER", Flag: "schema-registry-user", Example: "streamer",
		Doc: "user of the login there", set: text(func(s *Settings) *string { return &s.Registry.User })},
	{Key: "schema_registry.password", Env: "STREAMER_SCHEMA_REGISTRY_PASSWORD",
		Doc: "its password; no flag, as a command line can be seen by others", set: hidden(func(s *Settings) *sink.Secret { return &s.Registry.Password })},
	{Key: "schema_registry.ca_file", Env: "STREAMER_SCHEMA_REGISTRY_CA_FILE", Flag: "schema-registry-ca-file", Example: "/etc/streamer/ca.pem",
		Doc: "authorities to trust there beside the system's, PEM", set: text(func(s *Settings) *string { return &s.Registry.CAFile })},
	{Key: "namespace", Env: "STREAMER_NAMESPACE", Flag: "namespace", Default: "streamer",
		Doc: "prefix of this installation's topics and groups", set: func(s *Settings, v string) error {
			if !namespace.MatchString(v) {
				return fmt.Errorf("%q cannot be a prefix of topics; use 1 to 32 letters, digits, dashes and underscores", v)
			}
			s.Namespace = v
			return nil
		}},
	{Key: "instance_id", Env: "STREAMER_INSTANCE_ID", Flag: "instance-id", Example: "streamer-0",
		Doc: "makes group memberships static: back within the session timeout, an instance keeps its partitions; must differ between instances", set: func(s *Settings, v string) error {
			if !instance.MatchString(v) {
				return fmt.Errorf("%q is no instance id; use up to 200 letters, digits, dots, dashes and underscores", v)
			}
			s.Instance = v
			return nil
		}},
	{Key: "listen", Env: "STREAMER_LISTEN", Flag: "listen", Default: "127.0.0.1:9013",
		Doc: "host:port of /healthz, /readyz, /metrics and the API; off loopback people have to log in", set: func(s *Settings, v string) (err error) {
			s.Listen, err = hostPort(v)
			return err
		}},
	{Key: "require_auth", Env: "STREAMER_REQUIRE_AUTH", Flag: "require-auth", Default: "true",
		Doc: "whether the API needs a login; false only when listening on loopback. Where nobody could log in, the API is for this machine alone", set: func(s *Settings, v string) (err error) {
			s.People.Require, err = yesNo(v)
			return err
		}},
	{Key: "admin.user", Env: "STREAMER_ADMIN_USER", Flag: "admin-user", Example: "admin",
		Doc: "user who may do everything in the API", set: func(s *Settings, v string) error {
			if strings.Contains(v, ":") {
				return fmt.Errorf("%q has a colon, which ends a user's name in basic logins", v)
			}
			s.People.Admin.User = v
			return nil
		}},
	{Key: "admin.password", Env: "STREAMER_ADMIN_PASSWORD",
		Doc: "the password of that user, 12 characters or more; no flag, as a command line can be seen by others", set: func(s *Settings, v string) error {
			s.People.Admin.Password = sink.Secret(v)
			return checkPassword(v)
		}},
	{Key: "admin.password_file", Env: "STREAMER_ADMIN_PASSWORD_FILE", Flag: "admin-password-file", Example: "/run/secrets/streamer-admin",
		Doc: "file that holds the same", set: text(func(s *Settings) *string { return &s.AdminPasswordFile })},
	{Key: "oidc.issuer", Env: "STREAMER_OIDC_ISSUER", Flag: "oidc-issuer", Example: "https://login.example.org/realms/main",
		Doc: "OpenID Connect provider whose tokens the API takes; https, or http on loopback", set: func(s *Settings, v string) error {
			s.People.OIDC.Issuer = v
			return people.CheckIssuer(v)
		}},
	{Key: "oidc.audience", Env: "STREAMER_OIDC_AUDIENCE", Flag: "oidc-audience", Example: "streamer",
		Doc: "audience that those tokens must name", set: text(func(s *Settings) *string { return &s.People.OIDC.Audience })},
	{Key: "oidc.groups_claim", Env: "STREAMER_OIDC_GROUPS_CLAIM", Flag: "oidc-groups-claim", Default: "groups", Example: "realm_access.roles",
		Doc: "claim of those tokens with the groups of a person, with dots between levels", set: text(func(s *Settings) *string { return &s.People.OIDC.GroupsClaim })},
	{Key: "oidc.client_id", Env: "STREAMER_OIDC_CLIENT_ID", Flag: "oidc-client-id", Example: "streamer-cli",
		Doc: "public client of the provider by which streamer login logs people in (device authorization grant); everybody may read it", set: text(func(s *Settings) *string { return &s.People.OIDC.ClientID })},
	{Key: "oidc.scopes", Env: "STREAMER_OIDC_SCOPES", Flag: "oidc-scopes", Default: "openid", Example: "openid,offline_access",
		Doc: "scopes that streamer login asks for, with commas between", set: func(s *Settings, v string) error {
			s.People.OIDC.Scopes = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
			return nil
		}},
	{Key: "people.grants", Env: "STREAMER_PEOPLE_GRANTS", Example: `[{group: health-ops, permission: operate, owner: health}]`,
		Doc: "what groups of the provider may do: permission (view, operate, edit, admin) and owner of the jobs (* for all); see below", set: func(s *Settings, v string) (err error) {
			s.People.Grants, err = grants(v)
			return err
		}},
	{Key: "url", Env: "STREAMER_URL", Flag: "url", Default: client.DefaultURL,
		Doc: "instance that jobs, deliveries, offsets, deadletters, audit, tokens and services call", set: func(s *Settings, v string) error {
			if err := client.CheckURL(v); err != nil {
				return err
			}
			s.URL = v
			return nil
		}},
	{Key: "user", Env: "STREAMER_USER", Flag: "user", Example: "admin",
		Doc: "user whom those commands log in as", set: text(func(s *Settings) *string { return &s.User })},
	{Key: "password", Env: "STREAMER_PASSWORD",
		Doc: "the password of that user; no flag, as a command line can be seen by others", set: hidden(func(s *Settings) *sink.Secret { return &s.Password })},
	{Key: "token", Env: "STREAMER_TOKEN",
		Doc: "token that those commands log in with, of streamer or of the provider; no flag, as a command line can be seen by others", set: hidden(func(s *Settings) *sink.Secret { return &s.Token })},
	{Key: "context", Env: "STREAMER_CONTEXT", Flag: "context", Example: "prod",
		Doc: "which of the instances that streamer login has kept those commands call; empty: url, if it is given, else the current one", set: text(func(s *Settings) *string { return &s.Context })},
	{Key: "insecure", Env: "STREAMER_INSECURE", Flag: "insecure", Default: "false",
		Doc: "lets those commands send a credential over plain HTTP to another machine", set: func(s *Settings, v string) (err error) {
			s.Insecure, err = yesNo(v)
			return err
		}},
	{Key: "advertise", Env: "STREAMER_ADVERTISE", Flag: "advertise", Example: "streamer-0.streamer:9013",
		Doc: "host:port or URL at which other instances reach this one; empty: what it listens on", set: func(s *Settings, v string) error {
			return advertise(&s.Advertise, v)
		}},
	{Key: "connections", Env: "STREAMER_CONNECTIONS", Flag: "connections", Example: "4000",
		Doc: "connections that all jobs of this instance may need together, to brokers and targets; empty: three quarters of the files it may open", set: func(s *Settings, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of connections; write it as 4000", v)
			}
			s.Connections = n
			return nil
		}},
	{Key: "jobs_dir", Env: "STREAMER_JOBS_DIR", Flag: "jobs", Default: "/etc/streamer/jobs",
		Doc: "a job file, or a directory of job files (.yaml, .yml, .json)", set: text(func(s *Settings) *string { return &s.Jobs })},
	{Key: "secrets_dir", Env: "STREAMER_SECRETS_DIR", Flag: "secrets-dir", Example: "/run/secrets/streamer",
		Doc: "directory with one directory of secret files per owner, for ${file:name} in jobs", set: text(func(s *Settings) *string { return &s.SecretsDir })},
	{Key: "allow_hosts", Env: "STREAMER_ALLOW_HOSTS", Flag: "allow-hosts", Example: "api.internal,localhost",
		Doc: "hosts that jobs may call although their addresses are private or loopback, with commas between", set: func(s *Settings, v string) error {
			s.AllowHosts = list(strings.ToLower(v))
			for _, h := range s.AllowHosts {
				if !isHost(h) {
					return fmt.Errorf("%q is no host name; write it without scheme, port, path and wildcard", h)
				}
			}
			return nil
		}},
	{Key: "allow_cidrs", Env: "STREAMER_ALLOW_CIDRS", Flag: "allow-cidrs", Example: "10.0.0.0/8,127.0.0.0/8",
		Doc: "private ranges that jobs may call, with commas between", set: func(s *Settings, v string) error {
			s.AllowCIDRs = nil
			for _, part := range list(v) {
				prefix, err := netip.ParsePrefix(part)
				if err != nil {
					return fmt.Errorf("%q is no range of addresses; write it as 10.0.0.0/8", part)
				}
				s.AllowCIDRs = append(s.AllowCIDRs, prefix.Masked())
			}
			return nil
		}},
	{Key: "owners", Env: "STREAMER_OWNERS", Example: "{health: {topics: [Person, health.*]}}",
		Doc: "what the jobs of each owner may touch: topics, groups, produce, hosts, cidrs; see below", set: func(s *Settings, v string) (err error) {
			s.Owners, err = owners(v)
			return err
		}},
	{Key: "secret_key", Env: "STREAMER_SECRET_KEY",
		Doc: "seals the secrets of jobs: 32 random bytes in base64 (openssl rand -base64 32); two with a comma between while they are changed, the first seals; no flag, as a command line can be seen by others", set: func(s *Settings, v string) (err error) {
			s.SecretKeys, err = secret.NewKeyring(v)
			return err
		}},
	{Key: "secret_key_file", Env: "STREAMER_SECRET_KEY_FILE", Flag: "secret-key-file", Example: "/run/secrets/streamer-key",
		Doc: "file that holds the same, with a line for each key", set: text(func(s *Settings) *string { return &s.SecretKeyFile })},
	{Key: "memory", Env: "STREAMER_MEMORY", Flag: "memory", Default: "256MiB",
		Doc: "what records in flight may take in memory, of all jobs together (KiB, MiB, GiB)", set: func(s *Settings, v string) (err error) {
			s.MemoryBytes, err = bytesOf(v)
			if err == nil && s.MemoryBytes < minMemory {
				err = fmt.Errorf("%s is too little; give at least 16MiB", v)
			}
			return err
		}},
	{Key: "log.format", Env: "STREAMER_LOG_FORMAT", Flag: "log-format", Default: "json",
		Doc: "json or text", set: func(s *Settings, v string) error {
			if v != "json" && v != "text" {
				return fmt.Errorf("%q is neither json nor text", v)
			}
			s.LogFormat = v
			return nil
		}},
	{Key: "log.level", Env: "STREAMER_LOG_LEVEL", Flag: "log-level", Default: "info",
		Doc: "debug, info, warn or error", set: func(s *Settings, v string) error {
			if v != "debug" && v != "info" && v != "warn" && v != "error" {
				return fmt.Errorf("%q is none of debug, info, warn, error", v)
			}
			return s.LogLevel.UnmarshalText([]byte(v))
		}},
}

// The file itself is found by its own names, which cannot stand in it.
const (
	// ConfigEnv and ConfigFlag name the settings file.
	ConfigEnv  = "STREAMER_CONFIG"
	ConfigFlag = "config"
	// DefaultFile is read when it is there and neither of them names another.
	DefaultFile = "/etc/streamer/streamer.yaml"
	// ValuePrefix begins variables that are not settings but values for jobs: ${env:STREAMER_VALUE_…}.
	ValuePrefix = "STREAMER_VALUE_"
	envPrefix   = "STREAMER_"
)

// Help describes every setting for a terminal.
func Help() string {
	var b strings.Builder
	b.WriteString("A flag goes over an environment variable, that over the file, that over the default.\n")
	fmt.Fprintf(&b, "The file is YAML, at %s or where %s or --%s says.\n", DefaultFile, ConfigEnv, ConfigFlag)
	fmt.Fprintf(&b, "Variables %s… are values for jobs, read by ${env:%s…}.\n", ValuePrefix, ValuePrefix)
	for _, s := range Table {
		fmt.Fprintf(&b, "\n%s\n    %s", s.Key, s.Env)
		if s.Flag != "" {
			b.WriteString("  --" + s.Flag)
		}
		b.WriteString("\n    " + s.Doc + "\n")
		switch {
		case s.Default != "":
			b.WriteString("    default: " + s.Default + "\n")
		case s.Example != "":
			b.WriteString("    example: " + s.Example + "\n")
		}
	}
	return b.String()
}

func text(field func(*Settings) *string) func(*Settings, string) error {
	return func(s *Settings, v string) error {
		*field(s) = v
		return nil
	}
}

func hidden(field func(*Settings) *sink.Secret) func(*Settings, string) error {
	return func(s *Settings, v string) error {
		*field(s) = sink.Secret(v)
		return nil
	}
}

// list splits at commas; blanks around and empty parts are left out.
func list(v string) []string {
	var parts []string
	for _, p := range strings.Split(v, ",") {
		if p = strings.TrimSpace(p); p != "" {
			parts = append(parts, p)
		}
	}
	return parts
}

func yesNo(v string) (bool, error) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", v)
	}
	return b, nil
}
